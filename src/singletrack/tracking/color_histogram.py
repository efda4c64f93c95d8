"""Color histograms of boxes and their similarity, independent of brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import Image
from singletrack.opencv import cv2

Colors = NDArray[np.float32]  # (CELLS, CELLS): histogram over a* and b*, sum 1

CELLS, CELL = 12, 8  # bins per axis and levels per bin of a* and b* (CIE L*a*b*); gray is central
INSIDE = 0.8  # share of the box width and height that is used, to exclude background
LOOKED_AT = 32  # largest number of sampled pixels per side


def colors_of(frame: Image, box: Box) -> Colors | None:
    """Compute the color histogram of a box.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box: x, y, width, height in pixels.

    Returns:
        The histogram; None if no pixel of the box is in the frame.
    """
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
    """Compute the Bhattacharyya coefficient: 0 for no common color, 1 for equal histograms."""
    return float(np.sqrt(one * other).sum())
