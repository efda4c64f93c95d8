"""Frames of video files and streams in FFmpeg containers, and seeking to a frame."""

from __future__ import annotations

import heapq
import itertools
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, VideoError
from singletrack.video.frames import Frame, FrameConverter
from singletrack.video.images import PICTURE_ENDINGS
from singletrack.video.limits import LARGEST_PIXELS, LOCAL_TIMEOUT, PLAYLISTS
from singletrack.video.structure import edit_list_is_damaged, find_cut

if TYPE_CHECKING:  # PyAV is slow to import, so it is imported when a container is opened
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

ASSUMED_FPS = 30.0  # for sources without a frame rate: folders of frames, some cameras and streams
# Formats in which every packet is one frame with a time, so that frames can be counted without decoding. Others have
# frames that are never shown (VP8) or synthetic times (AVI).
COUNTED_FORMATS = ("mp4", "matroska")
# Of these, where every packet is also a picture that is shown: MPEG-4 may leave some out.
PICTURE_IN_EACH_PACKET = ("h264", "hevc", "vp9", "av1", "mjpeg", "prores")
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # numbers of H.273
BT709, UNKNOWN_COLORS = 1, (0, 2, 3)  # the same
JOINT = 3  # packets before a joint that may be marked as damaged because the next ones do not follow from them
COUNTED_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "prores")


class Container:
    """An open video file or stream. Iterate over it for (seconds since the first frame, frame).

    A damaged source yields all frames that decode, and then raises DamagedVideoError.

    Args:
        url: path or address.
        name: name for error messages.
        timeout: seconds to wait for a stream.

    Attributes:
        size_wh: size of the upright frames.
        frame_count: announced number of frames; None if unknown.
        sample_aspect: width of a pixel divided by its height, for display.
        colors: numbers of H.273 of its color primaries and its transfer; those of BT.709 if it does not say.

    Raises:
        VideoError: no frame can be read.
    """

    def __init__(self, url: str, *, name: str, timeout: float) -> None:
        self._url, self._name, self._timeout = url, name, timeout
        self.remote = "://" in url
        self._container = self._open()
        try:
            plain_text = self._container.format.name == "tty"  # which FFmpeg would paint as pictures
            stream = None if plain_text else picture_track(self._container)
            if stream is None:
                raise VideoError(self._refusal("it has no video track"))
            self._pictures: Iterator[tuple[float, av.VideoFrame]] = _decode(self._container, stream, name=name)
            try:
                self._first_time, picture = next(self._pictures)
            except (DamagedVideoError, StopIteration) as error:
                raise VideoError(self._refusal("none of its frames can be decoded")) from error
            self._upright = Upright(FrameConverter(name))
            self._first: Frame | None = self._upright(picture)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            self.sample_aspect = 1 / aspect if self._upright.sideways else aspect
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else ASSUMED_FPS
            self.size_wh = (self._first.shape[1], self._first.shape[0])
            self.colors = colors_of(picture)
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
        """Skip the first ``count`` frames, before any was read; returns the number of skipped frames.

        If packets can be counted, decoding begins at the last key frame before the target. Otherwise the frames are
        decoded but not converted to RGB.
        """
        if count == 0 or (not self.remote and self._jump(count)):
            return count
        return self.decode_past(count)

    def decode_past(self, count: int) -> int:
        """Decode the first `count` frames without turning them into RGB; gives how many there were."""
        if count == 0:
            return 0
        self._first = None
        return 1 + sum(1 for _ in zip(range(count - 1), self._pictures, strict=False))

    def close(self) -> None:
        """Close the file or connection."""
        self._container.close()

    def _jump(self, number: int) -> bool:
        """Seek to a frame; returns False, without any change, if this is not possible exactly."""
        import av

        index = index_frames(self._url, up_to=number)
        if index is None or number >= len(index.times):
            return False
        place = index.find(number)
        container = self._open()
        try:
            stream = picture_track(container)
            if stream is None:
                raise DamagedVideoError(f"the video track of {self._name} has disappeared; check the file")
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
            pass  # decoding reports the problem
        container.close()
        return False

    def _open(self) -> InputContainer:
        import av

        remote, url = self.remote, self._url
        options = {"max_pixels": str(LARGEST_PIXELS)}
        if url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # over UDP, frames arrive damaged
        if not remote:
            options["protocol_whitelist"] = "file"  # a file sends nobody to another address
        try:  # "file:", for FFmpeg takes what stands before a colon for a protocol
            timeout = self._timeout if remote else LOCAL_TIMEOUT
            container = av.open(url if remote else f"file:{url}", timeout=timeout, options=options)
            if not remote and PLAYLISTS.intersection(container.format.name.split(",")):
                container.close()
                picture = Path(url).suffix.lower() in PICTURE_ENDINGS
                raise VideoError(
                    f"{self._name} is one picture; give the folder of the frames, or a glob in quotes"
                    if picture
                    else self._refusal("it is a playlist")
                )
            for stream in container.streams.video:
                if stream.codec_context is None:  # missing in the stubs of PyAV
                    container.close()
                    raise VideoError(self._refusal("its codec is not known"))
                stream.codec_context.options = {"max_pixels": str(LARGEST_PIXELS)}
            return container
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(self._refusal(reason_of(error))) from error

    def _refusal(self, reason: str) -> str:
        if self.remote:
            return f"cannot read stream {self._name}: {reason}; check the address and the network"
        return f"cannot read video {self._name}: {reason}; check that it is a video and was copied completely"


