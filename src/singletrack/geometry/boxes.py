"""Boxes: overlap, clipping, and the check of a user's box.

The order stands in the name: xywh is top-left corner and size, xyxy two corners, cxcywh center and size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singletrack.errors import InputError, show_value

Box = tuple[float, float, float, float]
Array = NDArray[np.floating[Any]]

LARGEST_BOX = 10  # times the width or height of the frame


def iou(a_xywh: ArrayLike, b_xywh: ArrayLike) -> Array:
    """Intersection over union, 0 to 1, of boxes that broadcast: (..., 4), (..., 4) -> (...).

    Coordinates are continuous (no pixel is added to a side). Two boxes without area overlap by 0.
    """
    ax, ay, aw, ah = _columns(a_xywh)
    bx, by, bw, bh = _columns(b_xywh)
    width = np.minimum(ax + aw, bx + bw) - np.maximum(ax, bx)
    height = np.minimum(ay + ah, by + bh) - np.maximum(ay, by)
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = aw * ah + bw * bh - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def clip_box(box_xywh: Sequence[float], size_wh: tuple[int, int], *, margin: float = 10.0) -> Box:
    """The box with both corners inside the frame and at least `margin` pixels wide and high.

    As published with OSTrack: the top-left corner stays `margin` pixels away from the right and bottom edge,
    the bottom-right corner as far from the left and top edge. In a frame smaller than the margin, the box is
    the frame.
    """
    (x, width), (y, height) = (
        _clip_span(start, length, limit, min(margin, limit))
        for start, length, limit in zip(box_xywh[:2], box_xywh[2:], size_wh, strict=True)
    )
    return x, y, width, height


def _clip_span(start: float, length: float, limit: float, margin: float) -> tuple[float, float]:
    end = min(max(margin, start + length), limit)
    start = min(max(0.0, start), limit - margin)
    return float(start), float(max(margin, end - start))


def clip_corner(box_xywh: Sequence[float], size_wh: tuple[int, int], *, margin: float = 10.0) -> Box:
    """As ``clip_box``, but only the top-left corner is brought into the frame; the box may reach beyond it.

    As in MMTracking: width and height stay, between `margin` and those of the frame.
    """
    (x, width), (y, height) = (
        (min(max(0.0, start), limit - min(margin, limit)), min(max(min(margin, limit), length), limit))
        for start, length, limit in zip(box_xywh[:2], box_xywh[2:], size_wh, strict=True)
    )
    return float(x), float(y), float(width), float(height)


def check_box(box_xywh: Sequence[float], size_wh: tuple[int, int]) -> Box:
    """The box as four floats, if it is valid in a frame of this size; one pixel wide is enough.

    Raises InputError for a box that is not four finite numbers, has no area, lies outside the frame, or is more than
    ``LARGEST_BOX`` times as wide or high as the frame.
    """
    expected = "expected a box as x, y, width, height in pixels, top-left corner first"
    x, y, width, height = four_numbers(box_xywh)
    got = f"got {x:g},{y:g},{width:g},{height:g}"
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InputError(f"{expected}; {got}; every number must be finite")
    if width <= 0 or height <= 0:
        raise InputError(f"{expected}; {got}; width and height must be above zero (are these two corners?)")
    frame_width, frame_height = size_wh
    if x >= frame_width or y >= frame_height or x + width <= 0 or y + height <= 0:
        raise InputError(
            f"expected a box that overlaps the frame of {frame_width} x {frame_height} pixels; {got}, "
            "which lies outside; measure it in pixels of this very frame"
        )
    if width > LARGEST_BOX * frame_width or height > LARGEST_BOX * frame_height:
        raise InputError(
            f"expected a box of at most {LARGEST_BOX} times the frame of {frame_width} x {frame_height} pixels; {got}; "
            "measure it in pixels of this very frame"
        )
    return x, y, width, height


def four_numbers(box_xywh: Any) -> Box:
    """The four numbers of a box, which may be a sequence, array or tensor of real numbers.

    Raises InputError for anything else: text, mappings, sets and generators (which can be read once only), complex or
    masked numbers, true and false, and integers too large for a float.
    """
    expected = "expected a box as x, y, width, height in pixels, top-left corner first"
    advice = f"got {show_value(box_xywh)}; give four numbers"
    if isinstance(box_xywh, str | bytes | bytearray | Mapping | Set | Iterator):
        raise InputError(f"{expected}; {advice}, as a tuple, list or array")
    if isinstance(box_xywh, np.ndarray):
        if np.ma.is_masked(box_xywh):
            raise InputError(f"{expected}; {advice}, none of them masked")
        box_xywh = np.asarray(box_xywh).tolist()
    try:
        values = list(box_xywh)
        refused = str | bytes | bytearray | bool | np.bool_ | complex | np.complexfloating
        if len(values) != 4 or any(isinstance(value, refused) for value in values):
            raise InputError(f"{expected}; {advice}")
        x, y, width, height = map(float, values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{expected}; {advice}") from error
    return x, y, width, height


def _columns(boxes: ArrayLike) -> tuple[Array, Array, Array, Array]:
    array = np.asarray(boxes)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise InputError(f"expected boxes of shape (..., 4); got {array.shape}; put the four numbers last")
    return array[..., 0], array[..., 1], array[..., 2], array[..., 3]
