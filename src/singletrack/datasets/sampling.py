"""Samples the frames of a training pair: data set by weight, sequence, template frame, later search frame.

The rules are those of the published code of OSTrack (causal sampling, after PyTracking).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.frame_index import FrameIndex
from singletrack.datasets.photos import Random
from singletrack.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FrameRules:
    """Rules for choosing the frames of a pair.

    Attributes:
        longest_gap: the search frame is 1 to this many frames after the template frame.
        shortest: shorter sequences are not used. Does not apply to image data sets, where both crops show the same
            image.
        fewest_visible: sequences with fewer visible frames are not used; as ``shortest``.
    """

    longest_gap: int = 199
    shortest: int = 20
    fewest_visible: int = 5


# Added to the gap when no search frame is visible within it; the template is then drawn again.
GAP_GROWS_BY = 5


@dataclass(frozen=True)
class Drawn:
    """A drawn pair: index of the data set, of the sequence, and of its two frames."""

    footage: int
    sequence: int
    template: int
    search: int


class FramePairs:
    """Draws pairs of frames from several data sets by weight."""

    def __init__(self, footage: Sequence[FrameIndex], shares: Sequence[float], rules: FrameRules) -> None:
        """Raise InputError for a data set without usable sequences."""
        self.footage = list(footage)
        self.rules = rules
        self.edges = np.cumsum(np.asarray(shares, np.float64) / np.sum(shares))
        self.usable = [usable(part, rules) for part in self.footage]
        for part, chosen in zip(self.footage, self.usable, strict=True):
            if not len(chosen):
                raise InputError(
                    f"none of the {len(part)} sequences of {part.dataset} {part.split} has at least {rules.shortest} "
                    "frames "
                    f"with the target visible in {rules.fewest_visible}; train on longer sequences"
                )

    def draw(self, random: Random) -> Drawn:
        """Draw a pair. The search frame is never before the template frame; for a single image they are equal."""
        which = min(int(np.searchsorted(self.edges, random.random(), side="right")), len(self.footage) - 1)
        part, chosen = self.footage[which], self.usable[which]
        sequence = int(chosen[random.integers(len(chosen))])
        if part.of_pictures:
            return Drawn(which, sequence, 0, 0)
        template, search = draw_frames(random, part.visible[part.frames(sequence)], self.rules.longest_gap)
        return Drawn(which, sequence, template, search)


def usable(footage: FrameIndex, rules: FrameRules) -> NDArray[np.intp]:
    """Return the indices of the usable sequences."""
    if footage.of_pictures:
        return np.flatnonzero(footage.seen)
    return np.flatnonzero((footage.seen >= rules.fewest_visible) & (footage.lengths >= rules.shortest))


def draw_frames(random: Random, visible: NDArray[np.bool_], longest_gap: int) -> tuple[int, int]:
    """Draw a template frame and a later search frame, both visible. ``visible``: (N,), True at least twice."""
    places = np.flatnonzero(visible)
    early = places[places < len(visible) - 1]
    while True:
        template = early[random.integers(len(early))]
        later = places[(places > template) & (places <= template + longest_gap)]
        if len(later):
            return int(template), int(later[random.integers(len(later))])
        longest_gap += GAP_GROWS_BY