@dataclass(frozen=True)
class Place:
    """Position of a frame: its time, and those of the key frame where decoding begins, in ticks of the stream.

    Attributes:
        packets: number of packets before that key frame.
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
        stream = picture_track(container)
        if stream is None:
            return None
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


def picture_track(container: InputContainer) -> VideoStream | None:
    """Return the first video track, ignoring covers and thumbnails; None without such a track."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((stream for stream in container.streams.video if not stream.disposition & still), None)


def _decode(
    container: InputContainer, stream: VideoStream, *, name: str, packets: int = 0
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield every frame that decodes, with its time in the file; damage is skipped and reported at the end.

    Times increase: if those of the file start again, as in joined files, they continue from the last one.

    Args:
        packets: number of packets that were skipped before.
    """
    import av

    damaged = frames = 0
    counted = stream.codec_context.name in PICTURE_IN_EACH_PACKET and _counts_frames(container)
    promised: list[int] = []  # times of the packets whose pictures are to come
    started: int | None = None  # time of the first picture: what leads to it may be left out
    missing = 0
    # the packets of an mp4 follow each other without gaps; one in fragments does not announce how many there are
    fragmented = "mp4" in container.format.name and not stream.frames
    follows: int | None = None
    gaps = 0
    torn: list[int] = []  # numbers of the packets that the file marks as damaged
    durations: set[int] = set()  # of the packets, in ticks
    discarded = 0  # packets outside the part of an mp4 that its edit list shows
    last: float | None = None
    last_dts, end = -math.inf, 0.0
    shift = 0.0  # from the times of the file to those given
    interval = float(1 / stream.average_rate) if stream.average_rate else 1 / ASSUMED_FPS
    broken_off = ""
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except (av.FFmpegError, OSError) as error:
            broken_off = reason_of(error)
            break
        if packet is None:
            break
        packets += packet.size > 0
        if packet.size and packet.duration:
            durations.add(packet.duration)
            discarded += packet.is_discard
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if fragmented and packet.size and packet.dts is not None:
            gaps += follows is not None and (packet.dts > follows or (packet.is_discard and packet.dts < follows))
            follows = packet.dts + (packet.duration or 0)
        if counted and packet.size and packet.pts is not None and not packet.is_discard:
            heapq.heappush(promised, packet.pts)
        try:
            pictures = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        if packet.dts is not None:
            if packet.dts < last_dts:  # files were joined here: that the count of packets jumps is no damage
                torn = [place for place in torn if place < packets - JOINT]
            last_dts = packet.dts
        if packet.is_corrupt:
            torn.append(packets)
        for picture in pictures:
            damaged += picture.is_corrupt and not packet.is_corrupt
            seconds = (0.0 if last is None else last + interval) if picture.time is None else picture.time + shift
            if last is not None and seconds <= last:
                shift += last + interval - seconds
                seconds = last + interval
            last = seconds
            frames += 1
            if picture.pts is not None:
                started = picture.pts if started is None else started
                while promised and promised[0] <= picture.pts:
                    missing += started <= heapq.heappop(promised) < picture.pts
            yield seconds, picture
    missing += len(promised)
    hidden = discarded or ("mp4" in container.format.name and len(stream.index_entries) < stream.frames)
    if hidden and len(durations) == 1 and len(container.streams) == 1 and container.duration and stream.time_base:
        # the number of frames of equal duration that fill what is shown
        shown = container.duration / 1_000_000 / float(durations.pop() * stream.time_base)
        missing = max(missing, math.floor(shown + 0.02) - (packets - discarded))
    if hidden and container.name.startswith("file:"):
        damaged += edit_list_is_damaged(Path(container.name.removeprefix("file:")))
    announced, announced_end = _announced_packets(container, stream), _announced_end(container, stream)
    if announced_end is not None and end + interval < announced_end:
        broken_off = broken_off or f"it announces {announced_end:.2f} seconds and ends after {end:.2f}"
    elif (announced_end is None or "mp4" in container.format.name) and announced is not None and packets < announced:
        broken_off = broken_off or f"it announces {announced} frames"
    if not broken_off and container.name.startswith("file:"):
        path = Path(container.name.removeprefix("file:"))
        broken_off = find_cut(path, fragments_only=fragmented, track=stream.index, packets=packets)
    damaged += gaps + len(torn)
    if broken_off or damaged or missing:
        pieces = [f"damaged pieces: {damaged}" if damaged else "", f"frames missing: {missing}" if missing else ""]
        faults = ", ".join(filter(None, [broken_off, *pieces]))
        raise DamagedVideoError(
            f"{name} is truncated or damaged ({faults}): {frames} frames were decoded; get a complete copy for the rest"
        )


def _counts_frames(container: InputContainer) -> bool:
    return bool(set(container.format.name.split(",")) & set(COUNTED_FORMATS))


def _announced_packets(container: InputContainer, stream: VideoStream) -> int | None:
    """Return the announced number of coded frames; None if the container does not have it."""
    if "mp4" in container.format.name:  # frames outside an mp4's edit list are counted in `frames`, yet never read
        return min(stream.frames, len(stream.index_entries)) or None
    return stream.frames or None


def _announced_end(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the announced end of the last frame in seconds; None if the container does not have it.

    Matroska and WebM store it per track as h:m:s; mp4 for all tracks together. AVI counts its frames, including dropped
    ones.
    """
    if container.format.name == "avi" and stream.frames and stream.time_base is not None:
        return float(stream.frames * stream.time_base)
    noted = stream.metadata.get("DURATION")
    if "mp4" in container.format.name and len(container.streams) == 1 and container.duration:
        return float(container.duration / 1_000_000)
    if noted is None or not re.fullmatch(r"\d{1,6}:\d{1,6}:\d{1,6}(\.\d{0,12})?", noted, re.ASCII):
        return None
    hours, minutes, seconds = noted.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


class Upright:
    """Frames for display: rotated and mirrored by the display matrix, if they have one.

    The matrix maps a stored point to x' = a x + c y, y' = b x + d y and is stored row by row (a b u, c d v, ...) in
    32-bit integers. Cameras write multiples of 90 degrees; other angles are rounded to the nearest.
    """

    def __init__(self, convert: FrameConverter) -> None:
        self._convert = convert
        self._rotation: int | None = None
        self._matrix: list[int] | None = None

    @property
    def sideways(self) -> bool:
        """Whether width and height are swapped."""
        return self._matrix is not None and abs(self._matrix[1]) > abs(self._matrix[0])

    def __call__(self, picture: av.VideoFrame) -> Frame:
        # Asked for its side data, a picture refers to itself, and stays in memory until Python looks for such cycles:
        # hundreds of them. So one image is queried for all with the same rotation.
        if picture.rotation != self._rotation:
            self._rotation, self._matrix = picture.rotation, _display_matrix(picture)
        for kind, change in _changes(picture):
            self._convert.say(kind, change)
        values = picture.to_ndarray(format=_array_format(picture))
        if self._matrix is not None:
            a, _, _, c, d = self._matrix
            if self.sideways:
                values, a, d = values.swapaxes(0, 1), c, self._matrix[1]
            values = values[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return self._convert(values)


def colors_of(picture: av.VideoFrame) -> tuple[int, int]:
    """Numbers of H.273 of the color primaries and the transfer of a picture; those of BT.709 if it does not say."""
    primaries, transfer = int(picture.color_primaries), int(picture.color_trc)
    return (BT709 if primaries in UNKNOWN_COLORS else primaries, BT709 if transfer in UNKNOWN_COLORS else transfer)


def _array_format(picture: av.VideoFrame) -> str:
    """Return the PyAV format: RGB, or gray with all bits for more than 8."""
    name = picture.format.name
    if name.startswith("grayf32"):
        return "grayf32le"
    deep = max((component.bits for component in picture.format.components), default=8) > 8
    return "gray16le" if deep and name.startswith(("gray", "ya")) else "rgb24"


def _changes(picture: av.VideoFrame) -> Iterator[tuple[str, str]]:
    """List what a decoded image has that its frame does not, with advice."""
    if picture.color_trc in HDR_TRANSFERS:
        yield (
            "hdr",
            f"HDR ({HDR_TRANSFERS[picture.color_trc]}) is read without tone mapping: colors look dull in frames; "
            "output videos are marked as HDR; boxes are not affected",
        )
    if picture.interlaced_frame:
        yield (
            "interlaced",
            "interlaced video is not deinterlaced: moving objects have comb edges; for better boxes, deinterlace it "
            "first, "
            "for example with ffmpeg -i IN -vf bwdif=send_frame OUT",
        )


def _display_matrix(picture: av.VideoFrame) -> list[int] | None:
    side_data: Any = picture.side_data  # PyAV's stubs know only of motion vectors here
    if "DISPLAYMATRIX" not in side_data:
        return None
    matrix: list[int] = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5].tolist()
    return matrix


def reason_of(error: Exception) -> str:
    """Say why FFmpeg or the system failed, in a few words."""
    import av

    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return str(error.strerror if isinstance(error, av.FFmpegError | OSError) else error)
