"""Square crops of SiamRPN++ and DaSiamRPN, padded with the mean color of the first frame.

``geometry.crops`` has the crops of OSTrack and STARK, which are padded with black and rounded differently.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.crops import LARGEST_DENSE_SIDE, Image, Square
from singletrack.opencv import cv2

Color = tuple[int, int, int]


def mean_color(frame: Image) -> Color:
    """Compute the mean of each channel of an (H, W, 3) frame, truncated to integers as published."""
    first, second, third = (int(value) for value in frame.mean((0, 1)))
    return first, second, third


def padded_crop(frame: Image, square: Square, size: int, color: Color) -> Image:
    """Crop a square and resize it, padded with a color.

    Squares with a side of more than ``LARGEST_DENSE_SIDE`` pixels are sampled at the crop's pixels instead of being
    built. This bounds time and memory; positions are then rounded to 1/32 pixel.

    Args:
        frame: (H, W, 3) uint8.
        square: the region in frame pixels.
        size: side of the crop in pixels.
        color: padding color, one value per channel.

    Returns:
        (size, size, 3) uint8.
    """
    if square.side > max(LARGEST_DENSE_SIDE, 4 * size):
        step = square.side / size
        place = np.array([[step, 0, square.left + step / 2 - 0.5], [0, step, square.top + step / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        sampled = cv2.warpAffine(frame, place, (size, size), flags=flags, borderValue=color)
        return np.asarray(sampled, np.uint8)
    return np.asarray(cv2.resize(_cut(frame, square, color), (size, size)), np.uint8)


def bgr_pixels(crop: Image) -> Image:
    """Convert a crop to network input: (H, W, 3) RGB -> (1, H, W, 3) BGR."""
    return np.ascontiguousarray(crop[None, ..., ::-1])


def _cut(frame: Image, square: Square, color: Color) -> NDArray[np.uint8]:
    """Cut out the square without resizing."""
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
