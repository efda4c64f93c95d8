"""Streams of cameras and servers, as FFmpeg reads them: RTSP, HTTP, HLS, UDP and others."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from singletrack.errors import VideoError
from singletrack.video.containers import ASSUMED_FPS, Upright, picture_track, reason_of
from singletrack.video.frames import FrameConverter
from singletrack.video.limits import LARGEST_PIXELS
from singletrack.video.live import Backlog, LiveOptions, Picture

if TYPE_CHECKING:  # PyAV is slow to import, so it is imported when a stream is opened
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

RECORDED_PROTOCOLS = ("http", "https", "ftp", "sftp")  # that also serve files, whose length is then known
ANALYZED = "1000000"  # microseconds of a stream that FFmpeg may look at before the first frame
LARGEST_FPS = 240.0  # that a stream may announce; others announce the ticks of their clock


def hide_password(address: str) -> str:
    """Return an address for messages, without user name and password."""
    return re.sub(r"//[^/@]*@", "//***@", address)


class StreamConnection:
    """An open stream, as ``live.Connection``.

    Damaged packets are passed over: the picture is complete again with the next key frame.

    Args:
        address: its URL.
        options: how it is read.
        convert: converter of its frames, shared by all connections to one source.

    Attributes:
        recorded: whether it is a file on a server, which can be read at any speed.

    Raises:
        VideoError: no frame can be read.
    """

    def __init__(self, address: str, *, options: LiveOptions, convert: FrameConverter) -> None:
        import av

        self._name = hide_password(address)
        self._address, self._options = address, options
        self.skipped = 0
        self._container = self._open()
        try:
            stream = picture_track(self._container)
            if stream is None or self._container.format.name == "tty":
                raise VideoError(f"cannot read {self._name}: it has no video; check the address")
            self._stream: VideoStream = stream
            protocol = address.partition("://")[0].lower()
            self.recorded = protocol in RECORDED_PROTOCOLS and self._container.duration is not None
            self._upright = Upright(convert)
            self._decoded = self._decode()
            try:
                self._first = next(self._decoded)
            except (StopIteration, av.FFmpegError) as error:
                raise VideoError(f"cannot read {self._name}: no frame of it can be decoded; try again") from error
            frame = self._upright(self._first[1])
            self.size_wh = (frame.shape[1], frame.shape[0])
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            self.sample_aspect = 1 / aspect if self._upright.sideways else aspect
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            self.fps = rate if 0 < rate <= LARGEST_FPS else ASSUMED_FPS
        except BaseException:
            self._container.close()
            raise

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """Yield each picture as it comes; see ``live.Connection``."""
        import av

        yield self._first[0], self._picture(self._first[1])
        try:
            for stamp, picture in self._decoded:
                yield stamp, self._picture(picture)
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self._name} broke off ({reason_of(error)})") from error

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _picture(self, picture: av.VideoFrame) -> Picture:
        return lambda: self._upright(picture)

    def _decode(self) -> Iterator[tuple[float | None, av.VideoFrame]]:
        import av

        backlog, late = Backlog(), False
        packets = self._container.demux(self._stream)
        while True:
            asked = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now = time.monotonic()
            if packet.dts is not None and packet.time_base is not None and not self._options.every_frame:
                behind = backlog.add(float(packet.dts * packet.time_base), now, now - asked)
                late = behind or (late and not packet.is_keyframe)  # what follows a gap needs a key frame
            if late and not packet.is_keyframe and packet.size:
                self.skipped += 1
                continue
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                continue  # lost on the way
            for picture in pictures:
                yield picture.time, picture

    def _open(self) -> InputContainer:
        import av

        address, limit = self._address, self._options.timeout
        options = {"max_pixels": str(LARGEST_PIXELS), "flags": "low_delay", "analyzeduration": ANALYZED}
        if address.startswith("rtsp"):
            options["rtsp_transport"] = self._options.transport
        if re.search(r"\.m3u8?($|\?)", address):
            options["live_start_index"] = "-1"  # the newest piece
        try:
            container = av.open(address, timeout=limit, options=options)
            for stream in container.streams.video:
                if stream.codec_context is None:  # missing in the stubs of PyAV
                    container.close()
                    raise VideoError(f"cannot read {self._name}: its codec is not known; change that of the camera")
                stream.codec_context.options = {"max_pixels": str(LARGEST_PIXELS)}
            return container
        except av.error.ProtocolNotFoundError as error:
            protocol = address.partition("://")[0]
            raise VideoError(
                f"cannot read {self._name}: the FFmpeg inside PyAV has no {protocol}; convert it, for example with "
                f"ffmpeg -i '{self._name}' -c copy -f mpegts 'udp://127.0.0.1:5000?pkt_size=1316', and read "
                "udp://127.0.0.1:5000"
            ) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"cannot read stream {self._name}: {reason_of(error)}; check that the camera or server is on, its "
                "address, user name and password, and the network"
            ) from error
