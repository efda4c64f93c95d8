from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from singletrack import MultiTracker
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.loading import load
from singletrack.tracking.base import BatchTracker, Inputs, Result
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.multi import BATCH_SIZES, SharedNetwork, split, update_together
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.tracking.stark import STARKSettings, STARKTracker

SIZE_WH = (320, 180)


class Dots:
    """A network of sums: each map hangs on both crops. Notes the batches that it is asked for."""

    def __init__(self) -> None:
        self.encoded = 0
        self.batches: list[int] = []

    def encode(self, template: np.ndarray) -> np.ndarray:
        self.encoded += len(template)
        template = (np.moveaxis(template, -1, -3) / 255 - 0.45) / 0.22
        return template.mean(axis=(-2, -1)).reshape(len(template), -1)[:, :3]

    def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
        assert len(features) == len(search)
        self.batches.append(len(search))
        search = (np.moveaxis(search, -1, -3) / 255 - 0.45) / 0.22
        cells = search[:, :3].reshape(len(search), 3, 8, 8, 8, 8).mean(axis=(3, 5))
        score = 1 / (1 + np.exp(-0.1 * (cells * features[:, :, None, None]).sum(axis=1)))
        size = np.full((len(search), 2, 8, 8), 0.25, np.float32)
        corners = np.repeat(score[:, None], 2, 1)
        return {"score": score, "size": size, "offset": 0.2 * cells[:, :2], "corners": corners}


class ScoreHead(Dots):
    """The same for a STARK: one score for each crop, sure enough that templates are renewed."""

    def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
        maps = super().locate(features, search)
        return {"corners": maps["corners"], "score": maps["score"].max(axis=(1, 2)) ** 0.01}


def make_ostrack() -> OSTrackTracker:
    settings = OSTrackSettings(template_size=32, search_size=64, first_frame_correction=0.5, size_momentum=0.3)
    return OSTrackTracker(Dots(), settings)


def make_mirrored() -> OSTrackTracker:
    tracker = make_ostrack()
    return OSTrackTracker(tracker.network, dataclasses.replace(tracker.settings, mirror=True))


def make_stark() -> STARKTracker:
    return STARKTracker(ScoreHead(), STARKSettings(template_size=32, search_size=64, update_interval=3))


@functools.cache
def pictures(count: int) -> list[np.ndarray]:
    return [frame for frame, _ in generate_clip(count, SIZE_WH)]


def boxes(count: int) -> list[Box]:
    """Unlike places and sizes, some of them reaching beyond the frame."""
    return [(-5.0 + 83 * k % 300, 3.0 + 37 * k % 150, 20.0 + 3 * k % 40, 48.0 - 2 * k) for k in range(count)]


# --- the same as one by one ----------------------------------------------------------------------------------------


def follow_singly(tracker: Any, frames: list[np.ndarray], box: Box) -> list[Any]:
    alone = copy.copy(tracker)
    alone.init(frames[0], box)
    return [alone.update(frame) for frame in frames[1:]]


def compare(tracker: Any, frames: list[np.ndarray], asked: list[Box], tolerance: float) -> None:
    many = MultiTracker(tracker)
    ids = [many.add(frames[0], box) for box in asked]
    assert ids == list(range(1, len(asked) + 1))
    together = [many.update(frame) for frame in frames[1:]]
    for number, box in zip(ids, asked, strict=True):
        alone = follow_singly(tracker, frames, box)
        found = [results[number] for results in together]
        np.testing.assert_allclose([r.box for r in found], [r.box for r in alone], rtol=0, atol=tolerance)
        np.testing.assert_allclose([r.score for r in found], [r.score for r in alone], rtol=0, atol=1e-4)
        assert [result.lost for result in found] == [result.lost for result in alone]


@pytest.mark.parametrize("make", [make_ostrack, make_mirrored, make_stark])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 19])
def test_many_are_followed_as_one_by_one(make: Any, count: int) -> None:
    compare(make(), pictures(8), boxes(count), 1e-3)


