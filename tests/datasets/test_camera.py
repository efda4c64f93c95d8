"""The camera: where its frame ends, what noise it adds, and that it crops as tracking does."""

from __future__ import annotations

import numpy as np

from singletrack.datasets.camera import EVERYWHERE, blacken_outside, degrade, near_edge


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


def test_noise_is_faint_and_drawn_from_the_generator() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    noisy = 0
    for seed in range(40):
        one, two = (degrade(np.random.default_rng(seed), gray).astype(int) for _ in range(2))
        assert np.array_equal(one, two)
        assert np.abs(one - 128).max() < 80
        noisy += one.std() > 0.3
    assert 4 < noisy < 25
