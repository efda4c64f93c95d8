from __future__ import annotations

import math

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.geometry.boxes import (
    Box,
    check_box,
    clip_box,
    clip_corner,
    iou,
    pan_tilt,
)


def test_iou_by_hand() -> None:
    assert iou([0, 0, 10, 10], [0, 0, 10, 10]) == 1
    assert iou([0, 0, 10, 10], [5, 0, 10, 10]) == pytest.approx(50 / 150)
    assert iou([0, 0, 10, 10], [10, 0, 10, 10]) == 0  # they only touch
    assert iou([0, 0, 10, 10], [20, 30, 5, 5]) == 0
    assert iou([3, 3, 0, 0], [3, 3, 0, 0]) == 0  # no area at all
    np.testing.assert_allclose(iou([[0, 0, 10, 10], [0, 0, 20, 10]], [0, 0, 10, 10]), [1, 0.5])


def test_arrays_that_are_not_boxes_are_refused() -> None:
    with pytest.raises(InputError, match=r"boxes must have shape \(\.\.\., 4\); got \(3,\)"):
        iou([1, 2, 3], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40)),
        ((-50, -60, 20, 20), (0, 0, 10, 10)),
        ((630, 470, 100, 100), (630, 470, 10, 10)),
        ((-5, -5, 1000, 900), (0, 0, 640, 480)),
    ],
)
def test_clip_box(box: tuple[float, ...], clipped: tuple[float, ...]) -> None:
    assert clip_box(box, (640, 480)) == clipped


def test_clip_box_in_a_frame_smaller_than_the_margin() -> None:
    assert clip_box((2, 3, 4, 4), (6, 8)) == (0, 0, 6, 8)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40)),
        ((-50, -60, 20, 20), (0, 0, 20, 20)),
        ((635, 475, 100, 2), (630, 470, 100, 10)),
        ((-5, -5, 1000, 900), (0, 0, 640, 480)),
        ((5, 5, -30, -40), (5, 5, 10, 10)),
    ],
)
def test_clip_corner(box: tuple[float, ...], clipped: tuple[float, ...]) -> None:
    assert clip_corner(box, (640, 480)) == clipped


def test_check_box_accepts_what_can_be_meant() -> None:
    assert check_box((5, 6, 1, 1), (640, 480)) == (5.0, 6.0, 1.0, 1.0)
    assert check_box(np.array([-3.5, -3.5, 4, 4]), (640, 480)) == (-3.5, -3.5, 4.0, 4.0)  # partly outside


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((math.nan, 0, 10, 10), "finite numbers"),
        ((0, 0, math.inf, 10), "finite numbers"),
        ((0, 0, 0, 10), "must be positive"),
        ((0, 0, 10, -1), "must be positive"),
        ((640, 0, 10, 10), "640 x 480"),
        ((-10, 0, 10, 10), "must overlap"),
        ((0, 480, 10, 10), "must overlap"),
        ((1, 2, 3), "must have four numbers"),
        ("1,2,3,4", "must have four numbers"),
        (None, "must have four numbers"),
        # C2, C27
        ((10**400, 0, 1, 1), "must have four numbers"),
        ((10**5000, 0, 1, 1), "must have four numbers"),
        ((0, 0, 1e18, 1e18), "at most 10 times the frame's size, 640 x 480; got 1e\\+18 x 1e\\+18 pixels"),
        ((0, 0, 2**63, 2**64), "at most 10 times"),
        ((0, 0, 1e154, 1e154), "at most 10 times"),
        ((0, 0, 10, 4801), "at most 10 times"),
        ((1j, 0, 1, 1), "must have four numbers"),
        (np.array([1 + 2j, 2, 3, 4]), "must have four numbers"),
        (np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0]), "masked"),
        ((value for value in (1, 2, 3, 4)), "as a tuple, list or array"),
        ("1234", "as a tuple, list or array"),
        (b"1234", "as a tuple, list or array"),
        ({1: 2, 2: 3, 3: 4, 4: 5}, "as a tuple, list or array"),
        ({1, 2, 3, 4}, "as a tuple, list or array"),
        ((True, True, True, True), "must have four numbers"),
        (("1", "2", "3", "4"), "must have four numbers"),
        (np.zeros((4, 4)), "must have four numbers"),
    ],
)
def test_check_box_refuses(box: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_box(box, (640, 480))  # type: ignore[arg-type]
    assert "must" in str(error.value)
    assert "got" in str(error.value)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((40, 20, 20, 20), (0.0, 0.0)),
        ((90, 20, 20, 20), (1.0, 0.0)),
        ((40, -10, 20, 20), (0.0, 1.0)),
        ((-10, 50, 20, 20), (-1.0, -1.0)),
        ((300, 20, 20, 20), (1.0, 0.0)),
        ((65, 35, 20, 20), (0.5, -0.5)),
    ],
)
def test_pan_and_tilt(box: Box, expected: tuple[float, float]) -> None:
    assert pan_tilt(box, (100, 60)) == pytest.approx(expected)
