"""Follows one target with STARK: crop, network, box; and renews the second template while the network is sure.

The loop is the published one (researchmm/Stark, lib/test/tracker) to the hundredth of a pixel, and by two
settings that of MMTracking. Holds the state of one target; knows nothing of the engine that runs the network,
and of no benchmark: how often a template is renewed is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, check_box, clip_box, clip_corner
from singletrack.geometry.crops import (
    Image,
    Square,
    box_from_crop,
    normalize,
    square_crop,
    square_crop_unrounded,
    square_padding,
)
from singletrack.tracking.base import Candidate, CropArray, FloatArray, Inputs, Result
from singletrack.tracking.common import CropSettings, LostSettings, LostState, check_next_frame, shows_nothing
from singletrack.tracking.shell import TrackerShell


@dataclass(frozen=True, kw_only=True)
class STARKSettings(CropSettings, LostSettings):
    """How the loop round the network works. The defaults are those published for STARK-ST on most benchmarks.

    num_templates: how many the network looks at; all start as the first frame's.
    update_interval: every so many frames the last template may be replaced by a crop of that frame; None keeps it.
        What was published for which benchmark stands in docs/stark.md.
    update_above: it is replaced only where the score is over this.
    lost_below, found_above: by the score head, where there is one. It was trained to tell by 0.5 whether a crop
        shows the target.
    unrounded_crops: False resizes crops to whole levels of brightness, as published; True keeps what lies between,
        as MMTracking does.
    keep_size_at_border: False clips boxes to the frame, as published; True keeps their width and height, as
        MMTracking does: they may then reach beyond it.
    """

    search_factor: float = 5.0
    search_size: int = 320
    lost_below: float = 0.5
    found_above: float = 0.5
    num_templates: int = 2
    update_interval: int | None = 200
    update_above: float = 0.5
    unrounded_crops: bool = False
    keep_size_at_border: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_templates < 1:
            raise InputError(
                f"num_templates must be 1 or more; got {self.num_templates}; give as many as the network takes"
            )
        if self.update_interval is None:
            return
        if self.update_interval < 1:
            raise InputError(f"expected update_interval of 1 or more, or None; got {self.update_interval}")
        if self.num_templates < 2:
            raise InputError(
                f"expected no update_interval with a single template, which stays the first frame's; got "
                f"{self.update_interval}; give None, or a network of two templates"
            )


@dataclass
class _Target:
    """All that is remembered from one frame to the next.

    templates: as ``encode`` takes them, one target's K side by side. features: of these; None until they are needed.
    frames: how many came after the first.
    frame: the one that the network is being asked about.
    """

    templates: CropArray
    features: Any
    size_wh: tuple[int, int]
    box: Box
    lost_state: LostState = field(default_factory=LostState)
    frames: int = 0
    frame: Image | None = None


class STARKTracker(TrackerShell[STARKSettings, _Target]):
    """Follows one target, as ``tracking.base.BatchTracker``. The network remembers nothing: many may share it.

    The score is the score head's, or, without a score head, how sharp the two corners are: see ``read_corners``.
    """

    default_settings = STARKSettings

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        templates = np.concatenate([self._template(frame, box)[:, None]] * self.settings.num_templates, 1)
        return _Target(templates, self.network.encode(templates), size_wh, box)

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        target = self._followed()
        target.frame = check_next_frame(frame, target.size_wh)
        target.frames += 1
        return self.preprocess_at(frame, target.box)

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        target, settings = self._followed(), self.settings
        frame, target.frame = target.frame, None
        target.box, score = self.decode_at(maps, target.box) or Candidate(target.box, 0.0)
        target.lost_state.update(score, settings)
        due = settings.update_interval is not None and target.frames % settings.update_interval == 0
        if due and score > settings.update_above:
            assert frame is not None
            newest = self._template(frame, target.box)[:, None]
            target.templates = np.concatenate([target.templates[:, :-1], newest], 1)
            target.features = None
        return Result(box=target.box, score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """What the network should see round any box, as ``tracking.base.SearchingTracker``."""
        target, settings = self._followed(), self.settings
        frame, factor = check_next_frame(frame, target.size_wh), settings.search_factor * search_scale
        if shows_nothing(frame, box, factor):
            return None
        return Inputs(target.templates, self._crop(frame, box, factor, settings.search_size))

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """What the network saw there, as ``tracking.base.SearchingTracker``."""
        target, settings = self._followed(), self.settings
        if maps is None or not all(np.isfinite(values).all() for values in maps.values()):
            return None
        box_cxcywh, decidedness = read_corners(maps["corners"][0])
        scale = settings.search_size / Square.around(box, settings.search_factor * search_scale).side
        seen = box_from_crop(box_cxcywh, box, scale=scale, size=settings.search_size)
        clip = clip_corner if settings.keep_size_at_border else clip_box
        score = float(maps["score"][0]) if "score" in maps else decidedness
        return Candidate(clip(seen, target.size_wh, margin=settings.clip_margin), score)

    def reset_to(self, box: Box) -> None:
        """Go on from this box, as ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.box = check_box(box, target.size_wh)
        target.lost_state = LostState()

    def _template(self, frame: Image, box: Box) -> CropArray:
        """The template crop round a box, as the network takes it."""
        return self._crop(frame, box, self.settings.template_factor, self.settings.template_size)

    def _crop(self, frame: Image, box: Box, factor: float, size: int) -> CropArray:
        """A crop as the network takes it, pixels and padding. What is not rounded goes as float32."""
        settings = self.settings
        padding = square_padding((frame.shape[1], frame.shape[0]), box, factor=factor, size=size)
        if settings.unrounded_crops:
            unrounded, _ = square_crop_unrounded(frame, box, factor=factor, size=size)
            pixels = normalize(unrounded, settings.mean, settings.std)
            return np.concatenate([pixels, padding[None, None].astype(np.float32)], 1)
        crop, _ = square_crop(frame, box, factor=factor, size=size)
        return np.concatenate([crop, padding[..., None].view(np.uint8)], 2)[None]


def read_corners(corners: FloatArray) -> tuple[tuple[float, float, float, float], float]:
    """Chances (2, n, n) of top left and bottom right -> cxcywh in [0, 1] of the crop, and how decided they are.

    A corner is where its chances are on average; cell i stands for coordinate i / n, as published. Width and height
    may be negative. Decidedness, 0 to 1, is a measure of ours for networks without a score head: for each corner the
    share of its chances within two cells of it, the lesser one. One sharp peak gives 1, several or none little.
    """
    cells = np.arange(corners.shape[-1])
    places, shares = [], []
    for chances in corners.astype(np.float64):
        chances /= chances.sum()  # which is 1 but for rounding, of bf16 at worst
        place_yx = [float(chances.sum(axis) @ cells) for axis in (1, 0)]
        near = [np.abs(cells - place) <= 2 for place in place_yx]
        places.append(place_yx)
        shares.append(float(chances[np.ix_(*near)].sum()))
    (top, left), (bottom, right) = places
    box = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    n = len(cells)
    return (box[0] / n, box[1] / n, box[2] / n, box[3] / n), min(1.0, *shares)
