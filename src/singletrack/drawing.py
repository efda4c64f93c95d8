"""Draws boxes and labels on a copy of a frame.

Frames are (H, W, 3) uint8 RGB, boxes xywh in frame pixels, colors RGB in 0 to 255.
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
    """Draw a result with its score on a copy of a frame; a lost target is dashed and marked LOST."""
    if result.lost:
        return draw_box(frame, result.box, label=f"LOST {result.score:.2f}", color=LOST, dashed=True)
    return draw_box(frame, result.box, label=f"{result.score:.2f}")


def draw_results(frame: Frame, results: Mapping[int, Result]) -> Frame:
    """Draw the results of many targets on a copy of a frame, each in its own color; lost targets are dashed."""
    drawn = frame.copy()
    for number, result in results.items():
        label = f"{number} LOST" if result.lost else f"{number}: {result.score:.2f}"
        _draw_box(drawn, result.box, label, target_color(number), result.lost)
    return drawn


def target_color(id: int) -> Color:
    """Choose a bright color for a target, different from those of neighboring ids."""
    # golden-ratio steps divide the circle of hues evenly for any number of targets
    red, green, blue = colorsys.hsv_to_rgb((0.37 + 0.618034 * (id - 1)) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_truth(frame: Frame, box: Sequence[float]) -> Frame:
    """Draw the true box on a copy of a frame, dashed and in a separate color."""
    return draw_box(frame, box, color=TRUTH, dashed=True)


def draw_box(
    frame: Frame, box: Sequence[float], *, label: str = "", color: Color = FOLLOWED, dashed: bool = False
) -> Frame:
    """Draw a box on a copy of a frame, with a label above it, or inside if there is no room.

    Line width and text size scale with the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box: x, y, width, height in pixels. It may extend beyond the frame; NaN draws nothing.
        label: text on a plate in the color of the box.
        color: RGB in 0 to 255.
        dashed: draw a dashed line.
    """
    drawn = frame.copy()
    _draw_box(drawn, box, label, color, dashed)
    return drawn


def _draw_box(drawn: Frame, box: Sequence[float], label: str, color: Color, dashed: bool) -> None:
    """Draw like ``draw_box``, in place."""
    from singletrack.opencv import cv2

    if not np.isfinite(box).all():
        return
    height, width = drawn.shape[:2]
    thickness = max(1, round(min(width, height) / 240))
    # clip distant coordinates, because OpenCV drawing overflows beyond 16 bits
    left, right = (round(min(max(x, -99), width + 99)) for x in (box[0], box[0] + box[2]))
    top, bottom = (round(min(max(y, -99), height + 99)) for y in (box[1], box[1] + box[3]))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        for a, b in _dash(start, end, 6 * thickness) if dashed else [(start, end)]:
            cv2.line(drawn, a, b, color, thickness)
    if label:
        _draw_label(drawn, label, (left, top), color, thickness)


def _dash(start: tuple[int, int], end: tuple[int, int], length: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Split a line into dashes and gaps of about ``length`` pixels; it begins and ends with a dash."""
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
