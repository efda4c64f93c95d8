"""Box overlap, clipping and validation.

Names state the order: xywh is top-left corner and size, xyxy two corners, cxcywh center and size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singletrack.errors import InputError, show_value

Box = tuple[float, float, float, float]
BoxLike = Sequence[float] | NDArray[np.floating[Any]] | NDArray[np.integer[Any]]  # four numbers, as users have them
Array = NDArray[np.floating[Any]]

LARGEST_BOX = 10  # times the width or height of the frame


def iou(a_xywh: ArrayLike, b_xywh: ArrayLike) -> Array:
    """Compute the intersection over union of boxes.

    Coordinates are continuous: no pixel is added to a side. Two boxes without area have an IoU of 0.

    Args:
        a_xywh: boxes of shape (..., 4).
        b_xywh: boxes of shape (..., 4) that broadcast with ``a_xywh``.

    Returns:
        IoU of shape (...), 0 to 1.
    """
    ax, ay, aw, ah = _columns(a_xywh)
    bx, by, bw, bh = _columns(b_xywh)
    width = np.minimum(ax + aw, bx + bw) - np.maximum(ax, bx)
    height = np.minimum(ay + ah, by + bh) - np.maximum(ay, by)
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = aw * ah + bw * bh - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def clip_box(box_xywh: Sequence[float], size_wh: tuple[int, int], *, margin: float = 10.0) -> Box:
    """Clip a box so that both corners lie inside the frame.

    As in the published code of OSTrack: the top-left corner stays ``margin`` pixels away from the right and bottom
    edges, the bottom-right corner from the left and top edges.

    Args:
        box_xywh: x, y, width, height in pixels.
        size_wh: width and height of the frame in pixels.
        margin: minimum width and height of the result in pixels.

    Returns:
        The clipped box. In a frame smaller than the margin, this is the frame.
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
    """Clip only the top-left corner of a box to the frame, as MMTracking does; the box may extend beyond the frame.

    Width and height are kept, but limited to between ``margin`` and the size of the frame. See ``clip_box`` for the
    arguments.
    """
    (x, width), (y, height) = (
        (min(max(0.0, start), limit - min(margin, limit)), min(max(min(margin, limit), length), limit))
        for start, length, limit in zip(box_xywh[:2], box_xywh[2:], size_wh, strict=True)
    )
    return float(x), float(y), float(width), float(height)


def check_box(box_xywh: BoxLike, size_wh: tuple[int, int]) -> Box:
    """Validate a user's box.

    Args:
        box_xywh: x, y, width, height in pixels. It may extend beyond the frame.
        size_wh: width and height of the frame in pixels.

    Returns:
        The box as four floats.

    Raises:
        InputError: the box is not four finite numbers, has no area, lies completely outside the frame, or is more
            than ``LARGEST_BOX`` times as wide or high as the frame.
    """
    order = "boxes are x, y, width, height in pixels"
    x, y, width, height = four_numbers(box_xywh)
    got = f"got ({x:g}, {y:g}, {width:g}, {height:g})"
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InputError(f"box must have finite numbers; {got}; {order}")
    if width <= 0 or height <= 0:
        raise InputError(f"width and height of a box must be positive; {got}; {order}, not two corners")
    frame_width, frame_height = size_wh
    if x >= frame_width or y >= frame_height or x + width <= 0 or y + height <= 0:
        raise InputError(f"box must overlap the {frame_width} x {frame_height} frame; {got}; {order} of this frame")
    if width > LARGEST_BOX * frame_width or height > LARGEST_BOX * frame_height:
        raise InputError(
            f"box must be at most {LARGEST_BOX} times the frame's size, {frame_width} x {frame_height}; got "
            f"{width:g} x {height:g} pixels; make it smaller"
        )
    return x, y, width, height


def four_numbers(box_xywh: Any) -> Box:
    """Convert a box to four floats.

    Args:
        box_xywh: a sequence, array or tensor of four real numbers.

    Raises:
        InputError: anything else: text, mappings, sets and generators (which can be read only once), complex or
            masked numbers, true and false, and integers that are too large for a float.
    """
    order = "boxes are x, y, width, height in pixels"
    refusal = f"box must have four numbers; got {show_value(box_xywh)}; {order}"
    if isinstance(box_xywh, str | bytes | bytearray | Mapping | Set | Iterator):
        raise InputError(f"{refusal}, as a tuple, list or array")
    if isinstance(box_xywh, np.ndarray):
        if np.ma.is_masked(box_xywh):
            raise InputError(f"{refusal}, none of them masked")
        box_xywh = np.asarray(box_xywh).tolist()
    try:
        values = list(box_xywh)
        refused = str | bytes | bytearray | bool | np.bool_ | complex | np.complexfloating
        if len(values) != 4 or any(isinstance(value, refused) for value in values):
            raise InputError(refusal)
        x, y, width, height = map(float, values)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(refusal) from error
    return x, y, width, height


def _columns(boxes: ArrayLike) -> tuple[Array, Array, Array, Array]:
    array = np.asarray(boxes)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise InputError(f"boxes must have shape (..., 4); got {array.shape}; put the four numbers last")
    return array[..., 0], array[..., 1], array[..., 2], array[..., 3]


def pan_tilt(box: Sequence[float], size_wh: tuple[int, int]) -> tuple[float, float]:
    """Return how far the center of a box is from that of the frame: where a camera must turn to, to have it there.

    Args:
        box: x, y, width, height in pixels.
        size_wh: width and height of the frame in pixels.

    Returns:
        Pan and tilt, -1 to 1: pan grows to the right, tilt upwards, and 1 is the edge of the frame.
    """
    x, y, width, height = box
    pan = (2 * x + width) / size_wh[0] - 1
    tilt = 1 - (2 * y + height) / size_wh[1]
    return min(max(pan, -1.0), 1.0), min(max(tilt, -1.0), 1.0)
