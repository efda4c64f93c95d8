"""Copies the sound of a video file into a written one, packet by packet where mp4 can hold it, else as AAC."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singletrack.video.containers import picture_track

if TYPE_CHECKING:  # PyAV is slow to import, so it is imported when a file is opened
    import av
    from av.container import OutputContainer

log = logging.getLogger(__name__)

COPIED_CODECS = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")  # that mp4 holds as they are


class Sound:
    """The sound of a file, to be written beside its frames. Close it in the end.

    Args:
        path: the file.
        start: time of the first written frame, in seconds since the first frame of the file.
    """

    def __init__(self, path: Path, start: float) -> None:
        import av

        self._path = path
        self._source = av.open(f"file:{path}")
        self._stream = next(iter(self._source.streams.audio), None)
        pictures = picture_track(self._source)
        began = 0.0
        if pictures is not None and pictures.start_time is not None and pictures.time_base is not None:
            began = float(pictures.start_time * pictures.time_base)
        self._shift = began + start
        self._copied = self._stream is not None and self._stream.codec_context.name in COPIED_CODECS
        self._output: Any = None
        self._target: OutputContainer | None = None
        self._coming: Iterator[Any] = iter(())
        self._next: Any = None  # packet that waits for the picture to reach its time

    def add_to(self, target: OutputContainer) -> None:
        """Add a track to an output whose header is not written yet; nothing if the file has no sound."""
        if self._stream is None:
            return
        self._target = target
        if self._copied:
            self._output = target.add_stream_from_template(self._stream)
            self._coming = self._copy(self._stream)
        else:
            rate = self._stream.codec_context.sample_rate or 48_000
            self._output = target.add_stream("aac", rate=rate)
            self._output.layout = "stereo" if (self._stream.codec_context.channels or 2) > 1 else "mono"
            self._coming = self._encode(self._stream)

    def write_until(self, seconds: float) -> None:
        """Write what belongs to the frames up to a time, in seconds since the first written frame."""
        import av

        try:
            while self._target is not None:
                self._next = self._next or next(self._coming, None)
                if self._next is None or float(self._next.pts * self._next.time_base) > seconds:
                    return
                self._next.stream = self._output
                self._target.mux(self._next)
                self._next = None
        except av.FFmpegError as error:
            log.warning("the sound of %s ends early (%s): it is damaged, or does not fit into mp4", self._path, error)
            self._target = None

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._source.close()

    def _copy(self, stream: Any) -> Iterator[Any]:
        for packet in self._source.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            shift = round(self._shift / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts
            if packet.pts >= 0:
                yield packet

    def _encode(self, stream: Any) -> Iterator[Any]:
        import av

        rate = self._output.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp", layout=self._output.layout, rate=rate)
        written: int | None = None  # samples
        for frame in self._decode(stream):
            for piece in resampler.resample(frame):
                if written is None:
                    moment = 0.0 if piece.pts is None or piece.time_base is None else float(piece.pts * piece.time_base)
                    if moment < self._shift:  # before the first written frame
                        continue
                    written = round((moment - self._shift) * rate)
                piece.pts, piece.time_base = written, Fraction(1, rate)
                written += piece.samples
                yield from self._output.encode(piece)
        yield from self._output.encode(None)

    def _decode(self, stream: Any) -> Iterator[av.AudioFrame]:
        for packet in self._source.demux(stream):
            yield from packet.decode()
