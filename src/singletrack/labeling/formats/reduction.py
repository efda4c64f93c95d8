"""Few keyframes for tools that interpolate: the boxes that give a whole track back by straight lines between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box

SMALLEST_TOLERANCE = 0.01  # pixels
ROUNDING = 1e-4  # pixels: what writing with four decimals may add to an error
USUAL_TOLERANCE, USUAL_SHARE = 1.0, 0.02  # pixels, and of the size of the target
LARGEST_SHARE = 0.25  # of the shortest side of the boxes, so that no side passes the one opposite

Point = tuple[float, float]  # start value, slope
Interval = tuple[float, float]


def usual_tolerance(boxes: Mapping[int, Box]) -> float:
    """1 pixel, or 2 % of the target's usual size (the square root of its area) if that is more.

    Tracked boxes move to and fro by about as much. A square box stays within an overlap of 0.92.
    """
    sizes = [math.sqrt(width * height) for _, _, width, height in boxes.values()]
    return max(USUAL_TOLERANCE, USUAL_SHARE * median(sizes)) if sizes else USUAL_TOLERANCE


def reduce_keyframes(
    boxes: Mapping[int, Box], tolerance: float | None = None, *, exact: Collection[int] = ()
) -> dict[int, Box]:
    """Find few keyframes that describe a track by linear interpolation.

    Greedy: from each keyframe the next one lies as far away as straight lines allow. The boxes of keyframes may move
    within the tolerance too, but for `exact`: with 2 pixels, that took a third fewer on hand-labeled sequences.

    Args:
        boxes: Boxes by frame number, of one stretch without absences. Missing frames between are not judged.
        tolerance: Largest distance in pixels between a side of an interpolated box and that of the given one. Boxes
            whose shortest side is below four times this are kept more closely. [default: ``usual_tolerance``]
        exact: Frames whose boxes are kept to 0.01 pixels: those that a person set.

    Returns:
        Keyframes by frame number, ascending. The first and the last frame are always among them.

    Raises:
        InputError: For a tolerance below 0.01 pixels.
    """
    if tolerance is None:
        tolerance = usual_tolerance(boxes)
    if not tolerance >= SMALLEST_TOLERANCE:
        raise InputError(f"tolerance must be {SMALLEST_TOLERANCE} pixels or more; got {tolerance}; use 0.5 for video")
    frames = sorted(boxes)
    if not frames:
        return {}
    shortest = min(min(width, height) for _, _, width, height in boxes.values())
    allowed = max(min(tolerance, LARGEST_SHARE * shortest) - ROUNDING, SMALLEST_TOLERANCE / 2)
    closely = set(exact)
    errors = [min(allowed, SMALLEST_TOLERANCE / 2) if frame in closely else allowed for frame in frames]
    columns = [_to_sides(boxes[frame]) for frame in frames]
    lanes = [
        [(side - error, side + error) for side, error in zip(sides, errors, strict=True)]
        for sides in zip(*columns, strict=True)
    ]
    knots, reached = _place_knots(frames, lanes)
    values = [_choose_values(frames, lane, knots, ranges) for lane, ranges in zip(lanes, reached, strict=True)]
    return {
        frames[knot]: (left, top, right - left, bottom - top)
        for knot, left, top, right, bottom in zip(knots, *values, strict=True)
    }


def _to_sides(box: Box) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _place_knots(frames: Sequence[int], lanes: Sequence[Sequence[Interval]]) -> tuple[list[int], list[list[Interval]]]:
    """Places of the keyframes, and for each lane the values that its line can have there."""
    knots = [0]
    reached = [[lane[0]] for lane in lanes]
    while knots[-1] < len(frames) - 1:
        start = place = knots[-1]
        polygons = [
            _first_polygon(ranges[-1], lane, frames, start) for ranges, lane in zip(reached, lanes, strict=True)
        ]
        ends = polygons
        while all(polygons):
            place, ends = place + 1, polygons
            if place == len(frames) - 1:
                break
            span = frames[place + 1] - frames[start]
            polygons = [
                _clip(_clip(polygon, span, lane[place + 1][0], 1.0), span, lane[place + 1][1], -1.0)
                for polygon, lane in zip(polygons, lanes, strict=True)
            ]
        span = frames[place] - frames[start]
        for ranges, lane, polygon in zip(reached, lanes, ends, strict=True):
            values = [value + slope * span for value, slope in polygon]
            low, high = lane[place]
            ranges.append((max(low, min(values)), min(high, max(values))))
        knots.append(place)
    return knots, reached


def _first_polygon(start: Interval, lane: Sequence[Interval], frames: Sequence[int], place: int) -> list[Point]:
    """Corners of the set of lines (start value, slope) from an interval to the lane of the next frame."""
    span = frames[place + 1] - frames[place]
    low, high = lane[place + 1]
    return [
        (start[0], (low - start[0]) / span),
        (start[0], (high - start[0]) / span),
        (start[1], (high - start[1]) / span),
        (start[1], (low - start[1]) / span),
    ]


def _clip(polygon: list[Point], span: float, bound: float, sign: float) -> list[Point]:
    """The part of a convex set of lines that is on one side of a bound after `span` frames (sign 1: above)."""
    heights = [sign * (value + slope * span - bound) for value, slope in polygon]
    kept: list[Point] = []
    for corner, height in enumerate(heights):
        before, height_before = polygon[corner - 1], heights[corner - 1]
        if (height >= 0) != (height_before >= 0):
            share = height_before / (height_before - height)
            value, slope = polygon[corner]
            kept.append((before[0] + share * (value - before[0]), before[1] + share * (slope - before[1])))
        if height >= 0:
            kept.append(polygon[corner])
    return kept


def _choose_values(
    frames: Sequence[int], lane: Sequence[Interval], knots: Sequence[int], reached: Sequence[Interval]
) -> list[float]:
    """A value for each keyframe, from the last to the first, each as near to the middle of its lane as it can be."""
    values = [_nearest(reached[-1], lane[knots[-1]])]
    for start, end, (low, high) in zip(knots[-2::-1], knots[:0:-1], reached[-2::-1], strict=True):
        span = frames[end] - frames[start]
        for place in range(start + 1, end):
            share = (frames[place] - frames[start]) / span
            below, above = lane[place]
            low = max(low, (below - share * values[-1]) / (1 - share))
            high = min(high, (above - share * values[-1]) / (1 - share))
        values.append(_nearest((low, high), lane[start]))
    return values[::-1]


def _nearest(allowed: Interval, lane: Interval) -> float:
    """The middle of a lane, or the value nearest to it that is allowed. Rounding may make the interval a point."""
    low, high = allowed
    if low > high:
        return (low + high) / 2
    return min(max((lane[0] + lane[1]) / 2, low), high)
