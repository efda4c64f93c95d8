"""Frames from a video file, a folder of frames, a glob, a camera or a stream, one at a time.

Knows nothing of what is done with the frames, and never holds more than a few of them. Frames are (H, W, 3)
uint8 RGB and stand upright: rotation and mirroring noted in the file are carried out. A source that breaks
off is delivered as far as it decodes; then, and only then, DamagedVideoError is raised.
"""

from __future__ import annotations

import glob
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, VideoError
from singletrack.video.pictures import PICTURE_ENDINGS, natural_key, read_picture

if TYPE_CHECKING:  # PyAV and OpenCV are slow to import and are loaded when a source is opened
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

Frame = NDArray[np.uint8]

ASSUMED_FPS = 30.0  # where the source tells no rate: folders of frames, some cameras and streams


class VideoReader:
    """One opened source. Iterate it once, for its frames; close it, or use it as a context manager.

    fps: frames per second, as the source tells it, else ``ASSUMED_FPS``.
    size_wh: width and height of the upright frames, in pixels.
    frame_count: number of frames that the source announces; None where nobody knows (cameras, streams).
    path: the video file that is being read; None for any other source.

    Iterating raises DamagedVideoError after the last frame that could be read, if more was announced.
    """

    def __init__(
        self,
        timed_frames: Iterable[tuple[float, Frame]],
        *,
        fps: float,
        size_wh: tuple[int, int],
        frame_count: int | None = None,
        path: Path | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.fps, self.size_wh, self.frame_count, self.path = fps, size_wh, frame_count, path
        self._timed_frames = iter(timed_frames)
        self._close = close
        self._closed = False

    def timed_frames(self) -> Iterator[tuple[float, Frame]]:
        """The frames still to come, each with its time in seconds since the first one."""
        while True:
            if self._closed:  # FFmpeg would crash
                raise VideoError("expected an open source; this one was closed; read it before it is closed")
            timed_frame = next(self._timed_frames, None)
            if timed_frame is None:
                return
            yield timed_frame

    def __iter__(self) -> Iterator[Frame]:
        return (frame for _, frame in self.timed_frames())

    def close(self) -> None:
        """Let go of the file, camera or connection. Closing it again does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_video(source: str | Path | int, *, timeout: float = 10.0) -> VideoReader:
    """Open a source and read its first frame, so that what cannot be read is refused here.

    source: a video file; a folder of pictures (jpg, png, bmp, webp) or a glob such as "frames/*.png", read in
        natural order (2 before 10); the number of a camera, as 0, or "0" where no file or folder is called so;
        a stream, as rtsp:// or http:// URL.
    timeout: seconds to wait for a stream before it counts as broken.

    Raises VideoError when there is nothing to read.
    """
    text = str(source)
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal() and not Path(source).exists()):
        return _open_camera(int(source))
    if "://" in text:
        return _open_container(text, name=re.sub(r"//[^/@]*@", "//***@", text), timeout=timeout)
    path = Path(source)
    if path.is_dir():
        pictures = [entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_ENDINGS]
        return _open_pictures(pictures, name=text)
    if path.exists():
        return _open_container(text, name=text, timeout=timeout)
    if glob.has_magic(text):
        return _open_pictures([Path(match) for match in glob.glob(text, recursive=True)], name=text)
    raise VideoError(
        f"expected a video file, a folder of frames, a glob, a camera number or a stream; got {text}, "
        f"which does not exist (looked in {Path.cwd()}); check the path"
    )


# --- folders of frames -------------------------------------------------------------------------------------


def _open_pictures(paths: list[Path], *, name: str) -> VideoReader:
    paths = sorted((path for path in paths if not path.name.startswith(".")), key=lambda path: natural_key(str(path)))
    if not paths:
        raise VideoError(
            f"expected pictures ({', '.join(PICTURE_ENDINGS)}) in {name}; found none; "
            "give the folder or glob that holds the frames themselves"
        )
    first = read_picture(paths[0])

    def timed_frames() -> Iterator[tuple[float, Frame]]:
        yield 0.0, first
        for index, path in enumerate(paths[1:], start=1):
            try:
                frame = read_picture(path)
            except VideoError as error:
                raise DamagedVideoError(f"{index} of {len(paths)} frames were read, then: {error}") from error
            yield index / ASSUMED_FPS, frame

    return VideoReader(timed_frames(), fps=ASSUMED_FPS, size_wh=_size_wh(first), frame_count=len(paths))


# --- cameras -----------------------------------------------------------------------------------------------


def _open_camera(index: int) -> VideoReader:
    import cv2

    refusal = (
        f"expected a camera with number {index}, or a file or folder of that name; there is none; try another number, "
        "close the program that uses the camera, or check the path"
    )
    try:
        camera = cv2.VideoCapture(index)
        there, first = camera.read()
    except cv2.error as error:  # a number that OpenCV cannot hold, or a driver's fault
        raise VideoError(refusal) from error
    if not there:
        camera.release()
        raise VideoError(refusal)
    start = time.monotonic()

    def timed_frames() -> Iterator[tuple[float, Frame]]:
        picture, there = first, True
        while there:
            yield (
                time.monotonic() - start,
                cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False),
            )
            there, picture = camera.read()
        raise DamagedVideoError(f"expected more frames; camera {index} stopped giving them; check its cable")

    return VideoReader(
        timed_frames(),
        fps=camera.get(cv2.CAP_PROP_FPS) or ASSUMED_FPS,
        size_wh=_size_wh(np.asarray(first, np.uint8)),
        close=camera.release,
    )


# --- video files and streams -------------------------------------------------------------------------------


def _open_container(url: str, *, name: str, timeout: float) -> VideoReader:
    import av

    live = "://" in url
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}  # over UDP, frames arrive torn
    try:  # "file:", for FFmpeg takes what stands before a colon for a protocol
        container = av.open(url if live else f"file:{url}", timeout=timeout if live else None, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(_refusal(name, _reason(error), live=live)) from error
    try:
        plain_text = container.format.name == "tty"  # which FFmpeg would paint as pictures
        if plain_text or not container.streams.video:
            raise VideoError(_refusal(name, "it has no picture track", live=live))
        stream = container.streams.video[0]
        decoded = _decode(container, stream, name=name)
        try:
            first_time, first = next(decoded)
        except (DamagedVideoError, StopIteration) as error:
            raise VideoError(_refusal(name, "not one frame of it decodes", live=live)) from error
        rate = stream.average_rate or stream.guessed_rate
        later = ((seconds - first_time, frame) for seconds, frame in decoded)
        return VideoReader(
            itertools.chain([(0.0, first)], later),
            fps=float(rate) if rate else ASSUMED_FPS,
            size_wh=_size_wh(first),
            frame_count=_announced_packets(container, stream),
            path=None if live else Path(url),
            close=container.close,
        )
    except BaseException:
        container.close()
        raise


def _decode(container: InputContainer, stream: VideoStream, *, name: str) -> Iterator[tuple[float, Frame]]:
    """Every frame that decodes, with its time in the file; faults are passed over and told at the end."""
    import av

    packets = damaged = frames = 0
    seconds, end = -1.0, 0.0
    interval = float(1 / stream.average_rate) if stream.average_rate else 1 / ASSUMED_FPS
    broken_off = ""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except (av.FFmpegError, OSError) as error:
            broken_off = _reason(error)
            break
        if packet is None:
            break
        packets += packet.size > 0
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        try:
            pictures = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        damaged += packet.is_corrupt
        for picture in pictures:
            damaged += picture.is_corrupt and not packet.is_corrupt
            seconds = seconds + interval if picture.time is None else picture.time
            frames += 1
            yield seconds, _upright(picture)
    announced, announced_end = _announced_packets(container, stream), _announced_end(container, stream)
    if announced_end is not None:
        if end + interval < announced_end:
            broken_off = broken_off or f"it announces {announced_end:.2f} seconds and ends after {end:.2f}"
    elif announced is not None and packets < announced:
        broken_off = broken_off or f"it announces {announced} frames"
    if broken_off or damaged:
        faults = ", ".join(filter(None, [broken_off, f"damaged pieces: {damaged}" if damaged else ""]))
        raise DamagedVideoError(
            f"expected a whole video; {name} is cut short or damaged ({faults}): "
            f"{frames} frames decoded and were delivered; get a whole copy for the rest"
        )


def _announced_packets(container: InputContainer, stream: VideoStream) -> int | None:
    """How many coded frames there should be to read, or None where the container does not say."""
    if "mp4" in container.format.name:  # frames outside an mp4's edit list are counted in `frames`, yet never read
        return min(stream.frames, len(stream.index_entries)) or None
    return stream.frames or None


def _announced_end(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds at which the last frame should end, where the container says so.

    Matroska and WebM note it for each track as h:m:s. An AVI counts its frames, those that were dropped included.
    """
    if container.format.name == "avi" and stream.frames and stream.time_base is not None:
        return float(stream.frames * stream.time_base)
    noted = stream.metadata.get("DURATION")
    if noted is None or not re.fullmatch(r"\d+:\d+:[\d.]+", noted):
        return None
    hours, minutes, seconds = noted.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _upright(picture: av.VideoFrame) -> Frame:
    """The picture as it is to be shown: turned and mirrored by the display matrix, if it carries one.

    The matrix maps a stored point to x' = a x + c y, y' = b x + d y and lies row by row (a b u, c d v, ...)
    in 32-bit integers. Cameras write multiples of 90 degrees; others are rounded to the nearest.
    """
    frame = picture.to_ndarray(format="rgb24")
    side_data: Any = picture.side_data  # PyAV's stubs know only of motion vectors here
    if "DISPLAYMATRIX" in side_data:
        a, b, _, c, d = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5].tolist()
        if abs(b) > abs(a):
            frame, a, d = frame.transpose(1, 0, 2), c, b
        frame = frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(frame, np.uint8)


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return str(error.strerror if isinstance(error, av.FFmpegError | OSError) else error)


def _refusal(name: str, reason: str, *, live: bool) -> str:
    if live:
        return f"expected a stream with pictures; got {name}: {reason}; check the address and the network"
    return (
        f"expected a video that FFmpeg can read; got {name}: {reason}; check that it is a video and that it "
        "was copied to its end"
    )


def _size_wh(frame: Frame) -> tuple[int, int]:
    return frame.shape[1], frame.shape[0]
