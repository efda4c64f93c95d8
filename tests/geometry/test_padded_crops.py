"""Crops with a color beyond the frame: small cases by hand, and vast squares."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.geometry import padded_crops
from singletrack.geometry.crops import Square
from singletrack.geometry.padded_crops import mean_color, padded_crop

COLOR = (10, 20, 30)


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_mean_is_cut_to_whole_numbers() -> None:
    frame = np.zeros((1, 4, 3), np.uint8)
    frame[0, :, 1], frame[0, :, 2] = [255, 255, 255, 254], [0, 0, 3, 0]
    assert mean_color(frame) == (0, 254, 0)


def test_inside_the_frame_it_is_the_frame(frame: np.ndarray) -> None:
    np.testing.assert_array_equal(padded_crop(frame, Square(50, 30, 10), 10, COLOR), frame[30:, 50:])


def test_beyond_each_edge_lies_the_color(frame: np.ndarray) -> None:
    crop = padded_crop(frame, Square(-5, -4, 70), 70, COLOR)
    np.testing.assert_array_equal(crop[4:44, 5:65], frame)
    crop[4:44, 5:65] = COLOR
    assert (crop == COLOR).all()


def test_wholly_outside(frame: np.ndarray) -> None:
    assert (padded_crop(frame, Square(100, -500, 20), 30, COLOR) == COLOR).all()


def test_twice_as_large(frame: np.ndarray) -> None:
    """Between two pixels lie a quarter and three quarters of the way from one to the next."""
    crop = padded_crop(frame, Square(0, 0, 4), 8, COLOR)
    first, second = frame[0, :2].astype(float)
    np.testing.assert_allclose(crop[0, 1:3], [first * 0.75 + second * 0.25, first * 0.25 + second * 0.75], atol=0.75)


@pytest.mark.parametrize("square", [Square(-70, -90, 200), Square(5, 7, 31), Square(-3, 20, 50), Square(300, 0, 90)])
def test_a_vast_square_is_sampled_at_the_same_places(
    frame: np.ndarray, square: Square, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = padded_crop(frame, square, 7, COLOR)
    monkeypatch.setattr(padded_crops, "LARGEST_DENSE_SIDE", 0)
    sampled = padded_crop(frame, square, 7, COLOR)
    assert np.abs(dense.astype(int) - sampled).max() <= 8  # places are rounded to 1/32 of a pixel; this frame is noise
    vast = padded_crop(frame, Square(-500_000, -500_000, 1_000_000), 7, COLOR)
    assert vast.shape == (7, 7, 3)
