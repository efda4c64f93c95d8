"""Drawings that show where targets were: a trail, a heat map, a spotlight. All scale with the frame."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from singletrack.drawing import line_width, target_color
from singletrack.opencv import cv2
from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]
TRAIL_SECONDS = 3.0
HEAT_SIDE = 160  # cells along the longer side of the frame
HEAT_OPACITY = 0.6  # where a target was longest
DARKENED = 0.35  # brightness outside a spotlight


class Trail:
    """Draws the way of each target during the last seconds, fading."""

    def __init__(self, seconds: float = TRAIL_SECONDS) -> None:
        self._seconds = seconds
        self._points: dict[int, deque[tuple[float, float, float] | None]] = {}  # time, x, y; None: it was lost

    def draw(self, frame: Frame, seconds: float, results: Mapping[int, Result]) -> Frame:
        """Add the results of a frame, and draw on a copy of it."""
        drawn = frame.copy()
        for id, result in results.items():
            points = self._points.setdefault(id, deque())
            x, y, width, height = result.box
            points.append(None if result.lost else (seconds, x + width / 2, y + height / 2))
            while points and (points[0] is None or points[0][0] < seconds - self._seconds):
                points.popleft()
            for before, after in itertools.pairwise(points):
                if before and after:
                    left = 1 - (seconds - after[0]) / self._seconds
                    thickness = max(1, round(2 * line_width(drawn) * left))
                    start, end = (round(before[1]), round(before[2])), (round(after[1]), round(after[2]))
                    cv2.line(drawn, start, end, target_color(id), thickness, cv2.LINE_AA)
        return drawn


class HeatMap:
    """Colors the frame by how long targets were at each place so far."""

    def __init__(self) -> None:
        self._heat: NDArray[np.float32] | None = None
        self._last: float | None = None

    def draw(self, frame: Frame, seconds: float, results: Mapping[int, Result]) -> Frame:
        """Add the results of a frame, and draw on a copy of it."""
        height, width = frame.shape[:2]
        scale = HEAT_SIDE / max(height, width)
        if self._heat is None:
            self._heat = np.zeros((max(1, round(height * scale)), max(1, round(width * scale))), np.float32)
        passed = 0.0 if self._last is None else max(0.0, seconds - self._last)
        self._last = seconds
        for result in results.values():
            if not result.lost:
                x, y, box_width, box_height = (value * scale for value in result.box)
                center = (round(x + box_width / 2), round(y + box_height / 2))
                axes = (max(1, round(box_width / 2)), max(1, round(box_height / 2)))
                touched = np.zeros_like(self._heat)
                cv2.ellipse(touched, center, axes, 0, 0, 360, 1.0, cv2.FILLED)
                self._heat += np.float32(passed) * touched
        most = float(self._heat.max())
        if most <= 0:
            return frame.copy()
        smooth = cv2.GaussianBlur(np.sqrt(self._heat / most), (0, 0), 1.5)
        large = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        colors = cv2.applyColorMap(np.asarray(large * 255, np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        opacity = HEAT_OPACITY * np.clip(large * 2, 0, 1)
        return np.asarray(frame * (1 - opacity) + colors * opacity, np.uint8)


class Spotlight:
    """Darkens everything but the targets, with a soft edge. A lost target has no light."""

    def draw(self, frame: Frame, seconds: float, results: Mapping[int, Result]) -> Frame:
        """Draw on a copy of a frame."""
        height, width = frame.shape[:2]
        light = np.zeros((height, width), np.float32)
        for result in results.values():
            if result.lost or not np.isfinite(result.box).all():
                continue
            x, y, box_width, box_height = result.box
            center = (round(x + box_width / 2), round(y + box_height / 2))
            axes = (max(1, round(0.75 * box_width)), max(1, round(0.75 * box_height)))
            cv2.ellipse(light, center, axes, 0, 0, 360, 1.0, cv2.FILLED)
        light = np.asarray(cv2.blur(light, (8 * line_width(frame) + 1,) * 2), np.float32)
        brightness = DARKENED + (1 - DARKENED) * light
        return np.asarray(frame * brightness[..., None], np.uint8)
