"""DaSiamRPN's tracker and the two parts of its paper that were never released, over made frames.

The network is a stand-in that knows one thing: how far two patterns correlate. Each scene is played with the part off
and on, so that the tests would notice if it did nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.tracking.matching import MatchingNetwork, alike, draw_scene, texture

from singletrack.errors import InputError
from singletrack.registry import MODELS, change_settings, make_tracker
from singletrack.tracking.anchors import anchor_grid
from singletrack.tracking.base import BatchTracker, SearchingTracker
from singletrack.tracking.dasiamrpn import Candidates, DaSiamRPNSettings, DaSiamRPNTracker
from singletrack.tracking.distractors import DistractorAwareTracker, Memory, find_distractors

Place = tuple[float, float]
TARGET = texture(5)
TWIN = alike(TARGET, 0.85, 6)
SETTINGS = DaSiamRPNSettings()


def follow(
    places: list[Place | None], *, twins: list[Place] | None = None, settings: DaSiamRPNSettings = SETTINGS
) -> tuple[list[Place], list[bool], MatchingNetwork]:
    """Centers of the boxes and whether lost, from the second frame on. None: the target is not there."""
    network = MatchingNetwork()
    tracker = make_tracker(network, settings)
    centers, lost = [], []
    for index, place in enumerate(places):
        drawn = [] if place is None else [(TARGET, place)]
        frame = draw_scene(drawn + ([(TWIN, twins[index])] if twins else []))
        if index == 0:
            assert place is not None
            tracker.init(frame, (place[0] - 20, place[1] - 20, 40, 40))
            continue
        result = tracker.update(frame)
        x, y, width, height = result.box
        centers.append((x + width / 2, y + height / 2))
        lost.append(result.lost)
    return centers, lost, network


def distances(centers: list[Place], places: list[Any]) -> list[float]:
    return [math.dist(center, place) for center, place in zip(centers, places, strict=True)]


# --- the published loop ---


def test_it_follows() -> None:
    places: list[Place | None] = [(110 + 3 * i, 100 + 2 * i) for i in range(12)]
    centers, lost, network = follow(places)
    assert max(distances(centers, places[1:])) < 5
    assert not any(lost)
    assert network.encoded == 1
    assert set(network.sizes) == {271}


@pytest.mark.parametrize(("side", "size"), [(26, 287), (27, 271)])
def test_a_small_target_is_searched_for_in_a_larger_crop(side: int, size: int) -> None:
    """0.004 of 480 x 360 pixels are 691; only the model with twice the channels looks closer at less."""
    tracker = make_tracker(MatchingNetwork(), MODELS["dasiamrpn-big"].tracker_settings)
    frame = draw_scene([(TARGET, (200, 200))])
    tracker.init(frame, (200 - side / 2, 200 - side / 2, side, side))
    assert isinstance(tracker, DaSiamRPNTracker)
    inputs = tracker.preprocess(frame)
    assert inputs is not None
    assert inputs.search.shape == (1, size, size, 3)


def test_colors_come_as_bgr_and_padding_is_the_mean_of_the_first_frame() -> None:
    tracker = DaSiamRPNTracker(MatchingNetwork())
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[..., 0], frame[:, :30, 2] = 200, 101
    tracker.init(frame, (-5, 40, 20, 20))
    inputs = tracker.preprocess(frame)
    assert inputs is not None
    assert inputs.search[0, 135, 10].tolist() == [30, 0, 200]  # left of the frame: blue's mean is 30.3
    assert inputs.search[0, 135, 135].tolist() == [101, 0, 200]


def test_under_python3_boxes_lie_half_a_cell_up_and_left() -> None:
    """Four pixels of the crop, which shows 40 pixels of the frame as 63.5."""
    frame = draw_scene([(TARGET, (200, 200))])
    corners = []
    for origin in ("python2", "python3"):
        tracker = DaSiamRPNTracker(MatchingNetwork(), replace(SETTINGS, anchor_origin=origin))  # type: ignore[arg-type]
        tracker.init(frame, (180, 180, 40, 40))
        corners.append(np.array(tracker.update(frame).box[:2]))
    np.testing.assert_allclose(corners[0] - corners[1], 4 * 80 / 127, atol=1e-9)


@pytest.mark.parametrize("value", [math.nan, None])
def test_what_cannot_be_read_leaves_the_box(value: float | None) -> None:
    tracker = DaSiamRPNTracker(MatchingNetwork())
    frame = draw_scene([(TARGET, (200, 200))])
    tracker.init(frame, (180, 180, 40, 40))
    maps = None if value is None else {"cls": np.full((1, 10, 19, 19), value), "loc": np.zeros((1, 20, 19, 19))}
    result = tracker.postprocess(maps)  # type: ignore[arg-type]
    assert (result.box, result.score, result.lost) == ((180, 180, 40, 40), 0, True)


def test_a_frame_of_one_color_shows_nothing() -> None:
    tracker = DaSiamRPNTracker(MatchingNetwork())
    tracker.init(draw_scene([(TARGET, (200, 200))]), (180, 180, 40, 40))
    assert tracker.preprocess(np.full((360, 480, 3), 7, np.uint8)) is None


def test_the_door_for_searching_elsewhere() -> None:
    """Far from its box, and at half the scale, the target is seen; nothing changes until it is moved there."""
    tracker = DaSiamRPNTracker(MatchingNetwork())
    frame = draw_scene([(TARGET, (110, 100))])
    tracker.init(frame, (90, 80, 40, 40))
    elsewhere = draw_scene([(TARGET, (330, 250))])
    inputs = tracker.preprocess_at(elsewhere, (300, 220, 40, 40))
    assert inputs is not None
    sight = tracker.decode_at(tracker.network.locate(tracker.features, inputs.search), (300, 220, 40, 40))
    assert sight is not None
    assert sight.score > 0.95
    np.testing.assert_allclose(sight.box, (310, 230, 40, 40), atol=4)
    half = tracker.preprocess_at(elsewhere, (300, 220, 40, 40), 2.0)
    assert half is not None
    np.testing.assert_allclose(half.search[0, 135, 135], elsewhere[240, 320, ::-1], atol=25)
    maps = {"cls": np.zeros((1, 10, 19, 19), np.float32), "loc": np.zeros((1, 20, 19, 19), np.float32)}
    maps["cls"][0, 7, 9, 10] = 5.0  # one cell right of the middle
    widened = tracker.decode_at(maps, (300, 220, 40, 40), 2.0)
    assert widened is not None
    side = 64 * 80 / 127 * 2
    np.testing.assert_allclose(widened.box, (320 + 8 * 80 / 127 * 2 - side / 2, 240 - side / 2, side, side), atol=1e-6)
    assert tracker.postprocess(None).box == (90, 80, 40, 40)
    tracker.reset_to(sight.box)
    assert tracker.update(elsewhere).lost is False


def test_it_is_what_wrappers_ask_for() -> None:
    assert isinstance(DaSiamRPNTracker(MatchingNetwork()), SearchingTracker)
    assert not isinstance(DistractorAwareTracker(MatchingNetwork()), BatchTracker)


def test_update_needs_a_target() -> None:
    for tracker in (DaSiamRPNTracker(MatchingNetwork()), DistractorAwareTracker(MatchingNetwork())):
        with pytest.raises(InputError, match=r"call init\(frame, box\) before update"):
            tracker.update(draw_scene([]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_origin": "python4"}, "unknown anchor origin 'python4'"),
        ({"small_search_size": 280}, r"small_search_size must be 127 \+ 8 n pixels"),
        ({"largest_search_size": 768}, r"largest_search_size must be 127 \+ 8 n pixels"),
        ({"largest_search_size": 263}, "largest_search_size must be at least 271"),
        ({"search_step": 12}, r"search_size \+ search_step must be 127 \+ 8 n pixels"),
        ({"search_step": 0}, "the region must grow"),
        ({"distractor_weight": -1.0}, "distractor_weight must be at least 0"),
        ({"distractor_above": 1.5}, "distractor_above must be 0 to 1"),
        ({"learning_rate": 0.5}, r"learning_rate must be at least 0 and below 0\.5"),
        ({"long_term": True, "distractor_aware": True}, "turn one of them off"),
        ({"long_term": True, "local_to_global": True}, "turn one of them off"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        change_settings("dasiamrpn-vot", changes)


# --- from local to global ---

LEAVING: list[Place | None] = [
    *[(110 + 3 * i, 100 + i) for i in range(8)],
    *[None] * 10,
    *[(330 - 2 * i, 250) for i in range(6)],
]


def test_a_target_that_comes_back_elsewhere_is_not_found_as_published() -> None:
    centers, lost, network = follow(LEAVING)
    assert lost == [False] * 7 + [True] * 16
    assert min(distances(centers[17:], LEAVING[18:])) > 200
    assert set(network.sizes) == {271}


def test_local_to_global_finds_it() -> None:
    centers, lost, network = follow(LEAVING, settings=replace(SETTINGS, local_to_global=True))
    assert lost == [False] * 7 + [True] * 10 + [False] * 6
    assert len(set(centers[6:17])) == 1  # it waits where it last believed
    assert max(distances(centers[17:], LEAVING[18:])) < 8
    # the first frame without the target is seen as ever; then the region grows, and once found it is as before
    assert network.sizes == [271] * 8 + [335, 399, 463, 527, 591, 655, 719, 767, 767] + [767] + [271] * 5


# --- the distractor-aware module ---

STILL: list[Place | None] = [(240, 180 + 0.5 * i) for i in range(46)]
PASSING: list[Place] = [(330 - 4 * i, 186 + 0.5 * i) for i in range(46)]  # comes from the right, walks by in front


def test_a_twin_takes_the_published_tracker_along() -> None:
    centers, _, _ = follow(STILL, twins=PASSING)
    assert max(distances(centers[:12], STILL[1:13])) < 8
    assert distances(centers[-1:], PASSING[-1:])[0] < 8
    assert distances(centers[-1:], STILL[-1:])[0] > 80


def test_a_twin_walks_by_the_one_that_knows_it() -> None:
    centers, _, network = follow(STILL, twins=PASSING, settings=replace(SETTINGS, distractor_aware=True))
    assert max(distances(centers, STILL[1:])) < 16
    assert network.encoded > 2


def test_both_parts_together() -> None:
    settings = replace(SETTINGS, local_to_global=True, distractor_aware=True)
    centers, lost, _ = follow(LEAVING, settings=settings)
    assert lost == [False] * 7 + [True] * 10 + [False] * 6
    assert max(distances(centers[17:], LEAVING[18:])) < 10


def test_one_combined_template_ranks_as_the_sum_in_the_paper() -> None:
    """f(z, p) - weight * sum(a f(d, p)) / sum(a), over two frames; for a network that is linear in its kernels."""
    network, draw = MatchingNetwork(), np.random.default_rng(2)
    crops = draw.integers(0, 256, (5, 1, 127, 127, 3), dtype=np.uint8)
    search = draw.integers(0, 256, (1, 143, 143, 3), dtype=np.uint8)
    first, second, *others = (network.encode(crop) for crop in crops)
    memory = Memory(0.01)
    memory.learn(first, [])
    memory.learn(second, [(others[0], 0.9), (others[1], 0.6)])
    memory.learn(first, [(others[2], 0.7)])

    def ranking(features: np.ndarray) -> np.ndarray:
        return network.locate(features, search)["cls"][0, 7] + 10.0  # without its bias, which is not in the kernels

    ratio = 0.01 / 0.99
    shares = [1.0, 1 + ratio, 1 + ratio + ratio**2]
    target = (shares[0] + shares[2]) * ranking(first) + shares[1] * ranking(second)
    weights = [shares[1] * 0.9, shares[1] * 0.6, shares[2] * 0.7]
    alike_others = sum(weight * ranking(other) for weight, other in zip(weights, others, strict=True))
    expected = target / sum(shares) - 0.5 * alike_others / sum(weights)
    np.testing.assert_allclose(ranking(memory.kernels(0.5)), expected, atol=1e-4)
    places = slice(10, 30)
    np.testing.assert_array_equal(memory.kernels(0.5)[:, places], memory.kernels(0.0)[:, places])


def test_distractors_are_neither_the_target_nor_each_other() -> None:
    boxes = np.array(
        [
            [100, 100, 40, 40],  # the target
            [104, 100, 40, 40],  # the target, shifted
            [200, 100, 40, 40],  # a distractor
            [202, 101, 38, 42],  # the same, better
            [300, 100, 40, 40],  # too low
            [100, 200, 40, 40],  # another distractor
            [100, 300, np.inf, 40],  # no box
        ]
    )
    candidates = Candidates(boxes, np.array([0.9, 0.95, 0.8, 0.85, 0.5, 0.6, 0.9]))
    target = np.array([100.0, 100, 40, 40])
    assert find_distractors(candidates, target, above=0.5, overlap=0.1) == [3, 5]
    assert find_distractors(candidates, target, above=0.5, overlap=0.1, at_most=1) == [3]
    assert find_distractors(candidates, target, above=0.96, overlap=0.1) == []


def test_grid_of_the_widest_region() -> None:
    assert len(anchor_grid((767 - 127) // 8 + 1)) == 5 * 81 * 81
