from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singletrack.labeling.cuts import CutDetector, difference, find_cuts, glance
from singletrack.opencv import cv2

Frame = NDArray[np.uint8]


def scene(seed: int, hue: int) -> Frame:
    """A picture of 640 x 360 that is larger than what a frame shows of it."""
    draw = np.random.default_rng(seed)
    hsv = draw.integers(0, 255, (12, 20, 3), np.uint8)
    hsv[..., 0] = (hue + draw.integers(0, 20, (12, 20))) % 180
    picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(cv2.resize(picture, (640, 360), interpolation=cv2.INTER_CUBIC), np.uint8)


def pan(picture: Frame, count: int, step: int = 4) -> list[Frame]:
    return [picture[50:230, 10 + step * number : 330 + step * number] for number in range(count)]


def test_a_cut_between_two_scenes_is_found() -> None:
    frames = pan(scene(0, 20), 15) + pan(scene(1, 100), 10) + pan(scene(2, 50), 12)
    assert list(find_cuts(frames)) == [15, 25]
    assert list(find_cuts(frames, first=100)) == [115, 125]
    backward = [37 - number for number in find_cuts(frames[::-1])]
    assert backward == [25, 15]


def test_motion_flashes_fades_and_things_that_pass_are_no_cuts() -> None:
    picture = scene(0, 20)
    assert list(find_cuts(pan(picture, 20, step=14))) == []
    flash = pan(picture, 20)
    flash[8] = np.clip(flash[8].astype(int) + 120, 0, 255).astype(np.uint8)
    assert list(find_cuts(flash)) == []
    fade = [(frame * (1 - number / 24)).astype(np.uint8) for number, frame in enumerate(pan(picture, 20))]
    assert list(find_cuts(fade)) == []
    passing = [frame.copy() for frame in pan(picture, 20)]
    for number, frame in enumerate(passing):
        frame[40:160, 15 * number : 15 * number + 80] = (200, 30, 30)
    assert list(find_cuts(passing)) == []


def test_plain_frames_and_repeated_ones() -> None:
    black = np.zeros((36, 64, 3), np.uint8)
    assert list(find_cuts([black] * 5)) == []
    assert difference(glance(black), glance(black)) == 0.0
    picture = scene(0, 20)
    assert difference(glance(picture), glance(picture)) < 1e-3


def test_the_first_frame_is_no_cut() -> None:
    assert not CutDetector().update(scene(0, 20))
