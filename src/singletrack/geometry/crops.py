"""Square crops around a box, and the mapping of boxes between frame and crop.

Matches the published code of OSTrack to the pixel, including its quirks. Tracking uses these functions. Training
renders its pairs straight into crops, and a test checks that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2

Image = NDArray[np.uint8]
Crop = NDArray[np.uint8] | NDArray[np.float32]
Pixel = TypeVar("Pixel", np.uint8, np.float32)
Columns = NDArray[np.intp]
Weights = NDArray[np.int32]

# Mean and standard deviation of ImageNet RGB in 0 to 1, used for normalization in the published code of OSTrack.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Color of a box that is drawn into a template; rare in real scenes.
MARK = (255, 0, 255)
# Larger squares are never built; only the pixels that bilinear sampling reads are gathered from the frame.
LARGEST_DENSE_SIDE = 4096
# Crops leave out the last row and column of the frame (see ``Square.inside``): of one pixel there would be nothing.
SMALLEST_FRAME = 2


@dataclass(frozen=True)
class Square:
    """A square around a box at integer pixels. It may extend beyond the frame.

    Attributes:
        left: x of the left edge in frame pixels.
        top: y of the top edge in frame pixels.
        side: side length in frame pixels.
    """

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, box_xywh: Sequence[float], factor: float) -> Square:
        """Build the square whose area is ``factor`` squared times the area of the box.

        As in the published code, the side is rounded up, and the corner is rounded to the nearest integer, ties to
        even.

        Args:
            box_xywh: x, y, width, height in frame pixels.
            factor: side of the square relative to the square root of the box area.

        Raises:
            InputError: the box or the factor gives no finite positive side.
        """
        x, y, width, height = (float(value) for value in box_xywh)
        extent = math.sqrt(width * height) * factor if width > 0 and height > 0 else 0.0
        if not 0 < extent < math.inf:
            raise InputError(
                f"box must have a finite positive area, and the factor must be positive; "
                f"got ({x:g}, {y:g}, {width:g}, {height:g}) and {factor:g}; check the box before cropping"
            )
        side = math.ceil(extent)
        return cls(round(x + 0.5 * width - side * 0.5), round(y + 0.5 * height - side * 0.5), side)

    def inside(self, size_wh: tuple[int, int]) -> tuple[slice, slice]:
        """Compute the rows and columns of the frame that the crop shows; the rest is padding.

        If the square reaches the last column or row of the frame, that column or row becomes padding: the published
        code pads one pixel too many on the right and at the bottom, and networks are trained with it.
        """
        width, height = size_wh
        return _span(self.top, self.side, height), _span(self.left, self.side, width)


def _span(start: int, length: int, limit: int) -> slice:
    first = max(0, start)
    return slice(first, max(first, min(start + length, limit - 1)))


def check_frame(frame: Any) -> Image:
    """Validate a frame and convert it to RGB.

    Args:
        frame: (H, W, 3) uint8 RGB; (H, W) or (H, W, 1) gray is repeated three times; (H, W, 4) RGBA loses its alpha.
            A subclass of numpy's array, such as a matrix, is taken as the plain array that it holds.

    Returns:
        The frame as (H, W, 3) uint8 RGB.

    Raises:
        InputError: another shape or type (floats would be ambiguous: 0 to 1 or 0 to 255), masked pixels, or fewer
            than ``SMALLEST_FRAME`` pixels on a side.
    """
    expected = "frame must be an (H, W, 3) uint8 RGB array"
    if not isinstance(frame, np.ndarray):
        raise InputError(f"{expected}; got {type(frame).__name__}; convert it with numpy.asarray")
    if type(frame) is not np.ndarray:  # a matrix stays two-dimensional in every step, which OpenCV does not survive
        if np.ma.is_masked(frame):
            raise InputError(f"{expected}; got one with masked pixels; fill them, with .filled(0)")
        frame = np.asarray(frame)
    if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and min(frame.shape[:2]) >= SMALLEST_FRAME:
        usual: Image = frame  # almost every one: the messages below cost a tenth of a millisecond each time
        return usual
    got = f"got {frame.shape} {frame.dtype}"
    if frame.dtype != np.uint8:
        raise InputError(f"{expected}; {got}; scale it to 0 ... 255 and convert it with .astype(numpy.uint8)")
    if frame.size == 0:
        raise InputError(f"{expected}; {got}, which is empty; check that the frame was read")
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4):
        raise InputError(f"{expected}; {got}; put the channels last: 3 for RGB, 1 for gray, 4 for RGBA")
    if min(frame.shape[:2]) < SMALLEST_FRAME:
        raise InputError(
            f"frame must have at least {SMALLEST_FRAME} pixels a side; {got}; give the full frame of the video"
        )
    return np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame[..., :3]


def square_crop(frame: Image, box_xywh: Sequence[float], *, factor: float, size: int) -> tuple[Image, float]:
    """Crop the square around a box and resize it. Time and memory are bounded for any box size.

    Args:
        frame: (H, W, C) uint8, any number of channels.
        box_xywh: x, y, width, height in frame pixels.
        factor: side of the square relative to the square root of the box area.
        size: side of the crop in pixels.

    Returns:
        The crop, (size, size, C) uint8, padded with black, and its scale in crop pixels per frame pixel.

    Raises:
        InputError: the box has no area.
    """
    square = Square.around(box_xywh, factor)
    if square.side > max(LARGEST_DENSE_SIDE, 4 * size):
        crop = _crop_sparse(frame, square, size)
    else:
        crop = _resize(_cut(frame, square), size)
    return crop, size / square.side


def mark_box(template: Crop, box_xywh: Sequence[float] | NDArray[Any]) -> None:
    """Draw the outline of the target box into a template crop, in place.

    The crop itself shows the position and area of the box but not its aspect ratio, and cannot distinguish a tight box
    from a loose one or from a box around a part. The lines are 1/56 of the crop side wide, just outside the box.
    Inspired by the type embeddings of LoRAT (arXiv 2403.05231), which mark the template tokens on the target.

    Args:
        template: (T, T, 3) RGB crop, changed in place.
        box_xywh: x, y, width, height in crop pixels.
    """
    line = max(1, round(template.shape[0] / 56))
    x, y, width, height = box_xywh
    # OpenCV measures from pixel centers, here in 1/16 pixels
    low = [round((start - line / 2 - 0.5) * 16) for start in (x, y)]
    high = [round((end + line / 2 - 0.5) * 16) for end in (x + width, y + height)]
    cv2.rectangle(template, low, high, MARK, line, cv2.LINE_AA, shift=4)


def fill_boxes(boxes_xywh: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Mark the pixels of target boxes, as the published code of OSTrack does for the ranking by a target's box.

    These are the pixels from the one that the box begins in up to, not including, the one that its end minus 1 lies
    in; at least one in each direction. What is outside of the crop is left out.

    Args:
        boxes_xywh: (N, 4) x, y, width, height in pixels of crops.
        size: side of the crops.

    Returns:
        (N, size, size), 1 inside a box and 0 elsewhere.
    """
    low = np.clip(boxes_xywh[:, :2], 0, size - 1).astype(np.int64)
    high = np.clip((boxes_xywh[:, :2] + boxes_xywh[:, 2:] - 1).astype(np.int64), low + 1, size)
    pixels = np.arange(size)
    columns, rows = ((pixels >= low[:, [axis]]) & (pixels < high[:, [axis]]) for axis in (0, 1))
    return np.asarray(rows[:, :, None] & columns[:, None, :], np.uint8)


