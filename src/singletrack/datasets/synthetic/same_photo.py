"""Generates scenes from two views of a region in one photo."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.photos import Array, Found, Image, Pictures, Random
from singletrack.datasets.synthetic.cutouts import box_of, turn
from singletrack.datasets.synthetic.degradations import EVERYWHERE, frame_in_view, surrounded, view, with_box
from singletrack.datasets.synthetic.scenes import (
    Fit,
    Newest,
    PairSettings,
    Scene,
    paste_occluder,
    search_place,
    size_xy,
    wider,
)
from singletrack.datasets.synthetic.warped_photo import Bend, Living, behind, map_to
from singletrack.opencv import cv2

# Lowest standard deviation of the pixels of a target box, which excludes plain sky.
LEAST_TEXTURE = 25
# Largest object relative to the short side of its photo; a larger one leaves no background.
LARGEST_IN_PLACE = 0.85
# Share of photos surrounded by another photo instead of black.
SURROUNDED = 0.7


def in_place_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """Create two views of a region in one photo: nearer, farther, slightly rotated and off center.

    In most cases, it moves against its background, see ``warped_photo``.
    """
    for _ in range(settings.tries):
        found = pictures.draw_object(random)
        extent_xywh = object_box(found)
        if extent_xywh is not None:
            break
    picture = found.picture
    if extent_xywh is not None and found.mask is not None and random.random() < settings.whole:
        living = Living.of_mask(picture, found.mask)
    else:
        extent_xywh = textured_box(random, picture)
        living = Living.of_box(picture, extent_xywh)
    fit = Fit.draw(random, settings)
    target_xywh = fit.box(extent_xywh)
    middle, extent = target_xywh[:2] + target_xywh[2:] / 2, math.sqrt(target_xywh[2] * target_xywh[3])
    moves = random.random() < settings.living
    bent, reach = 0.08 if moves else 0.0, extent * random.uniform(0.5, 1.0)
    beyond = pictures.draw(random) if random.random() < SURROUNDED else None

    def look(
        form: Array, scale: float, center: Array, size: int, bend: Bend | None = None
    ) -> tuple[Image, Array, Array]:
        """Render the photo with the target in place; also returns the extent of the target, xywh, and the edges of
        the photo, xyxy.
        """
        thing = map_to(form * scale, middle, center)
        ground = behind(random, form * scale, middle, center, extent * scale) if moves and bend else thing
        seen, outline = living.seen((size, size), thing, ground, bend, reach)
        box = box_of(outline)
        ends = frame_in_view(picture, ground, (size, size))
        if moves:  # the object may be closer to the edge of the photo than before
            ends = with_box(ends, box)
        if beyond is None:
            return seen, box, ends
        other = view(beyond, size_xy(beyond) * random.uniform(0.3, 0.7, 2), size / min(beyond.shape[:2]), size)
        return surrounded(seen, ends, other), box, EVERYWHERE

    def some_frames_later() -> tuple[Array, Bend]:
        spread = 2.0 if moves else 1.0
        form = turn(
            random.normal(0, 0.06 * spread),
            math.exp(random.normal(0, wider(random, 0.1, 2.5))),
            random.normal(0, 0.04 * spread),
        )
        return form, Bend.draw(random, extent_xywh, wider(random, random.uniform(0, bent), 2.0))

    half = np.full(2, template_size / 2)
    template, _, _ = look(np.eye(2), template_size / (settings.template_factor * extent), half, template_size)
    center, side = search_place(random, search_size, settings)
    form, bend = some_frames_later()
    search, box, visible_xyxy = look(form, side / extent, center, search_size, bend)
    if random.random() < settings.occluded * 0.8:
        paste_occluder(random, pictures, search, center, side, nearest=0.25, largest=0.9)
    aspect = float(target_xywh[2] / target_xywh[3])
    if settings.num_templates == 1:
        return Scene(template, search, aspect, fit.box(box), visible_xyxy, True)
    now = Newest.draw(random)
    if now.older:
        form, bend = some_frames_later()
    form = turn(random.normal(0, 0.03), math.exp(random.normal(0, 0.03))) @ form
    # scale and offset follow the tracked box
    extent_wh = box_of((living.outline - middle) @ form.T)[2:]
    followed_wh = extent_wh * fit.growth * now.growth
    scale = template_size / (settings.template_factor * math.sqrt(followed_wh.prod()))
    if now.elsewhere:
        newest = view(picture, size_xy(picture) * random.uniform(0.1, 0.9, 2), scale, template_size, form)
    else:
        newest, _, _ = look(form, scale, half - now.shift * extent_wh * scale, template_size, bend)
    newest_aspect = float(followed_wh[0] / followed_wh[1])
    return Scene(template, search, aspect, fit.box(box), visible_xyxy, True, newest, newest_aspect)


def object_box(found: Found) -> Array | None:
    """Return the box, xywh, of the found object; None if no object is found or it leaves too little background."""
    if found.mask is None:
        return None
    box_xywh = np.array(cv2.boundingRect(found.mask)) * np.tile(size_xy(found.picture) / size_xy(found.mask), 2)
    fits = box_xywh[2:].prod() < (LARGEST_IN_PLACE * min(found.picture.shape[:2])) ** 2
    return box_xywh if fits else None


def textured_box(random: Random, picture: Image) -> Array:
    """Draw a box, xywh, of 0.12 to 0.45 of the short side: of four candidates, the one that differs most from its
    surroundings.
    """
    height, width = picture.shape[:2]
    small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA).astype(np.float32)
    best, found = -1.0, np.zeros(4)
    for _ in range(4):
        across = min(height, width) * random.uniform(0.12, 0.45)
        aspect = math.exp(random.normal(0, 0.6))
        w = min(across * math.sqrt(aspect), 0.9 * width)
        h = min(across / math.sqrt(aspect), 0.9 * height)
        x, y = random.uniform(0, width - w), random.uniform(0, height - h)
        box = np.array([x, y, w, h])
        unlike = stands_out(small, box / 4)
        if unlike > best:
            best, found = unlike, box
    return found


def stands_out(picture: Array | NDArray[np.float32], box_xywh: Array) -> float:
    """Measure how much a box differs from its surroundings in color, contrast and texture."""
    low = np.floor(box_xywh[:2]).astype(int)
    high = np.ceil(box_xywh[:2] + box_xywh[2:]).astype(int)
    margin = np.maximum(1, (0.3 * (high - low)).astype(int))
    outer_low, outer_high = np.maximum(low - margin, 0), high + margin
    inner = picture[low[1] : high[1], low[0] : high[0]]
    outer = picture[outer_low[1] : outer_high[1], outer_low[0] : outer_high[0]]
    weight = inner.size / max(outer.size - inner.size, 1)
    # mean and deviation of the surroundings, computed from those of the total and of the inside
    ring = outer.mean((0, 1)) + weight * (outer.mean((0, 1)) - inner.mean((0, 1)))
    texture = float(inner.std())
    return float(np.abs(ring - inner.mean((0, 1))).mean()) + min(texture, LEAST_TEXTURE)
