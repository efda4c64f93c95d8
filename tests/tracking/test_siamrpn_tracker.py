"""The SiamRPN++ trackers over frames, with a fake network that proposes what a test tells it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.registry import MODELS
from singletrack.tracking.anchors import anchor_shapes
from singletrack.tracking.base import SearchingTracker
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker

BOX = (100.0, 80.0, 50.0, 50.0)
LONG_TERM = SiamRPNSettings(lost_search_size=831, lost_after=1, found_above=0.998)
SQUARE = 2  # the anchor of 64 x 64 pixels


class Told:
    """Proposes one square anchor, so many cells from the middle, with a score; all others score 0.01."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.say(0.99)

    def say(self, score: float, cells_xy: tuple[int, int] = (0, 0), size: float = 64.0) -> None:
        self.score, self.cells_xy, self.size = score, cells_xy, size

    def encode(self, template: np.ndarray) -> np.ndarray:
        assert template.shape == (1, 127, 127, 3)
        return template

    def locate(self, features: np.ndarray, search: np.ndarray) -> dict[str, np.ndarray]:
        self.sizes.append(search.shape[1])
        cells = (search.shape[1] - 127) // 8 + 9
        cls, loc = np.zeros((1, 2, 5, cells, cells)), np.zeros((1, 4, 5, cells, cells))
        cls[0, 1] = np.log(0.01 / 0.99)
        x, y = (cells // 2 + shift for shift in self.cells_xy)
        cls[0, 1, SQUARE, y, x] = np.log(self.score / (1 - self.score))
        loc[0, 2:, SQUARE, y, x] = np.log(self.size / anchor_shapes()[SQUARE])
        return {"cls": cls.reshape(1, 10, cells, cells).astype(np.float32), "loc": loc.reshape(1, 20, cells, cells)}


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def started(frame: np.ndarray, settings: SiamRPNSettings | None = None) -> tuple[SiamRPNTracker, Told]:
    told = Told()
    tracker = SiamRPNTracker(told, settings)
    tracker.init(frame, BOX)
    return tracker, told


def test_a_target_that_stays(frame: np.ndarray) -> None:
    """The first box is centered on pixels, at x + (width - 1) / 2; later ones are not: published, half a pixel apart.

    At 50 pixels a side the square has 100, and a pixel is 1.27 of the crop; 63.5 crop pixels are 50 again.
    """
    tracker, told = started(frame)
    told.say(0.99, size=63.5)
    result = tracker.update(frame)
    np.testing.assert_allclose(result.box, (99.5, 79.5, 50, 50), atol=1e-5)
    assert result.score == pytest.approx(0.99, abs=1e-6)
    np.testing.assert_allclose(tracker.update(frame).box, (99.5, 79.5, 50, 50), atol=1e-5)
    assert told.sizes == [255, 255]


def test_the_place_follows_at_once_and_the_size_slowly(frame: np.ndarray) -> None:
    """Two cells are 16 pixels of the crop, 12.6 of the frame. The size goes penalty x score x 0.38 of the way."""
    tracker, told = started(frame)
    told.say(0.99, (2, 1), size=127.0)
    x, y, width, height = tracker.update(frame).box
    np.testing.assert_allclose([x + width / 2 - 124.5, y + height / 2 - 104.5], [16 / 1.27, 8 / 1.27], atol=1e-4)
    rate = np.exp(-(2 * 1 - 1) * 0.05) * 0.99 * 0.38  # twice the scale, the same proportions
    np.testing.assert_allclose([width, height], 50 + rate * 50, atol=1e-3)


def test_short_term_goes_on_from_inside_the_frame(frame: np.ndarray) -> None:
    tracker, told = started(frame)
    told.say(0.99999, (-11, -11), size=63.5)
    for _ in range(4):
        x, y, width, height = tracker.update(frame).box
    assert x + width / 2 >= 0
    assert y + height / 2 >= 0
    assert tracker._target is not None
    assert min(tracker._target.center_xy) >= 0


def test_long_term_holds_looks_wider_and_finds(frame: np.ndarray) -> None:
    """Under 0.8 the box stays and the next search is wider; over 0.998 alone it narrows again."""
    tracker, told = started(frame, LONG_TERM)
    told.say(0.9999, size=63.5)
    last_confident_box = tracker.update(frame)
    assert not last_confident_box.lost
    told.say(0.5, (5, 5))
    gone = tracker.update(frame)
    assert gone.lost
    assert gone.box == last_confident_box.box
    told.say(0.9, (20, 10), size=63.5)  # far beyond the small region, and taken, though not sure enough to narrow
    seen = tracker.update(frame)
    assert seen.lost
    np.testing.assert_allclose(seen.box[0] - last_confident_box.box[0], 160 / 1.27, atol=1e-3)
    told.say(0.9995, size=63.5)
    assert not tracker.update(frame).lost
    tracker.update(frame)
    assert told.sizes == [255, 255, 831, 831, 255]


def test_long_term_remembers_what_is_outside(frame: np.ndarray) -> None:
    """The state is kept before the box is clipped, as published."""
    tracker, told = started(frame, LONG_TERM)
    told.say(0.99999, (-11, 0), size=63.5)
    for _ in range(2):
        result = tracker.update(frame)
    assert result.box[0] + result.box[2] / 2 == 0
    assert tracker._target is not None
    assert tracker._target.center_xy[0] < 0


def test_nothing_to_see(frame: np.ndarray) -> None:
    tracker, told = started(frame)
    result = tracker.update(np.full_like(frame, 7))
    assert (result.score, told.sizes) == (0.0, [])
    np.testing.assert_allclose(result.box, (99.5, 79.5, 50, 50))


def test_numbers_that_are_none_leave_the_box(frame: np.ndarray) -> None:
    tracker, told = started(frame)
    told.say(float("nan"))
    result = tracker.update(frame)
    assert result.score == 0.0
    np.testing.assert_allclose(result.box, (99.5, 79.5, 50, 50))


def test_lost_and_found(frame: np.ndarray) -> None:
    tracker, told = started(frame)
    told.say(0.3)
    assert [tracker.update(frame).lost for _ in range(6)] == [False] * 4 + [True] * 2
    told.say(0.9)
    assert tracker.update(frame).lost
    told.say(0.96)
    assert not tracker.update(frame).lost


def test_it_can_be_asked_to_look_elsewhere(frame: np.ndarray) -> None:
    tracker, told = started(frame)
    assert isinstance(tracker, SearchingTracker)
    elsewhere = (200.0, 100.0, 50.0, 50.0)
    inputs = tracker.preprocess_at(frame, elsewhere, search_scale=2.0)
    assert inputs is not None
    told.say(0.97, (1, 0), size=63.5)
    sight = tracker.decode_at(told.locate(inputs.template, inputs.search), elsewhere, search_scale=2.0)
    assert sight is not None
    assert sight.score == pytest.approx(0.97, abs=1e-6)
    np.testing.assert_allclose(sight.box, (175 + 16 / 1.27, 75, 100, 100), atol=1e-3)
    tracker.reset_to(elsewhere)
    told.say(0.99, size=63.5)
    np.testing.assert_allclose(tracker.update(frame).box, elsewhere, atol=1e-3)


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(InputError, match=r"lost_search_size must be 127 \+ 8 n pixels; got 830"):
        replace(LONG_TERM, lost_search_size=830)
    with pytest.raises(InputError, match=r"call init\(frame, box\) before update"):
        SiamRPNTracker(Told()).update(np.zeros((9, 9, 3), np.uint8))


def test_published_numbers() -> None:
    """Strength of the penalty, weight of the window, rate of the size, and sizes of the search crop."""
    numbers = {
        name: (one.penalty_strength, one.window_influence, one.size_rate, one.search_size, one.lost_search_size)
        for name, entry in MODELS.items()
        if isinstance(one := entry.tracker_settings, SiamRPNSettings)
    }
    assert numbers == {
        "siamrpnpp-r50": (0.05, 0.42, 0.38, 255, None),
        "siamrpnpp-r50-otb": (0.24, 0.5, 0.25, 255, None),
        "siamrpnpp-r50-lt": (0.05, 0.28, 0.22, 255, 831),
        "siamrpnpp-mobilenet": (0.04, 0.4, 0.5, 255, None),
        "siamrpnpp-alex": (0.16, 0.4, 0.3, 287, None),
    }
