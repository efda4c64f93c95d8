"""What boxes look like: histograms of colors, independent of brightness, and of shades from top to bottom."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import Image
from singletrack.opencv import cv2

Colors = NDArray[np.float32]  # (CELLS, CELLS): histogram over a* and b*, sum 1

CELLS, CELL = 12, 8  # bins per axis and levels per bin of a* and b* (CIE L*a*b*); gray is central
Look = NDArray[np.float32]  # (CELLS * CELLS + PARTS * SHADES,): colors, then the shades of each part, each of sum 1
PARTS, SHADES = 3, 16  # parts of a box from top to bottom, and bins of L*
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
    lab = _sample(frame, box)
    return None if lab is None else _colors(lab)


def similarity(one: Colors, other: Colors) -> float:
    """Compute the Bhattacharyya coefficient: 0 for no common color, 1 for equal histograms."""
    return float(np.sqrt(one * other).sum())


def look_of(frame: Image, box: Box) -> Look | None:
    """Compute the look of a box: its colors, and the shades of gray of its top, middle and bottom.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box: x, y, width, height in pixels.

    Returns:
        The look; None if no pixel of the box is in the frame.
    """
    lab = _sample(frame, box)
    if lab is None:
        return None
    rows = np.linspace(0, len(lab), PARTS + 1).round().astype(int)
    parts = [lab[min(top, len(lab) - 1) : max(bottom, top + 1), :, 0] for top, bottom in pairwise(rows.tolist())]
    counts = np.array([np.bincount(part.ravel() // (256 // SHADES), minlength=SHADES) for part in parts], np.float32)
    shades = cv2.GaussianBlur(counts, (5, 1), 1.0)
    shades = shades / shades.sum(1, keepdims=True)
    return np.concatenate([_colors(lab).ravel(), shades.ravel()])


def likeness(one: Look, other: Look) -> float:
    """Compute how alike two looks are, 0 to 1: the similarity of the colors times the mean one of the shades."""
    common = np.sqrt(one * other)
    return float(common[: CELLS * CELLS].sum() * common[CELLS * CELLS :].sum() / PARTS)


def color_likeness(one: Look, other: Look) -> float:
    """Compute how alike the colors of two looks are, 0 to 1, also where one shows only a part of the other."""
    return float(np.sqrt(one[: CELLS * CELLS] * other[: CELLS * CELLS]).sum())


def _sample(frame: Image, box: Box) -> NDArray[np.uint8] | None:
    """Return pixels (h, w, 3) of the inside of a box as CIE L*a*b*; None if none is in the frame."""
    x, y, width, height = box
    margin = (1.0 - INSIDE) / 2
    low = np.floor([x + margin * width, y + margin * height])
    high = np.ceil([x + (1 - margin) * width, y + (1 - margin) * height])
    (left, top), (right, bottom) = (end.clip(0, frame.shape[1::-1]).astype(int).tolist() for end in (low, high))
    if right <= left or bottom <= top:
        return None
    rows, columns = (max(1, side // LOOKED_AT) for side in (bottom - top, right - left))
    return np.asarray(
        cv2.cvtColor(np.ascontiguousarray(frame[top:bottom:rows, left:right:columns]), cv2.COLOR_RGB2LAB), np.uint8
    )


def _colors(lab: NDArray[np.uint8]) -> Colors:
    cells = ((lab[..., 1:].astype(np.int32) - 128) // CELL + CELLS // 2).clip(0, CELLS - 1)
    counts = np.bincount((cells[..., 0] * CELLS + cells[..., 1]).ravel(), minlength=CELLS * CELLS)
    blurred = cv2.GaussianBlur(counts.reshape(CELLS, CELLS).astype(np.float32), (3, 3), 0.7)
    return np.asarray(blurred / blurred.sum(), np.float32)
