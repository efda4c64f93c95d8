"""The newest frame of a source, and opening it again, with sources whose every frame is chosen by the test."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from singletrack.errors import InputError, VideoError
from singletrack.video import LiveOptions, live
from singletrack.video.live import Backlog, LiveFrames, Picture

END, BREAK = "end", "break"


class Camera:
    """A source that delivers what the test puts into it; frames are filled with their number."""

    fps, size_wh, sample_aspect = 30.0, (4, 2), Fraction(1)

    def __init__(self) -> None:
        self.coming: queue.Queue[int | str] = queue.Queue()
        self.delivered, self.skipped = threading.Semaphore(0), 0
        self.closed = False

    def give(self, *numbers: int | str) -> None:
        """Put frames in, and wait until all of them were taken."""
        for number in numbers:
            self.coming.put(number)
        for _ in numbers:
            assert self.delivered.acquire(timeout=60)

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        while True:
            number = self.coming.get()
            if isinstance(number, str):
                self.delivered.release()
                if number == BREAK:
                    raise VideoError("camera broke off")
                return
            yield number / 30, partial(np.full, (2, 4, 3), number, np.uint8)
            self.delivered.release()

    def close(self) -> None:
        self.closed = True


def finish(frames: LiveFrames, *cameras: Camera) -> None:
    """Close it; the cameras end, so that their threads do."""
    for camera in cameras:
        camera.coming.put(END)
    frames.close()


def read(frames: LiveFrames) -> int:
    return int(next(frames)[1][0, 0, 0])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.01)


def opening(*cameras: Camera | VideoError) -> Callable[[], Camera]:
    """What opens these one after the other."""
    coming = iter(cameras)

    def connect() -> Camera:
        camera = next(coming)
        if isinstance(camera, VideoError):
            raise camera
        return camera

    return connect


def test_the_newest_frame_is_given_and_others_are_counted() -> None:
    camera = Camera()
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions())
    camera.give(0)
    assert (read(frames), frames.passed_over) == (0, 0)
    camera.give(1, 2, 3)
    assert (read(frames), frames.passed_over, frames.dropped) == (3, 2, 2)
    camera.give(4)
    assert (read(frames), frames.passed_over, frames.dropped) == (4, 0, 2)
    camera.skipped = 5  # left undecoded
    camera.give(10)
    assert (read(frames), frames.passed_over, frames.dropped) == (10, 5, 7)
    finish(frames, camera)


def test_frames_before_the_first_one_are_not_missed() -> None:
    camera = Camera()
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions())
    camera.give(0, 1, 2)
    assert (read(frames), frames.passed_over, frames.dropped) == (2, 0, 0)
    finish(frames, camera)


def test_every_frame() -> None:
    camera = Camera()
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions(every_frame=True))
    for number in range(30):
        camera.coming.put(number)
    assert [read(frames) for _ in range(30)] == list(range(30))
    assert frames.dropped == 0
    finish(frames, camera)


@pytest.mark.parametrize("way", [END, BREAK])
def test_a_source_that_breaks_is_opened_again(way: str, quick: None, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Camera(), Camera()
    refused = VideoError("connection refused")
    frames = LiveFrames(opening(first, refused, refused, second), name="camera", options=LiveOptions())
    first.give(0)
    assert (read(frames), frames.resumed) == (0, False)
    first.give(way)
    second.coming.put(7)
    seconds, frame = next(frames)
    assert (frame[0, 0, 0], frames.resumed, frames.interruptions) == (7, True, 1)
    assert seconds > 0
    assert first.closed
    second.give(8)
    assert (read(frames), frames.resumed) == (8, False)
    messages = [record.getMessage() for record in caplog.records]
    reason = {END: "camera ended", BREAK: "camera broke off"}[way]
    assert messages[0] == f"{reason}; opening it again in 0.01 s (attempt 1)"
    assert messages[2] == "connection refused; opening it again in 0.04 s (attempt 3)"
    assert "camera is back after" in messages[3]
    finish(frames, second)


def test_a_source_that_stalls_is_opened_again(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Camera(), Camera()
    frames = LiveFrames(opening(first, second), name="camera", options=LiveOptions(timeout=0.1))
    first.give(0)
    assert read(frames) == 0
    second.coming.put(1)
    assert (read(frames), frames.resumed) == (1, True)
    assert caplog.records[0].getMessage().startswith("camera gave no frame for 0.1 s")
    first.coming.put(99)  # the thread of the stalled one comes back, and delivers to nobody
    second.give(2)
    assert read(frames) == 2
    finish(frames, first, second)


@pytest.mark.parametrize(("silence", "reason"), [(0.95, "camera gave no frame for 1 s"), (0.3, "camera ended")])
def test_an_end_after_a_long_silence_is_called_silence(
    silence: float, reason: str, quick: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg ends an RTSP stream when its server is silent for the timeout, as if the stream were over."""
    first, second = Camera(), Camera()
    frames = LiveFrames(opening(first, second), name="camera", options=LiveOptions(timeout=1))
    first.give(0)
    assert read(frames) == 0
    now = time.monotonic()
    monkeypatch.setattr("singletrack.video.live.time.monotonic", lambda: now + silence)
    first.give(END)
    second.coming.put(1)
    assert (read(frames), frames.resumed) == (1, True)
    assert caplog.records[0].getMessage().startswith(f"{reason}; opening it again")
    finish(frames, second)


