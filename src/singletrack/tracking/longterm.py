"""Searches the whole frame for a lost target: a wrapper round any tracker that can be asked to look elsewhere.

From local to global: the tracker looks round its last box alone at first; then two looks of three go to tiles that
cover the frame, the nearest first. What is seen in a tile is a candidate, and is looked at again, frame after frame,
before it counts as the target: look-alikes elsewhere are not taken at once. One look a frame, lost or not, so that a
search costs a camera no time, and several targets still share a pass of the network.

While the target is not lost, every result is the tracker's own. Knows nothing of any one model, of engines or torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, iou
from singletrack.geometry.crops import check_frame
from singletrack.tracking.base import (
    BatchTracker,
    CropArray,
    FloatArray,
    Inputs,
    Network,
    Result,
    SearchingTracker,
    Sight,
)
from singletrack.tracking.shared import LostSettings

SAME_PLACE = 0.3  # overlap from which on two looks in a row have seen the same thing
OWN_TURN = 3  # while tiles are searched, every so-manyth look is the tracker's own


@dataclass
class _Candidate:
    """Something seen in a tile that may be the target: its last box, and how often it was seen there again."""

    box: Box
    confirmed: int = 0


@dataclass
class _Search:
    """All that is remembered beside the tracker's own state.

    result: the last one. frames: how many in a row it has been lost. tiles: those of this round that are left, as
    squares round boxes. square: the one that the network is being asked about; None for the tracker's own.
    """

    size_wh: tuple[int, int]
    result: Result
    features: tuple[CropArray, Any] | None = None
    frames: int = 0
    tiles: list[Box] = field(default_factory=list)
    candidate: _Candidate | None = None
    square: tuple[Box, float] | None = None


class LongTermTracker:
    """Follows one target, as ``tracking.base.BatchTracker``, and searches for it in the whole frame once it is lost.

    tracker: its network, settings and state are used and changed as if there were no wrapper. Raises InputError for
    one that cannot be asked to look elsewhere.
    """

    def __init__(self, tracker: BatchTracker) -> None:
        if not isinstance(tracker, SearchingTracker):
            raise InputError(
                f"expected a tracker with look, see and move (tracking.base.SearchingTracker); got "
                f"{type(tracker).__name__}; use it without a long-term search"
            )
        self.tracker: SearchingTracker = tracker
        self._search: _Search | None = None

    @property
    def network(self) -> Network:
        """The tracker's."""
        return self.tracker.network

    @network.setter
    def network(self, network: Network) -> None:
        self.tracker.network = network

    @property
    def settings(self) -> LostSettings:
        """The tracker's."""
        return self.tracker.settings

    @settings.setter
    def settings(self, settings: LostSettings) -> None:
        changeable: Any = self.tracker
        changeable.settings = settings

    def __copy__(self) -> LongTermTracker:
        """One for another target, with the same network."""
        return LongTermTracker(copy.copy(self.tracker))

    def init(self, frame: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
        """Take the target from the first frame, as the tracker does; may be called again, to start anew."""
        self.tracker.init(frame, box)
        height, width = check_frame(frame).shape[:2]
        x, y, box_width, box_height = (float(value) for value in box)
        self._search = _Search((width, height), Result(box=(x, y, box_width, box_height), score=1.0, lost=False))

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, of the same size as the first.

        While the target is lost the box is the last one of the tracker's own, and the score that of the look.
        """
        search, inputs = self._started(), self.prepare(frame)
        if inputs is None:
            return self.read(None)
        if search.features is None or search.features[0] is not inputs.template:
            search.features = inputs.template, self.network.encode(inputs.template)
        return self.read(self.network.locate(search.features[1], inputs.search))

    def prepare(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """The first half of ``update``: what the network should see; None where the frame shows nothing."""
        search = self._started()
        search.square = self._next_square(search)
        return self.tracker.prepare(frame) if search.square is None else self.tracker.look(frame, *search.square)

    def read(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """The second half of ``update``: what the network saw, each map with a batch of 1; None if it saw nothing."""
        search = self._started()
        if search.square is None:
            search.result = self.tracker.read(maps)
        else:
            search.result = self._judge(search, self.tracker.see(maps, *search.square))
        if search.result.lost:
            search.frames += 1
        else:
            search.frames, search.tiles, search.candidate = 0, [], None
        return search.result

    def _started(self) -> _Search:
        if self._search is None:
            raise InputError("expected init(frame, box) before update(frame); got no target; call init first")
        return self._search

    def _next_square(self, search: _Search) -> tuple[Box, float] | None:
        """Where to look now: at a candidate; else at a tile, or in its turn as the tracker itself does."""
        settings = self.settings
        if search.candidate is not None:
            return search.candidate.box, 1.0
        waited = search.frames - 1 - settings.search_after  # looks, since the one that called it lost
        if not settings.long_term or waited < 0 or waited % OWN_TURN == OWN_TURN - 1:
            return None
        if not search.tiles:
            search.tiles = cover(search.size_wh, search.result.box, settings.tile_step)
        return search.tiles.pop(0), settings.tile_widen

    def _judge(self, search: _Search, sight: Sight | None) -> Result:
        """Whether what was seen elsewhere is the target."""
        settings, before = self.settings, search.candidate
        search.candidate = None
        if sight is None:
            return Result(box=search.result.box, score=0.0, lost=True)
        if before is None and sight.score >= settings.found_above:
            search.candidate = _Candidate(sight.box)
        elif before and sight.score >= settings.confirm_above and iou(sight.box, before.box) >= SAME_PLACE:
            if before.confirmed + 1 >= settings.confirm_looks:
                self.tracker.move(sight.box)
                return Result(box=sight.box, score=sight.score, lost=False)
            search.candidate = _Candidate(sight.box, before.confirmed + 1)
        return Result(box=search.result.box, score=sight.score, lost=True)


def cover(size_wh: tuple[int, int], box: Box, step: float) -> list[Box]:
    """Boxes as large as this one whose squares cover the frame, the nearest to it first.

    step: how far their centres may be apart, in square roots of the box's area.
    """
    x, y, width, height = box
    distance = step * math.sqrt(width * height)
    columns, rows = ((np.arange(n := math.ceil(side / distance)) + 0.5) * side / n for side in size_wh)
    boxes = [(float(cx) - width / 2, float(cy) - height / 2, width, height) for cy in rows for cx in columns]
    return sorted(boxes, key=lambda tile: math.hypot(tile[0] - x, tile[1] - y))
