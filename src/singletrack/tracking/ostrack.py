"""The OSTrack tracker.

Reproduces the published loop (botaoye/OSTrack, lib/test/tracker) within a hundredth of a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, check_box, clip_box
from singletrack.geometry.crops import Image, Square, box_from_crop, check_frame, fill_boxes, mark_box, square_crop
from singletrack.geometry.windows import hann_window
from singletrack.tracking.base import Candidate, CropArray, FloatArray, Inputs, Result
from singletrack.tracking.common import CropSettings, LostSettings, LostState, check_next_frame, shows_nothing
from singletrack.tracking.shell import TrackerShell


@dataclass(frozen=True, kw_only=True)
class OSTrackSettings(CropSettings, LostSettings):
    """Settings of the OSTrack tracker. The defaults are those published for OSTrack-256.

    Attributes:
        size_momentum: 0 uses the predicted width and height, as published. Otherwise the prediction has the weight
            1 - size_momentum (1 - score / 2) against the previous size.
        first_frame_correction: 0 uses the predicted boxes, as published. Otherwise the box of the first frame is also
            predicted, and its known error corrects all later boxes: the center by this share of the error, the size by
            its ratio to this power. A network trained on little data makes the same errors in every frame, in
            particular in the aspect ratio of thin targets.
        exact_squares: False measures boxes from the center of the last box, as published, although the crop lies on
            integer pixels. This is off by up to half a pixel, which matters for small targets. True measures them from
            the crop.
        mark_template: draw the box into the template, for a network trained this way (``geometry.crops.mark_box``).
            False as published.
        box_channel: the template's fourth channel is 1 inside of the target's box (``geometry.crops.fill_boxes``), for
            a network whose ``template_rows`` is "box".
        num_templates: 2 for a network that also takes a dynamic template, the crop around a recent confident box; 1 as
            published.
        update_interval: number of frames between updates of the dynamic template; None keeps the first template.
        update_above: lowest score for an update, 0 to 1. The target must also have no recent low score.
        hold_when_lost: while lost, keep the last box with a score of at least ``lost_below``, or of at least
            ``hold_below``, and search around it. False follows the peak in every frame, as published, and only reports
            ``lost``.
        mirror: look at each crop and its mirror image, and average the maps. The score is the mean of both. It takes
            twice the arithmetic. False as published.
        score_curve: the score for network scores of 0, 1/n, ..., 1, with straight lines in between: n + 1 rising values
            from 0 to 1. It makes the score the expected overlap with the target. Thresholds are compared with this
            score. Empty keeps the network's score, as published.
    """

    search_factor: float = 4.0
    search_size: int = 256
    size_momentum: float = 0.0
    first_frame_correction: float = 0.0
    exact_squares: bool = False
    mark_template: bool = False
    box_channel: bool = False
    num_templates: int = 1
    update_interval: int | None = None
    update_above: float = 0.5
    hold_when_lost: bool = False
    mirror: bool = False
    score_curve: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.size_momentum <= 1.0:
            raise InputError(f"size_momentum must be 0 to 1; got {self.size_momentum}; 0 is as published")
        if not 0.0 <= self.first_frame_correction <= 1.0:
            raise InputError(
                f"first_frame_correction must be 0 to 1; got {self.first_frame_correction}; 0 is as published"
            )
        if self.num_templates not in (1, 2):
            raise InputError(
                f"num_templates must be 1 or 2; got {self.num_templates}; give the number that the network takes"
            )
        if self.update_interval is not None and self.update_interval < 1:
            raise InputError(f"update_interval must be at least 1 or None; got {self.update_interval}")
        if self.update_interval is not None and self.num_templates < 2:
            raise InputError(
                f"update_interval must be None with a single template; got {self.update_interval}; use a network with "
                "two templates to update one"
            )
        if not 0.0 <= self.update_above <= 1.0:
            raise InputError(f"update_above must be 0 to 1; got {self.update_above}; 1 keeps the first template")
        curve = self.score_curve
        if len(curve) == 1 or any(not a < b for a, b in zip((-1e-9, *curve), (*curve, 1 + 1e-9), strict=True)):
            raise InputError(
                f"score_curve must be at least two rising values from 0 to 1; got {curve}; () keeps the network's score"
            )


@dataclass(frozen=True)
class _Correction:
    """Systematic error of the network for one target: ratio of the sizes, and shift relative to the predicted size."""

    ratio_wh: tuple[float, float] = (1.0, 1.0)
    shift_xy: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of_error(cls, seen: Box, known: Box, strength: float) -> _Correction:
        """Compute the correction from a predicted to the known box, limited to a factor of 2 and a quarter of a box."""
        ratios = [min(2.0, max(0.5, known[side] / seen[side])) ** strength for side in (2, 3)]
        shifts = [
            strength * min(0.25, max(-0.25, (known[i] + known[i + 2] / 2 - seen[i] - seen[i + 2] / 2) / seen[i + 2]))
            for i in (0, 1)
        ]
        return cls((ratios[0], ratios[1]), (shifts[0], shifts[1]))

    def apply(self, box: Box) -> Box:
        """Correct a predicted box."""
        x, y, width, height = box
        center_x = x + width / 2 + self.shift_xy[0] * width
        center_y = y + height / 2 + self.shift_xy[1] * height
        width, height = width * self.ratio_wh[0], height * self.ratio_wh[1]
        return center_x - width / 2, center_y - height / 2, width, height


@dataclass
class _Target:
    """State of a target.

    Attributes:
        template: input of ``encode``: one crop, or the crop and its mirror image.
        features: features of the template; None until they are needed.
        frames: number of frames after the first.
        frame: the current frame between ``preprocess`` and ``postprocess``.
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
    """OSTrack tracker, a ``tracking.base.SearchingTracker``.

    The score is that of the chosen cell before the window, 1e-4 to 1 - 1e-4, through ``score_curve``.
    """

    default_settings = OSTrackSettings
    target_class = _Target

    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> _Target:
        settings = self.settings
        template = self._template(frame, box)
        if settings.mirror:
            template = with_mirror_image(template)
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
        box, score = self._place(maps, target) or Candidate(clip_box(target.box, target.size_wh, margin=1.0), 0.0)
        target.lost_state.update(score, settings)
        lost = target.lost_state.lost
        if settings.follows(score) or (target.lost_state.frames == 0 and not lost):
            target.last_confident_box = box
        elif lost and settings.hold_when_lost:
            box = clip_box(target.last_confident_box, target.size_wh, margin=1.0)  # the first box may reach outside
        target.box = box
        if frame is not None:
            self._renew(frame, target, score)
        return Result(box=box, score=score, lost=target.lost_state.lost)

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """Compute the network inputs for the search region around a box; see ``tracking.base.SearchingTracker``."""
        return self._look(frame, self._followed(), box, search_scale)

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """Find the best place in that search region; see ``tracking.base.SearchingTracker``."""
        target = self._followed()
        seen = self._decode(maps, box, search_scale, window=False)
        if seen is None:
            return None
        corrected = target.correction.apply(seen.box)
        return Candidate(clip_box(corrected, target.size_wh, margin=self.settings.clip_margin), seen.score)

    def reset_to(self, box: Box) -> None:
        """Continue from this box as found; see ``tracking.base.SearchingTracker``."""
        target = self._followed()
        target.box = target.last_confident_box = check_box(box, target.size_wh)
        target.lost_state = LostState()

    def _template(self, frame: Image, box: Box) -> CropArray:
        """Crop a template with a batch of 1, with the box drawn into it, or as a channel, if this is set."""
        settings = self.settings
        crop, scale = square_crop(frame, box, factor=settings.template_factor, size=settings.template_size)
        if settings.mark_template:
            square = Square.around(box, settings.template_factor)
            mark_box(crop, (np.array(box) - [square.left, square.top, 0, 0]) * scale)
        if settings.box_channel:
            size_wh = np.array(box[2:]) * scale
            middle = np.concatenate([(settings.template_size - 1 - size_wh) / 2, size_wh])  # as published
            inside = fill_boxes(middle[None], settings.template_size)[0]
            crop = np.concatenate([crop, inside[..., None]], 2)
        return crop[None]

    def _renew(self, frame: Image, target: _Target, score: float) -> None:
        """Update the dynamic template if it is due and the target was found with confidence."""
        settings = self.settings
        due = settings.update_interval is not None and target.frames % settings.update_interval == 0
        if due and target.lost_state.frames == 0 and score > settings.update_above:
            newest = self._template(frame, target.box)
            if len(target.template) == 2:
                newest = with_mirror_image(newest)
            newest = newest[:, None]
            target.template = np.concatenate([target.template[:, :-1], newest], 1)
            target.features = None

    def _look(self, frame: NDArray[np.uint8], target: _Target, box: Box, search_scale: float = 1.0) -> Inputs | None:
        """Crop the search region around a box; None if it has a single color."""
        settings = self.settings
        frame, factor = check_next_frame(frame, target.size_wh), settings.search_factor * search_scale
        if shows_nothing(frame, box, factor):
            return None
        search, _ = square_crop(frame, box, factor=factor, size=settings.search_size)
        both = len(target.template) == 2
        return Inputs(target.template, with_mirror_image(search[None]) if both else search[None])

    def _place(self, maps: Mapping[str, FloatArray] | None, target: _Target) -> Candidate | None:
        """Decode the corrected and clipped box and its score; None if the maps cannot be decoded."""
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
        """Decode the predicted box in the square around another box, not clipped; None if that is not possible."""
        settings = self.settings
        if maps is None or not np.isfinite(maps["score"]).all():
            return None
        if len(maps["score"]) == 2:
            box_cxcywh, score = read_mirrored_maps(maps, window)
        elif "boxes" in maps:  # decoded inside the graph: see ``export.decoded``
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
        return Candidate(box, rescale(float(score), settings.score_curve))


