"""Few keyframes: no side is ever further off than the tolerance, and no keyframe is there without need."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.reduction import reduce_keyframes, usual_tolerance


def sides(boxes: dict[int, Box]) -> NDArray[np.float64]:
    return np.array([(x, y, x + width, y + height) for x, y, width, height in boxes.values()])


def largest_error(boxes: dict[int, Box], keyframes: dict[int, Box]) -> float:
    """Of all sides in all frames, by straight lines between the keyframes."""
    lines = [np.interp(list(boxes), list(keyframes), column) for column in sides(keyframes).T]
    return float(np.abs(np.stack(lines, 1) - sides(boxes)).max())


def test_a_straight_way_needs_its_ends_alone() -> None:
    boxes = {frame: (10 + 2.0 * frame, 5.0, 40 + 1.0 * frame, 30.0) for frame in range(100)}
    keyframes = reduce_keyframes(boxes, 0.01)
    assert list(keyframes) == [0, 99]
    np.testing.assert_allclose(keyframes[99], (208, 5, 139, 30), atol=0.01)


def test_a_bend_needs_one_more() -> None:
    boxes = {frame: (abs(frame - 30) * 3.0, 0.0, 50.0, 50.0) for frame in range(61)}
    assert list(reduce_keyframes(boxes, 0.01)) == [0, 30, 60]


def test_each_side_counts_not_only_the_corner() -> None:
    # the top left corner stays, the width bends
    boxes = {frame: (0.0, 0.0, 100.0 + abs(frame - 5) * 4, 60.0) for frame in range(11)}
    assert list(reduce_keyframes(boxes, 0.5)) == [0, 5, 10]


def test_what_is_within_the_tolerance_needs_no_keyframe() -> None:
    boxes = {frame: (frame % 2 * 1.0, 0.0, 50.0, 50.0) for frame in range(50)}
    assert list(reduce_keyframes(boxes, 0.6)) == [0, 49]  # all sides within half a pixel of the middle
    assert len(reduce_keyframes(boxes, 0.4)) > 25


@pytest.mark.parametrize("tolerance", [0.05, 0.5, 1.0, 3.0])
def test_no_side_is_off_by_more_than_the_tolerance(tolerance: float) -> None:
    for seed in range(20):
        draws = np.random.default_rng(seed)
        steps = draws.normal(0, 2, (120, 4)).cumsum(0)
        sizes = 40 + 20 * np.abs(steps[:, 2:])
        boxes = {3 * i: (*map(float, steps[i, :2]), *map(float, sizes[i])) for i in range(120)}
        keyframes = reduce_keyframes(boxes, tolerance)
        assert largest_error(boxes, keyframes) <= tolerance
        assert next(iter(keyframes)) == 0
        assert list(keyframes)[-1] == 357
        assert keyframes.keys() <= boxes.keys()


def test_a_looser_tolerance_needs_fewer() -> None:
    draws = np.random.default_rng(0)
    places = draws.normal(0, 1, (300, 2)).cumsum(0)
    boxes = {i: (float(x), float(y), 60.0, 40.0) for i, (x, y) in enumerate(places)}
    counts = [len(reduce_keyframes(boxes, tolerance)) for tolerance in (0.1, 0.5, 1.0, 2.0, 4.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 5 * counts[-1]


def test_what_a_person_set_is_kept_to_the_hundredth() -> None:
    random = np.random.default_rng(1)
    boxes: dict[int, Box] = {
        frame: (100 + 2 * frame + float(random.uniform(-2, 2)), 50.0, 200 + float(random.uniform(-2, 2)), 90.0)
        for frame in range(60)
    }
    keyframes = reduce_keyframes(boxes, 4.0, exact={0, 23})
    lines = np.stack([np.interp([0, 23], list(keyframes), column) for column in sides(keyframes).T], 1)
    np.testing.assert_allclose(lines, sides({frame: boxes[frame] for frame in (0, 23)}), atol=0.01)
    assert largest_error(boxes, keyframes) <= 4.0
    assert len(keyframes) <= 5


def test_tiny_boxes_stay_boxes() -> None:
    boxes = {frame: (5.0 * (frame % 3), 0.0, 0.5, 0.25) for frame in range(30)}
    keyframes = reduce_keyframes(boxes, 10.0)
    assert all(width > 0 and height > 0 for _, _, width, height in keyframes.values())
    assert largest_error(boxes, keyframes) <= 0.0625


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_boxes_are_all_keyframes(count: int) -> None:
    boxes = {7 + frame: (1.0, 2.0, 30.0, 40.0) for frame in range(count)}
    assert list(reduce_keyframes(boxes, 1.0)) == list(boxes)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_tolerances_that_are_none_are_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance must be"):
        reduce_keyframes({0: (0, 0, 1, 1)}, tolerance)


def test_the_usual_tolerance_grows_with_the_target() -> None:
    small, large = (dict.fromkeys(range(3), (0.0, 0.0, size, size)) for size in (20.0, 300.0))
    assert usual_tolerance(small) == 1.0
    assert usual_tolerance(large) == pytest.approx(6.0)
    assert usual_tolerance({}) == 1.0
    random = np.random.default_rng(0)
    shaky = {frame: (100 + 2 * float(random.normal()), 100.0, 300.0, 300.0) for frame in range(60)}
    assert len(reduce_keyframes(shaky)) < 10 < 20 < len(reduce_keyframes(shaky, 1.0))


@pytest.mark.parametrize("smallest", [40.0, 8.0])
def test_the_usual_tolerance_is_that_of_the_median_size_and_a_quarter_of_the_shortest_side(smallest: float) -> None:
    draws = np.random.default_rng(1)
    widths = [200.0] * 60 + [smallest] * 20
    boxes = {
        frame: (500 + float(move[0]), 300 + float(move[1]), width, width)
        for frame, (width, move) in enumerate(zip(widths, draws.normal(0, 3, (80, 2)), strict=True))
    }
    assert usual_tolerance(boxes) == pytest.approx(4.0)
    error = largest_error(boxes, reduce_keyframes(boxes))
    assert 0.9 * min(4.0, smallest / 4) < error <= min(4.0, smallest / 4)
