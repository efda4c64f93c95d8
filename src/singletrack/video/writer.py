"""Writes frames to an H.264 mp4 that plays in browsers.

The file is written in fragments of about a second, each playable at once, so that a killed process leaves a video
that lacks only its last second. Closing converts it to an ordinary mp4.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, VideoError
from singletrack.files import check_file, unwritable, writing

if TYPE_CHECKING:  # PyAV is slow to import, so it is imported when a file is opened
    import av
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

ENDINGS = (".mp4",)
TICKS_PER_SECOND = 90_000  # usual video clock: common frame rates are integer numbers of ticks
LARGEST_SIDE = 16_384  # pixels, of libx264
BT709 = 1  # H.264 number of this color standard, for primaries, transfer and matrix
LIMITED_RANGE = 1
SQUARE = Fraction(1)  # pixels


class VideoWriter:
    """Context manager that writes frames of one size to an .mp4 file.

    The file is created, or replaced, with the first frame.

    Args:
        path: output .mp4 file.
        fps: frames per second, for frames without a time.
        sample_aspect: width of a pixel divided by its height, for display.

    Raises:
        InputError: the path does not end in .mp4.
        SingletrackError: the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, *, sample_aspect: Fraction = SQUARE) -> None:
        import av

        self.path = Path(path)
        check_file(self.path, ENDINGS)
        if "libx264" not in av.codecs_available:
            raise VideoError(
                "PyAV was built without the H.264 encoder libx264; "
                "install the PyPI wheel: pip install --force-reinstall --only-binary=av av"
            )
        movflags = {"movflags": "+hybrid_fragmented", "flush_packets": "1"}
        # "file:", for FFmpeg takes what stands before a colon for a protocol
        self._container = av.open(f"file:{self.path}", "w", options=movflags)
        self._stream: VideoStream | None = None
        self._fps = fps
        self._sample_aspect = sample_aspect
        self._size_wh = (0, 0)
        self._frame_count = 0
        self._last_tick = -1

    def write(self, frame: NDArray[np.uint8], seconds: float | None = None) -> None:
        """Write one frame. An odd width or height is padded by one column or row, as H.264 requires.

        Args:
            frame: (H, W, 3) uint8 RGB.
            seconds: display time, though always after the previous frame; None for the next time at ``fps``.
        """
        import av

        height, width = frame.shape[:2]
        if self._stream is None:
            if max(width, height) > LARGEST_SIDE:
                raise VideoError(
                    f"expected frames of at most {LARGEST_SIDE} pixels a side, as H.264 takes them; got {width} x "
                    f"{height}; write the boxes alone, or make the source smaller"
                )
            self._stream = self._add_stream(width + width % 2, height + height % 2)
            self._size_wh = (width, height)
            if width % 2 or height % 2:
                even = f"{width + width % 2} x {height + height % 2}"
                log.warning("%s is %s: H.264 needs even sides, so the last column or row is doubled", self.path, even)
        if (width, height) != self._size_wh:
            expected = f"{self._size_wh[0]} x {self._size_wh[1]} pixels, as the first frame"
            raise InputError(f"frames must have {expected}; got {width} x {height}; use a separate file for each size")
        if width % 2 or height % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        tick = round((self._frame_count / self._fps if seconds is None else seconds) * TICKS_PER_SECOND)
        picture.pts = self._last_tick = max(tick, self._last_tick + 1)
        picture.time_base = Fraction(1, TICKS_PER_SECOND)
        self._frame_count += 1
        self._encode(self._stream, picture)

    def close(self) -> None:
        """Finish the file. Closing it again does nothing."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                self._encode(stream, None)
        finally:
            with writing(self.path):
                self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_stream(self, width: int, height: int) -> VideoStream:
        # zerolatency: no frame is buffered in the encoder, where a killed process would lose it
        options = {"preset": "veryfast", "crf": "20", "tune": "zerolatency"}
        stream = self._container.add_stream(
            "libx264", rate=Fraction(self._fps).limit_denominator(1001), options=options
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        stream.codec_context.sample_aspect_ratio = self._sample_aspect
        stream.codec_context.gop_size = max(1, round(self._fps))  # each key frame starts a fragment
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_primaries = BT709
        stream.codec_context.color_trc = BT709
        stream.codec_context.color_range = LIMITED_RANGE
        return stream

    def _encode(self, stream: VideoStream, picture: av.VideoFrame | None) -> None:
        import av

        try:
            self._container.mux(stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            raise unwritable(self.path, error) from error
