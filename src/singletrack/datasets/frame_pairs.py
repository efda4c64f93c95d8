"""Training pairs from data sets: sampled, read, cropped and augmented.

The pair at an index depends only on (seed, index).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.augmentations import (
    Augmentation,
    Box,
    Jitter,
    Pixels,
    Roll,
    ViewRoll,
    cut,
    draw_roll,
    draw_view,
    finish_view,
    is_empty,
    jittered,
    mirrored_box,
    reduction,
    to_gray,
)
from singletrack.datasets.base import Image
from singletrack.datasets.frame_index import FrameIndex
from singletrack.datasets.photos import Random
from singletrack.datasets.sampling import Drawn, FramePairs
from singletrack.errors import InputError, VideoError
from singletrack.geometry.crops import mark_box

LOG = logging.getLogger(__name__)
# Pairs with an empty crop are drawn again; this many in a row indicate wrong boxes in the data.
DRAWN_AT_MOST = 200
# Error of a tracked box, around which the dynamic template is cropped.
FOLLOWED = Jitter(scale=0.06, center=0.15)


@dataclass(frozen=True)
class FramePair:
    """A training pair.

    Attributes:
        template: (T, T, 3) RGB in 0 to 255, uint8 or float32; (2, T, T, 3) if the augmentation uses two templates.
        search: (S, S, 3) RGB in 0 to 255.
        box: (4,) xywh as fractions of the search crop; it may extend beyond the crop.
        template_box: (4,) xywh as fractions of the first template; it may extend beyond the crop.
    """

    template: Pixels
    search: Pixels
    box: NDArray[np.float64]
    template_box: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SharedLight:
    """Brightness as drawn by the published loader before PyTorch 1.9, whose workers all repeat one stream in every
    epoch.

    Attributes:
        workers: loading processes per training process.
        share: pairs per step of one training process.
        batch: pairs per step of all training processes.
        steps: steps per epoch.
    """

    workers: int = 10
    share: int = 32
    batch: int = 128
    steps: int = 468

    def place(self, index: int) -> tuple[int, int]:
        """Return the training process of an index, and its position in the repeated stream."""
        step, place = divmod(index, self.batch)
        process, place = divmod(place, self.share)
        return process, (step % self.steps) // self.workers * self.share + place


@dataclass(frozen=True, kw_only=True)
class PairDrawing:
    """How the pairs of a run are drawn from its data.

    Attributes:
        unreadable: "raise" for an unreadable image, or "redraw" to draw another pair with a warning, as published.
        shared_light: the published fault in the brightness; None for separate values per crop.
    """

    template_size: int
    search_size: int
    augmentation: Augmentation
    unreadable: Literal["raise", "redraw"] = "raise"
    shared_light: SharedLight | None = None


def draw_frame_pair(pairs: FramePairs, drawing: PairDrawing, seed: Sequence[int], index: int) -> FramePair:
    """Draw the pair at an index, from 0; raises VideoError for an unreadable image."""
    random, light = np.random.default_rng([*seed, index]), None
    if drawing.shared_light is not None:
        process, place = drawing.shared_light.place(index)
        light = np.random.default_rng([*seed, 1 << 62, process, place])
    for _ in range(DRAWN_AT_MOST):
        drawn, roll = pairs.draw(random), draw_roll(random, drawing.augmentation)
        views = [draw_view(random, drawing.augmentation, light) for _ in range(2)]
        footage, newest = pairs.footage[drawn.footage], None
        if drawing.augmentation.num_templates > 1:
            newest = newest_frame(random, footage, drawn), draw_view(random, drawing.augmentation, light)
        try:
            pair = render(footage, drawn, drawing, roll, views, newest)
        except VideoError as error:
            if drawing.unreadable == "raise":
                raise
            LOG.warning("drawing another pair instead of an unreadable one: %s", error)
            continue
        if pair is not None:
            return pair
    raise InputError(
        f"{DRAWN_AT_MOST} pairs in a row had empty crops, so the boxes may be wrong; check the data with "
        "`singletrack datasets check`"
    )


def newest_frame(random: Random, footage: FrameIndex, drawn: Drawn) -> int:
    """Draw the frame of the dynamic template: visible, between template and search frame, mostly near the latter."""
    if drawn.template == drawn.search:
        return drawn.template
    visible = footage.visible[footage.frames(drawn.sequence)][drawn.template : drawn.search]
    places = np.flatnonzero(visible)
    return drawn.template + int(places[int(len(places) * random.random() ** 0.5)])


def render(
    footage: FrameIndex,
    drawn: Drawn,
    drawing: PairDrawing,
    roll: Roll,
    views: Sequence[ViewRoll],
    newest: tuple[int, ViewRoll] | None = None,
) -> FramePair | None:
    """Render the pair of two frames, and of a third for the dynamic template; None if a crop must be rejected."""
    augmentation = drawing.augmentation
    crops: list[Pixels] = []
    labels: list[NDArray[np.float64]] = []
    images: dict[tuple[int, int], Image] = {}
    asked = [
        (drawn.template, views[0], augmentation.template_factor, drawing.template_size, augmentation.template_jitter),
        (drawn.search, views[1], augmentation.search_factor, drawing.search_size, augmentation.search_jitter),
    ]
    if newest is not None:
        asked.append((*newest, augmentation.template_factor, drawing.template_size, Jitter()))
    for place, (frame, view, factor, size, jitter) in enumerate(asked):
        box = footage.box(drawn.sequence, frame)
        if place == 2:
            box = jittered(box, FOLLOWED, view)
        shrunk = 1
        if augmentation.decode == "reduced":
            shrunk = reduction(jittered(box, jitter, view), factor, size)
        if (frame, shrunk) not in images:  # image data sets use one image twice
            images[frame, shrunk] = footage.picture(drawn.sequence, frame, shrunk)
        image = images[frame, shrunk]
        done = view_of(image, box / np.float32(shrunk), augmentation, roll, view, jitter, factor=factor, size=size)
        if done is None:
            return None
        crop, label = finish_view(*done, view, augmentation.levels)
        crops.append(crop)
        labels.append(label)
    template, search, *newest_look = crops
    if augmentation.mark_template:
        for crop, label in zip((template, *newest_look), (labels[0], *labels[2:]), strict=True):
            mark_box(crop, label * drawing.template_size)
    if newest_look:
        template = np.concatenate([template[None], newest_look[0][None]])
    return FramePair(template, search, labels[1], labels[0])


def view_of(
    image: Image,
    box_xywh: Box,
    augmentation: Augmentation,
    roll: Roll,
    view: ViewRoll,
    jitter: Jitter,
    *,
    factor: float,
    size: int,
) -> tuple[Image, NDArray[np.float64]] | None:
    """Crop a frame and compute its label, before ``finish_view``; None if it must be rejected."""
    if roll.gray:
        image = to_gray(image)
    if roll.flip:
        image, box_xywh = image[:, ::-1], mirrored_box(box_xywh, image.shape[1], augmentation.flip_shift)
    around = jittered(box_xywh, jitter, view)
    if is_empty(box_xywh, around, (image.shape[1], image.shape[0]), factor=factor, size=size):
        return None
    return cut(image, box_xywh, around, factor=factor, size=size, shift=augmentation.label_shift)
