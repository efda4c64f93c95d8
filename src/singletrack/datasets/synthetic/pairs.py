"""Generates training pairs from photos: a template crop, a search crop and the exact box of the target.

A pair comes from ``cut_paste`` or ``same_photo``. Both render straight into the crops, at the scale and position at
which tracking crops (``geometry.crops``), with black outside the frame. Bare numbers are probabilities and spreads
chosen by eye, so that pairs look like nearby frames of a video. ``PairSettings`` has the ones worth changing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Random
from singletrack.datasets.synthetic.cut_paste import composed_scene
from singletrack.datasets.synthetic.degradations import (
    EVERYWHERE,
    Light,
    blacken_outside,
    coarser,
    degrade,
    near_edge,
    shadowed,
)
from singletrack.datasets.synthetic.same_photo import in_place_scene
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.geometry.crops import mark_box

# Shares of pairs with the edge of the frame in the template crop, or near the target in the search crop.
TEMPLATE_AT_EDGE = 0.12
SEARCH_AT_EDGE = 0.25
# Share of views with a shadow.
SHADOWED = 0.1
# Share of dynamic templates that are still the first one.
STILL_FIRST = 0.08


@dataclass(frozen=True)
class Pair:
    """A training pair.

    Attributes:
        template: (T, T, 3) uint8 RGB; (2, T, T, 3) with a dynamic template.
        search: (S, S, 3) uint8 RGB.
        box: (4,) xywh of the target in the search crop.
        present: whether the search crop shows the target.
        template_box: (4,) xywh of the target in the first template.
    """

    template: Image
    search: Image
    box: Array
    present: bool
    template_box: Array


def draw_pair(random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings) -> Pair:
    """Generate a pair of crops with its exact box."""
    make = in_place_scene if random.random() < settings.in_place else composed_scene
    scene = make(random, pictures, template_size, search_size, settings)
    template_visible, search_visible = EVERYWHERE, scene.visible_xyxy
    if random.random() < TEMPLATE_AT_EDGE:
        template_visible = near_edge(random, template_size, middle_box(template_size, settings, 1.0), EVERYWHERE)
    if random.random() < SEARCH_AT_EDGE:
        search_visible = near_edge(random, search_size, scene.box_xywh, search_visible)
    light = Light.draw(random)
    lights = [light, light.varied(random)]
    if random.random() < 0.5:  # the template may be the dimmer one, too
        lights.reverse()
    template, search = lights[0].shine(scene.template), lights[1].shine(scene.search)
    if random.random() < SHADOWED:
        template = shadowed(random, template)
    if random.random() < SHADOWED:
        search = shadowed(random, search)
    coarse, factor = random.random() < settings.coarse, math.exp(random.uniform(0.2, 1.5))
    if coarse:
        template, search = coarser(template, factor), coarser(search, factor)
    template, search = degrade(random, template), degrade(random, search)
    # after the light, which would brighten the black padding
    blacken_outside(template, template_visible)
    blacken_outside(search, search_visible)
    newest = None
    if scene.newest is not None:
        newest = lights[0].towards(lights[1], 1 - random.random() ** 2).shine(scene.newest)
        if random.random() < SHADOWED:
            newest = shadowed(random, newest)
        newest = degrade(random, coarser(newest, factor) if coarse else newest)
        if random.random() < TEMPLATE_AT_EDGE:
            edges = near_edge(random, template_size, middle_box(template_size, settings, 1.0), EVERYWHERE)
            blacken_outside(newest, edges)
    template_box = middle_box(template_size, settings, scene.aspect)
    if settings.mark_template:
        mark_box(template, template_box)
        if newest is not None:
            mark_box(newest, middle_box(template_size, settings, scene.newest_aspect))
    if newest is not None:
        template = np.stack([template, template if random.random() < STILL_FIRST else newest])
    pair = Pair(template, search, visible_part(scene.box_xywh, search_visible), scene.present, template_box)
    return mirrored(pair) if random.random() < 0.5 else pair


def middle_box(size: int, settings: PairSettings, aspect: float) -> Array:
    """Compute the box with this aspect around which a template of ``size`` pixels is cropped, xywh in the crop."""
    wh = size / settings.template_factor * np.array([aspect**0.5, aspect**-0.5])
    return np.concatenate([(size - wh) / 2, wh])


def visible_part(box_xywh: Array, visible_xyxy: Array) -> Array:
    """Clip a box, xywh, to bounds, to at least one pixel per side."""
    low = np.maximum(box_xywh[:2], visible_xyxy[:2])
    high = np.minimum(box_xywh[:2] + box_xywh[2:], visible_xyxy[2:])
    return np.concatenate([low, np.maximum(high - low, 1.0)])


def mirrored(pair: Pair) -> Pair:
    """Mirror the pair."""
    template, search = (np.ascontiguousarray(crop[..., ::-1, :]) for crop in (pair.template, pair.search))
    box, template_box = (
        np.array([crop.shape[-2] - x - width, y, width, height])
        for crop, (x, y, width, height) in ((search, pair.box), (template, pair.template_box))
    )
    return Pair(template, search, box, pair.present, template_box)
