"""The camera: where its frame ends, what noise it adds, and that it crops as tracking does."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.synthetic.cutouts import Piece, outline_of, paste, place, turn
from singletrack.datasets.synthetic.degradations import (
    EVERYWHERE,
    blacken_outside,
    degrade,
    frame_in_view,
    near_edge,
    surrounded,
    view,
    with_box,
)
from singletrack.geometry.crops import Square, box_to_crop, square_crop


def test_outside_the_frame_is_black_and_cuts_at_most_a_third() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        box = np.array([40.0, 50.0, 30.0, 20.0])
        frame = near_edge(random, 128, box, EVERYWHERE)
        left = np.minimum(box[:2] + box[2:], frame[2:]) - np.maximum(box[:2], frame[:2])
        assert (left >= 0.65 * box[2:]).all()
    crop = np.full((10, 10, 3), 9, np.uint8)
    blacken_outside(crop, np.array([2, -np.inf, np.inf, 7]))
    assert crop[:7, 2:].all()
    assert crop.sum() == 9 * 7 * 8 * 3


def test_outside_the_frame_may_be_another_picture() -> None:
    whole = surrounded(
        np.full((4, 6, 3), 9, np.uint8), np.array([1.0, -np.inf, 3.0, 2.0]), np.full((4, 6, 3), 5, np.uint8)
    )
    assert (whole[:2, 1:3] == 9).all()
    assert whole.sum() == 3 * (4 * 9 + 20 * 5)


def test_a_frame_is_widened_to_hold_a_box() -> None:
    frame, box = np.array([0.0, 0, 100, 100]), np.array([80.0, 20, 40, 40])
    assert with_box(frame, box, margin=0.1).tolist() == [0, 0, 124, 100]
    assert with_box(frame, np.array([20.0, 20, 40, 40])).tolist() == frame.tolist()


def test_noise_is_faint_and_drawn_from_the_generator() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    noisy = 0
    for seed in range(40):
        one, two = (degrade(np.random.default_rng(seed), gray).astype(int) for _ in range(2))
        assert np.array_equal(one, two)
        assert np.abs(one - 128).max() < 80
        noisy += one.std() > 0.3
    assert 4 < noisy < 25


def plain_scene(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """A gray frame with a white target that fills its box."""
    frame = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
    x, y, width, height = box
    frame[y : y + height, x : x + width] = 255
    return frame


def edges(crop: np.ndarray) -> np.ndarray:
    """The white target's sides, xyxy, between pixels: its middle row and column summed, in shares of white."""
    white = np.clip((crop[..., 0].astype(float) - 90) / (255 - 90), 0, 1)
    rows, columns = (np.flatnonzero(white.max(axis) > 0.5) for axis in (1, 0))
    across, down = white[int(rows.mean())], white[:, int(columns.mean())]
    spans = []
    for line, inside in ((across, int(columns.mean())), (down, int(rows.mean()))):
        spans.append((inside - line[:inside].sum(), inside + line[inside:].sum()))
    return np.array([spans[0][0], spans[1][0], spans[0][1], spans[1][1]])


# beside the target that the crop is taken round: inside the frame, over its left and upper edge, over the others
@pytest.mark.parametrize("box", [(200, 150, 40, 30), (6, 4, 36, 50), (430, 300, 40, 44)])
@pytest.mark.parametrize("size", [128, 224])
def test_a_rendered_search_view_agrees_with_the_crop_of_tracking(box: tuple[int, int, int, int], size: int) -> None:
    size_wh = (480, 360)
    frame = plain_scene(size_wh, box)
    cropped, scale = square_crop(frame, box, factor=4.0, size=size)

    square = Square.around(box, 4.0)
    center = np.array([square.left + square.side / 2, square.top + square.side / 2])
    rendered = view(frame, center, scale, size)
    mapping = np.column_stack([scale * np.eye(2), size / 2 - scale * center])
    visible_xyxy = frame_in_view(frame, mapping, (size, size))
    blacken_outside(rendered, visible_xyxy)

    # the label: where the target's corners come to lie
    box_xyxy = (np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]]) - np.tile(center, 2)) * scale + size / 2
    np.testing.assert_allclose(edges(rendered), box_xyxy, atol=0.5)
    np.testing.assert_allclose(edges(cropped), box_xyxy, atol=0.5)
    middle, *extent = box_to_crop(box, box, scale=scale, size=size, shift=0.0)[[0, 2, 3]] * size
    assert abs(middle - (box_xyxy[0] + box_xyxy[2]) / 2) <= 0.5 * scale + 1e-9  # the crop lies on whole pixels
    np.testing.assert_allclose(extent, box_xyxy[2:] - box_xyxy[:2])

    # black outside: the same on the left and above; on the right and below the published crop pads a pixel of the
    # frame more than there is, see Square.inside
    black, expected = (picture.max(2) < 45 for picture in (rendered, cropped))
    first, last = np.argmin(black.all(0)), np.argmin(black.all(0)[::-1])
    upper, lower = np.argmin(black.all(1)), np.argmin(black.all(1)[::-1])
    assert abs(first - np.argmin(expected.all(0))) <= 1
    assert abs(upper - np.argmin(expected.all(1))) <= 1
    assert -1 <= np.argmin(expected.all(0)[::-1]) - last <= 1 + scale
    assert -1 <= np.argmin(expected.all(1)[::-1]) - lower <= 1 + scale


def test_a_pasted_target_lies_where_the_crop_of_tracking_would_show_it() -> None:
    alpha = np.full((60, 80), 255, np.uint8)
    piece = Piece(np.full((60, 80, 3), 255, np.uint8), alpha, outline_of(alpha))
    around, place_in_frame = (200.0, 150.0, 40.0, 30.0), np.array([231.0, 149.0])
    frame = plain_scene((480, 360), (0, 0, 0, 0))
    paste(frame, piece, place(turn(0), piece, place_in_frame, 30.0))
    cropped, scale = square_crop(frame, around, factor=4.0, size=128)

    square = Square.around(around, 4.0)
    center = (place_in_frame - [square.left, square.top]) * scale
    rendered = np.full((128, 128, 3), 90, np.uint8)
    box = paste(rendered, piece, place(turn(0), piece, center, 30.0 * scale))
    box_xyxy = np.concatenate([box[:2], box[:2] + box[2:]])
    np.testing.assert_allclose(edges(rendered), box_xyxy, atol=0.5)
    np.testing.assert_allclose(edges(cropped), box_xyxy, atol=0.5)
