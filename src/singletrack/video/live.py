"""The newest frame of a camera or stream, read in a thread, and opening the source again after it broke.

A slow reader never falls behind: it gets the newest decoded frame, and frames that it missed are counted. A source
that stops, or delivers nothing for a while, is opened again with growing waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from singletrack.errors import DamagedVideoError, InputError, VideoError
from singletrack.video.frames import Frame

log = logging.getLogger(__name__)

FIRST_WAIT = 0.5  # seconds before the first attempt to open a source again
LONGEST_WAIT = 30.0  # seconds between two attempts, at most
WAITING_FRAMES = 4  # of ``every_frame``, decoded ahead; what comes after them waits in the network
SILENT = 0.9  # share of the timeout without a frame, from which the end of a source is called silence
CLOCK_TOLERANCE = 2.0  # seconds between the clock of a stream and ours, from which the times of the stream are shifted
CLOSING_SECONDS = 2.0  # for a thread that reads to end when its source is closed


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """How cameras and streams are read. Files ignore it.

    Attributes:
        every_frame: give every frame, however late, instead of the newest one.
        timeout: seconds without a frame after which a source counts as stalled, and to wait for a connection.
        reconnect: seconds for which a source that broke is tried again; 0 for not at all.
        transport: how RTSP streams come, "tcp" or "udp".
        size_wh: width and height of the picture to request from a camera, in pixels; None for its default.
        fps: frames per second to request from a camera; None for its default.
        pixel_format: four letters of the pixel format to request from a camera, such as "MJPG"; None for its default.

    Raises:
        InputError: an invalid value.
    """

    every_frame: bool = False
    timeout: float = 10.0
    reconnect: float = 300.0
    transport: str = "tcp"
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"timeout must be above 0 seconds; got {self.timeout}; give about 10")
        if not self.reconnect >= 0:
            raise InputError(f"reconnect must be 0 or more seconds; got {self.reconnect}; 0 does not try again")
        if self.transport not in ("tcp", "udp"):
            raise InputError(f"transport must be tcp or udp; got {self.transport!r}; tcp loses no packets")
        if self.size_wh is not None and min(self.size_wh) < 1:
            raise InputError(f"camera size must be at least 1 x 1; got {self.size_wh}; give width and height in pixels")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise InputError(f"camera fps must be above 0; got {self.fps}; give frames per second, such as 30")
        if self.pixel_format is not None and not (len(self.pixel_format) == 4 and self.pixel_format.isascii()):
            raise InputError(f"pixel format must have four letters, such as MJPG; got {self.pixel_format!r}")


Picture = Callable[[], Frame]  # converts a decoded picture to a frame, so that pictures passed over cost no conversion


class Connection(Protocol):
    """An open camera or stream.

    Attributes:
        fps: frames per second that it announces, or an assumption.
        size_wh: size of the upright frames.
        sample_aspect: width of a pixel divided by its height, for display.
        skipped: frames that were left undecoded because decoding fell behind.
    """

    fps: float
    size_wh: tuple[int, int]
    sample_aspect: Fraction
    skipped: int

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """Yield each picture as it comes, with its time in the clock of the source in seconds, if it has one.

        Ends, or raises VideoError, when nothing more comes.
        """

    def close(self) -> None:
        """Close the camera or connection. Called in the thread that reads."""


class LiveFrames:
    """Iterator over (seconds since the first frame, frame) of a camera or stream: the newest frame at each step.

    Args:
        connect: opens the source; raises VideoError.
        name: name of the source, for messages.
        options: how it is read.

    Attributes:
        connection: the connection that was opened first, for its size and rate.
        passed_over: frames that came between the last two that were given, and were not given.
        dropped: all frames that were passed over so far.
        resumed: whether the last frame is the first after an interruption.
        interruptions: how often the source broke and was opened again.

    Raises:
        VideoError: the source cannot be opened. While iterating, DamagedVideoError: it broke, and could not be opened
            again in time.
    """

    def __init__(self, connect: Callable[[], Connection], *, name: str, options: LiveOptions) -> None:
        self._connect, self._name, self._options = connect, name, options
        self._changed = threading.Condition()
        self._number = 0  # of the thread that may deliver; threads of older connections are abandoned
        self._waiting: deque[tuple[float, int, Picture]] = deque()  # time, frames passed over before it, picture
        self._connected = self._closed = False
        self._ended: str | BaseException = ""  # why the current connection ended
        self._clock = _Clock()
        self._missed = 0  # frames passed over since the last that was given
        self._thread: threading.Thread | None = None
        self.passed_over = self.dropped = self.interruptions = self._given = 0
        self.resumed = False
        self._start(0.0)
        with self._changed:
            self._changed.wait_for(lambda: self._connected or bool(self._ended), 2 * options.timeout)
            if not self._connected:
                self._number += 1
                if isinstance(self._ended, BaseException):
                    raise self._ended
                raise VideoError(
                    f"cannot read {name}: no frame came within {2 * options.timeout:g} s; check that it is switched on"
                )

    connection: Connection

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        return self

    def __next__(self) -> tuple[float, Frame]:
        broke_at, wait, attempts, self.resumed = 0.0, 0.0, 0, False
        while True:
            with self._changed:
                self._wait(wait + 2 * self._options.timeout)
                if self._closed:
                    raise VideoError("the source is closed; read frames before closing it")
                if self._waiting:
                    seconds, missed, picture = self._waiting.popleft()
                    self._changed.notify_all()
                    break
                reason, self._ended = self._ended, ""
                if isinstance(reason, BaseException) and not isinstance(reason, VideoError):
                    raise reason
            now = time.monotonic()
            last = str(reason) if reason else self._silence()
            if not attempts:
                broke_at = now
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempts, 16))
            if now + wait - broke_at > self._options.reconnect:
                raise DamagedVideoError(self._give_up(last, attempts, now - broke_at))
            attempts += 1
            log.warning("%s; opening it again in %g s (attempt %d)", last, wait, attempts)
            self._start(wait)
        if attempts:
            self.resumed = True
            self.interruptions += 1
            log.warning("%s is back after %.1f s; looking for the target", self._name, time.monotonic() - broke_at)
        self.passed_over = missed if self._given else 0  # what came before the first frame is missed by nobody
        self.dropped += self.passed_over
        self._given += 1
        return seconds, picture()

    def close(self) -> None:
        """End the thread and close the source. Closing it again does nothing."""
        with self._changed:
            self._closed = True
            self._number += 1
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _silence(self) -> str:
        return f"{self._name} gave no frame for {self._options.timeout:g} s"

    def _give_up(self, last: str, attempts: int, seconds: float) -> str:
        tried = f"it was tried {attempts} times again in {seconds:.0f} s" if attempts else "it was not tried again"
        return (
            f"{last}: after {self._given} frames, {tried}; check the camera, its cable and the network, or give it "
            "longer with --reconnect SECONDS (reconnect=)"
        )

    def _wait(self, opening: float) -> None:
        """Wait for a frame or the end of the connection; ``opening``: seconds that opening the source may take."""

        def done() -> bool:
            return bool(self._waiting or self._ended) or self._closed

        self._changed.wait_for(lambda: self._connected or done(), opening)
        if self._connected:
            self._changed.wait_for(done, self._options.timeout)

    def _start(self, delay: float) -> None:
        """Start the thread of a new connection; that of the one before delivers nothing more."""
        with self._changed:
            self._number += 1
            self._connected, self._ended = False, ""
            number = self._number
        self._thread = threading.Thread(target=self._work, args=(number, delay), name="live frames", daemon=True)
        self._thread.start()

    def _current(self, number: int) -> bool:
        return number == self._number and not self._closed

    def _work(self, number: int, delay: float) -> None:
        """Open the source and read it to its end, in a thread."""
        connection: Connection | None = None
        ended: str | BaseException = f"{self._name} ended"
        try:
            with self._changed:
                if self._changed.wait_for(lambda: not self._current(number), delay):
                    return
            connection = self._connect()
            with self._changed:
                if not self._current(number):
                    return
                self.connection, self._connected = connection, True
                self._clock.restart()
                self._changed.notify_all()
            skipped, last = 0, time.monotonic()
            for stamp, picture in connection.pictures():
                skipped, newly_skipped = connection.skipped, connection.skipped - skipped
                if not self._deliver(number, stamp, picture, newly_skipped):
                    return
                last = time.monotonic()
            if time.monotonic() - last > SILENT * self._options.timeout:  # FFmpeg ends some silent streams by itself
                ended = self._silence()
        except BaseException as error:
            ended = error
        finally:
            if connection is not None:
                connection.close()
            with self._changed:
                if self._current(number):
                    self._ended = ended
                    self._changed.notify_all()

    def _deliver(self, number: int, stamp: float | None, picture: Picture, skipped: int) -> bool:
        """Hand over a picture; False if it is no longer wanted."""
        with self._changed:
            if self._options.every_frame:
                self._changed.wait_for(lambda: not self._current(number) or len(self._waiting) < WAITING_FRAMES)
            if not self._current(number):
                return False
            missed = skipped
            if not self._options.every_frame and self._waiting:
                missed += self._waiting.popleft()[1] + 1
            self._waiting.append((self._clock.read(stamp, time.monotonic()), missed, picture))
            self._changed.notify_all()
        return True


class _Clock:
    """Seconds since the first frame: by the clock of the source, as long as it goes with ours."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._shift: float | None = None
        self._last = 0.0

    def restart(self) -> None:
        """Take over the clock of a new connection, which may begin anywhere."""
        self._shift = None

    def read(self, stamp: float | None, now: float) -> float:
        """The time of a frame that came ``now``, with its time in the source, if it has one; later than the last."""
        first = self._began is None
        self._began = now if self._began is None else self._began
        passed = now - self._began
        if stamp is None:
            seconds = passed
        else:
            if self._shift is None or abs(stamp + self._shift - passed) > CLOCK_TOLERANCE:
                self._shift = passed - stamp
            seconds = stamp + self._shift
        self._last = 0.0 if first else max(seconds, self._last + 0.001)
        return self._last


