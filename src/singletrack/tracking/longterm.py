"""Searches the whole frame for a lost target: a wrapper round any tracker that can be asked to look elsewhere.

From local to global: the tracker looks on round its last box in every frame; after a while some tiles of the frame are
looked at as well, a few in each frame, so that no frame takes long, and the nearest first. What is seen in a tile is a
candidate if its colors are the target's, and is looked at again, frame after frame, before it counts as the target:
look-alikes elsewhere are not taken at once. While the target is not lost, every result is the tracker's own.

Knows nothing of any one model, of engines or torch.
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
from singletrack.geometry.crops import Image, check_frame
from singletrack.tracking.base import (
    BatchTracker,
    Candidate,
    CropArray,
    FloatArray,
    Inputs,
    Network,
    Result,
    SearchingTracker,
)
from singletrack.tracking.color_histogram import Colors, colors_of, similarity
from singletrack.tracking.common import LostSettings, check_next_frame

SAME_PLACE = 0.3  # overlap from which on two looks in a row have seen the same thing
# Weight of a frame in the running mean that is the target's usual score, where it scores higher and lower than that:
# it rises in 20 frames and falls in 200, so that neither a loss that comes slowly nor a look-alike that was followed
# for a while makes it easier to be taken for the target.
USUAL_RISES, USUAL_FALLS = 0.05, 0.005
# Of a frame in the running mean of the target's size. A box that touches the frame's edge shows a part of it alone.
USUAL_SIZE = 0.1
EDGE = 2.0  # pixels
COLORS_EVERY = 5  # frames between two looks at the target's own colors
USUAL_SIMILARITY = 0.1  # of such a look in the running mean of their likeness to those of the first frame


@dataclass(frozen=True)
class _TileCandidate:
    """Something seen in a tile that may be the target: its last box, and its scores in the looks at it since then."""

    box: Box
    scores: tuple[float, ...] = ()


@dataclass
class _Search:
    """All that is remembered beside the tracker's own state.

    result: the last one. features: of the template that was encoded last. usual: the target's score while it is not
    lost, on average. usual_wh: the target's width and height while all of it was seen, on average. colors: the
    target's in the first frame. usual_likeness: how like these its own are while it is seen, on average. seen: how many
    frames it was. frames: how many in a row it has been lost. tiles: boxes whose squares are left of this round.
    candidate: what the network is being asked about; None for the tracker's own look. frame: that it is asked about.
    """

    size_wh: tuple[int, int]
    result: Result
    usual_wh: tuple[float, float]
    colors: Colors | None = None
    features: tuple[CropArray, Any] | None = None
    usual: float | None = None
    usual_similarity: float | None = None
    seen: int = 0
    frames: int = 0
    tiles: list[Box] = field(default_factory=list)
    candidate: _TileCandidate | None = None
    frame: Image | None = None


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
        frame = check_frame(frame)
        x, y, width, height = (float(value) for value in box)
        first = Result(box=(x, y, width, height), score=1.0, lost=False)
        self._search = _Search((frame.shape[1], frame.shape[0]), first, (width, height), colors_of(frame, first.box))

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, of the same size as the first.

        While the target is lost the box is the last one of the tracker's own, and the score that of the look.
        """
        inputs = self.preprocess(frame)
        return self.postprocess(None if inputs is None else self._locate(inputs))

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """The first half of ``update``: what the network should see; None where the frame shows nothing.

        While tiles are searched the network is asked about them here.
        """
        search = self._started()
        search.frame = frame = check_next_frame(frame, search.size_wh)
        if search.candidate is None and self.settings.long_term and search.frames > self.settings.search_after:
            search.candidate = self._search_tiles(frame, search)
        if search.candidate is None:
            return self.tracker.preprocess(frame)
        return self.tracker.preprocess_at(frame, search.candidate.box)

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """The second half of ``update``: what the network saw, each map with a batch of 1; None if it saw nothing."""
        search = self._started()
        if search.candidate is None:
            search.result = result = self.tracker.postprocess(maps)
        else:
            search.result = result = self._judge(
                search, search.candidate, self.tracker.decode_at(maps, search.candidate.box)
            )
        if result.lost:
            search.frames += 1
        else:
            search.frames, search.tiles, search.candidate = 0, [], None
            self._remember(search, result)
        search.frame = None
        return result

    def _remember(self, search: _Search, result: Result) -> None:
        """What the target is usually like, from a frame in which it is seen: its score, size and colors."""
        usual = result.score if search.usual is None else search.usual
        rate = USUAL_RISES if result.score > usual else USUAL_FALLS
        search.usual = usual + rate * (result.score - usual)
        if result.score < self.settings.found_above or touches_edge(result.box, search.size_wh):
            return
        (width, height), (_, _, now_width, now_height) = search.usual_wh, result.box
        search.usual_wh = (width + USUAL_SIZE * (now_width - width), height + USUAL_SIZE * (now_height - height))
        due, search.seen = search.seen % COLORS_EVERY == 0, search.seen + 1
        now = colors_of(search.frame, result.box) if due and search.frame is not None else None
        if now is not None and search.colors is not None:
            like = similarity(now, search.colors)
            before = like if search.usual_similarity is None else search.usual_similarity
            search.usual_similarity = before + USUAL_SIMILARITY * (like - before)

    def _has_its_colors(self, frame: Image, box: Box, search: _Search) -> bool:
        """Whether what is in a box is in color as like the target of the first frame as it usually is itself."""
        if search.colors is None or search.usual_similarity is None:
            return True
        seen = colors_of(frame, box)
        least = self.settings.confirm_colors * search.usual_similarity
        return seen is not None and similarity(seen, search.colors) >= least

    def _started(self) -> _Search:
        if self._search is None:
            raise InputError("call init(frame, box) before update(frame); there is no target yet")
        return self._search

    def _locate(self, inputs: Inputs) -> Mapping[str, FloatArray]:
        search = self._started()
        if search.features is None or search.features[0] is not inputs.template:
            search.features = inputs.template, self.network.encode(inputs.template)
        return self.network.locate(search.features[1], inputs.search)

    def _search_tiles(self, frame: NDArray[np.uint8], search: _Search) -> _TileCandidate | None:
        """Look at the next tiles, until one of them shows something that may be the target."""
        settings = self.settings
        for _ in range(settings.tiles_per_frame):
            if not search.tiles:
                search.tiles = cover(search.size_wh, resized(search.result.box, search.usual_wh), settings.tile_step)
            tile = search.tiles.pop(0)
            inputs = self.tracker.preprocess_at(frame, tile, settings.tile_scale)
            sight = self.tracker.decode_at(None if inputs is None else self._locate(inputs), tile, settings.tile_scale)
            if (
                sight is not None
                and sight.score >= settings.lost_below
                and self._has_its_colors(frame, sight.box, search)
            ):
                return _TileCandidate(sight.box)
        return None

    def _judge(self, search: _Search, candidate: _TileCandidate, sight: Candidate | None) -> Result:
        """Whether a candidate that was looked at again is the target, may be, or is not."""
        settings = self.settings
        search.candidate = None
        if sight is None:
            return Result(box=search.result.box, score=0.0, lost=True)
        if sight.score >= settings.lost_below and iou(sight.box, candidate.box) >= SAME_PLACE:
            scores = (*candidate.scores, sight.score)
            if len(scores) < settings.confirm_looks:
                search.candidate = _TileCandidate(sight.box, scores)
            elif np.mean(scores) >= max(settings.found_above, settings.confirm_share * (search.usual or 0.0)):
                self.tracker.reset_to(sight.box)
                return Result(box=sight.box, score=sight.score, lost=False)
        return Result(box=search.result.box, score=sight.score, lost=True)


def touches_edge(box: Box, size_wh: tuple[int, int]) -> bool:
    """Whether a box ends at the frame's edge or beyond, where more of the target may be."""
    x, y, width, height = box
    return min(x, y, size_wh[0] - x - width, size_wh[1] - y - height) < EDGE


def resized(box: Box, size_wh: tuple[float, float]) -> Box:
    """The box with this width and height, about its own center."""
    x, y, width, height = box
    return x + (width - size_wh[0]) / 2, y + (height - size_wh[1]) / 2, *size_wh


def cover(size_wh: tuple[int, int], box: Box, step: float) -> list[Box]:
    """Boxes as large as this one whose squares cover the frame, the nearest to it first.

    step: how far their centers may be apart, in square roots of the box's area.
    """
    x, y, width, height = box
    distance = step * math.sqrt(width * height)
    columns, rows = ((np.arange(n := math.ceil(side / distance)) + 0.5) * side / n for side in size_wh)
    boxes = [(float(cx) - width / 2, float(cy) - height / 2, width, height) for cy in rows for cx in columns]
    return sorted(boxes, key=lambda tile: math.hypot(tile[0] - x, tile[1] - y))
