"""Linear interpolation between keyframes, and the few keyframes that describe a track by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from singletrack.geometry.boxes import Box


def interpolate(left: Box, right: Box, share: float) -> Box:
    """The box at `share` (0: left, 1: right) of the way; all four numbers are interpolated linearly."""
    x, y, width, height = (a + (b - a) * share for a, b in zip(left, right, strict=True))
    return x, y, width, height


def select_keyframes(boxes: Mapping[int, Box], tolerance: float) -> list[int]:
    """The fewest frames found from which linear interpolation gives every box to within `tolerance`.

    Args:
        boxes: By frame number, of consecutive frames or with gaps. Frames between are not judged.
        tolerance: Largest distance in pixels that a side of an interpolated box may have from the side of the box.

    Returns:
        Frame numbers, ascending; the first and last frame are always among them.
    """
    frames = sorted(boxes)
    if len(frames) <= 2:
        return frames
    sides = np.array([(x, y, x + width, y + height) for x, y, width, height in (boxes[frame] for frame in frames)])
    times = np.array(frames, np.float64)
    kept = {0, len(frames) - 1}
    spans = [(0, len(frames) - 1)]
    while spans:  # Douglas and Peucker's method: split where the line is furthest off
        start, end = spans.pop()
        if end - start < 2:
            continue
        share = ((times[start + 1 : end] - times[start]) / (times[end] - times[start]))[:, None]
        line = sides[start] + share * (sides[end] - sides[start])
        errors = np.abs(line - sides[start + 1 : end]).max(1)
        worst = int(errors.argmax())
        if errors[worst] > tolerance:
            middle = start + 1 + worst
            kept.add(middle)
            spans += [(start, middle), (middle, end)]
    return [frames[place] for place in sorted(kept)]
