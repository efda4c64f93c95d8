"""Generates scenes in which an object cut from one photo moves over another, among other objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from singletrack.datasets.photos import Array, Found, Image, Pictures, Random
from singletrack.datasets.synthetic.articulated import Figure, cut_figure, pose
from singletrack.datasets.synthetic.cutouts import (
    Dress,
    Piece,
    box_of,
    cut_object,
    cut_piece,
    deform,
    draw_piece,
    paste,
    place,
    recolor,
    roll,
    shade,
    smear,
    tip,
    turn,
)
from singletrack.datasets.synthetic.degradations import EVERYWHERE, view
from singletrack.datasets.synthetic.scenes import (
    SMALL_PIECE,
    Fit,
    Newest,
    PairSettings,
    Scene,
    beside,
    paste_occluder,
    search_place,
    size_xy,
    wider,
)
from singletrack.opencv import cv2

# Shares of scenes with none to three others beside the target.
OTHERS = (0.3, 0.35, 0.2, 0.15)


def composed_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """A cut piece over a background, then bent, turned, lit anew, moved, among distractors and behind an occluder."""
    found = pictures.draw_object(random)
    source = found.picture
    whole = found.mask is not None and random.random() < settings.whole
    if found.mask is not None and whole:
        figure = Figure(cut_object(source, found.mask), ())
    else:
        figure = cut_figure(random, source, pictures)
    limbs = len(figure.limbs)
    piece = pose(figure, np.zeros(limbs))
    # now and then before the photo it was cut from, or in colors like those behind it: hard to tell apart
    camouflaged = not whole and random.random() < settings.camouflaged
    behind = source if camouflaged else pictures.draw(random)
    dress = None
    if not camouflaged and random.random() < settings.dressed:
        dress = Dress.like(piece.pixels, behind, random.uniform(0.3, 0.9))
        piece = dress.on(piece)
    template, search, newest = backgrounds(random, pictures, behind, template_size, search_size, settings)
    angle = random.normal(0, 0.15)
    fit = Fit.draw(random, settings)
    others = [distractor(random, pictures, found, piece) for _ in range(random.choice(4, p=OTHERS))]
    aspect = paste_into_template(
        random, pictures, template, piece, others, angle, template_size / settings.template_factor, fit
    )

    center, side = search_place(random, search_size, settings)
    rolls = random.random() < settings.rolled

    def some_frames_later() -> tuple[Piece, Array]:
        later = pose(figure, random.normal(0, settings.swing, limbs))
        if dress is not None:
            later = dress.on(later)
        if rolls:
            later = roll(later, float(np.clip(random.normal(0, 0.5), -1.2, 1.2)))
            later = tip(later, float(np.clip(random.normal(0, 0.2), -0.6, 0.6)))
        turned = angle + random.normal(0, wider(random, settings.rotation, 4.0, 0.2))
        form = turn(turned, math.exp(random.normal(0, wider(random, 0.14, 2.5))), random.normal(0, 0.08))
        return changed(random, later), form

    later, form = some_frames_later()
    newest_aspect = 1.0
    if newest is not None:
        now = Newest.draw(random)
        seen, seen_form = later, form
        if now.older:
            seen, seen_form = some_frames_later()
        elif random.random() < 0.5:
            seen = deform(random, later, random.uniform(0.01, 0.05))
        if now.elsewhere:
            seen = others[0] if others else distractor(random, pictures, found, piece)
        newest_aspect = paste_newest(random, pictures, newest, seen, others, seen_form, fit, now, settings)
    paste_others(random, search, others, center, side)
    if random.random() < settings.absent:
        if random.random() < 0.25:
            search = nothing(random, search_size)
        where_it_would_be = np.array([center[0] - side / 2, center[1] - side / 2, side, side])
        return Scene(template, search, aspect, where_it_would_be, EVERYWHERE, False, newest, newest_aspect)
    box = paste(search, later, place(form, later, center, side))
    if random.random() < settings.occluded:
        paste_occluder(random, pictures, search, center, side, nearest=0.2, largest=1.1)
    return Scene(template, search, aspect, fit.box(box), EVERYWHERE, True, newest, newest_aspect)


def nothing(random: Random, size: int) -> Image:
    """What a covered or broken camera shows: one color under noise of any strength."""
    noise = np.empty((size, size, 3), np.int16)
    cv2.setRNGSeed(int(random.integers(1 << 31)))
    cv2.randn(noise, random.uniform(0, 255, 3), np.full(3, random.uniform(0, 90)))
    return np.clip(noise, 0, 255).astype(np.uint8)


def backgrounds(
    random: Random, pictures: Pictures, behind: Image, template_size: int, search_size: int, settings: PairSettings
) -> tuple[Image, Image, Image | None]:
    """What lies behind the target in both crops: one photo, the second time drifted and zoomed, or two photos.

    And behind its newest look, if asked for: near what is in the search crop.
    """

    def wide_scale(picture: Image) -> float:
        """Crop pixels a photo pixel at which the search crop shows 0.5 to 1.1 of the photo's short side."""
        return float(search_size / (min(picture.shape[:2]) * random.uniform(0.5, 1.1)))

    def look(picture: Image, point: Array, scale: float, size: int) -> Image:
        return view(picture, point, scale, size, turn(random.normal(0, 0.05)))

    ahead = behind if random.random() < settings.same_background else pictures.draw(random)
    scale = wide_scale(behind)
    # the template shows the same scene nearer: its crop is smaller in the scene
    nearer = settings.search_factor / settings.template_factor * template_size / search_size
    point = size_xy(behind) * random.uniform(0.25, 0.75, 2)
    template = look(behind, point, scale * nearer, template_size)
    if ahead is behind:
        point = np.clip(point + random.normal(0, 0.12, 2) * size_xy(behind), 0, size_xy(behind))
        scale *= math.exp(random.normal(0, 0.1))
    else:
        point = size_xy(ahead) * random.uniform(0.2, 0.8, 2)
        scale = wide_scale(ahead)
    search, newest = look(ahead, point, scale, search_size), None
    if settings.num_templates > 1:
        beside_it = np.clip(point + random.normal(0, 0.1, 2) * size_xy(ahead), 0, size_xy(ahead))
        newest = look(ahead, beside_it, scale * nearer * math.exp(random.normal(0, 0.08)), template_size)
    return template, search, newest


