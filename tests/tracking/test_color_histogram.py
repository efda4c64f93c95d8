"""Colors tell doubles apart, and light does not; shades tell gray ones apart."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.tracking.color_histogram import colors_of, likeness, look_of, similarity

BOX = (10.0, 10.0, 40.0, 20.0)


def painted(color: tuple[int, int, int], gain: float = 1.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, (60, 80, 3))
    return (gain * (np.array(color) + noise)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_the_same_thing_in_another_light_is_alike_and_another_color_is_not(gain: float) -> None:
    red = colors_of(painted((170, 60, 50)), BOX)
    assert red is not None
    assert red.sum() == pytest.approx(1, abs=1e-5)
    assert similarity(red, red) == pytest.approx(1, abs=1e-5)
    again, green = (colors_of(painted(color, gain), BOX) for color in ((170, 60, 50), (60, 170, 50)))
    assert again is not None
    assert green is not None
    assert similarity(red, again) > 0.5
    assert similarity(red, green) < 0.05


def test_gray_things_are_all_alike() -> None:
    bright, dark = (colors_of(painted((level, level, level)) // 8 * 8, BOX) for level in (200, 60))
    assert bright is not None
    assert dark is not None
    assert similarity(bright, dark) > 0.8


def test_a_box_beyond_the_frame_has_no_colors_and_one_at_its_edge_those_inside() -> None:
    frame = painted((10, 20, 200))
    assert colors_of(frame, (80, 10, 40, 20)) is None
    assert colors_of(frame, (-100, 10, 40, 20)) is None
    part = colors_of(frame, (70, 10, 40, 20))
    assert part is not None
    assert part.sum() == pytest.approx(1, abs=1e-5)
    assert colors_of(frame, (5, 5, 1, 1)) is not None


def dressed(*levels: int) -> np.ndarray:
    """Gray from top to bottom of the box, in equal parts."""
    frame = np.full((60, 80, 3), 128, np.uint8)
    frame[10:30] = np.repeat(levels, 20 // len(levels) + 1)[:20, None, None]
    return frame


def test_gray_things_of_other_shades_are_not_alike() -> None:
    light, dark, turned = (look_of(dressed(*levels), BOX) for levels in ((200, 160, 60), (200, 30, 60), (60, 160, 200)))
    assert light is not None
    assert dark is not None
    assert turned is not None
    assert likeness(light, light) == pytest.approx(1, abs=1e-5)
    assert likeness(light, dark) < 0.8
    assert likeness(light, turned) < 0.6
    a_little_darker = look_of(dressed(192, 152, 54), BOX)
    assert a_little_darker is not None
    assert likeness(light, a_little_darker) > 0.8


def test_look_of_odd_boxes() -> None:
    frame = painted((10, 20, 200))
    assert look_of(frame, (80, 10, 40, 20)) is None
    for box in ((5, 5, 1, 1), (5, 5, 30, 1), (5, 5, 1, 30), (70, 50, 40, 20), (-3.5, -3.5, 4, 4)):
        look = look_of(frame, box)
        assert look is not None
        assert likeness(look, look) == pytest.approx(1, abs=1e-5)
