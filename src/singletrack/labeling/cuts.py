"""Scene cuts, seen in the frames alone: the colors and the layout of the picture change at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.opencv import cv2

SMALL_WH = (64, 36)  # frames are compared at this size
SAMPLES = 4  # pixels that are read for each small one, across and down: to read all takes 10 ms at 1080p
HUES, SATURATIONS, VALUES = 12, 4, 6  # bins of the color histogram
# A cut changes the image by at least this much, and by this factor compared with the frames before it.
LEAST_DIFFERENCE = 0.25
LEAST_RATIO = 3.0
BEFORE = 8  # frames

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Glance:
    """What is compared of a frame.

    Attributes:
        gray: (36, 64) brightness, 0 to 1, with its mean taken out, so that a flash or a change of light is no cut.
        histogram: (288,) shares of pixels by hue, saturation and value.
    """

    gray: NDArray[np.float32]
    histogram: NDArray[np.float32]


def glance(frame: Frame) -> Glance:
    """What is compared of a frame, (H, W, 3) uint8 RGB."""
    height, width = frame.shape[:2]
    step = max(1, min(width // (SAMPLES * SMALL_WH[0]), height // (SAMPLES * SMALL_WH[1])))
    samples = np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step])
    small = cv2.resize(samples, SMALL_WH, interpolation=cv2.INTER_AREA)
    gray = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0, (5, 5), 0)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, [HUES, SATURATIONS, VALUES], [0, 180, 0, 256, 0, 256])
    return Glance(gray - gray.mean(), histogram.ravel() / histogram.sum())


def difference(before: Glance, after: Glance) -> float:
    """How much a picture changed, 0 to 1: the geometric mean of the changes of layout and of colors.

    Layout: 0 for the same picture, about 1 for pictures that have nothing to do with each other (one minus their
    correlation, at most 1). Colors: share of pixels whose color is gone.
    """
    norms = float(np.linalg.norm(before.gray) * np.linalg.norm(after.gray))
    alike = float((before.gray * after.gray).sum()) / norms if norms > 1e-6 else 1.0
    layout = min(1.0, max(0.0, 1.0 - alike))
    colors = 0.5 * float(np.abs(before.histogram - after.histogram).sum())
    return float(np.sqrt(layout * colors))


class CutDetector:
    """Says of each frame whether a scene begins with it, from this frame and those before."""

    def __init__(self) -> None:
        self._last: Glance | None = None
        self._differences: deque[float] = deque(maxlen=BEFORE)

    def update(self, frame: Frame) -> bool:
        """Take in the next frame, (H, W, 3) uint8 RGB; True where it begins a new scene."""
        seen = glance(frame)
        last, self._last = self._last, seen
        if last is None:
            return False
        now = difference(last, seen)
        usual = float(np.median(self._differences)) if self._differences else 0.0
        cut = now >= max(LEAST_DIFFERENCE, LEAST_RATIO * usual)
        if cut:
            self._differences.clear()
        else:
            self._differences.append(now)
        return cut


def find_cuts(frames: Iterable[Frame], first: int = 0) -> Iterator[int]:
    """Numbers of the frames that begin a new scene; the first frame of the video does not count.

    Args:
        frames: Consecutive frames, (H, W, 3) uint8 RGB.
        first: Number of the first of them.
    """
    detector = CutDetector()
    for number, frame in enumerate(frames, start=first):
        if detector.update(frame):
            yield number
