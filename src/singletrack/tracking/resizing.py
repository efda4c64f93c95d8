"""Videos whose frames change size: each frame is scaled to the first one's size, and its boxes are scaled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2
from singletrack.tracking.base import Result


class FrameResizer:
    """Brings frames to one size, for a tracker; and boxes from there to the pixels of their own frame.

    Args:
        size_wh: that size; None for that of the first frame.

    Attributes:
        changed: whether the last frame has another size than the one before it.
    """

    def __init__(self, size_wh: tuple[int, int] | None = None) -> None:
        self.changed = False
        self._size_wh, self._last_wh = size_wh, size_wh
        self._scale_xy = (1.0, 1.0)  # from pixels of the last frame to those of the first

    def fit(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The next frame, (H, W) or (H, W, C), in that size; the same array where it is that already."""
        if not isinstance(frame, np.ndarray) or frame.ndim < 2 or frame.size == 0:
            return frame  # which the tracker refuses, with its reason
        size_wh = (frame.shape[1], frame.shape[0])
        self._size_wh = self._size_wh or size_wh
        self.changed = size_wh != (self._last_wh or size_wh)
        self._last_wh = size_wh
        self._scale_xy = (self._size_wh[0] / size_wh[0], self._size_wh[1] / size_wh[1])
        if size_wh == self._size_wh:
            return frame
        shrinks = min(self._scale_xy) < 1
        resized = cv2.resize(frame, self._size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def to_first(self, box: Sequence[float]) -> Box:
        """A box of the last frame, x, y, width, height, in pixels of that size."""
        x, y, width, height = box
        across, down = self._scale_xy
        return x * across, y * down, width * across, height * down

    def to_own(self, result: Result) -> Result:
        """A result in the last frame as it was fitted, with its box in pixels of that frame itself."""
        across, down = self._scale_xy
        if across == down == 1.0:
            return result
        x, y, width, height = result.box
        return replace(result, box=(x / across, y / down, width / across, height / down))
