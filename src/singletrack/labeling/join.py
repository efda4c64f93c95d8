"""Joins what a tracker saw from the keyframe on the left and from the one on the right to one track. Pure functions.

Boxes are x, y, width, height in pixels. Inside, a box is a state: its center and the logarithms of its width and
height, in which errors of a tracker add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import iou

Array = NDArray[np.float64]

DRIFT_FRAMES = 12.0  # for about so many frames the error of a tracker stays alike


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
        doubts: (N,) 0 (certain) to 1.
        reasons: N words, why: "runs disagree", "low score", "size jumps", or "" where there is no doubt.
    """

    boxes: Array
    scores: Array
    doubts: Array
    reasons: list[str]


def to_state(boxes: Array) -> Array:
    """Boxes (..., 4) -> centers and logarithms of width and height, (..., 4)."""
    return np.concatenate([boxes[..., :2] + boxes[..., 2:] / 2, np.log(boxes[..., 2:])], -1)


def to_boxes(states: Array) -> Array:
    """The inverse of ``to_state``."""
    sizes = np.exp(states[..., 2:])
    return np.concatenate([states[..., :2] - sizes / 2, sizes], -1)


def spread(count: int, frames: float = DRIFT_FRAMES) -> Array:
    """Share of the error at the last of `count` frames that each frame has: 0 in the first, 1 in the last.

    That of a process whose values stay alike for about `frames` frames and that is 0 in the first one.
    """
    return np.asarray(np.sinh(np.arange(count) / frames) / np.sinh((count - 1) / frames))


def join_runs(forward: Run, backward: Run) -> Joined:
    """Join a run from the left keyframe and one from the right keyframe, over the same N frames, N 2 or more.

    Each run ends in a keyframe, where its error is known: this error is taken out of the run, most of all near that
    keyframe. Then each frame is the mean of both, weighted by its distance from their starts and by their scores.
    """
    count = len(forward.boxes)
    ahead, back = to_state(forward.boxes), to_state(backward.boxes)
    share = spread(count)[:, None]
    left, right = ahead[0], back[-1]
    there, back_there = np.isfinite(ahead[:, 0]), np.isfinite(back[:, 0])
    if there.all() and back_there.all():
        disagreement = 1.0 - iou(forward.boxes, backward.boxes)
        ahead = ahead + share * (right - ahead[-1])
        back = back + share[::-1] * (left - back[0])
    else:
        disagreement = np.ones(count)
    way = np.linspace(0.0, 1.0, count)
    ahead_weight = np.where(there, (1.0 - way) * forward.scores + 1e-6, 0.0)
    back_weight = np.where(back_there, way * backward.scores + 1e-6, 0.0)
    total = ahead_weight + back_weight
    total[total == 0.0] = np.nan
    weight = (ahead_weight / total)[:, None]
    states = weight * np.nan_to_num(ahead) + (1.0 - weight) * np.nan_to_num(back)
    states[0], states[-1] = left, right
    scores = np.nan_to_num(weight[:, 0] * forward.scores + (1.0 - weight[:, 0]) * backward.scores)
    boxes = to_boxes(states)
    doubts = np.asarray(disagreement, np.float64)
    doubts[0] = doubts[-1] = 0.0
    return Joined(boxes, scores, doubts, ["runs disagree" if lost_state > 0 else "" for lost_state in doubts])


def doubt_of_run(scores: Array, lost: NDArray[np.bool_]) -> tuple[Array, list[str]]:
    """Doubt in each frame of a run that nothing is joined with, and why."""
    doubts = np.where(lost, 1.0, 1.0 - scores)
    return doubts, [
        "lost" if gone else "low score" if lost_state > 0 else "" for lost_state, gone in zip(doubts, lost, strict=True)
    ]
