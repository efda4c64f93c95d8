"""The DaSiamRPN tracker.

Reproduces the published loop (foolwood/DaSiamRPN, code/run_SiamRPN.py). Two parts of the paper that the published code
lacks are options here: the local-to-global search, and the distractors of ``tracking.distractors``.
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
    """Settings of the DaSiamRPN tracker. The defaults are those published with SiamRPNvot.

    Attributes:
        template_size: side of the template crop in network pixels. It shows a square with the area of the box after
            half of width + height was added to each side.
        search_size: side of the search crop in network pixels, at the scale of the template.
        small_search_size: search size for a target that covers less than ``small_below`` of the first frame; None for
            ``search_size``.
        small_below: share of the first frame below which a target is small.
        anchor_origin: position of the anchors. "python2" matches the published results and scores better; "python3" is
            what the published code does under Python 3. See ``tracking.anchors.anchor_grid``.
        penalty_strength: weight of the penalty on changes of scale and aspect ratio, see ``tracking.anchors``.
        window_influence: weight of the cosine window, 0 to 1.
        size_rate: the box size follows the proposal by this factor times penalty times score.
        smallest_side: minimum width and height of the box in frame pixels.
        lost_below: from the paper, for its local-to-global search; so are ``found_above`` and ``lost_after``.
        local_to_global: while lost, keep the last confident box and search around it in a growing region without a
            window (paper, Section 3.4; the step and leaving out the window, which would confine the search to the
            middle, are ours). False follows the best proposal in every frame, as published.
        search_step: growth of the search region per lost frame, in crop pixels.
        largest_search_size: largest search region, in crop pixels.
        distractor_aware: learn distractors and rank proposals against them, see ``tracking.distractors``. False as
            published.
        distractor_weight: weight of the distractors in the ranking.
        distractor_above: lowest score of a distractor.
        distractor_overlap: largest IoU of a distractor with the target.
        learning_rate: learning rate of templates and distractors, 0 to below 0.5.
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
        anchor_grid(1, self.anchor_origin)  # raises for an unknown name
        if self.long_term and (self.local_to_global or self.distractor_aware):
            raise InputError(
                "long_term cannot be combined with local_to_global or distractor_aware; got both; turn one of them off"
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
                    f"{name} must be {self.template_size} + {STRIDE} n pixels; got {size}; choose another size"
                )
        if self.largest_search_size < max(sizes["search_size"], sizes["small_search_size"]):
            raise InputError(
                f"largest_search_size must be at least {max(sizes['search_size'], sizes['small_search_size'])}; got "
                f"{self.largest_search_size}; the region grows while the target is lost"
            )
        if self.search_step < STRIDE:
            raise InputError(f"search_step must be at least {STRIDE}; got {self.search_step}; the region must grow")
        if self.distractor_weight < 0:
            raise InputError(f"distractor_weight must be at least 0; got {self.distractor_weight}")
        for name in ("distractor_above", "distractor_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be 0 to 1; got {getattr(self, name)}")
        if not 0 <= self.learning_rate < 0.5:
            raise InputError(
                f"learning_rate must be at least 0 and below 0.5; got {self.learning_rate}; larger rates diverge"
            )


@dataclass
class _Target:
    """State of a target. ``center_xy`` and ``box_wh`` are in frame pixels."""

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
        """x, y, width, height in frame pixels; may extend beyond the frame."""
        (x, y), (width, height) = self.center_xy, self.box_wh
        return x - width / 2, y - height / 2, width, height


class Candidates(NamedTuple):
    """All proposals in one search region.

    Attributes:
        boxes_cxcywh: (N, 4) in frame pixels.
        scores: (N,) in 0 to 1.
    """

    boxes_cxcywh: Array
    scores: Array


class DaSiamRPNTracker(TrackerShell[DaSiamRPNSettings, _Target]):
    """DaSiamRPN tracker, a ``tracking.base.SearchingTracker``.

    The score is that of the chosen proposal, before penalty and window.
    """

    default_settings = DaSiamRPNSettings
    target_class = _Target

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
        """Compute the network inputs for the search region around a box; see ``tracking.base.SearchingTracker``."""
        return self._look(frame, *center_and_size(box), self._followed().base_size, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """Find the best place in that search region; see ``tracking.base.SearchingTracker``."""
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
        """Continue from this box as found; see ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.center_xy, target.box_wh = center_and_size(check_box(box, target.frame_wh))
        target.search_size, target.lost_state = target.base_size, LostState()

    def candidates(
        self, maps: Mapping[str, FloatArray] | None, box: Box | None = None, search_scale: float = 1.0
    ) -> Candidates | None:
        """Decode all proposals around a box without changing any state.

        Args:
            maps: network maps with a batch of 1.
            box: x, y, width, height in frame pixels; None for the box of the target.
            search_scale: factor on the side of the search region.

        Returns:
            The proposals; None if the maps cannot be decoded.
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
        """Features of the template of the first frame."""
        return self._followed().features

    def template(self, frame: Image, box_cxcywh: Array) -> Image:
        """Crop a template, (1, T, T, 3), around any box, cxcywh in frame pixels."""
        x, y, width, height = (float(value) for value in box_cxcywh)
        return template_crop(frame, (x, y), (width, height), self._followed().padding, self.settings.template_size)

    def _scale(self, box_wh: Pair) -> float:
        """Compute crop pixels per frame pixel for a box of this size."""
        return float(self.settings.template_size / padded_side(*box_wh))

    def _look(
        self, frame: NDArray[np.uint8], center_xy: Pair, box_wh: Pair, size: int, search_scale: float = 1.0
    ) -> Inputs | None:
        """Crop a search region at the scale of the template; None if it has a single color."""
        target, settings = self._followed(), self.settings
        frame = check_next_frame(frame, target.frame_wh)
        margin = (size - settings.template_size) / 2 / self._scale(box_wh)
        side = (float(padded_side(*box_wh)) + 2 * margin) * search_scale
        square = square_about(center_xy, side)
        if shows_nothing(frame, (square.left, square.top, square.side, square.side), 1.0):
            return None
        return Inputs(target.template, bgr_pixels(padded_crop(frame, square, size, target.padding)))

    def _place(self, maps: Mapping[str, FloatArray] | None, window_influence: float) -> tuple[Pair, Pair, float] | None:
        """Decode the center and size of the target, clipped as published, and its score; None if not possible."""
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
    """Crop a template around a center: (1, size, size, 3) uint8 BGR."""
    return bgr_pixels(padded_crop(frame, square_about(center_xy, float(padded_side(*box_wh))), size, padding))


def square_about(center_xy: Pair, side: float) -> Square:
    """Build the square around a center at integer pixels, as published: half a pixel up-left, ties to even."""
    whole = max(1, round(side))
    left, top = (round(center - (whole + 1) / 2) for center in center_xy)
    return Square(left, top, whole)
