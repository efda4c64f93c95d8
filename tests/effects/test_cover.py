from __future__ import annotations

import numpy as np
import pytest

from singletrack.effects.cover import Cover, Kind
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result


def result(left: float, score: float = 0.9, lost: bool = False) -> dict[int, Result]:
    return {1: Result(box=(left, 40, 20, 20), score=score, lost=lost)}


def holds(area: Box, box: Box) -> bool:
    return (
        area[0] <= box[0]
        and area[1] <= box[1]
        and area[0] + area[2] >= box[0] + box[2]
        and area[1] + area[3] >= box[1] + box[3]
    )


def test_it_grows_in_doubt() -> None:
    cover = Cover("fill")
    widths = [cover.areas(0, 0.0, result(50, score))[0][2] for score in (1.0, 0.88, 0.5, 0.2, 0.0)]
    assert widths[:2] == pytest.approx([23, 23])
    assert widths[1] < widths[2] < widths[3]
    assert widths[3:] == pytest.approx([32, 32])


def test_between_two_sightings_the_way_is_covered() -> None:
    steps = {
        frame: (frame / 10, result(*state))
        for frame, state in enumerate([(0, 0.9, False), (500, 0.1, True), (500, 0.1, True), (60, 0.9, False)])
    }
    cover = Cover("fill", steps)
    assert [holds(cover.areas(f, *steps[f])[0], (20.0 * f, 40, 20, 20)) for f in range(4)] == [True] * 4


def test_without_a_later_sighting_it_grows_around_the_last_one() -> None:
    cover = Cover("fill")
    cover.areas(0, 0.0, result(50))
    areas = [cover.areas(1, seconds, result(50, 0.1, True))[0] for seconds in (0.1, 1.0, 99.0)]
    assert areas[0][2] < areas[1][2] < areas[2][2] == 80
    assert holds(areas[0], (50, 40, 20, 20))


@pytest.mark.parametrize("kind", ["blur", "pixelate", "fill"])
def test_nothing_of_the_target_can_be_read(kind: Kind) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    before = frame.copy()
    covered = Cover(kind).apply(frame, [(50, 40, 64, 64)])
    assert (frame == before).all()
    inside = covered[40:104, 50:114].astype(float)
    assert inside.std() < 0.4 * frame.std()
    covered[40:104, 50:114] = frame[40:104, 50:114]
    assert (covered == frame).all()


@pytest.mark.parametrize("area", [(-30, -30, 20, 20), (300, 20, 10, 10), (155, 115, 50, 50), (10, 10, 0.4, 0.4)])
def test_areas_at_the_edge(area: Box) -> None:
    frame = np.full((120, 160, 3), 200, np.uint8)
    for kind in ("blur", "pixelate", "fill"):
        assert Cover(kind).apply(frame, [area]).shape == frame.shape


def test_an_unknown_kind() -> None:
    with pytest.raises(InputError, match="cover must be one of blur, pixelate, fill; got 'smear'"):
        Cover("smear")
