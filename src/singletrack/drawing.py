"""Draws boxes and labels on a copy of a frame.

Frames are (H, W, 3) uint8 RGB, boxes xywh in frame pixels, colors RGB in 0 to 255.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]
Color = tuple[int, int, int]

FOLLOWED = (64, 224, 96)
LOST = (240, 64, 64)
TRUTH = (64, 160, 255)
GRID = (255, 220, 60)
NEAREST_TO_RED = 0.08  # hue of a target, as a share of the circle

SMALLEST_LETTERS = 0.35  # of OpenCV's font: capitals 8 pixels high


def draw_result(frame: Frame, result: Result) -> Frame:
    """Draw a result with its score on a copy of a frame; a lost target is dashed and marked LOST."""
    if result.lost:
        return draw_box(frame, result.box, label=f"LOST {result.score:.2f}", color=LOST, dashed=True)
    return draw_box(frame, result.box, label=f"{result.score:.2f}")


def draw_results(frame: Frame, results: Mapping[int, Result]) -> Frame:
    """Draw the results of many targets on a copy of a frame, each in its own color; lost targets are dashed."""
    drawn = frame.copy()
    shown = {number: result for number, result in results.items() if np.isfinite(result.box).all()}
    for number, result in shown.items():
        _draw_lines(drawn, result.box, target_color(number), result.lost)
    taken: list[Box] = []  # by labels, which are drawn over all lines and do not overlap
    for number, result in shown.items():
        label = f"{number} LOST" if result.lost else f"{number}: {result.score:.2f}"
        taken.append(_draw_label(drawn, label, result.box, target_color(number), taken))
    return drawn


def target_color(id: int) -> Color:
    """Choose a bright color for a target, different from those of neighboring ids and from that of a lost target."""
    # golden-ratio steps divide the circle of hues evenly for any number of targets; red, which means lost, is left out
    share = (0.34 + 0.618034 * (id - 1)) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(NEAREST_TO_RED + (1 - 2 * NEAREST_TO_RED) * share, 0.75, 0.95)
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
    if np.isfinite(box).all():
        _draw_lines(drawn, box, color, dashed)
        if label:
            _draw_label(drawn, label, box, color, [])
    return drawn


def draw_grid(frame: Frame) -> Frame:
    """Draw lines with their pixel numbers on a copy of a frame, so that a box can be read from it."""
    from singletrack.opencv import cv2

    drawn = frame.copy()
    height, width = frame.shape[:2]
    step = next(each for each in (5, 10, 20, 50, 100, 200, 500, 1000, 2000) if max(width, height) / each <= 16)
    thickness, font = max(1, line_width(drawn) // 2), cv2.FONT_HERSHEY_SIMPLEX
    scale = max(SMALLEST_LETTERS, 0.45 * line_width(drawn) ** 0.75)
    for x in range(step, width, step):
        cv2.line(drawn, (x, 0), (x, height), GRID, thickness)
    for y in range(step, height, step):
        cv2.line(drawn, (0, y), (width, y), GRID, thickness)
    places = [(str(x), (x + 2, round(26 * scale))) for x in range(step, width, step)]
    places += [(str(y), (2, y - 3)) for y in range(step, height, step)]
    for text, place in places:
        for color, width_of_letters in (((0, 0, 0), 3 * thickness), ((255, 255, 255), thickness)):
            cv2.putText(drawn, text, place, font, scale, color, width_of_letters, cv2.LINE_AA)
    return drawn


def _draw_lines(drawn: Frame, box: Sequence[float], color: Color, dashed: bool) -> None:
    """Draw the four sides of a box, in place."""
    from singletrack.opencv import cv2

    thickness = line_width(drawn)
    left, top, right, bottom = _near_frame(box, drawn)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        for a, b in _dash(start, end, 6 * thickness) if dashed else [(start, end)]:
            cv2.line(drawn, a, b, color, thickness)


def line_width(frame: Frame) -> int:
    """Width of lines in a frame, in pixels: 1 up to 360 lines, 3 at 720, 9 at 4K."""
    height, width = frame.shape[:2]
    thickness: int = max(1, round(min(height, width) / 240))
    return thickness


def _near_frame(box: Sequence[float], frame: Frame) -> tuple[int, int, int, int]:
    """Round a box to left, top, right, bottom; distant ones are clipped: OpenCV drawing overflows beyond 16 bits."""
    height, width = frame.shape[:2]
    left, right = (round(min(max(x, -99), width + 99)) for x in (box[0], box[0] + box[2]))
    top, bottom = (round(min(max(y, -99), height + 99)) for y in (box[1], box[1] + box[3]))
    return left, top, right, bottom


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


def _draw_label(drawn: Frame, label: str, box: Sequence[float], color: Color, taken: Sequence[Box]) -> Box:
    """Draw the label of a box on a plate, in place, where it covers the least of what is taken; returns the plate."""
    from singletrack.opencv import cv2

    thickness = line_width(drawn)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thickness**0.75
    (text_width, text_height), below = cv2.getTextSize(label, font, scale, thickness)
    if text_width > box[2]:  # a label is no wider than its target, as long as it can be read
        scale = max(SMALLEST_LETTERS, scale * box[2] / text_width)
        (text_width, text_height), below = cv2.getTextSize(label, font, scale, thickness)
    plate_wh = (text_width + 2 * thickness, text_height + below)
    left, top = place_label(_near_frame(box, drawn), plate_wh, (drawn.shape[1], drawn.shape[0]), taken)
    bottom = top + plate_wh[1]
    cv2.rectangle(drawn, (left, top), (left + plate_wh[0], bottom), color, cv2.FILLED)
    cv2.putText(drawn, label, (left + thickness, bottom - below), font, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    return left, top, *plate_wh


def place_label(
    corners: tuple[int, int, int, int], plate_wh: tuple[int, int], frame_wh: tuple[int, int], taken: Sequence[Box]
) -> tuple[int, int]:
    """Choose where the plate of a label goes: above its box if it can, else where it covers the least of others.

    Args:
        corners: left, top, right, bottom of the box.
        plate_wh: width and height of the plate, which stays inside the frame.
        frame_wh: width and height of the frame.
        taken: plates that are drawn already, x, y, width, height.

    Returns:
        Left and top of the plate.
    """
    left, top, right, bottom = corners
    width, height = plate_wh
    inside = [(left, top), (left, bottom - height)]
    above, under = [(left, top - height), (right - width, top - height)], [(left, bottom), (right - width, bottom)]
    beside = [(right, top), (left - width, top), (right, bottom - height), (left - width, bottom - height)]
    fits = top >= height
    places = [*above, *under, *beside, *inside] if fits else [*inside[:1], *under, *beside, *inside[1:]]
    best, least = (0, 0), float("inf")
    for x, y in places:
        x, y = min(max(x, 0), max(frame_wh[0] - width, 0)), min(max(y, 0), max(frame_wh[1] - height, 0))
        covered = sum(_shared((x, y, width, height), other) for other in taken)
        if covered < least:
            best, least = (x, y), covered
    return best


def _shared(a: Box, b: Box) -> float:
    """Area that two boxes share, in pixels."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
