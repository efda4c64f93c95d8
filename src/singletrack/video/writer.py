"""Writes frames to an mp4, H.264 unless another codec is chosen, that plays in browsers.

The file is written in fragments of about a second, each playable at once, so that a killed process leaves a video
that lacks only its last second. Closing converts it to an ordinary mp4.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, VideoError
from singletrack.files import check_file, unwritable, writing
from singletrack.video.priority import usual_priority
from singletrack.video.sound import Sound

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
HIGHEST_QUALITY, USUAL_QUALITY = 100, 75


@dataclass(frozen=True, kw_only=True)
class VideoCodec:
    """One way to encode video.

    Attributes:
        encoder: its name in FFmpeg.
        crf: constant rate factor at quality 0 and at quality 100.
        options: further options.
        tag: its tag in mp4, where players need another than FFmpeg's.
    """

    encoder: str
    crf: tuple[float, float]
    options: Mapping[str, str]
    tag: str | None = None


# zerolatency: no frame is buffered in the encoder, where a killed process would lose it
CODECS = {
    "h264": VideoCodec(encoder="libx264", crf=(51, 10), options={"preset": "veryfast", "tune": "zerolatency"}),
    "hevc": VideoCodec(
        encoder="libx265",
        crf=(51, 13),
        options={"preset": "veryfast", "tune": "zerolatency", "x265-params": "log-level=error"},
        tag="hvc1",
    ),
    "av1": VideoCodec(encoder="libsvtav1", crf=(63, 20), options={"preset": "10"}),
}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a video is encoded.

    Attributes:
        codec: one of ``CODECS``.
        quality: 0 to 100; more is better and larger.
        colors: numbers of H.273 of the color primaries and of the transfer that the frames have.

    Raises:
        InputError: an unknown codec, or another quality.
    """

    codec: str = "h264"
    quality: float = USUAL_QUALITY
    colors: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise InputError(f"codec must be one of {', '.join(CODECS)}; got {self.codec!r}")
        if not 0 <= self.quality <= HIGHEST_QUALITY:
            raise InputError(f"quality must be 0 to {HIGHEST_QUALITY}; got {self.quality:g}; {USUAL_QUALITY} is usual")


class VideoWriter:
    """Context manager that writes frames of one size to an .mp4 file.

    The file is created, or replaced, with the first frame.

    Args:
        path: output .mp4 file.
        fps: frames per second, for frames without a time.
        sample_aspect: width of a pixel divided by its height, for display.
        encoding: codec, quality and colors.
        sound: sound to write beside the frames; it is closed with this writer.

    Raises:
        InputError: the path does not end in .mp4.
        SingletrackError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        *,
        sample_aspect: Fraction = SQUARE,
        encoding: Encoding | None = None,
        sound: Sound | None = None,
    ) -> None:
        import av

        self._encoding, self._sound = encoding or Encoding(), sound
        self._codec = CODECS[self._encoding.codec]

        self.path = Path(path)
        check_file(self.path, ENDINGS)
        if self._codec.encoder not in av.codecs_available:
            raise VideoError(
                f"PyAV was built without the encoder {self._codec.encoder}; choose another codec, or "
                "install the PyPI wheel: pip install --force-reinstall --only-binary=av av"
            )
        movflags = {"movflags": "+hybrid_fragmented", "flush_packets": "1"}
        if self._codec.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only; it prints a page of settings otherwise
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
            with usual_priority():
                self._open(self._stream)
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
        seconds = self._frame_count / self._fps if seconds is None else seconds
        tick = round(seconds * TICKS_PER_SECOND)
        picture.pts = self._last_tick = max(tick, self._last_tick + 1)
        picture.time_base = Fraction(1, TICKS_PER_SECOND)
        self._frame_count += 1
        self._encode(self._stream, picture)
        if self._sound is not None:
            self._sound.write_until(seconds)

    def close(self) -> None:
        """Finish the file. Closing it again does nothing."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                self._encode(stream, None)
                if self._sound is not None:
                    self._sound.write_until(self._last_tick / TICKS_PER_SECOND + 1 / self._fps)
        finally:
            if self._sound is not None:
                self._sound.close()
            with writing(self.path):
                self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_stream(self, width: int, height: int) -> VideoStream:
        worst, best = self._codec.crf
        crf = worst + (best - worst) * self._encoding.quality / HIGHEST_QUALITY
        stream: Any = self._container.add_stream(
            self._codec.encoder,
            rate=Fraction(self._fps).limit_denominator(1001),
            options={**self._codec.options, "crf": f"{crf:.0f}"},
        )
        if self._codec.tag is not None:
            stream.codec_context.codec_tag = self._codec.tag
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        stream.codec_context.sample_aspect_ratio = self._sample_aspect
        stream.codec_context.gop_size = max(1, round(self._fps))  # each key frame starts a fragment
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_primaries, stream.codec_context.color_trc = self._encoding.colors
        stream.codec_context.color_range = LIMITED_RANGE
        if self._sound is not None:
            self._sound.add_to(self._container)
        added: VideoStream = stream
        return added

    def _open(self, stream: VideoStream) -> None:
        import av

        try:
            stream.codec_context.open()
        except (av.FFmpegError, OSError) as error:
            raise unwritable(self.path, error) from error

    def _encode(self, stream: VideoStream, picture: av.VideoFrame | None) -> None:
        import av

        try:
            self._container.mux(stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            raise unwritable(self.path, error) from error
