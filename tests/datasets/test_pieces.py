"""Pieces: their boxes fit their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.pictures import Procedural
from singletrack.datasets.pieces import Piece, cut_piece, deform, outline_of, paste, place, random_mask, turn


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
