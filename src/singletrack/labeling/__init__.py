"""Labeling video: keyframes of a person, boxes of a tracker between them, and projects that keep both."""

from __future__ import annotations

from singletrack.labeling.labels import LabeledBox, LabeledTarget, LabelSet, VideoInfo
from singletrack.labeling.project import Project, Segment, label_project
from singletrack.labeling.suggest import Suggestion

__all__ = [
    "LabelSet",
    "LabeledBox",
    "LabeledTarget",
    "Project",
    "Segment",
    "Suggestion",
    "VideoInfo",
    "label_project",
]
