"""Long-term tracking: a wrapper that searches the whole frame for a lost target.

While the target is lost, the tracker keeps searching around its last box. After a while, a few tiles of the frame are
evaluated in each frame as well, nearest first, so that the time per frame stays bounded. From then on, a detection, in
a tile or around the last box, becomes a candidate if it looks like the target, and is evaluated again in the next
frames before it counts as the target. This rejects look-alikes. While the target is not lost, every result is that of
the wrapped tracker.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, BoxLike, check_box, clip_box, iou
from singletrack.geometry.crops import Image, check_frame
from singletrack.tracking.base import (
    BatchTracker,
    CropArray,
    FloatArray,
    Inputs,
    Network,
    Result,
    SearchingTracker,
)
from singletrack.tracking.color_histogram import Look, color_likeness, likeness, look_of
from singletrack.tracking.common import LostSettings, OneThread, check_next_frame, state_without_thread
from singletrack.tracking.shell import TEMPORARY
from singletrack.tracking.shots import Shot, is_cut, shot_of
from singletrack.tracking.state import KeepsState, rebuild

SAME_PLACE = 0.3  # IoU from which two consecutive detections are the same object
# Weight of a frame in the running mean of the target's score, for higher and lower scores: it rises over 20 frames and
# falls over 200, so that neither a slow loss nor a look-alike that was followed for a while lowers the bar.
USUAL_RISES, USUAL_FALLS = 0.05, 0.005
# Weight of a frame in the running mean of the target's size. A box at the edge of the frame may show only a part of it.
USUAL_SIZE = 0.1
EDGE = 2.0  # pixels
SMALLEST_TILE = 10.0  # pixels: side of a square of the same area; no tracker gives a smaller box
MOST_TILES = 128  # along the longer side of the frame
LOOK_EVERY = 5  # frames between two measurements of the target's look
# Weight in the running mean of its likeness to the first frame, likewise.
LIKENESS_RISES, LIKENESS_FALLS = 0.1, 0.02


@dataclass(frozen=True)
class _Candidate:
    """A detection that may be the target.

    Attributes:
        box: its last box.
        scores: its scores so far, without that of the tile.
        near: whether it was seen around the last box of the target instead of in a tile.
    """

    box: Box
    scores: tuple[float, ...] = ()
    near: bool = False


@dataclass
class _Search:
    """State of the search, in addition to that of the tracker.

    Attributes:
        size_wh: width and height of the frames.
        result: the last result.
        usual_wh: running mean of the target's width and height while it is completely visible.
        look: what the target looked like in the first frame.
        features: the template that was encoded last, and its features.
        usual: running mean of the score while the target is not lost.
        usual_likeness: running mean of the likeness to the first frame.
        seen: number of frames with a confident, complete target.
        frames: number of consecutive lost frames.
        tiles: boxes whose squares are left to search in this round.
        shot: what the last frame looked like, to notice a cut.
        candidate: the candidate under evaluation; None for the tracker's own search region.
        frame: the current frame between ``preprocess`` and ``postprocess``.
    """

    size_wh: tuple[int, int]
    result: Result
    usual_wh: tuple[float, float]
    look: Look | None = None
    features: tuple[CropArray, Any] | None = None
    usual: float | None = None
    usual_likeness: float | None = None
    seen: int = 0
    frames: int = 0
    tiles: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    shot: Shot | None = None
    candidate: _Candidate | None = None
    frame: Image | None = None


class LongTermTracker(KeepsState):
    """A ``tracking.base.BatchTracker`` that searches the whole frame for a lost target.

    Args:
        tracker: the tracker to wrap. Its network, settings and state are used and changed directly.

    Raises:
        InputError: the tracker is not a ``tracking.base.SearchingTracker``.
    """

    def __init__(self, tracker: BatchTracker) -> None:
        if not isinstance(tracker, SearchingTracker):
            raise InputError(
                f"long-term search needs a tracking.base.SearchingTracker; got {type(tracker).__name__}; turn "
                "long_term off"
            )
        self.tracker: SearchingTracker = tracker
        self._search: _Search | None = None

    @property
    def network(self) -> Network:
        """The network of the wrapped tracker."""
        return self.tracker.network

    @network.setter
    def network(self, network: Network) -> None:
        self.tracker.network = network

    @property
    def settings(self) -> LostSettings:
        """The settings of the wrapped tracker."""
        return self.tracker.settings

    @settings.setter
    def settings(self, settings: LostSettings) -> None:
        changeable: Any = self.tracker
        changeable.settings = settings

    def get_state(self) -> dict[str, Any]:
        """Return the state of the target between two frames, see ``shell.TrackerShell.get_state``."""
        search, tracker = self._started(), cast(Any, self.tracker)
        names = [each.name for each in fields(search) if each.name not in TEMPORARY]
        return {"tracker": tracker.get_state(), "search": {name: getattr(search, name) for name in names}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; raises InputError where it is of another tracker."""
        search, tracker = rebuild(_Search, state.get("search")), cast(Any, self.tracker)
        tracker.set_state(state.get("tracker"))
        self._search = search

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.tracker!r}>"

    def __copy__(self) -> LongTermTracker:
        """Return a tracker for another target, with the same network."""
        copied = LongTermTracker(copy.copy(self.tracker))
        copied.origin = self.origin
        return copied

    def init(self, frame: NDArray[np.uint8], box: BoxLike) -> None:
        """Set the target in the first frame, see ``tracking.base.Tracker``. May be called again to start over."""
        frame = check_frame(frame)
        x, y, width, height = box = check_box(box, (frame.shape[1], frame.shape[0]))
        self.tracker.init(frame, box)
        size_wh = (frame.shape[1], frame.shape[0])
        inside = clip_box((x, y, width, height), size_wh, margin=1.0)  # given if the target is lost at once
        first = Result(box=inside, score=1.0, lost=False)
        self._search = _Search(size_wh, first, (width, height), look_of(frame, box), shot=shot_of(frame))

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, which must have the size of the first.

        While tiles are searched, the box is the last one of the tracker, and the score is that of the candidate.
        """
        with OneThread.of(self):
            inputs = self.preprocess(frame)
            return self.postprocess(None if inputs is None else self._locate(inputs))

    def __getstate__(self) -> dict[str, Any]:
        return state_without_thread(self)

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """Compute the network inputs for the next frame; None if it shows nothing.

        While tiles are searched, they are evaluated here.
        """
        search = self._started()
        search.frame = frame = check_next_frame(frame, search.size_wh)
        if self.settings.long_term:
            self._notice_cut(frame, search)
        if not self._searches(search):
            return self.tracker.preprocess(frame)
        if search.candidate is None:
            search.candidate = self._search_tiles(frame, search)
        return self.tracker.preprocess_at(frame, search.candidate.box if search.candidate else search.result.box)

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """Compute the result from the network's maps, each with the batch of the inputs, or from None."""
        search = self._started()
        if self._searches(search):
            result = self._judge(search, search.candidate, maps)
        else:
            result = self.tracker.postprocess(maps)
        search.result = result
        if result.lost:
            search.frames += 1
        else:
            search.frames, search.tiles, search.candidate = 0, search.tiles[:0], None
            self._remember(search, result)
        search.frame = None
        return result

    @property
    def undecided(self) -> bool:
        """Whether the target is lost, and the last frame has shown something that may be it."""
        return self._started().candidate is not None

    def search_again(self) -> None:
        """Search the whole frame for the target from the next frame on: it may be anywhere, after an interruption.

        The target counts as lost until it was confirmed. Does nothing where ``long_term`` is off.
        """
        search = self._started()
        if self.settings.long_term:
            self._expect_anywhere(search)
            search.shot = None

    def _notice_cut(self, frame: Image, search: _Search) -> None:
        """Count the target as lost, and search for it at once, where the frame shows another scene than the last."""
        before, search.shot = search.shot, shot_of(frame)
        if before is not None and is_cut(before, search.shot):
            self._expect_anywhere(search)

    def _expect_anywhere(self, search: _Search) -> None:
        search.frames, search.tiles, search.candidate = self.settings.search_after + 1, search.tiles[:0], None

    def _searches(self, search: _Search) -> bool:
        """Check whether the target has been lost for so long that only a confirmed candidate counts as found."""
        return self.settings.long_term and search.frames > self.settings.search_after

    def _remember(self, search: _Search, result: Result) -> None:
        """Update the usual score, size and look of the target from a frame in which it is found."""
        usual = result.score if search.usual is None else search.usual
        rate = USUAL_RISES if result.score > usual else USUAL_FALLS
        search.usual = usual + rate * (result.score - usual)
        if result.score < self.settings.found_above or touches_edge(result.box, search.size_wh):
            return
        (width, height), (_, _, now_width, now_height) = search.usual_wh, result.box
        search.usual_wh = (width + USUAL_SIZE * (now_width - width), height + USUAL_SIZE * (now_height - height))
        due, search.seen = search.seen % LOOK_EVERY == 0, search.seen + 1
        now = look_of(search.frame, result.box) if due and search.frame is not None else None
        if now is not None and search.look is not None:
            like = likeness(now, search.look)
            before = like if search.usual_likeness is None else search.usual_likeness
            rate = LIKENESS_RISES if like > before else LIKENESS_FALLS
            search.usual_likeness = before + rate * (like - before)

    def _looks_right(
        self, frame: Image, box: Box, search: _Search, compare: Callable[[Look, Look], float] = likeness
    ) -> bool:
        """Check whether a box looks as much like the target in the first frame as the target usually does."""
        if search.look is None or search.usual_likeness is None:
            return True
        seen = look_of(frame, box)
        least = self.settings.confirm_likeness * search.usual_likeness
        return seen is not None and compare(seen, search.look) >= least

    def _started(self) -> _Search:
        if self._search is None:
            raise InputError("call init(frame, box) before update(frame); there is no target yet")
        return self._search

    def _locate(self, inputs: Inputs) -> Mapping[str, FloatArray]:
        search = self._started()
        if search.features is None or search.features[0] is not inputs.template:
            search.features = inputs.template, self.network.encode(inputs.template)
        return self.network.locate(search.features[1], inputs.search)

    def _search_tiles(self, frame: NDArray[np.uint8], search: _Search) -> _Candidate | None:
        """Evaluate the next tiles until one of them shows a candidate."""
        settings = self.settings
        for _ in range(settings.tiles_per_frame):
            if not len(search.tiles):
                search.tiles = cover(search.size_wh, resized(search.result.box, search.usual_wh), settings.tile_step)
            x, y, width, height = search.tiles[0].tolist()
            tile, search.tiles = (x, y, width, height), search.tiles[1:]
            inputs = self.tracker.preprocess_at(frame, tile, settings.tile_scale)
            sight = self.tracker.decode_at(None if inputs is None else self._locate(inputs), tile, settings.tile_scale)
            if (
                sight is not None
                and sight.score >= settings.lost_below
                and self._looks_right(frame, sight.box, search, color_likeness)
            ):
                return _Candidate(sight.box)
        return None

    def _judge(self, search: _Search, candidate: _Candidate | None, maps: Mapping[str, FloatArray] | None) -> Result:
        """Decide whether what is seen around a candidate, or around the last box, is the target, may be, or is not."""
        settings, frame = self.settings, search.frame
        search.candidate = None
        sight = self.tracker.decode_at(maps, candidate.box if candidate else search.result.box)
        if sight is None or frame is None:
            return Result(box=search.result.box, score=0.0, lost=True)
        box = sight.box if candidate is None and settings.follows(sight.score) else search.result.box
        if candidate is None:  # one that looks wrong must not keep the search from the tiles
            there = sight.score >= settings.found_above and self._looks_right(frame, sight.box, search)
            candidate = _Candidate(sight.box, near=True)
        else:
            there = sight.score >= settings.lost_below and bool(iou(sight.box, candidate.box) >= SAME_PLACE)
        if there:
            scores = (*candidate.scores, sight.score)
            share = 0.0 if candidate.near else settings.confirm_share
            if len(scores) < settings.confirm_looks:
                search.candidate = replace(candidate, box=sight.box, scores=scores)
            elif self._looks_right(frame, sight.box, search) and np.mean(scores) >= max(
                settings.found_above, share * (search.usual or 0.0)
            ):
                self.tracker.reset_to(sight.box)
                return Result(box=sight.box, score=sight.score, lost=False)
        return Result(box=box, score=sight.score, lost=True)


