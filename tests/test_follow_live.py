"""``async for result in follow_live(...)`` beside other work, its source closed at the end; trackers in threads."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import singletrack
from singletrack.errors import InputError, VideoError
from singletrack.tracking.base import Result
from singletrack.tracking.multi import MultiTracker
from singletrack.video import VideoReader, reader

FRAMES = [np.full((48, 64, 3), number, np.uint8) for number in range(5)]


class Counting:
    """Its score is the number in the frame."""

    def init(self, frame: Any, box: Any) -> None:
        self.box = box

    def update(self, frame: Any) -> Result:
        return Result(box=self.box, score=float(frame[0, 0, 0]) / 10, lost=False)


def test_results_come_beside_other_work() -> None:
    async def run() -> tuple[list[float], int]:
        turns = 0

        async def work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(work())
        results = singletrack.follow_live(FRAMES, (4, 5, 20, 16), tracker=Counting())
        scores = [result.score async for result in results]
        other.cancel()
        return scores, turns

    scores, turns = asyncio.run(run())
    assert scores == [1.0, 0.1, 0.2, 0.3, 0.4]
    assert turns > 0


def test_many_targets() -> None:
    async def run() -> list[list[int]]:
        boxes = [(4, 5, 20, 16), (30, 5, 9, 9)]
        return [sorted(found) async for found in singletrack.follow_live(FRAMES, boxes=boxes, tracker=Counting())]

    assert asyncio.run(run()) == [[1, 2]] * 5


def test_leaving_the_loop_closes_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(VideoReader, "close", lambda self: closed.append(True))

    async def run() -> None:
        results = singletrack.follow_live(FRAMES, (4, 5, 20, 16), tracker=Counting())
        async for _ in results:
            break
        await results.aclose()

    asyncio.run(run())
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("follow live")]


def test_errors_arrive(tmp_path: Path) -> None:
    async def run(source: Any, box: Any) -> None:
        async for _ in singletrack.follow_live(source, box, tracker=Counting()):
            pass

    with pytest.raises(VideoError, match="source not found"):
        asyncio.run(run(tmp_path / "none.mp4", (1, 1, 9, 9)))
    with pytest.raises(InputError, match="box"):
        asyncio.run(run(FRAMES, (1, 1, -9, 9)))
    assert reader.READ_AHEAD > 0


# --- one thread at a time ---


class Waiting(Counting):
    """Waits in each update until it may go on."""

    def __init__(self) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()

    def update(self, frame: Any) -> Result:
        self.inside.set()
        assert self.go_on.wait(60)
        return super().update(frame)


def test_a_second_thread_is_refused() -> None:
    tracker = Waiting()
    many = MultiTracker(tracker)
    many.add(FRAMES[0], (4, 5, 20, 16))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(many.update(FRAMES[1])))
    thread.start()
    assert tracker.inside.wait(60)
    with pytest.raises(InputError, match="another thread is in its update already"):
        many.update(FRAMES[2])
    tracker.go_on.set()
    thread.join()
    assert found[0][1].score == 0.1
    assert many.update(FRAMES[3])[1].score == 0.3


def test_real_trackers_refuse_it_too_and_copies_are_free() -> None:
    tracker = singletrack.load("ostrack-tiny", threads=1)
    frame = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    tracker.init(frame, (40, 30, 30, 30))
    tracker.update(frame)
    other = copy.copy(tracker)
    other.init(frame, (40, 30, 30, 30))
    guard = tracker.__dict__["_one_thread"]
    with guard:
        with pytest.raises(InputError, match="another thread"):
            tracker.update(frame)
        other.update(frame)  # shares the network alone
        pickle.loads(pickle.dumps(tracker)).update(frame)
    tracker.update(frame)
