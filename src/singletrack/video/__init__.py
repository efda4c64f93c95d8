"""Reads and writes video: files, folders of frames, cameras and streams."""

from __future__ import annotations

from singletrack.video.live import LiveOptions
from singletrack.video.random_access import FrameReader, open_frames
from singletrack.video.reader import Source, VideoReader, open_video
from singletrack.video.writer import VideoWriter

__all__ = ["FrameReader", "LiveOptions", "Source", "VideoReader", "VideoWriter", "open_frames", "open_video"]
