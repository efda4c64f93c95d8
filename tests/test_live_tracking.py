"""Tracking in a live source: what was passed over is counted, and an interruption makes the target be searched for."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.video.test_live import END, Camera, finish, opening

import singletrack
from singletrack.api import Span, follow, follow_frames
from singletrack.errors import DamagedVideoError
from singletrack.tracking.base import Result
from singletrack.tracking.multi import MultiTracker
from singletrack.video import LiveOptions, VideoReader, live
from singletrack.video.live import LiveFrames

BOX = (10.0, 8.0, 20.0, 16.0)


class Steady:
    """Leaves its box where it was."""

    def init(self, frame: Any, box: Any) -> None:
        self.box = box

    def update(self, frame: Any) -> Result:
        return Result(box=self.box, score=0.8, lost=False)


class Sized(Camera):
    """A camera with pictures of a size."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.size_wh = (width, height)

    def pictures(self) -> Any:
        for stamp, picture in super().pictures():
            number = int(picture()[0, 0, 0])
            yield stamp, lambda number=number: np.full((self.size_wh[1], self.size_wh[0], 3), number, np.uint8)


def reader_of(frames: LiveFrames) -> VideoReader:
    return VideoReader(frames, fps=30.0, size_wh=frames.connection.size_wh, live=frames, close=frames.close)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.01)


def test_frames_passed_over_count_in_the_index(quick: None) -> None:
    camera = Sized(64, 48)
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions())
    camera.give(0)
    steps = follow_frames(reader_of(frames), {0: [BOX]}, Steady())
    found = [next(steps)]
    for last in ([1], [2, 3, 4], [5]):
        camera.give(*last)
        found.append(next(steps))
    assert [(step.index, step.dropped) for step in found] == [(0, 0), (1, 0), (4, 2), (5, 0)]
    finish(frames, camera)


def test_a_target_may_start_in_a_frame_that_is_passed_over() -> None:
    camera = Sized(64, 48)
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions())
    camera.give(0)
    steps = follow_frames(reader_of(frames), {0: [BOX], 2: [BOX]}, Steady())
    next(steps)
    camera.give(1, 2, 3)
    assert list(next(steps).results) == [1, 2]
    finish(frames, camera)


def test_every_other_frame_of_all() -> None:
    camera = Sized(64, 48)
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions(every_frame=True, reconnect=0))
    for number in range(5):
        camera.coming.put(number)
    camera.coming.put(END)
    steps = follow_frames(reader_of(frames), {0: [BOX]}, Steady(), Span(stride=2))
    assert [(step.index, step.dropped) for step in itertools.islice(steps, 3)] == [(0, 0), (2, 0), (4, 0)]
    with pytest.raises(DamagedVideoError):
        next(steps)
    frames.close()


def test_after_an_interruption_targets_are_searched_for_in_the_new_size(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Sized(64, 48), Sized(128, 96)
    searched: list[int] = []
    monkeypatch.setattr(MultiTracker, "search_again", lambda self: searched.append(len(self.ids)))
    frames = LiveFrames(opening(first, second), name="camera", options=LiveOptions())
    first.give(0)
    steps = follow_frames(reader_of(frames), {0: [BOX]}, Steady())
    assert next(steps).result.box == BOX
    first.give(END)
    second.coming.put(7)
    step = next(steps)
    assert step.result.box == (20, 16, 40, 32)  # in pixels of the larger frame
    assert searched == [1]
    second.give(8)
    next(steps)
    assert searched == [1]
    finish(frames, second)


def test_real_trackers_search_the_frame_after_an_interruption() -> None:
    """The target is at the other end of the frame afterwards, and is found there."""
    random = np.random.default_rng(0)
    ground = np.kron(random.integers(90, 130, (15, 20, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    target = np.kron(random.integers(0, 255, (5, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))

    def frame(x: int, y: int) -> np.ndarray:
        drawn = ground.copy()
        drawn[y : y + 40, x : x + 40] = target
        return drawn

    many = MultiTracker(singletrack.load("ostrack-tiny", threads=1))
    many.add(frame(20, 20), (20, 20, 40, 40))
    for _ in range(3):
        assert not many.update(frame(22, 22))[1].lost
    many.search_again()
    found = [many.update(frame(260, 180))[1] for _ in range(20)]
    assert found[0].lost
    assert not found[-1].lost
    assert found[-1].box == pytest.approx((260, 180, 40, 40), abs=8)


def test_dropped_frames_are_in_json_lines(tmp_path: Path) -> None:
    camera, boxes = Sized(64, 48), tmp_path / "boxes.jsonl"
    frames = LiveFrames(opening(camera), name="camera", options=LiveOptions(reconnect=0))
    camera.give(0)

    def go_on(step: Any) -> None:
        camera.give(*([1, 2, 3] if step.index == 0 else [END]))

    with pytest.raises(DamagedVideoError, match="camera ended"):
        follow(reader_of(frames), BOX, Steady(), boxes_path=boxes, on_step=go_on)
    lines = [json.loads(line) for line in boxes.read_text().splitlines()]
    assert [(line["frame"], line["dropped"]) for line in lines] == [(0, 0), (3, 2)]
    frames.close()
