"""Follows one target with OSTrack: crop, network, window, box; and says when it has probably lost it.

The loop is the published one (botaoye/OSTrack, lib/test/tracker) to the hundredth of a pixel. Holds the
state of one target; knows nothing of the engine that runs the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, check_box, clip_box
from singletrack.geometry.crops import Image, Square, box_from_crop, check_frame, mark_box, square_crop
from singletrack.geometry.windows import hann_window
from singletrack.tracking.base import Candidate, CropArray, FloatArray, Inputs, Result
from singletrack.tracking.common import CropSettings, LostSettings, LostState, check_next_frame, shows_nothing
from singletrack.tracking.shell import TrackerShell


@dataclass(frozen=True, kw_only=True)
class OSTrackSettings(CropSettings, LostSettings):
    """How the loop round the network works. The defaults are those published for OSTrack-256.

    size_momentum: 0 takes the network's width and height as they are, as published; otherwise the new ones weigh
        1 - size_momentum (1 - score / 2) against those of the frame before.
    first_frame_correction: 0 trusts the network's boxes, as published; otherwise the network is first asked for the
        box of the first frame, which is known, and every later box is corrected by that error: the center by this
        share of it, the size by its ratio to this power. What a network of few pairs gets wrong, the proportions of a
        thin target above all, it gets wrong in the same way in each frame.
    exact_squares: False measures boxes from the middle of the last box, as published, though the square that was cut
        round it lies on whole pixels: they are up to half a pixel off, which is much of a small target. True measures
        them from the square.
    mark_template: draw the box into the template, for a network that was taught so, see ``geometry.crops.mark_box``;
        False as published.
    num_templates: 2 for a network that also takes a dynamic template, the crop around a recent confident
        box; 1 as published.
    update_interval, update_above: every so many frames the newest look becomes that of this frame, if the score is over
        this and the target is not in doubt; None keeps the first one.
    hold_when_lost: while lost, stay at the last box whose score reached `lost_below`, and search round it; False
        follows the peak in every frame, as published, and reports `lost` beside it.
    """

    search_factor: float = 4.0
    search_size: int = 256
    size_momentum: float = 0.0
    first_frame_correction: float = 0.0
    exact_squares: bool = False
    mark_template: bool = False
    num_templates: int = 1
    update_interval: int | None = None
    update_above: float = 0.5
    hold_when_lost: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.size_momentum <= 1.0:
            raise InputError(f"expected size_momentum of 0 to 1; got {self.size_momentum}; 0 is as published")
        if not 0.0 <= self.first_frame_correction <= 1.0:
            raise InputError(
                f"expected first_frame_correction of 0 to 1; got {self.first_frame_correction}; 0 is as published"
            )
        if self.num_templates not in (1, 2):
            raise InputError(
                f"num_templates must be 1 or 2; got {self.num_templates}; give as many as the network takes"
            )
        if self.update_interval is not None and self.update_interval < 1:
            raise InputError(f"expected update_interval of 1 or more, or None; got {self.update_interval}")
        if self.update_interval is not None and self.num_templates < 2:
            raise InputError(
                f"expected no update_interval with a single template, which stays the first frame's; got "
                f"{self.update_interval}; give None, or a network of two templates"
            )
        if not 0.0 <= self.update_above <= 1.0:
            raise InputError(f"expected update_above of 0 to 1; got {self.update_above}; 1 keeps the first look alone")


@dataclass(frozen=True)
class _Correction:
    """How the network errs with one target: size by its ratio, center in widths and heights of the network's box."""

    ratio_wh: tuple[float, float] = (1.0, 1.0)
    shift_xy: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of_error(cls, seen: Box, known: Box, strength: float) -> _Correction:
        """What leads from the box that was seen to the one that is known, at most a factor of 2 and a quarter box."""
        ratios = [min(2.0, max(0.5, known[side] / seen[side])) ** strength for side in (2, 3)]
        shifts = [
            strength * min(0.25, max(-0.25, (known[i] + known[i + 2] / 2 - seen[i] - seen[i + 2] / 2) / seen[i + 2]))
            for i in (0, 1)
        ]
        return cls((ratios[0], ratios[1]), (shifts[0], shifts[1]))

    def apply(self, box: Box) -> Box:
        """The box with this error taken out of it."""
        x, y, width, height = box
        center_x = x + width / 2 + self.shift_xy[0] * width
        center_y = y + height / 2 + self.shift_xy[1] * height
        width, height = width * self.ratio_wh[0], height * self.ratio_wh[1]
        return center_x - width / 2, center_y - height / 2, width, height


@dataclass
class _Target:
    """All that is remembered from one frame to the next.

    template: as ``encode`` takes it. features: of it; None until they are needed. frames: how many came after the
    first. frame: the one that the network is being asked about.
    """

    template: CropArray
    features: Any
    size_wh: tuple[int, int]
    box: Box
    last_confident_box: Box
    correction: _Correction = _Correction()
    lost_state: LostState = field(default_factory=LostState)
    frames: int = 0
    frame: Image | None = None


