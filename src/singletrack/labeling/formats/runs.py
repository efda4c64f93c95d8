"""Stretches of frames in which a target can be seen."""

from __future__ import annotations

from collections.abc import Mapping

from singletrack.geometry.boxes import Box
from singletrack.labeling.labels import LabeledTarget


def split_runs(boxes: Mapping[int, Box]) -> list[dict[int, Box]]:
    """Boxes by ascending frame number -> one mapping for each stretch of consecutive frames."""
    runs: list[dict[int, Box]] = []
    last = None
    for frame, box in boxes.items():
        if last is None or frame != last + 1:
            runs.append({})
        runs[-1][frame] = box
        last = frame
    return runs


def set_by_person(target: LabeledTarget) -> set[int]:
    """The frames of a target whose boxes are keyframes."""
    return {frame for frame, each in target.boxes.items() if each.keyframe}
