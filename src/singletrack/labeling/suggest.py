"""Which frames a person should look at next: the most doubtful of each stretch, never next to a keyframe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

LEAST_DOUBT = 0.25  # frames with less are not worth a person's time: their boxes overlap the true ones by about 0.8


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A frame that a person should look at next.

    Attributes:
        target: Id of the target.
        frame: Frame number.
        doubt: 0 (certain) to 1.
        reason: "runs disagree", "low score", "lost", "size jumps", "scene cut" or "far from a keyframe".
    """

    target: int
    frame: int
    doubt: float
    reason: str


def pick_suggestions(doubtful: Sequence[Suggestion], keyframes: Collection[int]) -> list[Suggestion]:
    """One frame of each gap between keyframes: the most doubtful one that is not next to a keyframe.

    Args:
        doubtful: The frames of one target.
        keyframes: Frame numbers of its keyframes.

    Returns:
        The most doubtful first.
    """
    near = {frame + step for frame in keyframes for step in (-1, 0, 1)}
    ordered = sorted(keyframes)
    best: dict[int, Suggestion] = {}
    for suggestion in doubtful:
        if suggestion.frame in near:
            continue
        gap = sum(frame < suggestion.frame for frame in ordered)
        if gap not in best or suggestion.doubt > best[gap].doubt:
            best[gap] = suggestion
    return sorted(best.values(), key=lambda suggestion: -suggestion.doubt)