def paste_into_template(
    random: Random,
    pictures: Pictures,
    template: Image,
    piece: Piece,
    others: Sequence[Piece],
    angle: float,
    side: float,
    fit: Fit,
) -> float:
    """The target where a user's box of this ``side`` is in the middle of the crop; at times with an intruder beside it.

    That is often one of the ``others``, which are there again in the search crop.

    Returns the box's width over its height.
    """
    extent_wh = box_of(piece.outline @ turn(angle).T)[2:]
    box_wh = extent_wh * fit.growth
    scale = side / math.sqrt(max(box_wh.prod(), 1e-6))
    middle = template.shape[0] / 2 - fit.shift * extent_wh * scale
    side = scale * math.sqrt(extent_wh.prod())
    paste_intruder(random, pictures, template, others, middle, side)
    paste(template, piece, place(turn(angle), piece, middle, side))
    return float(box_wh[0] / box_wh[1])


def paste_newest(
    random: Random,
    pictures: Pictures,
    newest: Image,
    piece: Piece,
    others: Sequence[Piece],
    form: Array,
    fit: Fit,
    now: Newest,
    settings: PairSettings,
) -> float:
    """The target about the middle of its newest look, as a box that was followed has it; at times half hidden.

    Returns the width over the height of that box.
    """
    size = newest.shape[0]
    form = turn(random.normal(0, 0.05), math.exp(random.normal(0, 0.04))) @ form
    extent_wh = box_of(piece.outline @ form.T)[2:]
    followed_wh = extent_wh * fit.growth * now.growth
    scale = size / settings.template_factor / math.sqrt(max(followed_wh.prod(), 1e-6))
    middle = size / 2 - (fit.shift + now.shift) * extent_wh * scale
    side = scale * math.sqrt(extent_wh.prod())
    paste_intruder(random, pictures, newest, others, middle, side)
    paste(newest, piece, place(form, piece, middle, side))
    if random.random() < settings.occluded / 3:
        paste_occluder(random, pictures, newest, middle, side, nearest=0.25, largest=0.8)
    return float(followed_wh[0] / followed_wh[1])


def changed(random: Random, piece: Piece) -> Piece:
    """The target some frames later: mostly bent, often lit from another side."""
    if random.random() < 0.7:
        piece = deform(random, piece, wider(random, random.uniform(0.02, 0.12), 2.5))
    if random.random() < 0.4:
        piece = shade(random, piece)
    if random.random() < 0.1:
        piece = smear(random, piece)
    return piece


def paste_intruder(
    random: Random, pictures: Pictures, crop: Image, others: Sequence[Piece], middle: Array, side: float
) -> None:
    """In a third of the templates something beside the target: one of the ``others``, or anything."""
    if random.random() < 0.35:
        known = bool(others) and random.random() < 0.6
        intruder = others[int(random.integers(len(others)))] if known else draw_piece(random, pictures, SMALL_PIECE)
        spot = beside(random, middle, side, 0.8, 1.2)
        paste(crop, intruder, place(turn(0), intruder, spot, side * random.uniform(0.5, 1.1)))


def paste_others(random: Random, search: Image, others: Sequence[Piece], center: Array, side: float) -> None:
    """Others about as large as the target, none over its middle."""
    for other in others:
        spot = random.uniform(0, search.shape[0], 2)
        if np.abs(spot - center).max() < 0.7 * side:
            continue
        size = side * math.exp(random.normal(0, 0.25))
        paste(search, other, place(turn(random.normal(0, 0.3)), other, spot, size))


def distractor(random: Random, pictures: Pictures, found: Found, piece: Piece) -> Piece:
    """The target in other colors, another pattern in its outline, its kin, a neighbor from its photo, or anything."""
    kind = random.random()
    if kind < 0.3:
        return replace(piece, pixels=recolor(random, piece.pixels))
    if kind < 0.5:
        kin = pictures.draw_object(random, beside=found)
        return cut_piece(random, kin.picture) if kin.mask is None else cut_object(kin.picture, kin.mask)
    other = cut_piece(random, found.picture) if random.random() < 0.4 else draw_piece(random, pictures)
    if kind < 0.65:
        height, width = piece.alpha.shape
        return replace(piece, pixels=cv2.resize(other.pixels, (width, height)).astype(np.uint8))
    return other
