"""Pieces: their boxes fit their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.photos import Procedural
from singletrack.datasets.synthetic.cutouts import (
    Dress,
    Piece,
    cut_piece,
    deform,
    outline_of,
    paste,
    place,
    random_mask,
    roll,
    tip,
    turn,
)


def square_piece(width: int, height: int) -> Piece:
    alpha = np.full((height, width), 255, np.uint8)
    return Piece(np.full((height, width, 3), 200, np.uint8), alpha, outline_of(alpha))


def test_outline_of_a_full_mask_is_its_border() -> None:
    points = outline_of(np.full((10, 20), 255, np.uint8))
    assert points.min(0).tolist() == [0, 0]
    assert points.max(0).tolist() == [20, 10]


def test_a_pasted_piece_fills_exactly_its_box() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    piece = square_piece(20, 10)
    box = paste(canvas, piece, place(turn(0), piece, np.array([50.0, 40.0]), np.sqrt(40 * 20)))
    assert box == pytest.approx([30, 30, 40, 20])
    assert (canvas[31:49, 31:69] == 200).all()
    # the outermost pixels fade: the edge lies between two of them
    drawn = canvas[..., 0] > 100
    assert drawn[30:50, 30:70].all()
    assert drawn.sum() == 20 * 40


@pytest.mark.parametrize("seed", range(20))
def test_the_box_fits_the_pixels_of_a_turned_and_bent_piece(seed: int) -> None:
    random = np.random.default_rng(seed)
    piece = deform(random, cut_piece(random, Procedural(128).draw(random)), 0.06)
    white = Piece(np.full_like(piece.pixels, 255), piece.alpha, piece.outline)
    canvas = np.zeros((200, 200, 3), np.uint8)
    form = turn(random.normal(0, 0.5), 1.2, 0.1)
    box = paste(canvas, white, place(form, white, np.array([100.0, 90.0]), 60.0))
    assert box[:2] + box[2:] / 2 == pytest.approx([100, 90])
    ys, xs = np.nonzero(canvas[..., 0] > 127)
    drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    expected = np.concatenate([box[:2], box[:2] + box[2:]])
    assert np.abs(drawn - expected).max() < 2.5


def test_masks_span_their_size() -> None:
    for seed in range(30):
        mask = random_mask(np.random.default_rng(seed), 60, 40)
        ys, xs = np.nonzero(mask > 127)
        assert np.ptp(xs) >= 54
        assert np.ptp(ys) >= 34


def ramp() -> Piece:
    """From black at the left to white at the right, before nothing."""
    alpha = np.zeros((40, 101), np.uint8)
    alpha[5:35, 10:91] = 255
    pixels = np.zeros((40, 101, 3), np.uint8)
    pixels[:, 10:91] = np.linspace(0, 255, 81)[:, None]
    return Piece(pixels, alpha, outline_of(alpha))


def test_what_rolls_shows_another_side_in_the_same_outline() -> None:
    piece = ramp()
    rolled = roll(piece, np.pi / 6)
    assert np.array_equal(rolled.alpha, piece.alpha)
    # the front's middle now shows what was half a radius to the left of it, sin(-30 degrees)
    assert rolled.pixels[20, 50, 0] == pytest.approx(255 / 4, abs=4)
    # at the left edge what was behind comes into view, guessed from what was beside it
    seen = 50.5 + 40.5 * np.sin(np.arcsin(-40 / 40.5) - np.pi / 6) - 0.5
    assert rolled.pixels[20, 10, 0] == pytest.approx(255 * (seen - 10) / 80, abs=2)
    np.testing.assert_allclose(roll(piece, 0.0).pixels[20, 11:90].astype(int), piece.pixels[20, 11:90], atol=2)


def test_what_is_tipped_rolls_about_the_other_axis() -> None:
    piece = ramp()
    lying = Piece(
        np.ascontiguousarray(piece.pixels.transpose(1, 0, 2)),
        np.ascontiguousarray(piece.alpha.T),
        piece.outline[:, ::-1],
    )
    tipped = tip(lying, 0.4)
    assert np.array_equal(tipped.pixels.transpose(1, 0, 2), roll(piece, 0.4).pixels)
    assert np.array_equal(tipped.alpha, lying.alpha)


def test_a_piece_without_anything_in_it_rolls_to_itself() -> None:
    nothing = Piece(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((1, 2)))
    assert roll(nothing, 1.0) is nothing


def test_a_dress_leads_to_the_colors_of_others() -> None:
    random = np.random.default_rng(0)
    own = random.integers(100, 140, (32, 32, 3)).astype(np.uint8)
    others = random.integers(20, 40, (32, 32, 3)).astype(np.uint8)
    alpha = np.full((32, 32), 255, np.uint8)
    piece = Piece(own, alpha, outline_of(alpha))
    for share in (0.0, 0.5, 1.0):
        dressed = Dress.like(own, others, share).on(piece).pixels
        assert dressed.mean() == pytest.approx((1 - share) * own.mean() + share * others.mean(), abs=1.5)
        assert dressed.std() == pytest.approx((1 - share) * own.std() + share * others.std(), abs=1.5)