class Backlog:
    """Notices that decoding falls behind a stream: its frames come ever later, and none is ever waited for."""

    LATE = 1.0  # seconds of delay from which frames are left undecoded
    IDLE = 0.05  # share of the time waiting for packets from which decoding keeps up
    PERIOD = 0.5  # seconds over which that share is measured

    def __init__(self) -> None:
        self._least: float | None = None  # of the difference between our clock and that of the stream
        self._since: float | None = None
        self._waited = 0.0
        self.behind = False

    def add(self, stamp: float, now: float, waited: float) -> bool:
        """Add one packet.

        Args:
            stamp: its time in the stream, in seconds.
            now: our clock, in seconds.
            waited: seconds that were spent waiting for it.

        Returns:
            Whether frames should be left undecoded, because decoding is late.
        """
        delay = now - stamp
        self._since = now if self._since is None else self._since
        self._least = delay if self._least is None else min(self._least, delay)
        self._waited += waited
        passed = now - self._since
        if passed >= self.PERIOD:
            if self._waited < self.IDLE * passed:
                self.behind = self.behind or delay - self._least > self.LATE
            else:  # in step: a delay is that of the network, or the clock of the stream jumped
                self.behind, self._least = False, delay
            self._since, self._waited = now, 0.0
        return self.behind
