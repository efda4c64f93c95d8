"""Follows one target with SiamRPN++: crop, network, proposals, box; the long-term version looks wider once lost.

The loop is the published one (STVIR/pysot, siamrpn_tracker.py and siamrpnlt_tracker.py) to the hundredth of a pixel.
Holds the state of one target; knows nothing of the engine that runs the network, and of no benchmark.
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
    """How the loop round the network works. The defaults are those published for siamrpn_r50_l234_dwxcorr.

    template_size, search_size: side of a crop as the network takes it, in pixels. The square of a template has the
        box's area with half of width + height added to each side; a search crop shows more at the same scale.
    penalty_strength, window_influence, size_rate: see ``tracking.anchors``; the last is what penalty and score are
        multiplied with.
    smallest_side: the box is never smaller, in pixels of the frame.
    lost_below, found_above, lost_after: the defaults are the pair of thresholds of DaSiamRPN's paper.
    lost_search_size: side of the search crop while lost; the box then stays where it was until a score reaches
        `lost_below`, and is believed wherever it is seen: the window counts by `lost_window_influence`. None follows
        the best proposal in every frame, with one size.
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
                    f"expected {name} of {self.template_size} + {STRIDE} i pixels; got {size}; maps have whole cells"
                )


@dataclass
class _Target:
    """All that is remembered from one frame to the next. center_xy and box_wh: in pixels of the frame.

    center_xy is the published one: of the first frame's box, half a pixel up and left of the middle.
    """

    template: Image
    features: Any
    frame_wh: tuple[int, int]
    padding: Color
    center_xy: Pair
    box_wh: Pair
    lost_state: LostState = field(default_factory=LostState)


class SiamRPNTracker(TrackerShell[SiamRPNSettings, _Target]):
    """Follows one target, as ``tracking.base.SearchingTracker``. The network remembers nothing: many may share it.

    The score is that of the chosen proposal, before penalty and window.
    """

    default_settings = SiamRPNSettings

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        x, y, width, height = box
        # the middle of the first and the last pixel: published so, though boxes are given out as if it were width / 2
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
        # the long-term version goes on from where the target was seen, the other from the box that it gives out
        target.center_xy, target.box_wh = (center_xy, box_wh) if holds else inside
        return Result(box=_box(*inside), score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """What the network should see round any box, as ``tracking.base.SearchingTracker``."""
        return self._look(frame, *center_and_size(box), self.settings.search_size, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """What the network saw there, as ``tracking.base.SearchingTracker``."""
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
        """Go on from this box, believed, as ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.center_xy, target.box_wh = center_and_size(check_box(box, target.frame_wh))
        target.lost_state = LostState()

    def _scale(self, box_wh: Pair) -> float:
        """Crop pixels per pixel of the frame, for a box of that size."""
        return float(self.settings.template_size / padded_side(*box_wh))

    def _look(
        self, frame: NDArray[np.uint8], center_xy: Pair, box_wh: Pair, size: int, search_scale: float = 1.0
    ) -> Inputs | None:
        """A search crop of that size, whose scale is that of the template; None where it would have one color."""
        target = self._followed()
        frame = check_next_frame(frame, target.frame_wh)
        square = _square(center_xy, float(padded_side(*box_wh)) * (size / self.settings.template_size) * search_scale)
        if shows_nothing(frame, (square.left, square.top, square.side, square.side), 1.0):
            return None
        return Inputs(target.template, bgr_pixels(padded_crop(frame, square, size, target.padding)))

    def _place(self, maps: Mapping[str, FloatArray] | None, window_influence: float) -> tuple[Pair, Pair, float] | None:
        """Center and size of the target, not clipped, and its score; None where it cannot be read."""
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
    """The square of whole pixels round a center, published: half a pixel up and left of it, ties down and right."""
    whole = max(1, round(side))
    left, top = (math.floor(center - (whole + 1) / 2 + 0.5) for center in center_xy)
    return Square(left, top, whole)


def _box(center_xy: Pair, box_wh: Pair) -> Box:
    """x, y, width, height of the box with that center and size."""
    return center_xy[0] - box_wh[0] / 2, center_xy[1] - box_wh[1] / 2, *box_wh