def touches_edge(box: Box, size_wh: tuple[int, int]) -> bool:
    """Check whether a box reaches the edge of the frame, beyond which more of the target may be."""
    x, y, width, height = box
    return min(x, y, size_wh[0] - x - width, size_wh[1] - y - height) < EDGE


def resized(box: Box, size_wh: tuple[float, float]) -> Box:
    """Resize a box around its own center."""
    x, y, width, height = box
    return x + (width - size_wh[0]) / 2, y + (height - size_wh[1]) / 2, *size_wh


def cover(size_wh: tuple[int, int], box: Box, step: float) -> NDArray[np.float64]:
    """Cover a frame with boxes of one size, nearest to the given box first.

    Args:
        size_wh: width and height of the frame in pixels.
        box: x, y, width, height in pixels.
        step: largest distance between centers, relative to the square root of the box area.

    Returns:
        Boxes of shape (N, 4), xywh in pixels, as large as the given one; larger, with its proportions, where it is
        smaller than ``SMALLEST_TILE`` or where ``MOST_TILES`` a side would not cover the frame.
    """
    x, y, width, height = box
    side = max(math.sqrt(width) * math.sqrt(height), 1e-6)
    grown = max(1.0, SMALLEST_TILE / side, max(size_wh) / (step * side * MOST_TILES))
    distance = grown * step * side
    # of the box's proportions, but no longer than the frame is where it is grown
    tile_wh = np.array([width, height]) if grown == 1.0 else np.minimum([width * grown, height * grown], size_wh)
    columns, rows = (
        (np.arange(n := min(MOST_TILES, math.ceil(length / distance))) + 0.5) * length / n for length in size_wh
    )
    centers = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    boxes = np.concatenate([centers - tile_wh / 2, np.broadcast_to(tile_wh, centers.shape)], 1)
    return np.asarray(boxes[np.argsort(np.hypot(*(boxes[:, :2] - (x, y)).T), kind="stable")])
