"""Scenes in place: a box of one photo, seen twice."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.camera import frame_in_view, view
from singletrack.datasets.pictures import Array, Image, Pictures, Random
from singletrack.datasets.pieces import box_of, turn
from singletrack.datasets.scenes import Fit, Newest, PairSettings, Scene, paste_occluder, search_place, size_xy

# A box of one photo is a target only if its pixels spread by so much (standard deviation); plain sky is none.
LEAST_TEXTURE = 25
# A larger object, as a share of its photo's short side, would stand before little but black.
LARGEST_IN_PLACE = 0.6


def in_place_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """A box of one photo that has some texture, seen twice: nearer, farther, slightly turned and off centre."""
    for _ in range(settings.tries):
        picture, mask = pictures.draw_object(random)
        if mask is not None:
            break
    target_xywh = textured_box(random, picture)
    if mask is not None and random.random() < settings.whole:
        found_xywh = np.array(cv2.boundingRect(mask)) * np.tile(size_xy(picture) / size_xy(mask), 2)
        if found_xywh[2:].prod() < (LARGEST_IN_PLACE * min(picture.shape[:2])) ** 2:
            target_xywh = found_xywh
    target_xywh = Fit.draw(random, settings).box(target_xywh)
    middle = target_xywh[:2] + target_xywh[2:] / 2
    extent = math.sqrt(target_xywh[2] * target_xywh[3])
    template = view(picture, middle, template_size / (settings.template_factor * extent), template_size)

    centre, side = search_place(random, search_size, settings)
    form = turn(random.normal(0, 0.06), math.exp(random.normal(0, 0.1)), random.normal(0, 0.04))
    scale = side / extent
    looked_at = middle - np.linalg.solve(form * scale, centre - search_size / 2)
    search = view(picture, looked_at, scale, search_size, form)
    box = box_of((corners(target_xywh) - looked_at) @ (form * scale).T + search_size / 2)
    visible_xyxy = frame_in_view(picture, looked_at, scale, search_size)
    if random.random() < settings.occluded * 0.8:
        paste_occluder(random, pictures, search, centre, side, nearest=0.25, largest=0.9)
    aspect = float(target_xywh[2] / target_xywh[3])
    if settings.templates == 1:
        return Scene(template, search, aspect, box, visible_xyxy, True)
    newest, newest_aspect = newest_look(random, picture, target_xywh, form, template_size, settings)
    return Scene(template, search, aspect, box, visible_xyxy, True, newest, newest_aspect)


def newest_look(
    random: Random, picture: Image, target_xywh: Array, form: Array, size: int, settings: PairSettings
) -> tuple[Image, float]:
    """The target's newest look, where the search crop has it in this form; and its box's width over its height."""
    now = Newest.draw(random)
    middle = target_xywh[:2] + target_xywh[2:] / 2
    if now.elsewhere:
        middle = size_xy(picture) * random.uniform(0.1, 0.9, 2)
    if now.older:
        form = turn(random.normal(0, 0.06), math.exp(random.normal(0, 0.1)), random.normal(0, 0.04))
    form = turn(random.normal(0, 0.03), math.exp(random.normal(0, 0.03))) @ form
    extent_wh = box_of(corners(np.concatenate([-target_xywh[2:] / 2, target_xywh[2:]])) @ form.T)[2:]
    followed_wh = extent_wh * now.growth
    scale = size / (settings.template_factor * math.sqrt(followed_wh.prod()))
    looked_at = middle + np.linalg.solve(form, now.shift * extent_wh)
    return view(picture, looked_at, scale, size, form), float(followed_wh[0] / followed_wh[1])


def textured_box(random: Random, picture: Image) -> Array:
    """A box, xywh, of 0.12 to 0.45 of the picture's short side: of four, the one least like what is round it."""
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
    """How much a box of the picture differs from a frame round it, in colour and contrast, and how textured it is."""
    low = np.floor(box_xywh[:2]).astype(int)
    high = np.ceil(box_xywh[:2] + box_xywh[2:]).astype(int)
    margin = np.maximum(1, (0.3 * (high - low)).astype(int))
    outer_low, outer_high = np.maximum(low - margin, 0), high + margin
    inner = picture[low[1] : high[1], low[0] : high[0]]
    outer = picture[outer_low[1] : outer_high[1], outer_low[0] : outer_high[0]]
    weight = inner.size / max(outer.size - inner.size, 1)
    # mean and deviation of the frame, from those of the whole and of the inside
    ring = outer.mean((0, 1)) + weight * (outer.mean((0, 1)) - inner.mean((0, 1)))
    texture = float(inner.std())
    return float(np.abs(ring - inner.mean((0, 1))).mean()) + min(texture, LEAST_TEXTURE)


def corners(box_xywh: Array) -> Array:
    """The four corners, (4, 2) xy."""
    x, y, w, h = box_xywh
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