@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
def test_many_are_followed_as_one_by_one_by_the_bundled_model(engine: str) -> None:
    tracker = load("ostrack-tiny", engine=engine, threads=1, device="cpu")
    if getattr(tracker.network, "precision", "fp32") != "fp32":
        from singletrack.engines.openvino_engine import OpenVINONetwork
        from singletrack.loading import bundled_file

        network = OpenVINONetwork(bundled_file("ostrack-tiny", ".onnx"), threads=1, precision="fp32")
        tracker = OSTrackTracker(network, tracker.settings)  # type: ignore[assignment, arg-type]
    compare(tracker, pictures(4), boxes(3), 1e-3)


@pytest.mark.parametrize("make", [make_ostrack, make_mirrored, make_stark])
def test_targets_of_several_videos_are_followed_together_as_alone(make: Any) -> None:
    tracker, videos = make(), [pictures(8), pictures(8)[::-1], [np.flip(each, 1) for each in pictures(8)]]
    asked = boxes(4)
    many = [MultiTracker(tracker)]
    many += [many[0].beside() for _ in videos[1:]]
    ids = [each.add(video[0], box) for each, video, box in zip(many, videos, asked, strict=False)]
    again = many[2].add(videos[2][0], asked[3])
    tracker.network.batches.clear()
    following = zip(*(video[1:] for video in videos), strict=True)
    steps = [update_together(list(zip(many, frames, strict=True))) for frames in following]
    looks = 2 if make is make_mirrored else 1
    assert set(tracker.network.batches) == {4 * looks}
    for place, number, box in [*zip(range(3), ids, asked, strict=False), (2, again, asked[3])]:
        alone = follow_singly(tracker, videos[place], box)
        found = [step[place][number] for step in steps]  # type: ignore[index]
        np.testing.assert_allclose([r.box for r in found], [r.box for r in alone], rtol=0, atol=1e-3)


def test_a_video_that_fails_leaves_those_beside_it_alone() -> None:
    frames, (box, *_) = pictures(3), boxes(1)
    many = MultiTracker(make_ostrack())
    other = many.beside()
    for each in (many, other):
        each.add(frames[0], box)
    failed, found = update_together([(many, frames[1][:90]), (other, frames[1])])
    assert isinstance(failed, InputError)
    assert found == {1: follow_singly(make_ostrack(), frames[:2], box)[0]}
    assert update_together([]) == []


# --- coming and going ----------------------------------------------------------------------------------------------


def test_targets_come_and_go_and_ids_stay() -> None:
    frames, asked = pictures(8), boxes(4)
    many = MultiTracker(make_ostrack())
    assert many.update(frames[0]) == {}
    first, second = (many.add(frames[0], box) for box in asked[:2])
    many.update(frames[1])
    third = many.add(frames[1], asked[2])
    many.remove(first)
    assert many.ids == [second, third] == list(many.update(frames[2]))
    fourth = many.add(frames[2], asked[3])
    assert [first, second, third, fourth] == [1, 2, 3, 4]
    followed = [many.update(frame) for frame in frames[3:]]
    for number, start in ((second, 0), (third, 1), (fourth, 2)):
        alone = follow_singly(make_ostrack(), frames[start:], asked[number - 1])
        expected = [result.box for result in alone[-len(followed) :]]
        np.testing.assert_allclose([results[number].box for results in followed], expected, rtol=0, atol=1e-3)


def test_settings_of_one_target() -> None:
    frames = pictures(4)
    tracker = make_ostrack()
    many = MultiTracker(tracker)
    usual = many.add(frames[0], boxes(1)[0])
    other = many.add(frames[0], boxes(1)[0], settings={"first_frame_correction": 0.0, "lost_after": 1})
    changed = OSTrackTracker(
        tracker.network, dataclasses.replace(tracker.settings, first_frame_correction=0.0, lost_after=1)
    )
    expected = follow_singly(changed, frames, boxes(1)[0])
    for frame, result in zip(frames[1:], expected, strict=True):
        results = many.update(frame)
        assert results[other].box == pytest.approx(result.box, abs=1e-3)
        assert results[usual] != results[other]
    assert tracker.settings.first_frame_correction == 0.5


