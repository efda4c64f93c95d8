"""Behavior of the STARK tracker over frames, with fake networks that say what the test wants them to say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from singletrack.errors import InputError
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, normalize, square_crop
from singletrack.models.stark import decode
from singletrack.tracking.base import BatchTracker, SearchingTracker
from singletrack.tracking.stark import STARKSettings, STARKTracker, read_corners

CELLS = 20


def settings(**changes: Any) -> STARKSettings:
    """A target of 40 pixels is a quarter of the search region, so that numbers are exact; nothing is renewed."""
    return STARKSettings(**{"search_factor": 4.0, "update_interval": None, **changes})


def put(maps: dict[str, np.ndarray], *corners_xy: tuple[float, float]) -> None:
    """Have the network see the corners at these places, in 0 to 0.95 of the crop."""
    maps["corners"][:] = 0.0
    for corner, (x, y) in enumerate(corners_xy):
        column, row = int(x * CELLS), int(y * CELLS)
        right, below = x * CELLS - column, y * CELLS - row
        shares = np.outer([1 - below, below], [1 - right, right])
        maps["corners"][0, corner, row : row + 2, column : column + 2] = shares[: CELLS - row, : CELLS - column]


class Scripted:
    """Sees a centered target of a quarter of the crop in each frame, unless `change` says otherwise."""

    def __init__(self, change: Callable[[int, dict[str, np.ndarray]], None] = lambda frame, maps: None) -> None:
        self.change = change
        self.frame = 0
        self.templates: list[np.ndarray] = []
        self.searches: list[np.ndarray] = []

    def encode(self, template: np.ndarray) -> int:
        assert (template.dtype, template.shape[2:]) in (
            (np.uint8, (128, 128, 4)),
            (np.float32, (4, 128, 128)),  # crops that are not rounded
        )
        self.templates.append(template)
        return len(self.templates)

    def locate(self, features: int, search: np.ndarray) -> dict[str, np.ndarray]:
        assert features == len(self.templates)
        assert search.shape in ((1, 320, 320, 4), (1, 4, 320, 320))
        self.frame += 1
        self.searches.append(search)
        maps = {
            "corners": np.zeros((1, 2, CELLS, CELLS), np.float32),
            "score": np.array([0.9], np.float32),
        }
        put(maps, (0.375, 0.375), (0.625, 0.625))
        self.change(self.frame, maps)
        return maps


def picture(seed: int = 3, height: int = 240, width: int = 320) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def follow(network: Scripted, frames: int, chosen: STARKSettings | None = None) -> list:
    tracker = STARKTracker(network, chosen or settings())
    tracker.init(picture(), (100, 80, 40, 40))
    return [tracker.update(picture(seed)) for seed in range(frames)]


def test_a_centered_answer_keeps_the_box_in_place() -> None:
    network = Scripted()
    for result in follow(network, 5):
        assert result.box == (100, 80, 40, 40)
        assert result.score == pytest.approx(0.9)
        assert not result.lost
    assert [template.shape for template in network.templates] == [(1, 2, 128, 128, 4)]


def test_a_tenth_to_the_right_moves_a_tenth_of_the_crop() -> None:
    def shift(frame: int, maps: dict[str, np.ndarray]) -> None:
        put(maps, (0.475, 0.375), (0.725, 0.625))

    result = follow(Scripted(shift), 1)[0]
    np.testing.assert_allclose(result.box, (100 + 16, 80, 40, 40), atol=1e-4)


def test_crops_carry_their_padding() -> None:
    network = Scripted()
    tracker = STARKTracker(network, settings())
    tracker.init(picture(), (-20, 80, 40, 40))  # whose center is on the border: a pixel that mixes both is padding
    tracker.update(picture())
    assert network.templates[0][0, ..., 3].mean(1).tolist() == [[1.0] * 65 + [0.0] * 63] * 2
    padding = network.searches[0][0, ..., 3]
    assert set(np.unique(padding)) == {0, 1}
    assert padding[:, :161].all()
    assert not padding[:, 161:].any()
    assert not network.searches[0][0, 7, 7, :3].any()


def test_the_last_template_is_renewed_by_interval_and_score() -> None:
    scores = [0.9, 0.9, 0.9, 0.5, 0.9, 0.51, 0.9]

    def change(frame: int, maps: dict[str, np.ndarray]) -> None:
        maps["score"][0] = scores[frame - 1]

    network = Scripted(change)
    follow(network, len(scores), settings(update_interval=2))
    first, at_2, at_6 = network.templates  # frame 4 was not sure enough: it takes more than 0.5
    for renewed in (at_2, at_6):
        np.testing.assert_array_equal(renewed[:, 0], first[:, 0])
        assert not np.array_equal(renewed[:, 1], first[:, 1])
    expected = Scripted()
    STARKTracker(expected, settings()).init(picture(1), (100, 80, 40, 40))  # the second frame is picture 1
    np.testing.assert_array_equal(at_2[:, 1], expected.templates[0][:, 1])


def test_the_frame_of_a_renewal_is_seen_at_its_new_place() -> None:
    def shift(frame: int, maps: dict[str, np.ndarray]) -> None:
        put(maps, (0.5, 0.375), (0.75, 0.625))

    network = Scripted(shift)
    tracker = STARKTracker(network, settings(update_interval=1))
    tracker.init(picture(), (100, 80, 40, 40))
    box = tracker.update(picture(1)).box
    tracker.update(picture(2))
    expected = Scripted()
    STARKTracker(expected, settings()).init(picture(1), box)
    np.testing.assert_array_equal(network.templates[1][:, 1], expected.templates[0][:, 1])


def test_halves_of_an_update_are_the_update() -> None:
    chosen = settings(update_interval=2)
    whole, halves = Scripted(), Scripted()
    trackers = STARKTracker(whole, chosen), STARKTracker(halves, chosen)
    assert isinstance(trackers[1], BatchTracker)
    for tracker in trackers:
        tracker.init(picture(), (100, 80, 40, 40))
    for seed in range(5):
        expected = trackers[0].update(picture(seed))
        inputs = trackers[1].preprocess(picture(seed))
        assert inputs is not None
        halves.templates.append(inputs.template)
        assert trackers[1].postprocess(halves.locate(len(halves.templates), inputs.search)) == expected
    np.testing.assert_array_equal(halves.templates[-1], whole.templates[-1])


def test_a_copy_follows_a_target_of_its_own() -> None:
    tracker = STARKTracker(Scripted(), settings())
    other = copy.copy(tracker)
    tracker.init(picture(), (100, 80, 40, 40))
    with pytest.raises(InputError, match=r"call init\(frame, box\) before update"):
        other.update(picture())


def test_it_can_be_asked_to_look_elsewhere() -> None:
    network = Scripted(lambda frame, maps: put(maps, (0.4, 0.25), (0.65, 0.5)))
    tracker = STARKTracker(network, settings())
    tracker.init(picture(), (100, 80, 40, 40))
    assert isinstance(tracker, SearchingTracker)
    elsewhere = (200.0, 150.0, 40.0, 40.0)
    inputs = tracker.preprocess_at(picture(), elsewhere, search_scale=0.5)
    assert inputs is not None
    expected, _ = square_crop(picture(), elsewhere, factor=2.0, size=320)
    np.testing.assert_array_equal(inputs.search[0, ..., :3], expected)
    sight = tracker.decode_at(network.locate(1, inputs.search), elsewhere, search_scale=0.5)
    assert sight is not None
    assert sight.score == pytest.approx(0.9)
    np.testing.assert_allclose(sight.box, (212, 150, 20, 20), atol=1e-3)
    tracker.reset_to(elsewhere)
    network.change = lambda frame, maps: None
    np.testing.assert_allclose(tracker.update(picture()).box, elsewhere, atol=1e-3)
    assert tracker.decode_at(None, elsewhere) is None


def test_without_a_score_head_the_corners_tell() -> None:
    def change(frame: int, maps: dict[str, np.ndarray]) -> None:
        del maps["score"]
        if frame == 2:
            maps["corners"][0, 1] = 1 / CELLS**2

    first, second = follow(Scripted(change), 2, settings(num_templates=1))
    assert first.score == 1.0
    assert second.score == pytest.approx(16 / 400)


def test_corners_by_hand() -> None:
    corners = np.zeros((2, CELLS, CELLS), np.float32)
    corners[0, 5, 5], corners[0, 5, 6] = 0.5, 0.5
    corners[1, 10, 4], corners[1, 10, 16] = 0.75, 0.25  # on average at column 7: neither is near
    box, decidedness = read_corners(corners)
    np.testing.assert_allclose(box, ((5.5 + 7) / 40, (5 + 10) / 40, 1.5 / 20, 5 / 20))
    assert decidedness == 0.0
    corners[1, 10, 4], corners[1, 10, 16] = 1.8, 0.2  # at 5.2 and not quite of sum 1
    box, decidedness = read_corners(corners)
    np.testing.assert_allclose(box, ((5.5 + 5.2) / 40, 15 / 40, -0.3 / 20, 5 / 20), rtol=1e-6)
    assert decidedness == pytest.approx(0.9)
    in_torch = decode({"corners": torch.from_numpy(corners[None] / corners.sum((1, 2), keepdims=True))})
    np.testing.assert_allclose(in_torch[0], box, rtol=1e-5)


def test_a_score_below_a_half_for_five_frames_is_a_loss() -> None:
    scores = [0.9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.49, 0.5, 0.4]

    def change(frame: int, maps: dict[str, np.ndarray]) -> None:
        maps["score"][0] = scores[frame - 1]

    results = follow(Scripted(change), len(scores))
    assert [result.lost for result in results] == [False] * 5 + [True, True, False, False]


def test_boxes_at_the_border_by_both_rules() -> None:
    def away(frame: int, maps: dict[str, np.ndarray]) -> None:
        put(maps, (0.5, 0.375), (0.75, 0.625))  # 20 pixels further in each frame

    inside, beyond = (follow(Scripted(away), 10, settings(keep_size_at_border=keep))[-1].box for keep in (False, True))
    assert inside == (300, 80, 20, 40)
    assert beyond == (300, 80, 40, 40)


def test_unrounded_crops_differ_by_less_than_a_level() -> None:
    rounded, unrounded = Scripted(), Scripted()
    follow(rounded, 1)
    follow(unrounded, 1, settings(unrounded_crops=True))
    pixels, unrounded_input = rounded.searches[0][0], unrounded.searches[0][0]
    normalized = normalize(pixels[..., :3], IMAGENET_MEAN, IMAGENET_STD)[0]
    levels = np.abs(normalized - unrounded_input[:3]) * 0.2290 * 255
    assert 0.2 < levels.max() < 1.05
    np.testing.assert_array_equal(pixels[..., 3], unrounded_input[3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["corners", "score"])
def test_output_that_is_not_finite_keeps_the_box(name: str, bad: float) -> None:
    def spoil(frame: int, maps: dict[str, np.ndarray]) -> None:
        maps[name][:] = bad

    network = Scripted(spoil)
    results = follow(network, 6, settings(update_interval=1))
    assert all(result.box == (100, 80, 40, 40) for result in results)
    assert all(result.score == 0.0 for result in results)
    assert results[-1].lost
    assert len(network.templates) == 1


def test_500_frames_of_nonsense_never_grow_the_box_past_the_frame() -> None:
    def runaway(frame: int, maps: dict[str, np.ndarray]) -> None:
        maps["corners"][:] = np.random.default_rng(frame).exponential(size=(1, 2, CELLS, CELLS)) ** 8

    tracker = STARKTracker(Scripted(runaway), settings())
    tracker.init(picture(), (100, 80, 40, 40))
    for _ in range(500):
        x, y, width, height = tracker.update(picture()).box
        assert 0 <= x <= 310
        assert 0 <= y <= 230
        assert 10 <= width <= 320
        assert 10 <= height <= 240


def test_a_frame_of_one_color_scores_0_and_counts() -> None:
    network = Scripted()
    tracker = STARKTracker(network, settings(update_interval=3))
    tracker.init(picture(), (100, 80, 40, 40))
    blank = tracker.update(np.zeros((240, 320, 3), np.uint8))
    assert (blank.box, blank.score) == ((100, 80, 40, 40), 0.0)
    for seed in (1, 2, 3):
        tracker.update(picture(seed))
    assert network.frame == 3
    assert len(network.templates) == 2  # renewed in the third frame, which the blank one was counted for


@pytest.mark.parametrize(
    "wrong",
    [
        {"lost_below": 0.6, "found_above": 0.5},
        {"num_templates": 0, "update_interval": None},
        {"num_templates": 1},
        {"update_interval": 0},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="must "):
        STARKSettings(**wrong)


def test_update_before_init_and_frames_of_another_size_are_refused() -> None:
    tracker = STARKTracker(Scripted())
    with pytest.raises(InputError, match=r"call init\(frame, box\) before update"):
        tracker.update(picture())
    tracker.init(picture(), (100, 80, 40, 40))
    with pytest.raises(InputError, match="frame must be 320 x 240 pixels, as the first frame; got 200 x 100"):
        tracker.update(picture(height=100, width=200))
    with pytest.raises(InputError, match="box"):
        tracker.init(picture(), (400, 80, 40, 40))
