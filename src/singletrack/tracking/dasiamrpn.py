"""Follows one target with DaSiamRPN: crop, network, proposals, box; lost, it may look wider from frame to frame.

The loop is the published one (foolwood/DaSiamRPN, code/run_SiamRPN.py), which has neither of the two parts of the
paper that are options here: the search from local to global, and ``tracking.distractors``. Holds the state of one
target; knows nothing of the engine that runs the network, and of no benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, check_box, clip_box
from singletrack.geometry.crops import Image, Square
from singletrack.geometry.padded_crops import Color, bgr_pixels, mean_color, padded_crop
from singletrack.tracking.anchors import (
    STRIDE,
    Array,
    Origin,
    Pair,
    anchor_grid,
    center_and_size,
    choose_proposal,
    clip_pair,
    cosine_window,
    padded_side,
    read_proposals,
    smooth_size,
)
from singletrack.tracking.base import Candidate, FloatArray, Inputs, Result
from singletrack.tracking.common import LostSettings, LostState, check_next_frame, shows_nothing
from singletrack.tracking.shell import TrackerShell


@dataclass(frozen=True, kw_only=True)
class DaSiamRPNSettings(LostSettings):
    """How the loop round the network works. The defaults are those published with SiamRPNvot.

    template_size, search_size: side of a crop as the network takes it, in pixels. The square of a template has the
        box's area with half of width + height added to each side; a search crop shows more at the same scale.
    small_search_size: in place of search_size for a target that covers less than `small_below` of the first frame;
        None for the same.
    anchor_origin: where the anchors lie. "python2" is what was published and scores better, "python3" what the
        published code does under Python 3; see ``tracking.anchors.anchor_grid``.
    penalty_strength, window_influence, size_rate: see ``tracking.anchors``; the last is what penalty and score are
        multiplied with.
    smallest_side: the box is never smaller, in pixels of the frame.
    lost_below, found_above, lost_after: the paper's, for its search from local to global.
    local_to_global: while lost, stay at the last box that was believed, and search round it in a region that is
        wider by `search_step` pixels of the crop in each frame, up to `largest_search_size`, without a window, until
        found (the paper's section 3.4; the step is ours, and so is leaving out the window, which would hold the
        search to the middle). False follows the best proposal in every frame, as published.
    distractor_aware: learn what else looks like the target, and rank by how much more a proposal looks like the
        target; see ``tracking.distractors``, also for the four settings that follow. False as published.
    """

    template_size: int = 127
    search_size: int = 271
    small_search_size: int | None = None
    small_below: float = 0.004
    anchor_origin: Origin = "python2"
    penalty_strength: float = 0.04
    window_influence: float = 0.44
    size_rate: float = 0.45
    smallest_side: float = 10.0
    lost_below: float = 0.8
    found_above: float = 0.95
    lost_after: int = 1
    local_to_global: bool = False
    search_step: int = 64
    largest_search_size: int = 767
    distractor_aware: bool = False
    distractor_weight: float = 0.5
    distractor_above: float = 0.5
    distractor_overlap: float = 0.1
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        anchor_grid(1, self.anchor_origin)  # raises for a name that is none
        if self.long_term and (self.local_to_global or self.distractor_aware):
            raise InputError(
                "expected long_term without local_to_global, which searches as well, and without distractor_aware, "
                "whose template is not the first frame's; got both; turn one of them off"
            )
        sizes = {
            "search_size": self.search_size,
            "small_search_size": self.small_search_size or self.search_size,
            "largest_search_size": self.largest_search_size,
            "search_size + search_step": self.search_size + self.search_step,
        }
        for name, size in sizes.items():
            if size < self.template_size or (size - self.template_size) % STRIDE:
                raise InputError(
                    f"expected {name} of {self.template_size} + {STRIDE} i pixels; got {size}; maps have whole cells"
                )
        if self.largest_search_size < max(sizes["search_size"], sizes["small_search_size"]):
            raise InputError(
                f"expected largest_search_size of {max(sizes['search_size'], sizes['small_search_size'])} or more; got "
                f"{self.largest_search_size}; a lost target is searched for in a wider region"
            )
        if self.search_step < STRIDE:
            raise InputError(f"expected search_step of {STRIDE} or more; got {self.search_step}; the region must grow")
        if self.distractor_weight < 0:
            raise InputError(f"expected distractor_weight of 0 or more; got {self.distractor_weight}")
        for name in ("distractor_above", "distractor_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"expected {name} of 0 to 1; got {getattr(self, name)}")
        if not 0 <= self.learning_rate < 0.5:
            raise InputError(
                f"expected learning_rate of 0 up to 0.5; got {self.learning_rate}; weights would grow without end"
            )


@dataclass
class _Target:
    """All that is remembered from one frame to the next. center_xy and box_wh: in pixels of the frame."""

    template: Image
    features: Any
    frame_wh: tuple[int, int]
    padding: Color
    base_size: int
    search_size: int
    center_xy: Pair
    box_wh: Pair
    lost_state: LostState = field(default_factory=LostState)

    @property
    def box(self) -> Box:
        """x, y, width, height in pixels of the frame; it may reach beyond the frame."""
        (x, y), (width, height) = self.center_xy, self.box_wh
        return x - width / 2, y - height / 2, width, height


class Candidates(NamedTuple):
    """All proposals of one look: boxes_cxcywh (N, 4), in pixels of the frame, and scores (N,), 0 to 1."""

    boxes_cxcywh: Array
    scores: Array


class DaSiamRPNTracker(TrackerShell[DaSiamRPNSettings, _Target]):
    """Follows one target, as ``tracking.base.SearchingTracker``. The network remembers nothing: many may share it.

    The score is that of the chosen proposal, before penalty and window.
    """

    default_settings = DaSiamRPNSettings

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        settings = self.settings
        center_xy, box_wh = center_and_size(box)
        size, covered = settings.search_size, box_wh[0] * box_wh[1] / (size_wh[0] * size_wh[1])
        if settings.small_search_size is not None and covered < settings.small_below:
            size = settings.small_search_size
        padding = mean_color(frame)
        template = template_crop(frame, center_xy, box_wh, padding, settings.template_size)
        features = self.network.encode(template)
        return _Target(template, features, size_wh, padding, size, size, center_xy, box_wh)

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        target = self._followed()
        return self._look(frame, target.center_xy, target.box_wh, target.search_size)

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        target, settings = self._followed(), self.settings
        searching = settings.local_to_global and target.lost_state.lost
        influence = 0.0 if searching else settings.window_influence
        center_xy, box_wh, score = self._place(maps, influence) or (target.center_xy, target.box_wh, 0.0)
        target.lost_state.update(score, settings)
        if settings.local_to_global and target.lost_state.lost:
            target.search_size = min(target.search_size + settings.search_step, settings.largest_search_size)
        else:
            target.center_xy, target.box_wh, target.search_size = center_xy, box_wh, target.base_size
        return Result(box=target.box, score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """What the network should see round any box, as ``tracking.base.SearchingTracker``."""
        return self._look(frame, *center_and_size(box), self._followed().base_size, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """What the network saw there, as ``tracking.base.SearchingTracker``."""
        seen = self.candidates(maps, box, search_scale)
        if seen is None:
            return None
        best = int(np.argmax(seen.scores))
        x, y, width, height = (float(value) for value in seen.boxes_cxcywh[best])
        if not np.isfinite([x, y, width, height]).all():
            return None
        settings, target = self.settings, self._followed()
        inside = clip_box(
            (x - width / 2, y - height / 2, width, height), target.frame_wh, margin=settings.smallest_side
        )
        return Candidate(inside, float(seen.scores[best]))

    def reset_to(self, box: Box) -> None:
        """Go on from this box, believed, as ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.center_xy, target.box_wh = center_and_size(check_box(box, target.frame_wh))
        target.search_size, target.lost_state = target.base_size, LostState()

    def candidates(
        self, maps: Mapping[str, FloatArray] | None, box: Box | None = None, search_scale: float = 1.0
    ) -> Candidates | None:
        """All that the network proposed round a box, None for the target's own; changes nothing, as ``decode_at``.

        None where nothing can be read.
        """
        target = self._followed()
        read = read_proposals(maps, self.settings.anchor_origin)
        if read is None:
            return None
        center_xy, box_wh = (target.center_xy, target.box_wh) if box is None else center_and_size(box)
        proposals, scores = read
        return Candidates(proposals * search_scale / self._scale(box_wh) + (*center_xy, 0, 0), scores)

    @property
    def features(self) -> Any:
        """Those of the first frame's template."""
        return self._followed().features

    def template(self, frame: Image, box_cxcywh: Array) -> Image:
        """The template crop, (1, T, T, 3), of whatever is in a box of a frame."""
        x, y, width, height = (float(value) for value in box_cxcywh)
        return template_crop(frame, (x, y), (width, height), self._followed().padding, self.settings.template_size)

    def _scale(self, box_wh: Pair) -> float:
        """Crop pixels per pixel of the frame, for a box of that size."""
        return float(self.settings.template_size / padded_side(*box_wh))

    def _look(
        self, frame: NDArray[np.uint8], center_xy: Pair, box_wh: Pair, size: int, search_scale: float = 1.0
    ) -> Inputs | None:
        """A search crop of that size, whose scale is that of the template; None where it would have one color."""
        target, settings = self._followed(), self.settings
        frame = check_next_frame(frame, target.frame_wh)
        margin = (size - settings.template_size) / 2 / self._scale(box_wh)
        side = (float(padded_side(*box_wh)) + 2 * margin) * search_scale
        square = square_about(center_xy, side)
        if shows_nothing(frame, (square.left, square.top, square.side, square.side), 1.0):
            return None
        return Inputs(target.template, bgr_pixels(padded_crop(frame, square, size, target.padding)))

    def _place(self, maps: Mapping[str, FloatArray] | None, window_influence: float) -> tuple[Pair, Pair, float] | None:
        """Center and size of the target, as far inside the frame as published, and its score; None if not seen."""
        target, settings = self._followed(), self.settings
        read = read_proposals(maps, self.settings.anchor_origin)
        if maps is None or read is None:
            return None
        scale = self._scale(target.box_wh)
        width, height = target.box_wh
        chosen = choose_proposal(
            *read,
            cosine_window(maps["cls"].shape[-1]),
            before_wh=(width * scale, height * scale),
            penalty_strength=settings.penalty_strength,
            window_influence=window_influence,
        )
        if chosen is None:
            return None
        shift_x, shift_y, seen_width, seen_height = (value / scale for value in chosen.box_cxcywh)
        rate = chosen.penalty * chosen.score * settings.size_rate
        box_wh = smooth_size(target.box_wh, (seen_width, seen_height), rate)
        center_xy = target.center_xy[0] + shift_x, target.center_xy[1] + shift_y
        return (
            clip_pair(center_xy, 0.0, target.frame_wh),
            clip_pair(box_wh, settings.smallest_side, target.frame_wh),
            chosen.score,
        )


def template_crop(frame: Image, center_xy: Pair, box_wh: Pair, padding: Color, size: int) -> Image:
    """The crop from which the network takes what it looks for: (1, size, size, 3)."""
    return bgr_pixels(padded_crop(frame, square_about(center_xy, float(padded_side(*box_wh))), size, padding))


def square_about(center_xy: Pair, side: float) -> Square:
    """The square of whole pixels round a center, half a pixel up and left of it, ties to the even number: published."""
    whole = max(1, round(side))
    left, top = (round(center - (whole + 1) / 2) for center in center_xy)
    return Square(left, top, whole)