def square_crop_unrounded(
    frame: Image, box_xywh: Sequence[float], *, factor: float, size: int
) -> tuple[NDArray[np.float32], float]:
    """Crop like ``square_crop``, but as float32 without rounding after the resize, as MMTracking does.

    Squares with a side of more than ``LARGEST_DENSE_SIDE`` pixels are rounded anyway.
    """
    square = Square.around(box_xywh, factor)
    if square.side > max(LARGEST_DENSE_SIDE, 4 * size):
        return _crop_sparse(frame, square, size).astype(np.float32), size / square.side
    return _resize(_cut(frame, square).astype(np.float32), size), size / square.side


def square_padding(
    size_wh: tuple[int, int], box_xywh: Sequence[float], *, factor: float, size: int
) -> NDArray[np.bool_]:
    """Compute the padding mask of ``square_crop``.

    Args:
        size_wh: width and height of the frame in pixels.
        box_xywh: x, y, width, height in frame pixels.
        factor: side of the square relative to the square root of the box area.
        size: side of the crop in pixels.

    Returns:
        (size, size) bool, True where a pixel lies at least partly outside the frame. If the square reaches the last
        column and row of the frame, these count as outside.
    """
    square = Square.around(box_xywh, factor)
    rows, columns = square.inside(size_wh)
    beyond_rows = _beyond(square.top, square.side, rows, size)
    return beyond_rows[:, None] | _beyond(square.left, square.side, columns, size)


