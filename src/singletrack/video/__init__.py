"""Reads and writes video: files, folders of frames, cameras and streams."""

from __future__ import annotations

from singletrack.video.reader import Source, VideoReader, open_video
from singletrack.video.writer import VideoWriter

__all__ = ["Source", "VideoReader", "VideoWriter", "open_video"]
