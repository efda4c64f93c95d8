from __future__ import annotations

import numpy as np

from singletrack.tracking.shots import is_cut, shot_of


def test_the_colors_of_a_shot_are_counted_to_the_pixel() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (180, 320, 3), np.uint8)
    seen = frame[:, ::2] >> 6
    counts = np.zeros(64)
    for red, green, blue in seen.reshape(-1, 3).astype(int):
        counts[16 * red + 4 * green + blue] += 1
    np.testing.assert_array_equal(shot_of(frame).colors, counts / seen[..., 0].size)


def test_another_scene_is_a_cut_and_a_darker_one_is_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    assert is_cut(shot_of(noise), shot_of(noise[:, ::-1] // 4))
    assert not is_cut(shot_of(noise), shot_of(noise - noise // 20))