def _beyond(start: int, side: int, visible: slice, size: int) -> NDArray[np.bool_]:
    """Find the outputs along one axis that mix in padding; cv2 repeats the outermost input."""
    near, fraction = _positions(side, size)
    inside = (near >= 0) & (near < side - 1)
    near, fraction = near.clip(0, side - 1), np.where(inside, fraction, 0)
    first, second = ((index < visible.start) | (index >= visible.stop) for index in (start + near, start + near + 1))
    return np.asarray(first | (second & (fraction > 0)))


def _cut(frame: Image, square: Square) -> Image:
    """Cut out the square without resizing, padded with black."""
    rows, columns = square.inside((frame.shape[1], frame.shape[0]))
    if rows.stop - rows.start == square.side and columns.stop - columns.start == square.side:
        return frame[rows, columns]
    padded = np.zeros((square.side, square.side, *frame.shape[2:]), np.uint8)
    if rows.stop > rows.start and columns.stop > columns.start:
        padded[
            rows.start - square.top : rows.stop - square.top,
            columns.start - square.left : columns.stop - square.left,
        ] = frame[rows, columns]
    return padded


def _resize(image: NDArray[Pixel], size: int) -> NDArray[Pixel]:
    resized = np.asarray(cv2.resize(image, (size, size)), image.dtype)
    return resized.reshape(size, size, *image.shape[2:])  # cv2 drops a last dimension of length one


def _crop_sparse(frame: Image, square: Square, size: int) -> Image:
    """Compute the pixels of ``_cut`` and ``_resize`` without the padded image, for squares much larger than the crop.

    cv2.resize on uint8 blends two columns, then two rows, with weights in 1/2048, and drops four bits in between
    (fixed-point arithmetic of OpenCV's imgproc). A test checks that both ways agree to the pixel.
    """
    visible_rows, visible_columns = square.inside((frame.shape[1], frame.shape[0]))
    rows, row_weights = _taps(square.top, square.side, visible_rows, size)
    columns, column_weights = _taps(square.left, square.side, visible_columns, size)
    total = np.full((size, size, frame.shape[2]), 2, np.int32)  # half of the last shift: rounds to nearest
    for row, row_weight in zip(rows, row_weights, strict=True):
        line = frame.take(row, axis=0)
        mixed = np.zeros_like(total)
        for column, column_weight in zip(columns, column_weights, strict=True):
            mixed += line.take(column, axis=1) * column_weight[:, None]
        total += ((mixed >> 4) * row_weight[:, None, None]) >> 16
    return (total >> 2).astype(np.uint8)


