"""The STARK tracker, with a dynamic template.

Reproduces the published loop (researchmm/Stark, lib/test/tracker) within a hundredth of a pixel. Two settings reproduce
that of MMTracking instead.
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
    """Settings of the STARK tracker. The defaults are those published for STARK-ST on most benchmarks.

    Attributes:
        num_templates: number of templates that the network takes. All start with the first frame.
        update_interval: number of frames between updates of the last template; None keeps it. docs/stark.md lists the
            published values for each benchmark.
        update_above: the template is updated only if the score is above this, 0 to 1.
        lost_below: threshold on the score head, which is trained to separate at 0.5.
        found_above: threshold on the score head, as ``lost_below``.
        unrounded_crops: False rounds crops to integer pixel values, as published; True does not, as in MMTracking.
        keep_size_at_border: False clips boxes to the frame, as published. True keeps their width and height, as in
            MMTracking, so they may extend beyond the frame.
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
                f"num_templates must be at least 1; got {self.num_templates}; give the number that the network takes"
            )
        if self.update_interval is None:
            return
        if self.update_interval < 1:
            raise InputError(f"update_interval must be at least 1 or None; got {self.update_interval}")
        if self.num_templates < 2:
            raise InputError(
                f"update_interval must be None with a single template; got {self.update_interval}; use a network with "
                "two templates to update one"
            )


@dataclass
class _Target:
    """State of a target.

    Attributes:
        templates: input of ``encode``, with the K templates in the second dimension.
        features: features of the templates; None until they are needed.
        frames: number of frames after the first.
        frame: the current frame between ``preprocess`` and ``postprocess``.
    """

    templates: CropArray
    features: Any
    size_wh: tuple[int, int]
    box: Box
    lost_state: LostState = field(default_factory=LostState)
    frames: int = 0
    frame: Image | None = None


class STARKTracker(TrackerShell[STARKSettings, _Target]):
    """STARK tracker, a ``tracking.base.SearchingTracker``.

    The score is that of the score head. Without one, it measures how sharp the corner maps are, see ``read_corners``.
    """

    default_settings = STARKSettings
    target_class = _Target

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
        kept = Candidate(clip_box(target.box, target.size_wh, margin=1.0), 0.0)
        target.box, score = self.decode_at(maps, target.box) or kept
        target.lost_state.update(score, settings)
        due = settings.update_interval is not None and target.frames % settings.update_interval == 0
        if due and score > settings.update_above:
            assert frame is not None
            newest = self._template(frame, target.box)[:, None]
            target.templates = np.concatenate([target.templates[:, :-1], newest], 1)
            target.features = None
        return Result(box=target.box, score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """Compute the network inputs for the search region around a box; see ``tracking.base.SearchingTracker``."""
        target, settings = self._followed(), self.settings
        frame, factor = check_next_frame(frame, target.size_wh), settings.search_factor * search_scale
        if shows_nothing(frame, box, factor):
            return None
        return Inputs(target.templates, self._crop(frame, box, factor, settings.search_size))

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """Find the best place in that search region; see ``tracking.base.SearchingTracker``."""
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
        """Continue from this box as found; see ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.box = check_box(box, target.size_wh)
        target.lost_state = LostState()

    def _template(self, frame: Image, box: Box) -> CropArray:
        """Crop a template as network input."""
        return self._crop(frame, box, self.settings.template_factor, self.settings.template_size)

    def _crop(self, frame: Image, box: Box, factor: float, size: int) -> CropArray:
        """Crop a region as network input: pixels and padding mask, uint8 or, if not rounded, float32."""
        settings = self.settings
        padding = square_padding((frame.shape[1], frame.shape[0]), box, factor=factor, size=size)
        if settings.unrounded_crops:
            unrounded, _ = square_crop_unrounded(frame, box, factor=factor, size=size)
            pixels = normalize(unrounded, settings.mean, settings.std)
            return np.concatenate([pixels, padding[None, None].astype(np.float32)], 1)
        crop, _ = square_crop(frame, box, factor=factor, size=size)
        return np.concatenate([crop, padding[..., None].view(np.uint8)], 2)[None]


def read_corners(corners: FloatArray) -> tuple[tuple[float, float, float, float], float]:
    """Decode a box from corner maps.

    Each corner is the expected position under its map. Cell i is at coordinate i / n, as published.

    Args:
        corners: (2, n, n) probabilities of the top-left and bottom-right corners.

    Returns:
        The box, cxcywh as fractions of the crop (width and height may be negative), and a measure of confidence, 0 to
        1, for networks without a score head: for each corner the probability within two cells of it, the smaller of
        both. One sharp peak gives 1, several peaks or none give little.
    """
    cells = np.arange(corners.shape[-1])
    places, shares = [], []
    for chances in corners.astype(np.float64):
        chances /= chances.sum()  # 1 up to rounding, which matters in bf16
        place_yx = [float(chances.sum(axis) @ cells) for axis in (1, 0)]
        near = [np.abs(cells - place) <= 2 for place in place_yx]
        places.append(place_yx)
        shares.append(float(chances[np.ix_(*near)].sum()))
    (top, left), (bottom, right) = places
    box = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    n = len(cells)
    return (box[0] / n, box[1] / n, box[2] / n, box[3] / n), min(1.0, *shares)