def rescale(score: float, curve: Sequence[float]) -> float:
    """Return the value of a curve at a score, see ``OSTrackSettings.score_curve``; an empty curve changes nothing."""
    if not curve:
        return score
    place = min(max(score, 0.0), 1.0) * (len(curve) - 1)
    index = min(int(place), len(curve) - 2)
    return curve[index] + (place - index) * (curve[index + 1] - curve[index])


def read_maps(maps: Mapping[str, FloatArray], window: bool) -> tuple[FloatArray, np.float32]:
    """Decode the box at the highest score of the first crop in a batch.

    Args:
        maps: the network maps ``score`` (B, 1, n, n), ``size`` and ``offset`` (B, 2, n, n).
        window: weight the scores with the published Hann window first.

    Returns:
        The box (4,), cxcywh as fractions of the search crop, and its score before the window.
    """
    score = maps["score"][0]
    height, width = score.shape
    y, x = divmod(int(np.argmax(score * hann_window(width) if window else score)), width)
    offset_x, offset_y = maps["offset"][0, :, y, x]
    return np.array([(x + offset_x) / width, (y + offset_y) / height, *maps["size"][0, :, y, x]]), score[y, x]


def read_mirrored_maps(maps: Mapping[str, FloatArray], window: bool) -> tuple[FloatArray, np.float32]:
    """Decode the box at the highest mean score of a crop and its mirror image, which are a batch of 2.

    Arguments as for ``read_maps``. Returns the box in the crop, and the mean of the scores of both peaks.
    """
    here = {name: values[:1] for name, values in maps.items()}
    mirrored = {name: maps[name][1:, ..., ::-1] for name in ("score", "size", "offset")}
    across = mirrored["offset"]
    mirrored["offset"] = np.stack([1 - across[:, 0], across[:, 1]], 1)  # from the other side of the cell
    mean = {name: np.mean([here[name], values], 0) for name, values in mirrored.items()}
    scores = [read_maps(each, window)[1] for each in (here, mirrored)]
    return read_maps(mean, window)[0], np.float32(np.mean(scores))


def with_mirror_image(crop: CropArray) -> CropArray:
    """Add the mirror image to a crop (1, H, W, C): (2, H, W, C)."""
    return np.concatenate([crop, crop[:, :, ::-1]])


def _damp_size(box: Box, before: Box, weight: float) -> Box:
    """Move the size of a box only by ``weight`` away from the previous size, around its own center."""
    x, y, width, height = box
    damped_width = before[2] + weight * (width - before[2])
    damped_height = before[3] + weight * (height - before[3])
    return x + (width - damped_width) / 2, y + (height - damped_height) / 2, damped_width, damped_height
