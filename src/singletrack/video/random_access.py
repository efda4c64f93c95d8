"""Any frame of a video file or a folder of frames, by its number.

Frame n is the one that ``open_video`` gives as its n-th, counted from 0, however it is reached.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from singletrack.errors import DamagedVideoError, InputError, VideoError
from singletrack.video.containers import ASSUMED_FPS, Container, FrameIndex, Upright, index_frames, picture_track
from singletrack.video.frames import Frame, FrameConverter
from singletrack.video.images import count_pages, read_page, read_picture
from singletrack.video.reader import find_pictures, is_paged

if TYPE_CHECKING:  # PyAV is slow to import and is loaded when a file is opened
    import av
    from av.container import InputContainer

# Decoders of these mark frames that no other frame needs; on the way to a frame they are left out.
SKIPPING_CODECS = ("h264", "hevc")
CHUNK_BYTES = 200_000_000  # of frames that are decoded forward, to be read backward


class _Frames(Protocol):
    frame_count: int

    def time(self, number: int) -> float | None: ...
    def read(self, number: int) -> Frame: ...
    def close(self) -> None: ...


class FrameReader:
    """Gives any frame by its number; close it, or use it as a context manager. Threads may share it.

    In mp4, mov and Matroska files a jump decodes from the key frame before; a step to the next frame decodes one
    frame. Other containers hold no reliable index: their frames are counted by decoding the file once, and a jump
    back decodes from its start.

    Attributes:
        fps: Frames per second.
        size_wh: Width and height of the upright frames, in pixels.
    """

    def __init__(self, source: str | Path) -> None:
        """Open a video file, a folder of frames or a glob.

        Raises:
            VideoError: If there is nothing to read, or `source` is a camera or a stream.
        """
        text = str(source)
        if isinstance(source, str) and (("://" in text) or (text.isdecimal() and not Path(text).exists())):
            raise VideoError(
                f"expected a file or a folder of frames, which can be read in any order; got {text}, a camera or a "
                "stream; record it first, as with `singletrack track SOURCE --out clip.mp4`"
            )
        self._name, self._path = text, Path(source)
        self._lock = threading.Lock()
        self._closed = False
        self._frames: _Frames | None = None
        paths = find_pictures(source)
        if paths is not None or is_paged(self._path):
            self._frames = _Pages(self._path) if paths is None else _Pictures(paths, name=text)
            first = self._frames.read(0)
            self.fps = ASSUMED_FPS
            self.size_wh = (first.shape[1], first.shape[0])
            self._first: Frame | None = first
            return
        container = Container(text, name=text, timeout=0)
        try:
            self.fps, self.size_wh = container.fps, container.size_wh
            self._first = next(container)[1]
        finally:
            container.close()

    @property
    def frame_count(self) -> int:
        """Number of frames that can be read. The first call may read the file once, without decoding it."""
        with self._lock:
            return self._opened().frame_count

    def frame(self, number: int) -> Frame:
        """Frame `number`, counted from 0: (H, W, 3) uint8 RGB.

        Raises:
            InputError: If there is no such frame.
            VideoError: If it cannot be decoded, or the reader is closed.
        """
        with self._lock:
            if self._closed:
                raise VideoError("expected an open reader; this one was closed; open the source anew")
            if number == 0 and self._first is not None:
                return self._first.copy()
            frames = self._opened()
            if not 0 <= number < frames.frame_count:
                raise InputError(
                    f"expected a frame from 0 to {frames.frame_count - 1}; got {number}; {self._name} has no such frame"
                )
            try:
                return frames.read(number)
            except _IndexMismatchError:  # damaged, or written by a program that marks frames wrongly
                frames.close()
                self._frames = _Counted(self._name)
                if number >= self._frames.frame_count:
                    raise VideoError(
                        f"expected a video that decodes to its end; {self._name} is damaged and gives "
                        f"{self._frames.frame_count} frames, not frame {number}; get a complete copy of it"
                    ) from None
                return self._frames.read(number)

    def time(self, number: int) -> float:
        """Time of frame `number` in seconds since the first; where the file has no index, by the frame rate."""
        with self._lock:
            seconds = self._opened().time(number)
        return number / self.fps if seconds is None else seconds

    def close(self) -> None:
        """Let go of the file. Closing it again does nothing."""
        with self._lock:
            self._closed = True
            if self._frames is not None:
                self._frames.close()
            self._first = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> _Frames:
        if self._frames is None:
            index = index_frames(self._name)
            self._frames = _Counted(self._name) if index is None else _Indexed(self._name, index)
            self._first = None  # 25 MB at 4K; the index finds it again
        return self._frames


class _Pictures:
    """A folder of frames."""

    def __init__(self, paths: list[Path], *, name: str) -> None:
        self._paths, self.frame_count = paths, len(paths)
        self._convert = FrameConverter(name)

    def read(self, number: int) -> Frame:
        return read_picture(self._paths[number], self._convert)

    def time(self, number: int) -> None:
        return None

    def close(self) -> None:
        pass


class _Pages:
    """A TIFF file of many pages."""

    def __init__(self, path: Path) -> None:
        self._path, self.frame_count = path, count_pages(path)
        self._convert = FrameConverter(str(path))

    def read(self, number: int) -> Frame:
        return read_page(self._path, number, self._convert)

    def time(self, number: int) -> None:
        return None

    def close(self) -> None:
        pass


class _IndexMismatchError(Exception):
    """A file gives other frames than its packets announce."""


class _Indexed:
    """A file whose packets say where each frame is."""

    def __init__(self, url: str, index: FrameIndex) -> None:
        import av

        self._index, self.frame_count = index, len(index.times)
        self._container: InputContainer = av.open(f"file:{url}")
        stream = picture_track(self._container)
        assert stream is not None  # or there would be no index
        self._stream = stream
        self._stream.thread_type = "AUTO"
        self._skips = self._stream.codec_context.name in SKIPPING_CODECS
        self._upright = Upright(FrameConverter(url))
        self._pictures: Iterator[av.VideoFrame] = iter(())
        self._next: int | None = None  # number of the frame that decoding on would give
        self._wanted_pts = 0

    def time(self, number: int) -> float | None:
        if self._stream.time_base is None:
            return None
        return float(int(self._index.times[number] - self._index.times[0]) * self._stream.time_base)

    def read(self, number: int) -> Frame:
        import av

        place = self._index.find(number)
        self._wanted_pts = place.pts
        try:
            if self._next is None or not self._next <= number or place.key_pts > self._index.times[self._next]:
                self._seek(place.key_pts, place.key_dts)
            for picture in self._pictures:
                if picture.pts is not None and picture.pts >= place.pts:
                    if picture.pts > place.pts:
                        break
                    self._next = number + 1 if number + 1 < self.frame_count else None
                    return self._upright(picture)
        except (av.FFmpegError, OSError):
            pass
        raise _IndexMismatchError

    def close(self) -> None:
        self._container.close()

    def _seek(self, key_pts: int, key_dts: int) -> None:
        for moment in (key_pts, key_dts):  # Matroska's index goes by the one, mp4's by the other
            self._container.seek(moment, stream=self._stream)
            packet = next(self._container.demux(self._stream), None)
            if packet is not None and packet.pts == key_pts:
                self._container.seek(moment, stream=self._stream)
                self._pictures = self._decode()
                return
        raise _IndexMismatchError

    def _decode(self) -> Iterator[av.VideoFrame]:
        import av

        decoder = self._stream.codec_context
        for packet in self._container.demux(self._stream):
            if self._skips:
                earlier = packet.pts is not None and packet.pts < self._wanted_pts
                decoder.skip_frame = "NONREF" if earlier else "DEFAULT"
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                raise _IndexMismatchError from error


class _Counted:
    """A file whose frames are known by decoding all of them."""

    def __init__(self, url: str) -> None:
        self._url = url
        container = self._open()
        try:
            self.frame_count = container.decode_past(sys.maxsize)
        except DamagedVideoError:
            self.frame_count = self._count_slowly()
        finally:
            container.close()
        self._container: Container | None = None
        self._next = 0

    def time(self, number: int) -> None:
        return None

    def read(self, number: int) -> Frame:
        if self._container is None or number < self._next:
            self.close()
            self._container, self._next = self._open(), number
            self._container.decode_past(number)
        for _, frame in self._container:
            self._next += 1
            if self._next == number + 1:
                return frame
        raise VideoError(f"expected frame {number} of {self._url}; decoding ended before it; get a complete copy")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> Container:
        return Container(self._url, name=self._url, timeout=0)

    def _count_slowly(self) -> int:
        container = self._open()
        count = 0
        try:
            for _ in container:
                count += 1
        except DamagedVideoError:
            pass
        finally:
            container.close()
        return count


def open_frames(source: str | Path) -> FrameReader:
    """Open a video file, a folder of frames or a glob for reading frames in any order.

    Args:
        source: What ``open_video`` takes, except cameras and streams.

    Raises:
        VideoError: If there is nothing to read.
    """
    return FrameReader(source)


def read_backward(frames: FrameReader, start: int, end: int = 0) -> Iterator[tuple[int, Frame]]:
    """Yield frames with their index, from ``start`` down to ``end``. A chunk at a time is decoded forward and kept."""
    width, height = frames.size_wh
    chunk = max(1, CHUNK_BYTES // (3 * width * height))
    for high in range(start, end - 1, -chunk):
        low = max(end, high - chunk + 1)
        kept = [frames.frame(number) for number in range(low, high + 1)]
        while kept:
            yield low + len(kept) - 1, kept.pop()
