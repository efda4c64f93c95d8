"""Training samples of one search frame and one or more templates, with padding masks, as used by STARK.

The sampling of frames (causal, trident, and frames without the target) follows the published code (researchmm/Stark,
lib/train/data). Crops and augmentations are those of ``augmentations``. The sample at an index depends only on
(seed, index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.augmentations import (
    Box,
    Jitter,
    Pixels,
    Roll,
    ViewRoll,
    draw_roll,
    draw_view,
    finish_view,
    jittered,
    mirrored_box,
)
from singletrack.datasets.frame_index import FrameIndex
from singletrack.datasets.frame_pairs import DRAWN_AT_MOST, PairDrawing, view_of
from singletrack.datasets.photos import Random
from singletrack.datasets.sampling import FramePairs
from singletrack.errors import InputError
from singletrack.geometry.crops import square_padding

# Without a target, the crop is around a central box with this share of the frame size.
MIDDLE = 1 / 8


@dataclass(frozen=True)
class Look:
    """One frame: index of the data set, of the sequence, and of the frame. ``absent``: without its target."""

    footage: int
    sequence: int
    frame: int
    absent: bool = False


@dataclass(frozen=True)
class DrawnSet:
    """The frames of a sample. ``present``: whether the search frame shows the target."""

    templates: tuple[Look, ...]
    search: Look
    present: bool


@dataclass(frozen=True, kw_only=True)
class TupleRules:
    """Rules for choosing the frames of a sample.

    Attributes:
        mode: "causal" for one template and a later search frame; "trident" for two templates: the first, like the
            search frame, anywhere in the video; the second within ``gap`` frames of the search frame, on the side of
            the first, with or without the target. In an image data set, all are the same image.
        negatives: share of samples whose search frame does not show the target: a frame of the same video without it
            or, without such a frame, a frame of another video.
    """

    mode: Literal["causal", "trident"] = "causal"
    gap: int = 200
    negatives: float = 0.0

    @property
    def num_templates(self) -> int:
        """Number of templates in a sample."""
        return 2 if self.mode == "trident" else 1


class FrameTuples:
    """Draws the frames of samples from several data sets by weight."""

    def __init__(self, pairs: FramePairs, rules: TupleRules) -> None:
        self.pairs, self.rules = pairs, rules

    def draw(self, random: Random) -> DrawnSet:
        """Draw the frames of a sample."""
        drawn, rules = self.pairs.draw(random), self.rules
        places = [drawn.template] * rules.num_templates
        search = drawn.search
        if rules.mode == "trident" and not self.pairs.footage[drawn.footage].of_pictures:
            *places, search = draw_trident(random, self.visible(drawn.footage, drawn.sequence), rules.gap)
        templates = tuple(Look(drawn.footage, drawn.sequence, place) for place in places)
        if random.random() < rules.negatives:
            return DrawnSet(templates, self.elsewhere(random, templates[0]), False)
        return DrawnSet(templates, Look(drawn.footage, drawn.sequence, search), True)

    def elsewhere(self, random: Random, template: Look) -> Look:
        """Draw a frame that does not show the target."""
        hidden = np.flatnonzero(~self.visible(template.footage, template.sequence))
        if len(hidden):
            return Look(template.footage, template.sequence, int(hidden[random.integers(len(hidden))]), absent=True)
        other = self.pairs.draw(random)
        shown = np.flatnonzero(self.visible(other.footage, other.sequence))
        return Look(other.footage, other.sequence, int(shown[random.integers(len(shown))]))

    def visible(self, footage: int, sequence: int) -> NDArray[np.bool_]:
        """Return (N,) bool, whether the target is visible in each frame of a sequence."""
        part = self.pairs.footage[footage]
        return np.asarray(part.visible[part.frames(sequence)])


def draw_trident(random: Random, visible: NDArray[np.bool_], gap: int) -> tuple[int, int, int]:
    """Draw the first template, second template and search frame. ``visible``: (N,)."""
    places = np.flatnonzero(visible)
    first, search = (int(places[random.integers(len(places))]) for _ in range(2))
    low, high = (search, search + gap) if first >= search else (search - gap, search)
    second = int(random.integers(max(0, low), min(len(visible), high)))
    return first, second, search


@dataclass(frozen=True)
class FrameSet:
    """A sample.

    Attributes:
        templates: (K, T, T, 3) RGB, uint8 or float32.
        search: (S, S, 3) RGB.
        template_padding: (K, T, T) bool, True outside the frame.
        search_padding: (S, S) bool, True outside the frame.
        box: (4,) xywh as fractions of the search crop; it may extend beyond it, and is meaningless without the target.
        present: whether the search frame shows the target.
    """

    templates: Pixels
    search: Pixels
    template_padding: NDArray[np.bool_]
    search_padding: NDArray[np.bool_]
    box: NDArray[np.float64]
    present: bool


def draw_frame_tuple(sets: FrameTuples, drawing: PairDrawing, seed: Sequence[int], index: int) -> FrameSet:
    """Draw the sample at an index, from 0; raises VideoError for an unreadable image."""
    random = np.random.default_rng([*seed, index])
    augmentation = drawing.augmentation
    for _ in range(DRAWN_AT_MOST):
        drawn, roll = sets.draw(random), draw_roll(random, augmentation)
        looks = (*drawn.templates, drawn.search)
        views = [draw_view(random, augmentation) for _ in looks]
        crops = [
            crop_of(sets.pairs.footage[look.footage], look, drawing, roll, view, searched=index + 1 == len(looks))
            for index, (look, view) in enumerate(zip(looks, views, strict=True))
        ]
        if all(crop is not None for crop in crops):
            *templates, (search, beyond, box) = (crop for crop in crops if crop is not None)
            pixels, padding, _ = zip(*templates, strict=True)
            return FrameSet(np.stack(pixels), search, np.stack(padding), beyond, box, drawn.present)
    raise InputError(
        f"{DRAWN_AT_MOST} samples in a row had empty crops, so the boxes may be wrong; check the data with "
        "`singletrack datasets check`"
    )


def crop_of(
    footage: FrameIndex, look: Look, drawing: PairDrawing, roll: Roll, view: ViewRoll, *, searched: bool
) -> tuple[Pixels, NDArray[np.bool_], NDArray[np.float64]] | None:
    """Compute pixels, padding and label of the crop of a frame; None if it must be rejected. ``searched``: the
    search crop.
    """
    augmentation = drawing.augmentation
    factor = augmentation.search_factor if searched else augmentation.template_factor
    size = drawing.search_size if searched else drawing.template_size
    jitter = augmentation.search_jitter if searched else augmentation.template_jitter
    image = footage.picture(look.sequence, look.frame)
    size_wh = (image.shape[1], image.shape[0])
    box = middle(size_wh) if look.absent else footage.box(look.sequence, look.frame)
    cut = view_of(image, box, augmentation, roll, view, jitter, factor=factor, size=size)
    if cut is None:
        return None
    padding = padding_of(size_wh, box, roll, view, jitter, augmentation.flip_shift, factor=factor, size=size)
    pixels, label = finish_view(*cut, view, augmentation.levels)
    return pixels, padding, label


def middle(size_wh: tuple[int, int]) -> Box:
    """Return the box to crop around without a target."""
    width, height = size_wh
    share = np.array([0.5 - MIDDLE / 2, 0.5 - MIDDLE / 2, MIDDLE, MIDDLE])
    return (share * [width, height, width, height]).astype(np.float32)


def padding_of(
    size_wh: tuple[int, int],
    box_xywh: Box,
    roll: Roll,
    view: ViewRoll,
    jitter: Jitter,
    flip_shift: float,
    *,
    factor: float,
    size: int,
) -> NDArray[np.bool_]:
    """Compute the padding mask of the crop of ``view_of``, mirrored as in ``finish_view``: (size, size)."""
    box = mirrored_box(box_xywh, size_wh[0], flip_shift) if roll.flip else box_xywh
    padding = square_padding(size_wh, jittered(box, jitter, view).tolist(), factor=factor, size=size)
    return np.ascontiguousarray(padding[:, ::-1]) if view.flip else padding
