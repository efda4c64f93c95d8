"""Where targets were over time: boxes by frame, with gaps filled, and smoothed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result

Array = NDArray[np.float64]
REACH = 3.0  # standard deviations of a Gaussian that are added up


@dataclass(frozen=True, eq=False)
class Track:
    """One target over time.

    Attributes:
        frames: (N,) index of each frame, ascending.
        times: (N,) seconds.
        boxes: (N, 4) x, y, width, height in pixels.
        scores: (N,) 0 to 1.
        lost: (N,) whether it was lost.
    """

    frames: NDArray[np.int64]
    times: Array
    boxes: Array
    scores: Array
    lost: NDArray[np.bool_]


Steps = Mapping[int, tuple[float, Mapping[int, Result]]]  # frame -> seconds, results by id


def tracks_of(steps: Steps) -> dict[int, Track]:
    """Sort results by target."""
    rows: dict[int, list[tuple[int, float, Result]]] = {}
    for frame in sorted(steps):
        seconds, results = steps[frame]
        for id, result in results.items():
            rows.setdefault(id, []).append((frame, seconds, result))
    return {
        id: Track(
            frames=np.array([frame for frame, _, _ in each], np.int64),
            times=np.array([seconds for _, seconds, _ in each], np.float64),
            boxes=np.array([result.box for _, _, result in each], np.float64).reshape(-1, 4),
            scores=np.array([result.score for _, _, result in each], np.float64),
            lost=np.array([result.lost for _, _, result in each], np.bool_),
        )
        for id, each in rows.items()
    }


def fill_gaps(track: Track) -> Array:
    """Boxes (N, 4) in which those of lost frames lie on a straight line between the sightings before and after.

    Before the first sighting and after the last one, they stay where these are.
    """
    seen = ~track.lost
    if not seen.any():
        return track.boxes
    return np.stack([np.interp(track.times, track.times[seen], track.boxes[seen, side]) for side in range(4)], axis=1)


def smooth(times: Array, values: Array, seconds: float) -> Array:
    """Smooth values over time by a Gaussian that looks as far back as ahead, so that nothing lags behind.

    Args:
        times: (N,) seconds, ascending.
        values: (N, C).
        seconds: width of the Gaussian (two standard deviations); 0 changes nothing.
    """
    if seconds <= 0 or len(times) < 2:
        return values
    deviation = seconds / 2
    smoothed = np.empty_like(values)
    firsts = np.searchsorted(times, times - REACH * deviation)
    lasts = np.searchsorted(times, times + REACH * deviation, side="right")
    for index, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        # both sides equally far, so that the ends are no exception
        reach = min(index - first, last - 1 - index)
        near = slice(index - reach, index + reach + 1)
        weights = np.exp(-0.5 * ((times[near] - times[index]) / deviation) ** 2)
        smoothed[index] = weights @ values[near] / weights.sum()
    return smoothed


class Follower:
    """Smooths values as they come, for sources whose future is unknown: it lags behind by about ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._time = 0.0
        self._values: Array | None = None

    def add(self, time: float, values: Sequence[float] | Array) -> Array:
        """Add values (C,) at a time in seconds; gives the smoothed ones."""
        new = np.asarray(values, np.float64)
        if self._values is None or self._seconds <= 0:
            self._values = new
        else:
            self._values = self._values + (1 - math.exp(-(time - self._time) / self._seconds)) * (new - self._values)
        self._time = time
        return self._values


def union(boxes: Sequence[Sequence[float]] | Array) -> Box:
    """Return the smallest box that holds all boxes, x, y, width, height."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    left, top = array[:, :2].min(axis=0)
    right, bottom = (array[:, :2] + array[:, 2:]).max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)
