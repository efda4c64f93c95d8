from __future__ import annotations

import numpy as np
import pytest

from singletrack.effects.overlays import HeatMap, Spotlight, Trail
from singletrack.tracking.base import Result


def at(x: float, y: float = 60, lost: bool = False) -> dict[int, Result]:
    return {1: Result(box=(x - 10, y - 10, 20, 20), score=0.9, lost=lost)}


def black(height: int = 120, width: int = 160) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_a_trail_shows_the_last_seconds() -> None:
    trail = Trail(seconds=1.0)
    for step in range(20):
        drawn = trail.draw(black(), step / 10, at(20 + 5 * step))
    colored = np.flatnonzero(drawn.max(axis=(0, 2)))
    assert colored.max() == pytest.approx(115, abs=3)  # where it is
    assert colored.min() == pytest.approx(65, abs=3)  # where it was a second ago


def test_a_trail_has_a_gap_where_the_target_was_lost() -> None:
    trail = Trail(seconds=9.0)
    for step, lost in enumerate([False, False, True, True, False, False]):
        drawn = trail.draw(black(), step / 10, at(20 + 20 * step, lost=lost))
    assert drawn[60, 30].any()
    assert not drawn[60, 50:90].any()
    assert drawn[60, 110].any()


@pytest.mark.parametrize(("height", "least", "most"), [(120, 1, 5), (2160, 14, 24)])
def test_a_trail_scales_with_the_frame(height: int, least: int, most: int) -> None:
    trail, scale = Trail(), height / 120
    for step in range(2):
        drawn = trail.draw(black(height, height * 4 // 3), step / 10, at((40 + 60 * step) * scale, 60 * scale))
    assert least <= np.count_nonzero(drawn[:, round(70 * scale)].max(axis=1)) <= most


def test_a_heat_map_is_hottest_where_the_target_stayed() -> None:
    heat = HeatMap()
    for step in range(40):
        drawn = heat.draw(black(), step / 10, at(30 if step < 30 else 130))
    there, shortly, elsewhere = (int(drawn[60, x].max()) for x in (30, 130, 80))
    assert there > shortly > 40
    assert elsewhere < 30


def test_a_heat_map_of_nothing() -> None:
    assert not HeatMap().draw(black(), 0.0, at(30)).any()
    heat = HeatMap()
    for step in range(3):
        assert not heat.draw(black(), step / 10, at(30, lost=True)).any()


def test_a_spotlight() -> None:
    frame = np.full((120, 160, 3), 200, np.uint8)
    drawn = Spotlight().draw(frame, 0.0, at(80))
    assert drawn[60, 80].tolist() == [200] * 3
    assert drawn[5, 5].tolist() == [70] * 3
    assert (Spotlight().draw(frame, 0.0, at(80, lost=True)) == 70).all()