@pytest.mark.parametrize("changes", [{"search_size": 128}, {"color": 1}, {"lost_after": 0}])
def test_settings_that_cannot_be_meant_add_no_target(changes: dict[str, int]) -> None:
    many = MultiTracker(make_ostrack())
    with pytest.raises(InputError, match=r"unknown setting|at least 1"):
        many.add(pictures(1)[0], boxes(1)[0], settings=changes)
    assert many.ids == []


def test_a_refused_box_adds_no_target() -> None:
    many = MultiTracker(make_ostrack())
    with pytest.raises(InputError, match="box"):
        many.add(pictures(1)[0], (1.0, 2.0, 0.0, 4.0))
    assert many.ids == []
    assert many.add(pictures(1)[0], boxes(1)[0]) == 1


def test_frames_of_another_size() -> None:
    many = MultiTracker(make_ostrack())
    number = many.add(pictures(1)[0], boxes(1)[0])
    other = np.zeros((90, 160, 3), np.uint8)
    with pytest.raises(InputError, match="frame must be 320 x 180 pixels"):
        many.update(other)
    with pytest.raises(InputError, match="frame must be 320 x 180 pixels"):
        many.add(other, boxes(1)[0])
    many.remove(number)
    many.add(other, boxes(1)[0])


def test_ids_that_are_none() -> None:
    with pytest.raises(InputError, match=r"unknown target id 1; the current ids are \[\]"):
        MultiTracker(make_ostrack()).remove(1)


def test_trackers_without_batches_are_updated_one_after_the_other() -> None:
    class Lone:
        def init(self, frame: Any, box: Any) -> None:
            self.box = box

        def update(self, frame: Any) -> Result:
            x, y, width, height = self.box
            self.box = x + 1, y, width, height
            return Result(box=self.box, score=0.5, lost=False)

    mine = Lone()
    many = MultiTracker(mine)
    picture = np.zeros((60, 80, 3), np.uint8)
    assert (many.add(picture, (1, 2, 3, 4)), many.add(picture, (9, 8, 7, 6))) == (1, 2)
    results = many.update(picture)
    assert {number: result.box for number, result in results.items()} == {1: (2, 2, 3, 4), 2: (10, 8, 7, 6)}
    assert not hasattr(mine, "box")
    with pytest.raises(InputError, match="settings of a Lone cannot be changed"):
        many.add(picture, (1, 2, 3, 4), settings={"lost_after": 3})


# --- passes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "passes"),
    [(0, []), (1, [1]), (3, [2, 1]), (5, [4, 1]), (6, [4, 2]), (7, [8]), (13, [16]), (16, [16]), (21, [16, 4, 1])],
)
def test_passes(count: int, passes: list[int]) -> None:
    assert split(count, BATCH_SIZES) == passes


def test_one_size_takes_all() -> None:
    assert [split(count, [4]) for count in (1, 4, 6)] == [[4], [4], [4, 4]]


@pytest.mark.parametrize("sizes", [[], [0, 1]])
def test_sizes_that_cannot_be_meant(sizes: list[int]) -> None:
    with pytest.raises(InputError, match="batch sizes must be at least 1"):
        MultiTracker(make_ostrack(), batch_sizes=sizes)


def test_the_network_is_asked_in_few_sizes_and_once_for_a_template() -> None:
    tracker = make_ostrack()
    assert isinstance(tracker.network, Dots)
    many = MultiTracker(tracker)
    for box in boxes(7):
        many.add(pictures(1)[0], box)
    tracker.network.batches.clear()
    for frame in pictures(3):
        many.update(frame)
    many.remove(3)
    many.update(pictures(1)[0])
    assert tracker.network.batches == [8, 8, 8, 4, 2]
    assert tracker.network.encoded == 7


def test_crops_of_unlike_sizes_go_apart() -> None:
    asked: list[tuple[int, ...]] = []

    class Sizes:
        def encode(self, template: np.ndarray) -> np.ndarray:
            return template[:, 0, 0]

        def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
            asked.append(search.shape)
            return {"sum": search.sum(axis=(1, 2)) + features}

    templates = [np.full((1, 2, 2, 3), 10 * k, np.uint8) for k in range(5)]
    inputs = [
        Inputs(template, np.ones((1, side, side, 3), np.uint8))
        for template, side in zip(templates, (4, 9, 4, 4, 9), strict=True)
    ]
    maps = SharedNetwork(Sizes()).locate_each(inputs)
    assert [each["sum"][0, 0] for each in maps] == [16, 91, 36, 46, 121]
    assert asked == [(2, 4, 4, 3), (1, 4, 4, 3), (2, 9, 9, 3)]


