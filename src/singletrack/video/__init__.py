"""Frames in and frames out: files, folders of frames, cameras and streams. Knows nothing of tracking."""

from __future__ import annotations

from singletrack.video.random_access import FrameReader, open_frames
from singletrack.video.reader import VideoReader, open_video
from singletrack.video.writer import VideoWriter

__all__ = ["FrameReader", "VideoReader", "VideoWriter", "open_frames", "open_video"]