def _taps(start: int, side: int, visible: slice, size: int) -> tuple[tuple[Columns, Columns], tuple[Weights, Weights]]:
    """Compute the two frame indices that each output blends, and their weights in 1/2048 (0: padding)."""
    near, fraction = _positions(side, size)
    indices, weights = [], []
    for index, share in ((near, np.float32(1) - fraction), (near + 1, fraction)):
        in_frame = start + index
        seen = (in_frame >= visible.start) & (in_frame < visible.stop)
        indices.append(np.where(seen, in_frame, 0))
        weights.append(np.where(seen, np.rint(share * np.float32(2048)), 0).astype(np.int32))
    return (indices[0], indices[1]), (weights[0], weights[1])


def _positions(side: int, size: int) -> tuple[Columns, NDArray[np.float32]]:
    """Map ``size`` outputs to ``side`` inputs as cv2.resize does: index of the input before, and fraction beyond it."""
    position = ((np.arange(size) + 0.5) * (1.0 / (size / side)) - 0.5).astype(np.float32)
    near = np.floor(position).astype(np.intp)
    return near, position - near.astype(np.float32)


def normalize(crop: Crop, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Normalize a crop: (value / 255 - mean) / std for each channel.

    Args:
        crop: (H, W, 3) RGB in 0 to 255, uint8 or float32.
        mean: mean of each channel, in 0 to 1.
        std: standard deviation of each channel, in 0 to 1.

    Returns:
        (1, 3, H, W) float32.
    """
    if crop.dtype != np.uint8:
        scaled = (crop / np.float32(255) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])
    values = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    table = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.stack([table[crop[..., channel], channel] for channel in range(3)])[None]


def box_to_crop(
    box_xywh: Sequence[float], around_xywh: Sequence[float], *, scale: float, size: int, shift: float = 0.5
) -> NDArray[np.float64]:
    """Map a box from the frame to a crop, as a training label.

    Args:
        box_xywh: x, y, width, height in frame pixels.
        around_xywh: the box around which the crop was taken.
        scale: crop pixels per frame pixel, from ``square_crop``.
        size: side of the crop in pixels.
        shift: crop pixels by which labels lie up-left of where ``box_from_crop`` reads them. 0.5 as published (the
            center of the crop is at (size - 1) / 2 in training and at size / 2 in tracking); 0 makes the two functions
            exact inverses.

    Returns:
        (4,) cx, cy, width, height as fractions of the crop, not clipped.
    """
    x, y, width, height = box_xywh
    around_x, around_y, around_width, around_height = around_xywh
    center_x = 0.5 * size - shift + (x + 0.5 * width - around_x - 0.5 * around_width) * scale
    center_y = 0.5 * size - shift + (y + 0.5 * height - around_y - 0.5 * around_height) * scale
    return np.array([center_x, center_y, width * scale, height * scale]) / size


def box_from_crop(
    box_cxcywh: Sequence[float] | NDArray[Any], around_xywh: Sequence[float], *, scale: float, size: int
) -> Box:
    """Map a box from a crop to the frame.

    As published, the box is measured from the exact center of ``around_xywh``, although the crop lies on integer
    pixels: the two differ by up to half a pixel.

    Args:
        box_cxcywh: cx, cy, width, height as fractions of the crop.
        around_xywh: the box around which the crop was taken, in frame pixels.
        scale: crop pixels per frame pixel, from ``square_crop``.
        size: side of the crop in pixels.

    Returns:
        x, y, width, height in frame pixels, not clipped.
    """
    cx, cy, width, height = (float(value) * size / scale for value in box_cxcywh)
    x, y, around_width, around_height = around_xywh
    half = 0.5 * size / scale
    center_x = cx + x + 0.5 * around_width - half
    center_y = cy + y + 0.5 * around_height - half
    return center_x - 0.5 * width, center_y - 0.5 * height, width, height
