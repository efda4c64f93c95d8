"""How like two boxes are in color, whatever their light: what tells a target from its double in other colors.

Knows nothing of networks and scores.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import Image

Colors = NDArray[np.float32]  # (CELLS, CELLS): shares of a box's pixels, of sum 1, over a* and b*

CELLS, CELL = 12, 8  # a cell of this many levels of a* and b* (CIE L*a*b*), gray in the middle of the grid
INSIDE = 0.8  # of the box's width and height: less of what is behind the target
LOOKED_AT = 32  # pixels of a side, at most


def colors_of(frame: Image, box: Box) -> Colors | None:
    """The colors inside a box of a frame, (H, W, 3) uint8 RGB; None where no pixel of it is in the frame."""
    x, y, width, height = box
    margin = (1.0 - INSIDE) / 2
    low = np.floor([x + margin * width, y + margin * height])
    high = np.ceil([x + (1 - margin) * width, y + (1 - margin) * height])
    (left, top), (right, bottom) = (end.clip(0, frame.shape[1::-1]).astype(int).tolist() for end in (low, high))
    if right <= left or bottom <= top:
        return None
    rows, columns = (max(1, side // LOOKED_AT) for side in (bottom - top, right - left))
    lab = cv2.cvtColor(np.ascontiguousarray(frame[top:bottom:rows, left:right:columns]), cv2.COLOR_RGB2LAB)
    cells = ((lab[..., 1:].astype(np.int32) - 128) // CELL + CELLS // 2).clip(0, CELLS - 1)
    counts = np.bincount((cells[..., 0] * CELLS + cells[..., 1]).ravel(), minlength=CELLS * CELLS)
    blurred = cv2.GaussianBlur(counts.reshape(CELLS, CELLS).astype(np.float32), (3, 3), 0.7)
    return np.asarray(blurred / blurred.sum(), np.float32)


def similarity(one: Colors, other: Colors) -> float:
    """0 for no color in common to 1 for the same shares of all (the Bhattacharyya coefficient)."""
    return float(np.sqrt(one * other).sum())
