"""First boxes as people write them: in pixels or shares of the frame, as corner and size, two corners, or center."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, BoxLike, check_box, four_numbers

BoxFormat = Literal["xywh", "xyxy", "cxcywh"]
BOX_FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)

LEAST_INSIDE = 0.25  # of a first box, inside the frame: a target that shows less cannot be learned from it
# How far a box may reach beyond the right or lower edge, in shares of the frame, before its numbers are taken for
# corners; annotators often leave a few pixels.
BEYOND = 0.02


def resolve_box(
    box: BoxLike,
    size_wh: tuple[int, int],
    *,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
) -> Box:
    """Return a first box as x, y, width, height in pixels of the frame.

    Args:
        box: four numbers.
        size_wh: width and height of the frame, in pixels.
        box_format: "xywh" for left, top, width and height; "xyxy" for left, top, right and bottom; "cxcywh" for center
            and size. None is "xywh", but refuses numbers that look like two corners.
        normalized: whether the numbers are shares of the frame's width and height, 0 to 1. None is False, but refuses
            a box that looks normalized.

    Raises:
        InputError: for a box that is not valid, lies mostly outside the frame, or looks like another format.
    """
    if box_format not in (None, *BOX_FORMATS):
        raise InputError(f"unknown box format {box_format!r}; choose one of {', '.join(BOX_FORMATS)}")
    values = [*four_numbers(box)]
    if normalized is None and max(values) <= 1 and min(values) >= 0:
        raise InputError(
            f"box must be in pixels; got {_text(values)}, which looks like shares of the frame; add "
            "--normalized (normalized=True), or --pixels (normalized=False) if it is that small"
        )
    if normalized:
        values = [value * side for value, side in zip(values, (*size_wh, *size_wh), strict=True)]
    a, b, c, d = values
    if box_format == "xyxy":
        found = check_box((a, b, c - a, d - b), size_wh)
    elif box_format == "cxcywh":
        found = check_box((a - c / 2, b - d / 2, c, d), size_wh)
    else:
        found = check_box((a, b, c, d), size_wh)
        if box_format is None:
            _check_corners(values, size_wh)
    inside = share_inside(found, size_wh)
    if inside < LEAST_INSIDE:
        raise InputError(
            f"box must lie in the {size_wh[0]} x {size_wh[1]} frame; only {100 * inside:.1f} % of {_text(found)} "
            "(x, y, width, height) does; give the part that shows"
        )
    return found


def share_inside(box: Sequence[float], size_wh: tuple[int, int]) -> float:
    """Return the share of a box's area that is inside the frame, 0 to 1."""
    x, y, width, height = box
    across = min(x + width, size_wh[0]) - max(x, 0)
    down = min(y + height, size_wh[1]) - max(y, 0)
    return max(across, 0) / width * max(down, 0) / height


def _check_corners(values: Sequence[float], size_wh: tuple[int, int]) -> None:
    """Refuse numbers that are two corners inside the frame, but reach beyond it as corner and size."""
    left, top, right, bottom = values
    corners = left < right <= size_wh[0] and top < bottom <= size_wh[1] and min(left, top) >= 0
    beyond = max((left + right) / size_wh[0], (top + bottom) / size_wh[1]) > 1 + BEYOND
    if corners and beyond:
        raise InputError(
            f"box must be x, y, width, height inside the {size_wh[0]} x {size_wh[1]} frame; got {_text(values)}, which "
            "looks like two corners; add --box-format xyxy (box_format='xyxy'), or xywh if it reaches beyond the frame"
        )


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
