"""Figures: one piece whatever hangs on them, with a box that fits what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.photos import Procedural
from singletrack.datasets.synthetic.articulated import Figure, Limb, cut_figure, pose
from singletrack.datasets.synthetic.cutouts import Piece, outline_of, paste, place, turn


def plain(width: int, height: int, value: int) -> Piece:
    alpha = np.full((height, width), 255, np.uint8)
    return Piece(np.full((height, width, 3), value, np.uint8), alpha, outline_of(alpha))


def test_a_body_without_limbs_is_its_own_pose() -> None:
    body = plain(20, 10, 200)
    assert pose(Figure(body, ()), np.empty(0)) is body


@pytest.mark.parametrize("behind", [False, True])
def test_a_limb_hangs_where_its_joint_is_and_points_where_it_should(behind: bool) -> None:
    # a body of 40 x 20; on the middle of its right edge a limb, 6 wide and 30 long, that points right
    limb = Limb(plain(6, 30, 50), np.array([40.0, 10.0]), 0.0, behind)
    piece = pose(Figure(plain(40, 20, 200), (limb,)), np.zeros(1))
    low, high = piece.outline.min(0), piece.outline.max(0)
    # a tenth of the limb lies inside the body
    assert (high - low) == pytest.approx([40 + 27, 20], abs=1)
    inside = (low + np.array([38.5, 10])).astype(int)  # where both lie
    assert piece.pixels[inside[1], inside[0], 0] == pytest.approx(200 if behind else 50, abs=2)
    beyond = (low + np.array([60, 10])).astype(int)
    assert piece.pixels[beyond[1], beyond[0], 0] == pytest.approx(50, abs=2)


def test_limbs_swing_and_the_body_stays() -> None:
    limb = Limb(plain(6, 30, 50), np.array([40.0, 10.0]), 0.0, False)
    figure = Figure(plain(40, 20, 200), (limb,))
    still, swung = (pose(figure, np.array([turn])) for turn in (0.0, 0.6))
    assert swung.alpha.shape != still.alpha.shape
    assert (swung.pixels > 190).all(2).sum() == pytest.approx((still.pixels > 190).all(2).sum(), rel=0.06)


@pytest.mark.parametrize("seed", range(20))
def test_the_box_fits_the_pixels_of_a_posed_figure(seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures = Procedural(128)
    figure = cut_figure(random, pictures.draw(random), pictures)
    posed = pose(figure, random.normal(0, 0.5, len(figure.limbs)))
    white = Piece(np.full_like(posed.pixels, 255), posed.alpha, posed.outline)
    canvas = np.zeros((200, 200, 3), np.uint8)
    box = paste(canvas, white, place(turn(random.normal(0, 0.5)), white, np.array([100.0, 90.0]), 60.0))
    ys, xs = np.nonzero(canvas[..., 0] > 127)
    drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert np.abs(drawn - np.concatenate([box[:2], box[:2] + box[2:]])).max() < 3
