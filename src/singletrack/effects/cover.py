"""Makes targets unrecognizable: blurred, pixelated or filled, with more around them the less sure the tracker is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from singletrack.effects.paths import Steps, fill_gaps, tracks_of
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2
from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]
Kind = Literal["blur", "pixelate", "fill"]
KINDS: tuple[Kind, ...] = get_args(Kind)

USUAL = 1.15  # factor on the sides of a box that is sure
SURE, UNSURE = 0.88, 0.2  # scores between which it grows, up to:
DOUBTFUL = 1.6
LOST = 1.8  # factor on the sides between two sightings
GROWTH_PER_SECOND = 1.0  # of the factor while it is lost and it is not known where it will be found
LARGEST = 4.0
CELLS = 8  # along the shorter side of a covered box: nobody is recognized in 8 x 8 cells
FILLING = (24, 24, 24)


@dataclass
class _Memory:
    """The last sighting of a target: its box, and the time."""

    box: Box
    seconds: float


class Cover:
    """Covers targets in frames.

    Args:
        kind: "blur", "pixelate" or "fill".
        steps: all results, for a source that can be read again: between two sightings, the target is covered on the way
            from one to the other. None for a live source: while it is lost, the cover grows around its last box.

    Raises:
        InputError: another kind.
    """

    def __init__(self, kind: Kind, steps: Steps | None = None) -> None:
        if kind not in KINDS:
            raise InputError(f"cover must be one of {', '.join(KINDS)}; got {kind!r}")
        self._kind = kind
        self._memory: dict[int, _Memory] = {}
        self._planned: dict[int, dict[int, Box]] = {}  # frame -> boxes of lost targets
        for id, track in (tracks_of(steps) if steps is not None else {}).items():
            seen = np.flatnonzero(~track.lost)
            if not len(seen):
                continue
            filled = fill_gaps(track)
            for place in np.flatnonzero(track.lost):
                if seen[0] < place < seen[-1]:  # between two sightings
                    x, y, width, height = filled[place].tolist()
                    self._planned.setdefault(int(track.frames[place]), {})[id] = (x, y, width, height)

    def areas(self, frame: int, seconds: float, results: Mapping[int, Result]) -> list[Box]:
        """The boxes to cover in a frame, x, y, width, height in pixels; they may reach beyond the frame."""
        areas: list[Box] = []
        for id, result in results.items():
            planned = self._planned.get(frame, {}).get(id)
            if not result.lost:
                self._memory[id] = _Memory(result.box, seconds)
                doubt = min(max((SURE - result.score) / (SURE - UNSURE), 0.0), 1.0)
                areas.append(_grow(result.box, USUAL + doubt * (DOUBTFUL - USUAL)))
            elif planned is not None:
                areas.append(_grow(planned, LOST))
            else:
                last = self._memory.get(id, _Memory(result.box, seconds))
                factor = min(DOUBTFUL + GROWTH_PER_SECOND * (seconds - last.seconds), LARGEST)
                areas.append(_grow(last.box, factor))
        return areas

    def apply(self, frame: Frame, areas: list[Box]) -> Frame:
        """Cover areas on a copy of a frame, (H, W, 3) uint8."""
        covered = frame.copy()
        for area in areas:
            left, top, right, bottom = _pixels(area, frame)
            if right > left and bottom > top:
                covered[top:bottom, left:right] = self._hide(covered[top:bottom, left:right])
        return covered

    def _hide(self, part: Frame) -> Frame:
        if self._kind == "fill":
            return np.full_like(part, FILLING)
        height, width = part.shape[:2]
        cell = max(1.0, min(height, width) / CELLS)
        cells = (max(1, round(width / cell)), max(1, round(height / cell)))
        small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        how = cv2.INTER_NEAREST if self._kind == "pixelate" else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)


def _grow(box: Box, factor: float) -> Box:
    x, y, width, height = box
    return x - width * (factor - 1) / 2, y - height * (factor - 1) / 2, width * factor, height * factor


def _pixels(box: Box, frame: Frame) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that a box touches, inside the frame."""
    height, width = frame.shape[:2]
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    right, bottom = min(width, int(np.ceil(box[0] + box[2]))), min(height, int(np.ceil(box[1] + box[3])))
    return left, top, right, bottom
