"""Frames of video files and streams, as FFmpeg's containers hold them; and the way to one frame among them.

Knows nothing of what is done with the frames.
"""

from __future__ import annotations

import heapq
import itertools
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, VideoError

if TYPE_CHECKING:  # PyAV is slow to import and is loaded when a container is opened
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

Frame = NDArray[np.uint8]

ASSUMED_FPS = 30.0  # where the source tells no rate: folders of frames, some cameras and streams
# Where every packet is one frame and knows its time, so that frames can be counted without being decoded. In others
# there are frames that are never shown (VP8), and times are made up (AVI).
COUNTED_FORMATS = ("mp4", "matroska")
COUNTED_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "prores")


class Container:
    """One opened video file or stream. Iterate it for (seconds since its first frame, frame).

    url: path or address. name: what errors call it.
    timeout: seconds to wait for a stream before it counts as broken.
    size_wh: of the upright frames. frame_count: as announced; None where nobody knows.

    A source that breaks off is delivered as far as it decodes; then DamagedVideoError is raised. Raises VideoError
    where not one frame can be had.
    """

    def __init__(self, url: str, *, name: str, timeout: float) -> None:
        self._url, self._name, self._timeout = url, name, timeout
        self.live = "://" in url
        self._container = self._open()
        try:
            plain_text = self._container.format.name == "tty"  # which FFmpeg would paint as pictures
            if plain_text or not self._container.streams.video:
                raise VideoError(self._refusal("it has no picture track"))
            stream = self._container.streams.video[0]
            self._pictures: Iterator[tuple[float, av.VideoFrame]] = _decode(self._container, stream, name=name)
            try:
                self._first_time, picture = next(self._pictures)
            except (DamagedVideoError, StopIteration) as error:
                raise VideoError(self._refusal("not one frame of it decodes")) from error
            self._upright = Upright()
            self._first: Frame | None = self._upright(picture)
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else ASSUMED_FPS
            self.size_wh = (self._first.shape[1], self._first.shape[0])
            self.frame_count = _announced_packets(self._container, stream)
        except BaseException:
            self._container.close()
            raise

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        return self

    def __next__(self) -> tuple[float, Frame]:
        if self._first is not None:
            first, self._first = self._first, None
            return 0.0, first
        seconds, picture = next(self._pictures)
        return seconds - self._first_time, self._upright(picture)

    def skip(self, count: int) -> int:
        """Pass over the first `count` frames, before any was taken; gives how many there were.

        Where packets can be counted, decoding begins at the last key frame before the place; elsewhere the frames
        are decoded, but not turned into RGB.
        """
        if count == 0 or (not self.live and self._jump(count)):
            return count
        return self.decode_past(count)

    def decode_past(self, count: int) -> int:
        """Decode the first `count` frames without turning them into RGB; gives how many there were."""
        if count == 0:
            return 0
        self._first = None
        return 1 + sum(1 for _ in zip(range(count - 1), self._pictures, strict=False))

    def close(self) -> None:
        """Let go of the file or connection."""
        self._container.close()

    def _jump(self, number: int) -> bool:
        """Go to the frame of that number; False, with nothing changed, where that cannot be done exactly."""
        import av

        index = index_frames(self._url, up_to=number)
        if index is None or number >= len(index.times):
            return False
        place = index.find(number)
        container = self._open()
        try:
            stream = container.streams.video[0]
            for moment in (place.key_pts, place.key_dts):  # by the one Matroska's index goes, by the other mp4's
                container.seek(moment, stream=stream)
                packet = next(container.demux(stream), None)
                if packet is not None and packet.pts == place.key_pts:
                    container.seek(moment, stream=stream)
                    decoded = _decode(container, stream, name=self._name, packets=place.packets)
                    found = next((each for each in decoded if (each[1].pts or 0) >= place.pts), None)
                    if found is not None and found[1].pts == place.pts:
                        self._container.close()
                        self._container, self._first = container, None
                        self._pictures = itertools.chain([found], decoded)
                        return True
        except (av.FFmpegError, DamagedVideoError):
            pass  # what is wrong with it is told by decoding it all
        container.close()
        return False

    def _open(self) -> InputContainer:
        import av

        live, url = self.live, self._url
        options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}  # over UDP, frames arrive torn
        try:  # "file:", for FFmpeg takes what stands before a colon for a protocol
            return av.open(url if live else f"file:{url}", timeout=self._timeout if live else None, options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(self._refusal(_reason(error))) from error

    def _refusal(self, reason: str) -> str:
        if self.live:
            return f"expected a stream with pictures; got {self._name}: {reason}; check the address and the network"
        return (
            f"expected a video that FFmpeg can read; got {self._name}: {reason}; check that it is a video and that it "
            "was copied to its end"
        )


@dataclass(frozen=True)
class Place:
    """Where a frame is: its time, and those of the key frame that decoding must begin at, in ticks of the stream.

    packets: how many stand before the key frame's.
    """

    pts: int
    key_pts: int
    key_dts: int
    packets: int


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file, as its packets announce them.

    times: (N,) time of each frame in ticks of the stream, in the order in which they are shown.
    keys: (K, 3) of each key frame: its time, its decoding time and the number of packets before it.
    """

    times: NDArray[np.int64]
    keys: NDArray[np.int64]

    def find(self, number: int) -> Place:
        """Where frame `number`, from 0, is."""
        pts = int(self.times[number])
        before = self.keys[self.keys[:, 0] <= pts]
        key_pts, key_dts, packets = before[np.argmax(before[:, 0])].tolist()
        return Place(pts, key_pts, key_dts, packets)


def index_frames(url: str, *, up_to: int | None = None) -> FrameIndex | None:
    """Read the packets of a file, without decoding them, to know where each frame is.

    up_to: number of the last frame that is needed; the rest of the file is then not read.

    Returns None where packets do not say for certain which frames there are.
    """
    import av

    keys: list[tuple[int, int, int]] = []
    waiting: list[int] = []  # times of frames that an earlier one may still come before
    times = array("q")
    with av.open(f"file:{url}") as container:
        stream = container.streams.video[0]
        format_names = container.format.name.split(",")
        if stream.codec_context.name not in COUNTED_CODECS or not set(format_names) & set(COUNTED_FORMATS):
            return None
        try:
            for index, packet in enumerate(container.demux(stream)):
                ended = packet.size == 0
                while waiting and (ended or (packet.dts is not None and waiting[0] < packet.dts)):
                    pts = heapq.heappop(waiting)
                    if times and pts == times[-1]:
                        return None
                    times.append(pts)
                if ended or (up_to is not None and len(times) > up_to):
                    break
                if packet.pts is None or packet.is_corrupt or packet.is_discard:
                    return None
                if packet.is_keyframe:
                    keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts, index))
                elif not keys:
                    return None
                heapq.heappush(waiting, packet.pts)
        except (av.FFmpegError, OSError):
            return None
    return FrameIndex(np.array(times, np.int64), np.array(keys, np.int64)) if times else None


def _decode(
    container: InputContainer, stream: VideoStream, *, name: str, packets: int = 0
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every picture that decodes, with its time in the file; faults are passed over and told at the end.

    packets: how many were passed over before.
    """
    import av

    damaged = frames = 0
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
            yield seconds, picture
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


class Upright:
    """Pictures as they are to be shown: turned and mirrored by the display matrix, where they carry one.

    The matrix maps a stored point to x' = a x + c y, y' = b x + d y and lies row by row (a b u, c d v, ...)
    in 32-bit integers. Cameras write multiples of 90 degrees; others are rounded to the nearest.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: list[int] | None = None

    def __call__(self, picture: av.VideoFrame) -> Frame:
        # Asked for its side data, a picture refers to itself, and stays in memory until Python looks for such cycles:
        # hundreds of them. So one picture is asked for all that are turned as it is.
        if picture.rotation != self._rotation:
            self._rotation, self._matrix = picture.rotation, _display_matrix(picture)
        frame = picture.to_ndarray(format="rgb24")
        if self._matrix is not None:
            a, b, _, c, d = self._matrix
            if abs(b) > abs(a):
                frame, a, d = frame.transpose(1, 0, 2), c, b
            frame = frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(frame, np.uint8)


def _display_matrix(picture: av.VideoFrame) -> list[int] | None:
    side_data: Any = picture.side_data  # PyAV's stubs know only of motion vectors here
    if "DISPLAYMATRIX" not in side_data:
        return None
    matrix: list[int] = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5].tolist()
    return matrix


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return str(error.strerror if isinstance(error, av.FFmpegError | OSError) else error)
