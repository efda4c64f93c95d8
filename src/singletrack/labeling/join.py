"""Joins what a tracker saw from the keyframe on the left and from the one on the right to one track. Pure functions.

Boxes are x, y, width, height in pixels. Inside, a box is its four sides (left, top, right, bottom): when a target
stretches an arm, one side moves and the others stay, and the tracker may be wrong about that one alone. Errors are
measured in widths and heights of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import iou

Array = NDArray[np.float64]

# The numbers below were chosen by benchmarks/labeling.py on 19 sequences, GROWTH on labeled clips (../shared/footage).
# None matters much: half or twice of each changes the count by a few boxes in 70, and the share of right boxes on the
# labeled clips by less than 0.01.
DRIFT_FRAMES = 12.0  # number of frames over which the error of a tracker is correlated
LEAST_VARIANCE = 0.01**2  # of a side, even next to a keyframe
GROWTH = 0.002  # of the variance with each frame of distance to the nearest keyframe
OWN_ERROR = 0.5  # how much of a side's variance is by its own error at the keyframe; the rest by that of all four sides
LEAST_SCORE = 0.05  # lower scores count as this
WINDOW = 5  # frames over which variances are averaged
# The doubt is the chance that a box overlaps the true one by less than 0.7, by a logistic regression on the labeled
# clips. What one unit of each sign adds to the log odds, rounded; `benchmarks/labeling.py` says how good it is. Scores
# are taken for the expected overlap, which those of our models are.
LOG_ODDS = {
    "runs disagree": 2.5,  # 1 - overlap of both runs
    "lost": 2.5,
    "low score": 9.5,  # 1 - score, which is the expected overlap
    "size jumps": 5.0,
    "far from a keyframe": 0.25,  # logarithm of 1 + the distance in frames
}
BETWEEN, BEYOND = -6.0, -4.5  # log odds without any sign: between two keyframes, and where there is only one


@dataclass(frozen=True)
class Run:
    """What a tracker saw in the frames from one keyframe to the next, both included.

    Attributes:
        boxes: (N, 4); NaN where it ended before.
        scores: (N,) 0 to 1; 1 in the keyframe that it started from, 0 where it ended before.
    """

    boxes: Array
    scores: Array


@dataclass(frozen=True)
class Joined:
    """The track between two keyframes.

    Attributes:
        boxes: (N, 4), the keyframes first and last; NaN where neither run has a box.
        scores: (N,) 0 to 1.
        doubts: (N,) 0 (certain) to 1, see LOG_ODDS.
        reasons: N words, why: see ``suggest.Suggestion``.
    """

    boxes: Array
    scores: Array
    doubts: Array
    reasons: list[str]


def join_runs(forward: Run, backward: Run) -> Joined:
    """Join a run from the left keyframe and one from the right keyframe, over the same N frames, N 2 or more.

    Each run ends in a keyframe, where its error is known. This error is taken out of the run, most of all near that
    keyframe, and says how far the run is trusted: one that lost its target on the way counts little, and the other one
    is followed instead of a mean of both. Where the two runs differ by more than they move away from a straight line
    between the keyframes, the straight line is followed, for each side of the box on its own.
    """
    count = len(forward.boxes)
    left, right = _to_sides(forward.boxes[0]), _to_sides(backward.boxes[-1])
    way = np.linspace(0.0, 1.0, count)[:, None]
    line = left + way * (right - left)
    sizes = np.tile(line[:, 2:] - line[:, :2], 2)
    ahead, ahead_variance = _corrected(_to_sides(forward.boxes), forward.scores, right, sizes)
    # The backward run is the forward run of the same frames in reverse order.
    reverse = slice(None, None, -1)
    back, back_variance = _corrected(_to_sides(backward.boxes)[reverse], backward.scores[reverse], left, sizes[reverse])
    runs, variances = np.stack([ahead, back[reverse]]), np.stack([ahead_variance, back_variance[reverse]])
    there = np.isfinite(variances).any(0)
    runs = np.where(np.isfinite(variances), runs, line)
    weights = _weights(variances)
    mean = (weights * runs).sum(0)
    for _ in range(3):  # a run that is far from the mean counts less: where they disagree, the better one is chosen
        squares = ((runs - mean) / sizes) ** 2
        weights = _weights(variances + OWN_ERROR * squares + (1.0 - OWN_ERROR) * squares.mean(-1, keepdims=True))
        mean = (weights * runs).sum(0)
    spread = _smooth((weights * ((runs - mean) / sizes) ** 2).sum(0))
    moved = _smooth(((mean - line) / sizes) ** 2)
    trust = np.clip(1.0 - spread / np.maximum(moved, 1e-12), 0.0, 1.0)
    sides = np.where(there, line + trust * (mean - line), np.nan)
    sides[0], sides[-1] = left, right
    both = np.isfinite(variances).all((0, 2))
    overlap = iou(_to_boxes(runs[0]), _to_boxes(runs[1]))
    disagreement = np.asarray(np.where(both, 1.0 - overlap, 1.0), np.float64)
    scores = np.clip((weights.mean(-1) * np.stack([forward.scores, backward.scores])).sum(0), 0.0, 1.0)
    boxes = _to_boxes(sides)
    boxes[0], boxes[-1] = forward.boxes[0], backward.boxes[-1]
    signs = {"runs disagree": disagreement, "low score": 1.0 - scores, "size jumps": _jumps(boxes)}
    distances = np.minimum(np.arange(count), np.arange(count)[::-1])
    doubts, reasons = _doubt(signs, distances, BETWEEN)
    return Joined(boxes, scores, doubts, reasons)


def doubt_of_run(boxes: Array, scores: Array, lost: NDArray[np.bool_], distances: Array) -> tuple[Array, list[str]]:
    """Doubt in each frame of a run that nothing is joined with, and why.

    Args:
        boxes, scores, lost: (N, 4), (N,) and (N,), frame by frame.
        distances: (N,) frames between each one and the keyframe that the run started from.
    """
    signs = {"lost": lost.astype(np.float64), "low score": 1.0 - scores, "size jumps": _jumps(boxes)}
    doubts, reasons = _doubt(signs, distances, BEYOND)
    # A lost target has a low score too; the timeline calls it lost.
    return doubts, [
        "lost" if gone and reason == "low score" else reason for gone, reason in zip(lost, reasons, strict=True)
    ]


def share_of_error(count: int) -> Array:
    """How much of a tracker's error at the last of `count` frames each frame has: 0 in the first, 1 in the last.

    The expected value for errors that stay alike for about DRIFT_FRAMES (an Ornstein-Uhlenbeck process) and are 0 in
    the first frame.
    """
    return np.asarray(np.sinh(np.arange(count) / DRIFT_FRAMES) / np.sinh((count - 1) / DRIFT_FRAMES))


def _corrected(sides: Array, scores: Array, end: Array, sizes: Array) -> tuple[Array, Array]:
    """A run without the error that it has at its last frame, and the variance of each side, (N, 4) each.

    The variance is infinite where the run has no box. A run that ended before the last frame is taken as it is, and
    as if it had been wrong by half the target's size there.
    """
    count = len(sides)
    arrived = bool(np.isfinite(sides[-1]).all())
    error = (sides[-1] - end) / sizes[-1] if arrived else np.full(4, 0.5)
    squares = OWN_ERROR * error**2 + (1.0 - OWN_ERROR) * (error**2).mean()
    steps = np.arange(count)
    nearest = np.minimum(steps, steps[::-1])[:, None]
    known = np.exp(-nearest / DRIFT_FRAMES)  # how much of the error is known, and gone
    way = np.linspace(0.0, 1.0, count)[:, None]
    variance = LEAST_VARIANCE + way * squares * (1.0 - known) + GROWTH * nearest
    variance = variance / np.clip(scores, LEAST_SCORE, 1.0)[:, None] ** 2
    variance[~np.isfinite(sides).all(1)] = np.inf
    if arrived:
        sides = sides - share_of_error(count)[:, None] * error * sizes[-1]
    return sides, variance


def _weights(variances: Array) -> Array:
    """Shares of the runs, by the inverse of their variances; where no run has a box, equal ones."""
    inverse = np.maximum(1.0 / variances, 1e-12)
    return np.asarray(inverse / inverse.sum(0))


def _smooth(values: Array) -> Array:
    """Weighted mean over WINDOW frames, column by column."""
    window = np.hanning(WINDOW + 2)[1:-1]
    padded = np.pad(values, ((WINDOW // 2, WINDOW // 2), (0, 0)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0)
    return np.asarray(views @ (window / window.sum()))


def _doubt(
    signs: Mapping[str, NDArray[np.floating[Any]]], distances: NDArray[Any], without: float
) -> tuple[Array, list[str]]:
    """Doubt and its main reason, frame by frame; none in keyframes, whose distance is 0.

    Args:
        signs: (N,) 0 to 1 each, by what they are signs of. One frame alone says little: they are averaged.
        distances: (N,) frames to the nearest keyframe.
        without: Log odds without any sign.
    """
    values = _smooth(np.stack(list(signs.values()), 1)) if len(distances) else np.zeros((0, len(signs)))
    names = [*signs, "far from a keyframe"]
    odds = np.concatenate([values, np.log1p(distances)[:, None]], 1) * [LOG_ODDS[name] for name in names]
    doubts = np.where(distances > 0, 1.0 / (1.0 + np.exp(-without - odds.sum(1))), 0.0)
    reasons = [names[place] if doubt > 0.0 else "" for place, doubt in zip(odds.argmax(1), doubts, strict=True)]
    return doubts, reasons


def _jumps(boxes: Array) -> Array:
    """How much the area changes from the frame before, 0 to 1."""
    areas = np.log(np.nan_to_num(boxes[:, 2] * boxes[:, 3], nan=1.0))
    return np.asarray(1.0 - np.exp(-np.abs(np.diff(areas, prepend=areas[:1]))))


def _to_sides(boxes: Array) -> Array:
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def _to_boxes(sides: Array) -> Array:
    """Boxes a pixel wide and high at least, as sides that move on their own may meet."""
    return np.concatenate([sides[..., :2], np.maximum(sides[..., 2:] - sides[..., :2], 1.0)], -1)
