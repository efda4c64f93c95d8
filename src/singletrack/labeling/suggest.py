"""Which frames a person should look at next: in the middle of what is doubtful, never next to a keyframe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

LEAST_DOUBT = 0.25  # frames with less are not worth a person's time
HELPS_FRAMES = 10.0  # a box that a person draws helps the frames around it, by exp(-distance / HELPS_FRAMES)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A frame that a person should look at next.

    Attributes:
        target: Id of the target.
        frame: Frame number.
        doubt: The chance that its box is wrong, 0 to 1.
        helps: How many wrong boxes a box here is expected to fix, in this frame and around it.
        reason: "runs disagree", "low score", "lost", "size jumps", "scene cut" or "far from a keyframe".
    """

    target: int
    frame: int
    doubt: float
    reason: str
    helps: float = 0.0


def pick_suggestions(doubtful: Sequence[Suggestion], keyframes: Collection[int]) -> list[Suggestion]:
    """One frame of each gap between keyframes: the one that helps most and is not next to a keyframe.

    Args:
        doubtful: The frames of one target.
        keyframes: Frame numbers of its keyframes.

    Returns:
        The one that helps most first.
    """
    near = {frame + step for frame in keyframes for step in (-1, 0, 1)}
    ordered = sorted(keyframes)

    def gap(suggestion: Suggestion) -> int:
        return int(np.searchsorted(ordered, suggestion.frame, side="right"))

    picked = []
    for _, group in groupby(sorted(doubtful, key=gap), key=gap):
        each = sorted(group, key=lambda one: one.frame)
        frames, doubts = np.array([one.frame for one in each]), np.array([one.doubt for one in each])
        free = [one for one in each if one.frame not in near]
        if free:
            helps = _nearby(frames, doubts)
            best = max(free, key=lambda one: helps[one.frame - frames[0]])
            picked.append(replace(best, helps=float(helps[best.frame - frames[0]])))
    return sorted(picked, key=lambda suggestion: -suggestion.helps)


def _nearby(frames: NDArray[np.int_], doubts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Doubt in and around each frame from the first to the last one, what is near counting more."""
    dense = np.zeros(frames[-1] - frames[0] + 1)
    dense[frames - frames[0]] = doubts
    reach = int(5 * HELPS_FRAMES)
    weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / HELPS_FRAMES)
    return np.asarray(np.convolve(dense, weights)[reach : reach + len(dense)])