class OSTrackTracker(TrackerShell[OSTrackSettings, _Target]):
    """Follows one target, as ``tracking.base.BatchTracker``. The network remembers nothing: many may share it.

    The score is that of the chosen cell, 1e-4 to 1 - 1e-4, before the window.
    """

    default_settings = OSTrackSettings

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        settings = self.settings
        template = self._template(frame, box)
        if settings.num_templates > 1:
            template = np.concatenate([template[:, None]] * settings.num_templates, 1)
        target = _Target(template, self.network.encode(template), size_wh, box, box)
        if settings.first_frame_correction:
            inputs = self._look(frame, target, box)
            maps = None if inputs is None else self.network.locate(target.features, inputs.search)
            seen = self._decode(maps, box)
            if seen and seen.score >= settings.lost_below:
                target.correction = _Correction.of_error(seen.box, box, settings.first_frame_correction)
        return target

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        target = self._followed()
        inputs = self.preprocess_at(frame, target.box)
        target.frame, target.frames = check_frame(frame), target.frames + 1
        return inputs

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        target, settings = self._followed(), self.settings
        frame, target.frame = target.frame, None
        box, score = self._place(maps, target) or (target.box, 0.0)
        target.lost_state.update(score, settings)
        if target.lost_state.lost and settings.hold_when_lost:
            box = target.last_confident_box
        elif target.lost_state.frames == 0:
            target.last_confident_box = box
        target.box = box
        if frame is not None:
            self._renew(frame, target, score)
        return Result(box=box, score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """What the network should see round any box, as ``tracking.base.SearchingTracker``."""
        return self._look(frame, self._followed(), box, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """What the network saw there, as ``tracking.base.SearchingTracker``."""
        target = self._followed()
        seen = self._decode(maps, box, search_scale, window=False)
        if seen is None:
            return None
        corrected = target.correction.apply(seen.box)
        return Candidate(clip_box(corrected, target.size_wh, margin=self.settings.clip_margin), seen.score)

    def reset_to(self, box: Box) -> None:
        """Go on from this box, believed, as ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.box = target.last_confident_box = check_box(box, target.size_wh)
        target.lost_state = LostState()

    def _template(self, frame: Image, box: Box) -> CropArray:
        """The crop round a box, with a batch of 1, and the box drawn into it if the settings say so."""
        settings = self.settings
        crop, scale = square_crop(frame, box, factor=settings.template_factor, size=settings.template_size)
        if settings.mark_template:
            square = Square.around(box, settings.template_factor)
            mark_box(crop, (np.array(box) - [square.left, square.top, 0, 0]) * scale)
        return crop[None]

    def _renew(self, frame: Image, target: _Target, score: float) -> None:
        """Make the newest look that of this frame, if it is time and the target was surely seen."""
        settings = self.settings
        due = settings.update_interval is not None and target.frames % settings.update_interval == 0
        if due and target.lost_state.frames == 0 and score > settings.update_above:
            newest = self._template(frame, target.box)[:, None]
            target.template = np.concatenate([target.template[:, :-1], newest], 1)
            target.features = None

    def _look(self, frame: NDArray[np.uint8], target: _Target, box: Box, search_scale: float = 1.0) -> Inputs | None:
        """The square round a box for the network; None where all of it would have one color."""
        settings = self.settings
        frame, factor = check_next_frame(frame, target.size_wh), settings.search_factor * search_scale
        if shows_nothing(frame, box, factor):
            return None
        search, _ = square_crop(frame, box, factor=factor, size=settings.search_size)
        return Inputs(target.template, search[None])

    def _place(self, maps: Mapping[str, FloatArray] | None, target: _Target) -> Candidate | None:
        """Where the target is, inside the frame, and its score; None where nothing can be read."""
        settings = self.settings
        seen = self._decode(maps, target.box)
        if seen is None:
            return None
        box = target.correction.apply(seen.box)
        box = _damp_size(box, target.box, 1.0 - settings.size_momentum * (1.0 - seen.score / 2.0))
        return Candidate(clip_box(box, target.size_wh, margin=settings.clip_margin), seen.score)

    def _decode(
        self, maps: Mapping[str, FloatArray] | None, around: Box, search_scale: float = 1.0, window: bool = True
    ) -> Candidate | None:
        """The network's own box in the square round another, not clipped; None where nothing can be read."""
        settings = self.settings
        if maps is None or not np.isfinite(maps["score"]).all():
            return None
        if "boxes" in maps:  # the graph read them itself: see ``export.decoded``
            box_cxcywh, score = maps["boxes"][0, 0 if window else 1], maps["peaks"][0, 0 if window else 1]
        else:
            box_cxcywh, score = read_maps(maps, window)
        if not np.isfinite(box_cxcywh).all():
            return None
        square = Square.around(around, settings.search_factor * search_scale)
        if settings.exact_squares:
            around = square.left, square.top, square.side, square.side
        scale = settings.search_size / square.side
        box = box_from_crop(box_cxcywh, around, scale=scale, size=settings.search_size)
        return Candidate(box, float(score))


def read_maps(maps: Mapping[str, FloatArray], window: bool) -> tuple[FloatArray, np.float32]:
    """The box (4,), cxcywh in [0, 1] of the search crop, and its score, where the score of the first crop is highest.

    window: under the published Hann window.
    """
    score = maps["score"][0]
    height, width = score.shape
    y, x = divmod(int(np.argmax(score * hann_window(width) if window else score)), width)
    offset_x, offset_y = maps["offset"][0, :, y, x]
    return np.array([(x + offset_x) / width, (y + offset_y) / height, *maps["size"][0, :, y, x]]), score[y, x]


def _damp_size(box: Box, before: Box, weight: float) -> Box:
    """The box with its size moved only by `weight` from that of the box before, about its own center."""
    x, y, width, height = box
    damped_width = before[2] + weight * (width - before[2])
    damped_height = before[3] + weight * (height - before[3])
    return x + (width - damped_width) / 2, y + (height - damped_height) / 2, damped_width, damped_height
