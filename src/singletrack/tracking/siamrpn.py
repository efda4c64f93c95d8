"""The SiamRPN++ tracker, including its long-term version.

Reproduces the published loops (STVIR/pysot, siamrpn_tracker.py and siamrpnlt_tracker.py) within a hundredth of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, check_box, clip_box
from singletrack.geometry.crops import Image, Square
from singletrack.geometry.padded_crops import Color, bgr_pixels, mean_color, padded_crop
from singletrack.tracking.anchors import (
    STRIDE,
    Pair,
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
class SiamRPNSettings(LostSettings):
    """Settings of the SiamRPN++ tracker. The defaults are those published for siamrpn_r50_l234_dwxcorr.

    Attributes:
        template_size: side of the template crop in network pixels. It shows a square with the area of the box after
            half of width + height was added to each side.
        search_size: side of the search crop in network pixels, at the scale of the template.
        penalty_strength: weight of the penalty on changes of scale and aspect ratio, see ``tracking.anchors``.
        window_influence: weight of the cosine window, 0 to 1.
        size_rate: the box size follows the proposal by this factor times penalty times score.
        smallest_side: minimum width and height of the box in frame pixels.
        lost_below: the default is the threshold of the DaSiamRPN paper.
        found_above: the default is the threshold of the DaSiamRPN paper.
        lost_search_size: side of the search crop while lost. The box then stays in place until a score reaches
            ``lost_below``. None follows the best proposal in every frame, with one size.
        lost_window_influence: weight of the cosine window while lost.
    """

    template_size: int = 127
    search_size: int = 255
    penalty_strength: float = 0.05
    window_influence: float = 0.42
    size_rate: float = 0.38
    smallest_side: float = 10.0
    lost_below: float = 0.8
    found_above: float = 0.95
    lost_search_size: int | None = None
    lost_window_influence: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, size in (("search_size", self.search_size), ("lost_search_size", self.lost_search_size)):
            if size is not None and (size < self.template_size or (size - self.template_size) % STRIDE):
                raise InputError(
                    f"{name} must be {self.template_size} + {STRIDE} n pixels; got {size}; choose another size"
                )


@dataclass
class _Target:
    """State of a target. ``center_xy`` and ``box_wh`` are in frame pixels.

    As published, ``center_xy`` starts half a pixel up and left of the center of the first box.
    """

    template: Image
    features: Any
    frame_wh: tuple[int, int]
    padding: Color
    center_xy: Pair
    box_wh: Pair
    lost_state: LostState = field(default_factory=LostState)


class SiamRPNTracker(TrackerShell[SiamRPNSettings, _Target]):
    """SiamRPN++ tracker, a ``tracking.base.SearchingTracker``.

    The score is that of the chosen proposal, before penalty and window.
    """

    default_settings = SiamRPNSettings
    target_class = _Target

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        x, y, width, height = box
        # center between the first and the last pixel, as published, although results are computed with width / 2
        center_xy, box_wh = (x + (width - 1) / 2, y + (height - 1) / 2), (width, height)
        padding = mean_color(frame)
        square = _square(center_xy, float(padded_side(*box_wh)))
        template = bgr_pixels(padded_crop(frame, square, self.settings.template_size, padding))
        return _Target(template, self.network.encode(template), size_wh, padding, center_xy, box_wh)

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        target, settings = self._followed(), self.settings
        size = settings.search_size
        if target.lost_state.lost and settings.lost_search_size is not None:
            size = settings.lost_search_size
        return self._look(frame, target.center_xy, target.box_wh, size)

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        target, settings = self._followed(), self.settings
        holds = settings.lost_search_size is not None
        influence = settings.lost_window_influence if holds and target.lost_state.lost else settings.window_influence
        center_xy, box_wh, score = self._place(maps, influence) or (target.center_xy, target.box_wh, 0.0)
        if holds and score < settings.lost_below:
            center_xy, box_wh = target.center_xy, target.box_wh
        target.lost_state.update(score, settings)
        inside = (
            clip_pair(center_xy, 0.0, target.frame_wh),
            clip_pair(box_wh, settings.smallest_side, target.frame_wh),
        )
        # the long-term version continues from the unclipped box, the other from the reported box
        target.center_xy, target.box_wh = (center_xy, box_wh) if holds else inside
        return Result(box=_box(*inside), score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """Compute the network inputs for the search region around a box; see ``tracking.base.SearchingTracker``."""
        return self._look(frame, *center_and_size(box), self.settings.search_size, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """Find the best place in that search region; see ``tracking.base.SearchingTracker``."""
        read = read_proposals(maps)
        if read is None:
            return None
        proposals, scores = read
        best = int(np.argmax(scores))
        (center_x, center_y), box_wh = center_and_size(box)
        x, y, width, height = (float(value) * search_scale / self._scale(box_wh) for value in proposals[best])
        if not np.isfinite([x, y, width, height]).all():
            return None
        seen = _box((center_x + x, center_y + y), (width, height))
        inside = clip_box(seen, self._followed().frame_wh, margin=self.settings.smallest_side)
        return Candidate(inside, float(scores[best]))

    def reset_to(self, box: Box) -> None:
        """Continue from this box as found; see ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.center_xy, target.box_wh = center_and_size(check_box(box, target.frame_wh))
        target.lost_state = LostState()

    def _scale(self, box_wh: Pair) -> float:
        """Compute crop pixels per frame pixel for a box of this size."""
        return float(self.settings.template_size / padded_side(*box_wh))

    def _look(
        self, frame: NDArray[np.uint8], center_xy: Pair, box_wh: Pair, size: int, search_scale: float = 1.0
    ) -> Inputs | None:
        """Crop a search region at the scale of the template; None if it has a single color."""
        target = self._followed()
        frame = check_next_frame(frame, target.frame_wh)
        square = _square(center_xy, float(padded_side(*box_wh)) * (size / self.settings.template_size) * search_scale)
        if shows_nothing(frame, (square.left, square.top, square.side, square.side), 1.0):
            return None
        return Inputs(target.template, bgr_pixels(padded_crop(frame, square, size, target.padding)))

    def _place(self, maps: Mapping[str, FloatArray] | None, window_influence: float) -> tuple[Pair, Pair, float] | None:
        """Decode the center and size of the target, not clipped, and its score; None if that is not possible."""
        target, settings = self._followed(), self.settings
        read = read_proposals(maps)
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
        return (target.center_xy[0] + shift_x, target.center_xy[1] + shift_y), box_wh, chosen.score


def _square(center_xy: Pair, side: float) -> Square:
    """Build the square around a center at integer pixels, as published: half a pixel up-left, ties down-right."""
    whole = max(1, round(side))
    left, top = (math.floor(center - (whole + 1) / 2 + 0.5) for center in center_xy)
    return Square(left, top, whole)


def _box(center_xy: Pair, box_wh: Pair) -> Box:
    """Convert center and size to x, y, width, height."""
    return center_xy[0] - box_wh[0] / 2, center_xy[1] - box_wh[1] / 2, *box_wh
