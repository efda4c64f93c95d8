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
    """Which frames may stand together.

    longest_gap: the search frame comes 1 to ``longest_gap`` frames after the template's. shortest: sequences of fewer
    frames are left out. fewest_visible: so are those whose target is visible in fewer. The last two do not hold for
    data sets of pictures, where both crops show the one there is.
    """

    longest_gap: int = 199
    shortest: int = 20
    fewest_visible: int = 5


# When no search frame is visible within the gap, it may be so many frames longer, and the template is drawn anew.
GAP_GROWS_BY = 5


@dataclass(frozen=True)
class Drawn:
    """A pair of frames: of which data set (its place among them), of which sequence, and which two of its frames."""

    footage: int
    sequence: int
    template: int
    search: int


class FramePairs:
    """Pairs of frames from several data sets, each drawn as often as its share says."""

    def __init__(self, footage: Sequence[FrameIndex], shares: Sequence[float], rules: FrameRules) -> None:
        """Raises InputError for a data set of which no sequence can be used."""
        self.footage = list(footage)
        self.rules = rules
        self.edges = np.cumsum(np.asarray(shares, np.float64) / np.sum(shares))
        self.usable = [usable(part, rules) for part in self.footage]
        for part, chosen in zip(self.footage, self.usable, strict=True):
            if not len(chosen):
                raise InputError(
                    f"expected sequences of {rules.shortest} frames or more in {part.dataset} {part.split}, with the "
                    f"target visible in {rules.fewest_visible}; got none among {len(part)}; train on longer ones"
                )

    def draw(self, random: Random) -> Drawn:
        """Some pair. The search frame is never before the template's; in a single picture they are one."""
        which = min(int(np.searchsorted(self.edges, random.random(), side="right")), len(self.footage) - 1)
        part, chosen = self.footage[which], self.usable[which]
        sequence = int(chosen[random.integers(len(chosen))])
        if part.of_pictures:
            return Drawn(which, sequence, 0, 0)
        template, search = draw_frames(random, part.visible[part.frames(sequence)], self.rules.longest_gap)
        return Drawn(which, sequence, template, search)


def usable(footage: FrameIndex, rules: FrameRules) -> NDArray[np.intp]:
    """Places of the sequences that pairs may be drawn from."""
    if footage.of_pictures:
        return np.flatnonzero(footage.seen)
    return np.flatnonzero((footage.seen >= rules.fewest_visible) & (footage.lengths >= rules.shortest))


def draw_frames(random: Random, visible: NDArray[np.bool_], longest_gap: int) -> tuple[int, int]:
    """A template and a search frame after it, both visible. visible: (N,), True in two frames or more."""
    places = np.flatnonzero(visible)
    early = places[places < len(visible) - 1]
    while True:
        template = early[random.integers(len(early))]
        later = places[(places > template) & (places <= template + longest_gap)]
        if len(later):
            return int(template), int(later[random.integers(len(later))])
        longest_gap += GAP_GROWS_BY