def test_a_lost_target_is_searched_for_as_alone() -> None:
    tracker = LongTermTracker(make_ostrack())
    compare(tracker, pictures(8), boxes(3), 1e-3)
    many = MultiTracker(tracker)
    many.add(pictures(1)[0], boxes(1)[0], settings={"lost_after": 2})
    assert tracker.settings.lost_after == 5


def test_features_go_with_their_template() -> None:
    network = SharedNetwork(Dots())
    template = np.ones((1, 4, 4, 3), np.uint8)
    assert network.encode(template) is network.encode(template)
    assert len(network._features) == 1
    del template
    gc.collect()
    assert network._features == {}


def test_a_renewed_template_is_encoded_anew() -> None:
    tracker = make_stark()
    assert isinstance(tracker.network, ScoreHead)
    many = MultiTracker(tracker)
    many.add(pictures(1)[0], boxes(1)[0])
    for frame in pictures(7):  # renewed after each third
        many.update(frame)
    assert tracker.network.encoded == 3
    assert isinstance(tracker, BatchTracker)


def test_targets_that_nothing_is_seen_of_are_no_work() -> None:
    tracker = make_ostrack()
    assert isinstance(tracker.network, Dots)
    many = MultiTracker(tracker)
    for box in boxes(2):
        many.add(pictures(1)[0], box)
    tracker.network.batches.clear()
    results = many.update(np.zeros((180, 320, 3), np.uint8))
    assert [result.score for result in results.values()] == [0.0, 0.0]
    assert tracker.network.batches == []


def test_memory_stays_flat_while_targets_come_and_go() -> None:
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(4)]
    targets = MultiTracker(make_ostrack(), batch_sizes=(1, 4, 16))

    def step(index: int) -> None:
        frame = frames[index % len(frames)]
        targets.update(frame)
        if len(targets.ids) < 16 and (not targets.ids or random.random() < 0.5):
            targets.add(frame, (float(random.integers(0, 40)), float(random.integers(0, 30)), 12.0, 10.0))
        elif random.random() < 0.9:
            targets.remove(int(random.choice(targets.ids)))

    def held() -> int:
        while targets.ids:
            targets.remove(targets.ids[0])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for index in range(100):  # warm-up
            step(index)
        before = held()
        for index in range(600):
            step(index)
        assert held() - before < 100_000  # bytes; the 300 targets that came and went would be megabytes
    finally:
        tracemalloc.stop()


def test_a_target_goes_on_from_its_state() -> None:
    frames = list(generate_clip(frames=9, size_wh=(160, 120)))
    tracker = load("ostrack-tiny")
    one = MultiTracker(tracker)
    id = one.add(*frames[0])
    for frame, _ in frames[1:4]:
        one.update(frame)
    other = MultiTracker(tracker)
    restored = other.restore(frames[3][0], one.state(id))
    for frame, _ in frames[4:]:
        assert other.update(frame)[restored] == one.update(frame)[id]
    with pytest.raises(InputError, match="unknown target id 5"):
        one.state(5)
    with pytest.raises(InputError, match="expected the bytes"):
        other.restore(frames[3][0], b"none")
    with pytest.raises(InputError, match="frame"):
        other.restore(frames[3][0][:50], one.state(id))


def test_trackers_whose_state_cannot_be_kept() -> None:
    class Still:
        def init(self, frame: Any, box: Box) -> None:
            pass

        def update(self, frame: Any) -> Result:
            return Result(box=(0, 0, 9, 9), score=1.0, lost=False)

    many = MultiTracker(Still())
    id = many.add(np.zeros((20, 20, 3), np.uint8), (0, 0, 9, 9))
    with pytest.raises(InputError, match="whose state can be kept; got Still"):
        many.state(id)
