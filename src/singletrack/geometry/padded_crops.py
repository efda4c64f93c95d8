"""The square crop of SiamRPN++ and DaSiamRPN: the whole frame is seen, and beyond it a color, the first frame's mean.

``geometry.crops`` cuts as OSTrack and STARK do, which is another way: round a box, with black beyond the frame. Knows
nothing of networks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.crops import LARGEST_DENSE_SIDE, Image, Square

Color = tuple[int, int, int]


def mean_color(frame: Image) -> Color:
    """The mean of each channel of a frame (H, W, 3), cut to a whole number, as published."""
    first, second, third = (int(value) for value in frame.mean((0, 1)))
    return first, second, third


def padded_crop(frame: Image, square: Square, size: int, color: Color) -> Image:
    """Cut a square out of a frame (H, W, 3) and resize it: (size, size, 3) uint8, with ``color`` beyond the frame.

    A square of more than `LARGEST_DENSE_SIDE` pixels a side is sampled where the crop's pixels lie, instead of being
    built: time and memory stay bounded, and a place is rounded to 1/32 of a pixel.
    """
    if square.side > max(LARGEST_DENSE_SIDE, 4 * size):
        step = square.side / size
        place = np.array([[step, 0, square.left + step / 2 - 0.5], [0, step, square.top + step / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        sampled = cv2.warpAffine(frame, place, (size, size), flags=flags, borderValue=color)
        return np.asarray(sampled, np.uint8)
    return np.asarray(cv2.resize(_cut(frame, square, color), (size, size)), np.uint8)


def bgr_pixels(crop: Image) -> Image:
    """A crop as these networks' engine takes it: (H, W, 3) RGB -> (1, H, W, 3) BGR."""
    return np.ascontiguousarray(crop[None, ..., ::-1])


def _cut(frame: Image, square: Square, color: Color) -> NDArray[np.uint8]:
    """The square at its own size."""
    left, top, side = square.left, square.top, square.side
    height, width = frame.shape[:2]
    rows, columns = slice(max(0, top), min(top + side, height)), slice(max(0, left), min(left + side, width))
    if rows.stop - rows.start == side and columns.stop - columns.start == side:
        return frame[rows, columns]
    padded = np.empty((side, side, 3), np.uint8)
    padded[:] = color
    if rows.stop > rows.start and columns.stop > columns.start:
        padded[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = frame[rows, columns]
    return padded
