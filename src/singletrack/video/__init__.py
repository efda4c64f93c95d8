"""Reads and writes video: files, folders of frames, cameras and streams."""

from __future__ import annotations

from singletrack.video.reader import VideoReader, open_video
from singletrack.video.writer import VideoWriter

__all__ = ["VideoReader", "VideoWriter", "open_video"]