def test_a_source_that_does_not_come_back(quick: None) -> None:
    camera, refused = Camera(), VideoError("no route to the camera")
    frames = LiveFrames(opening(camera, *[refused] * 9), name="camera", options=LiveOptions(reconnect=0.1))
    camera.give(0)
    read(frames)
    camera.give(END)
    with pytest.raises(VideoError, match=r"no route to the camera: after 1 frames, it was tried \d times again"):
        read(frames)


def test_not_tried_again() -> None:
    camera = Camera()
    frames = LiveFrames(opening(camera), name="camera 0", options=LiveOptions(reconnect=0))
    camera.give(0)
    read(frames)
    camera.give(END)
    with pytest.raises(VideoError, match="camera 0 ended: after 1 frames, it was not tried again; check the camera"):
        read(frames)


def test_a_source_that_cannot_be_opened() -> None:
    with pytest.raises(VideoError, match="refused"):
        LiveFrames(opening(VideoError("refused")), name="camera", options=LiveOptions())


def test_a_bug_of_a_reader_is_raised_where_frames_are_read() -> None:
    class Broken(Camera):
        def pictures(self) -> Iterator[tuple[float | None, Picture]]:
            raise ZeroDivisionError

    frames = LiveFrames(opening(Broken()), name="camera", options=LiveOptions())
    with pytest.raises(ZeroDivisionError):
        next(frames)


def test_waits_grow_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, asked = Camera(), []
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions(reconnect=200))
    camera.give(0)
    read(frames)
    camera.give(END)
    now = [0.0]  # of our clock

    def start(delay: float) -> None:  # as if it were tried, in vain
        asked.append(delay)
        now[0] += delay
        frames._ended = "refused"

    monkeypatch.setattr(frames, "_start", start)
    monkeypatch.setattr("singletrack.video.live.time.monotonic", lambda: now[0])
    with pytest.raises(VideoError, match="11 times again in 182 s"):
        read(frames)
    assert asked == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"reconnect": -1},
        {"transport": "http"},
        {"size_wh": (0, 5)},
        {"fps": 0},
        {"pixel_format": "MJPEG"},
    ],
)
def test_options_that_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        LiveOptions(**wrong)


def test_times_go_on_rising_whatever_the_clock_of_the_source_does() -> None:
    clock = live._Clock()
    stamps = [(50.0, 10.0), (50.1, 10.1), (50.2, 10.21), (5.0, 10.3), (5.1, 10.4), (900.0, 10.5), (None, 10.7)]
    times = [clock.read(stamp, now) for stamp, now in stamps]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
    clock.restart()
    assert clock.read(0.0, 13.0) == pytest.approx(3.0)


def test_decoding_that_falls_behind_is_noticed() -> None:
    backlog, now = Backlog(), 0.0
    for index in range(100):  # in time: packets are waited for
        now = index / 30
        assert not backlog.add(index / 30, now, waited=0.03)
    behind = []
    for index in range(100, 300):  # each takes twice its time
        now += 2 / 30
        behind.append(backlog.add(index / 30, now, waited=0.0))
    assert not behind[0]
    assert behind[-1]
    assert 25 <= behind.index(True) <= 60
    stamp = 300 / 30
    while behind[-1]:  # left undecoded, they come fast, until they are waited for again
        stamp += 1 / 30
        now, waited = (now + 0.001, 0.0) if stamp < now else (now + 1 / 30, 0.03)
        behind.append(backlog.add(stamp, now, waited))
    assert stamp == pytest.approx(now, abs=1.5)


def test_a_clock_that_jumps_is_no_backlog() -> None:
    backlog = Backlog()
    for index in range(100):
        stamp = index / 30 if index < 50 else index / 30 - 1000
        assert not backlog.add(stamp, index / 30, waited=0.03)
