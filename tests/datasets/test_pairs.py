"""Pairs: the same seed draws the same pair, and boxes are as tracking meets them."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.pairs import draw_pair
from singletrack.datasets.pictures import Procedural
from singletrack.datasets.scenes import PairSettings


@pytest.mark.parametrize("in_place", [0.0, 1.0])
def test_the_same_seed_draws_the_same_pair(in_place: float) -> None:
    settings = PairSettings(in_place=in_place)
    one, two = (draw_pair(np.random.default_rng(3), Procedural(), 64, 128, settings) for _ in range(2))
    assert np.array_equal(one.template, two.template)
    assert np.array_equal(one.search, two.search)
    assert np.array_equal(one.box, two.box)
    assert one.template.shape == (64, 64, 3)
    assert one.search.shape == (128, 128, 3)
    assert one.search.dtype == np.uint8


def test_boxes_have_the_size_and_place_that_tracking_meets() -> None:
    pairs = [draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings()) for s in range(60)]
    for pair in pairs:
        assert (pair.box[2:] >= 1).all()
        centre = pair.box[:2] + pair.box[2:] / 2
        assert ((centre > -16) & (centre < 144)).all()
    sides = [np.sqrt(p.box[2] * p.box[3]) for p in pairs if p.present]
    assert 25 < np.median(sides) < 38
    assert any(
        not p.present
        for p in [
            draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings(absent=0.9, in_place=0))
            for s in range(5)
        ]
    )
