"""Reads frames from a video file, a folder of frames, a glob, a camera or a stream, one at a time.

Only a few frames are held in memory. Frames are (H, W, 3) uint8 RGB and upright: rotation and mirroring from the
file's metadata are applied. A damaged source yields all frames that decode, and then raises DamagedVideoError.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, MissingVideoError, VideoError
from singletrack.video.ahead import read_ahead
from singletrack.video.cameras import CameraConnection, camera_number
from singletrack.video.containers import ASSUMED_FPS, Container
from singletrack.video.frames import Frame, FrameConverter
from singletrack.video.images import PICTURE_ENDINGS, count_pages, has_opacity, natural_key, read_page, read_picture
from singletrack.video.limits import check_local_file, path_exists
from singletrack.video.live import Connection, LiveFrames, LiveOptions
from singletrack.video.streams import StreamConnection, hide_password

# Number of frames decoded ahead in a thread. One would suffice if all took equally long, but key frames take longer.
# Each takes 6 MB at 1080p, 25 MB at 4K.
READ_AHEAD = 2


class VideoReader:
    """An open source. Iterate over it once for its frames. Close it, or use it as a context manager.

    Iterating raises DamagedVideoError after the last readable frame if more frames were announced.

    Attributes:
        fps: frames per second of the source, or ``ASSUMED_FPS``.
        size_wh: width and height of the upright frames in pixels.
        frame_count: announced number of frames; None if unknown (cameras, streams).
        path: the video file; None for any other source.
        sample_aspect: width of a pixel divided by its height, for display. Frames and boxes are in stored pixels.
        colors: numbers of H.273 of its color primaries and its transfer; 1 and 1 is BT.709.
        live: the frames of a camera or stream, with what was passed over; None for any other source.

    Args:
        ahead: number of frames to fetch ahead in a thread.
        skip_frames: skips frames before the first is fetched, and returns how many there were.
    """

    def __init__(
        self,
        timed_frames: Iterable[tuple[float, Frame]],
        *,
        fps: float,
        size_wh: tuple[int, int],
        frame_count: int | None = None,
        path: Path | None = None,
        sample_aspect: Fraction = Fraction(1),
        ahead: int = 0,
        skip_frames: Callable[[int], int] | None = None,
        live: LiveFrames | None = None,
        colors: tuple[int, int] = (1, 1),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.live, self.colors = live, colors
        self.fps, self.size_wh, self.frame_count, self.path = fps, size_wh, frame_count, path
        self.sample_aspect = sample_aspect
        self._timed_frames = iter(timed_frames)
        self._ahead = ahead
        self._skip_frames = skip_frames
        self._stop_reading: Callable[[], None] = lambda: None
        self._close = close
        self._begun = self._closed = False

    def timed_frames(self) -> Iterator[tuple[float, Frame]]:
        """Iterate over the remaining frames with their times in seconds since the first one."""
        while True:
            self._check_open()
            if not self._begun and self._ahead:
                reading = read_ahead(self._timed_frames, self._ahead)
                self._timed_frames, self._stop_reading = reading, reading.close
            self._begun = True
            timed_frame = next(self._timed_frames, None)
            if timed_frame is None:
                return
            yield timed_frame

    def skip(self, count: int) -> int:
        """Skip the next ``count`` frames, without decoding all of them if possible; returns how many there were."""
        self._check_open()
        if not self._begun and self._skip_frames is not None:
            return self._skip_frames(count)
        return sum(1 for _ in itertools.islice(self._timed_frames, count))

    def _check_open(self) -> None:
        if self._closed:  # FFmpeg would crash
            raise VideoError("the source is closed; read frames before closing it")

    def __iter__(self) -> Iterator[Frame]:
        return (frame for _, frame in self.timed_frames())

    def close(self) -> None:
        """Close the file, camera or connection. Closing it again does nothing."""
        if not self._closed:
            self._closed = True
            self._stop_reading()  # first, so that nothing is decoding
            self._close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Source = str | Path | int | Iterable[NDArray[Any]]  # see ``open_video``


def open_video(source: Source, *, timeout: float = 10.0, live: LiveOptions | None = None) -> VideoReader:
    """Open a source and read its first frame, so that unreadable sources are detected here.

    Cameras and streams give their newest frame at each step. Frames that came meanwhile are passed over, and counted in
    ``live.dropped`` of the reader. A source that breaks is opened again.

    Args:
        source: a video file; a folder of images (jpg, png, bmp, webp, tif) or a glob such as "frames/*.png", read in
            natural order (2 before 10); a multi-page TIFF file; a camera number such as 0 (or "0" if no file or folder
            has this name) or its device, /dev/video0; an rtsp:// or http:// URL; or the frames themselves, any iterable
            of (H, W, 3) RGB arrays, at 30 frames per second.
        timeout: seconds to wait for a stream.
        live: how cameras and streams are read; the default has this ``timeout``.

    Raises:
        VideoError: there is nothing to read.
    """
    live = live or LiveOptions(timeout=timeout)
    if not isinstance(source, (str, Path, int)):
        return _open_arrays(source)
    text = str(source)
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal() and not path_exists(Path(source))):
        return _open_camera(int(source), live)
    device = camera_number(source)
    if device is not None:
        return _open_camera(device, live)
    if "://" in text:
        return _open_stream(text, live)
    paths = find_pictures(source, live=True)
    if paths is not None:
        return _open_pictures(paths, name=text)
    path = Path(source)
    if is_paged(path):
        return _open_pages(path)
    return _open_container(text, name=text, timeout=live.timeout)


# --- frames in memory --------------------------------------------------------------------------------------


def _open_arrays(frames: Iterable[NDArray[Any]]) -> VideoReader:
    convert = FrameConverter("frames given")
    try:
        coming = iter(frames)
    except TypeError as error:
        raise VideoError(
            f"source must be a path, a camera number, an address or frames; got {type(frames).__name__}; see open_video"
        ) from error
    first = next(coming, None)
    if first is None:
        raise VideoError("the source has no frames; give at least one (H, W, 3) array")
    start = convert(first)

    def timed_frames() -> Iterator[tuple[float, Frame]]:
        yield 0.0, start
        for index, values in enumerate(coming, start=1):
            yield index / ASSUMED_FPS, convert(values)

    return VideoReader(
        timed_frames(),
        fps=ASSUMED_FPS,
        size_wh=_size_wh(start),
        frame_count=len(frames) if isinstance(frames, Sized) else None,
    )


# --- folders of frames -------------------------------------------------------------------------------------


def find_pictures(source: str | Path, *, live: bool = False) -> list[Path] | None:
    """The pictures of a folder or a glob, in natural order (2 before 10); None where `source` is one file.

    With `live`, the message for a name of nothing offers cameras and streams too.

    Raises MissingVideoError where there are none or nothing has that name; VideoError for a pipe, device or playlist.
    """
    text, path = str(source), Path(source)
    found = path_exists(path)
    if path.is_dir():
        paths = [entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_ENDINGS]
    elif found:
        check_local_file(path)
        return None
    elif glob.has_magic(text):
        paths = [Path(match) for match in glob.glob(text, recursive=True)]
    else:
        choices = "a folder of frames, a glob, a camera number or a stream" if live else "a folder of frames or a glob"
        raise MissingVideoError(f"source not found: {text} (in {Path.cwd()}); give a video file, {choices}")
    paths = sorted((path for path in paths if not path.name.startswith(".")), key=lambda path: natural_key(str(path)))
    if not paths:
        raise MissingVideoError(
            f"no images ({', '.join(PICTURE_ENDINGS)}) in {text}; give the folder or glob of the frames"
        )
    return paths


def is_paged(path: Path) -> bool:
    """Whether a file is a TIFF of many pages, each of them a frame."""
    return path.suffix.lower() in (".tif", ".tiff") and path.is_file() and count_pages(path) > 1


def _open_pictures(paths: list[Path], *, name: str) -> VideoReader:
    convert = FrameConverter(name)
    first = read_picture(paths[0], convert)
    if has_opacity(paths[0]):
        convert.say_opacity()
    start = 0

    def skip(count: int) -> int:
        nonlocal start
        start = min(count, len(paths))
        return start

    def timed_frames() -> Iterator[tuple[float, Frame]]:
        if start == 0:
            yield 0.0, first
        for index, path in enumerate(paths[max(1, start) :], start=max(1, start)):
            try:
                frame = read_picture(path, convert)
            except VideoError as error:
                raise DamagedVideoError(f"{index} of {len(paths)} frames were read, then: {error}") from error
            yield index / ASSUMED_FPS, frame

    return VideoReader(
        timed_frames(),
        fps=ASSUMED_FPS,
        size_wh=_size_wh(first),
        frame_count=len(paths),
        ahead=READ_AHEAD,
        skip_frames=skip,
    )


def _open_pages(path: Path) -> VideoReader:
    """Open a multi-page TIFF file, one frame per page."""
    convert, count = FrameConverter(str(path)), count_pages(path)
    first = read_page(path, 0, convert)
    start = 0

    def skip(pages: int) -> int:
        nonlocal start
        start = min(pages, count)
        return start

    def timed_frames() -> Iterator[tuple[float, Frame]]:
        for index in range(start, count):
            yield index / ASSUMED_FPS, first if index == 0 else read_page(path, index, convert)

    return VideoReader(
        timed_frames(),
        fps=ASSUMED_FPS,
        size_wh=_size_wh(first),
        frame_count=count,
        ahead=READ_AHEAD,
        skip_frames=skip,
    )


# --- cameras and streams -----------------------------------------------------------------------------------


def _open_camera(index: int, options: LiveOptions) -> VideoReader:
    name = f"camera {index}"
    convert = FrameConverter(name)
    return _open_live(lambda: CameraConnection(index, options=options, convert=convert), name=name, options=options)


def _open_stream(address: str, options: LiveOptions) -> VideoReader:
    name = hide_password(address)
    convert = FrameConverter(name)
    connected = [StreamConnection(address, options=options, convert=convert)]
    if connected[0].recorded:  # a file on a server: no frame of it is passed over
        connected.pop().close()
        return _open_container(address, name=name, timeout=options.timeout)

    def connect() -> StreamConnection:
        return connected.pop() if connected else StreamConnection(address, options=options, convert=convert)

    return _open_live(connect, name=name, options=options)


def _open_live(connect: Callable[[], Connection], *, name: str, options: LiveOptions) -> VideoReader:
    frames = LiveFrames(connect, name=name, options=options)
    opened = frames.connection
    return VideoReader(
        frames,
        fps=opened.fps,
        size_wh=opened.size_wh,
        sample_aspect=opened.sample_aspect,
        live=frames,
        close=frames.close,
    )


# --- video files -----------------------------------------------------------------------------------------


def _open_container(url: str, *, name: str, timeout: float) -> VideoReader:
    container = Container(url, name=name, timeout=timeout)
    return VideoReader(
        container,
        fps=container.fps,
        size_wh=container.size_wh,
        frame_count=container.frame_count,
        path=None if container.remote else Path(url),
        sample_aspect=container.sample_aspect,
        colors=container.colors,
        ahead=READ_AHEAD,
        skip_frames=container.skip,
        close=container.close,
    )


def _size_wh(frame: Frame) -> tuple[int, int]:
    return frame.shape[1], frame.shape[0]
