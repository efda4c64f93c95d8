"""Boxes: overlap, clipping, and the check of a user's box.

The order stands in the name: xywh is top-left corner and size, xyxy two corners, cxcywh center and size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singletrack.errors import InputError

Box = tuple[float, float, float, float]
Array = NDArray[np.floating[Any]]


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
    """The box as four floats, if it can be meant in a frame of this size; one pixel wide is enough.

    Raises InputError for a box that is not four finite numbers, has no area or lies wholly outside the frame.
    """
    expected = "expected a box as x, y, width, height in pixels, top-left corner first"
    try:
        x, y, width, height = (float(value) for value in box_xywh)
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected}; got {box_xywh!r}; give four numbers") from error
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
    return x, y, width, height


def _columns(boxes: ArrayLike) -> tuple[Array, Array, Array, Array]:
    array = np.asarray(boxes)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise InputError(f"expected boxes of shape (..., 4); got {array.shape}; put the four numbers last")
    return array[..., 0], array[..., 1], array[..., 2], array[..., 3]
