"""Steps from a frame to a crop, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.augmentations import (
    Augmentation,
    Jitter,
    ViewRoll,
    brightened,
    cut,
    draw_roll,
    draw_view,
    finish_view,
    is_empty,
    jittered,
    mirrored_box,
    reduction,
    to_gray,
)

BOX = np.array([10, 20, 8, 2], np.float32)
STILL = ViewRoll(np.zeros(2, np.float32), np.full(2, 0.5, np.float32), 1.0, False)


def test_jitter_moves_by_the_jittered_size() -> None:
    assert jittered(BOX, Jitter(scale=0.5, center=3.0), STILL).tolist() == BOX.tolist()
    view = ViewRoll(np.array([1, -1], np.float32), np.array([1.0, 0.0], np.float32), 1.0, False)
    moved = jittered(BOX, Jitter(scale=np.log(2.0), center=3.0), view)
    # 16 x 1, whose root is 4; times 3, half of it right and up of the center (14, 21)
    np.testing.assert_allclose(moved, [14 + 6 - 8, 21 - 6 - 0.5, 16, 1], rtol=1e-5)


def test_gray_is_the_same_in_all_channels() -> None:
    gray = to_gray(np.array([[[255, 0, 0], [10, 10, 10]]], np.uint8))
    assert gray.tolist() == [[[76, 76, 76], [10, 10, 10]]]


def test_a_mirrored_box_covers_the_mirrored_target() -> None:
    frame = np.zeros((40, 50, 3), np.uint8)
    frame[20:22, 10:18] = 255
    x, y, width, height = mirrored_box(BOX, 50).astype(int)
    assert (frame[:, ::-1][y : y + height, x : x + width] == 255).all()
    assert mirrored_box(BOX, 50, shift=1.0)[0] == x - 1


def test_brightness_is_rounded_and_ends_at_255() -> None:
    crop = np.array([[[0, 100, 255]]], np.uint8)
    assert brightened(crop, 1.206).tolist() == [[[0, 121, 255]]]
    assert brightened(crop, 1.206).dtype == np.uint8
    bright = brightened(crop, 1.206, "float")
    np.testing.assert_allclose(bright, [[[0, 120.6, 255]]], rtol=1e-6)
    assert bright.dtype == np.float32


def test_the_label_of_a_still_crop_is_its_middle() -> None:
    frame = np.zeros((200, 200, 3), np.uint8)
    box = np.array([90, 90, 20, 20], np.float32)
    _, label = cut(frame, box, box, factor=4.0, size=64, shift=0.0)
    np.testing.assert_allclose(label, [0.375, 0.375, 0.25, 0.25])
    _, shifted = cut(frame, box, box, factor=4.0, size=64, shift=0.5)
    np.testing.assert_allclose(label - shifted, [0.5 / 64, 0.5 / 64, 0, 0], atol=1e-12)


def test_a_mirrored_crop_has_a_mirrored_label() -> None:
    crop = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    view = ViewRoll(STILL.size, STILL.center, 1.0, True)
    pixels, label = finish_view(crop, np.array([0.1, 0.2, 0.3, 0.4]), view, "rounded")
    np.testing.assert_array_equal(pixels, crop[:, ::-1])
    np.testing.assert_allclose(label, [0.6, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("around", "empty"),
    [
        ((90, 90, 20, 20), False),
        ((-30, 90, 20, 20), False),  # some of the frame is in view
        ((-500, 90, 20, 20), True),
        ((90, 90, 0, 20), True),
        ((90, 90, np.inf, 20), True),
    ],
)
def test_crops_that_show_nothing_are_refused(around: tuple[float, ...], empty: bool) -> None:
    box = np.array([90, 90, 20, 20], np.float32)
    crop = np.array(around, np.float32)
    assert is_empty(box, crop, (200, 200), factor=4.0, size=64) is empty
    assert is_empty(np.zeros(4, np.float32), box, (200, 200), factor=4.0, size=64)


@pytest.mark.parametrize(("side", "shrunk"), [(31, 1), (32, 2), (63, 2), (64, 4), (128, 8), (1000, 8)])
def test_frames_are_shrunk_only_as_far_as_the_crop_has_pixels(side: float, shrunk: int) -> None:
    assert reduction(np.array([0, 0, side, side], np.float32), factor=4.0, size=64) == shrunk


def test_shares_and_ranges_of_the_draws() -> None:
    random, augmentation = np.random.default_rng(0), Augmentation()
    rolls = [draw_roll(random, augmentation) for _ in range(4000)]
    assert np.mean([roll.gray for roll in rolls]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([roll.flip for roll in rolls]) == pytest.approx(0.5, abs=0.03)
    views = [draw_view(random, augmentation) for _ in range(4000)]
    light = np.array([view.brightness for view in views])
    assert (light >= 0.8).all()
    assert (light <= 1.2).all()
    assert light.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.05)
    assert np.mean([view.flip for view in views]) == pytest.approx(0.5, abs=0.03)
    assert np.std([view.size for view in views]) == pytest.approx(1, rel=0.05)
