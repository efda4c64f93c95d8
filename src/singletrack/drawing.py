"""Boxes and labels on a frame. Knows nothing of where they come from; never changes the frame it is given.

Frames are (H, W, 3) uint8 RGB, boxes xywh in pixels of the frame, colors red, green, blue, 0 to 255.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]
Color = tuple[int, int, int]

FOLLOWED = (64, 224, 96)
LOST = (240, 64, 64)
TRUTH = (64, 160, 255)


def draw_result(frame: Frame, result: Result) -> Frame:
    """A copy of the frame with the box and its score; while the target is lost, dashed and marked LOST."""
    if result.lost:
        return draw_box(frame, result.box, label=f"LOST {result.score:.2f}", color=LOST, dashed=True)
    return draw_box(frame, result.box, label=f"{result.score:.2f}")


def draw_results(frame: Frame, results: Mapping[int, Result]) -> Frame:
    """A copy of the frame with all boxes, each in its target's color, with id and score; those of lost ones dashed."""
    drawn = frame.copy()
    for number, result in results.items():
        label = f"{number} LOST" if result.lost else f"{number}: {result.score:.2f}"
        _draw_box(drawn, result.box, label, target_color(number), result.lost)
    return drawn


def target_color(id: int) -> Color:
    """The color of a target: bright, and unlike those of the ids before and after it."""
    # steps of the golden ratio part a circle of hues as evenly as can be, however many there are
    red, green, blue = colorsys.hsv_to_rgb((0.37 + 0.618034 * (id - 1)) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_truth(frame: Frame, box: Sequence[float]) -> Frame:
    """A copy of the frame with the box where the target truly is, dashed and in a color of its own."""
    return draw_box(frame, box, color=TRUTH, dashed=True)


def draw_box(
    frame: Frame, box: Sequence[float], *, label: str = "", color: Color = FOLLOWED, dashed: bool = False
) -> Frame:
    """A copy of the frame with one box, and its label on a plate above it, or inside where there is no room.

    What lies outside the frame is left out, and a box with NaN (no target there) draws nothing. Lines and letters
    grow with the frame.
    """
    drawn = frame.copy()
    _draw_box(drawn, box, label, color, dashed)
    return drawn


def _draw_box(drawn: Frame, box: Sequence[float], label: str, color: Color, dashed: bool) -> None:
    """As ``draw_box``, on the frame itself."""
    from singletrack.opencv import cv2

    if not np.isfinite(box).all():
        return
    height, width = drawn.shape[:2]
    thickness = max(1, round(min(width, height) / 240))
    # a box far outside is cut near the frame: OpenCV's drawing overflows beyond 16 bits
    left, right = (round(min(max(x, -99), width + 99)) for x in (box[0], box[0] + box[2]))
    top, bottom = (round(min(max(y, -99), height + 99)) for y in (box[1], box[1] + box[3]))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        for a, b in _dash(start, end, 6 * thickness) if dashed else [(start, end)]:
            cv2.line(drawn, a, b, color, thickness)
    if label:
        _draw_label(drawn, label, (left, top), color, thickness)


def _dash(start: tuple[int, int], end: tuple[int, int], length: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The line in pieces of about `length` pixels with gaps as long; it begins and ends with a piece."""
    pieces = 2 * round(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / (2 * length)) + 1
    points = [
        (
            round(start[0] + (end[0] - start[0]) * k / pieces),
            round(start[1] + (end[1] - start[1]) * k / pieces),
        )
        for k in range(pieces + 1)
    ]
    return list(zip(points[0::2], points[1::2], strict=True))


def _draw_label(drawn: Frame, label: str, corner: tuple[int, int], color: Color, thickness: int) -> None:
    from singletrack.opencv import cv2

    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thickness**0.75
    (text_width, text_height), below = cv2.getTextSize(label, font, scale, thickness)
    plate_width, plate_height = text_width + 2 * thickness, text_height + below
    frame_height, frame_width = drawn.shape[:2]
    left = min(max(corner[0], 0), max(frame_width - plate_width, 0))
    bottom = corner[1] if corner[1] >= plate_height else corner[1] + plate_height
    bottom = min(max(bottom, plate_height), frame_height)
    cv2.rectangle(drawn, (left, bottom - plate_height), (left + plate_width, bottom), color, cv2.FILLED)
    cv2.putText(drawn, label, (left + thickness, bottom - below), font, scale, (0, 0, 0), thickness, cv2.LINE_AA)
