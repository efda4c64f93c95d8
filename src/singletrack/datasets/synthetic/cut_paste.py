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

# Probabilities of zero to three other objects.
OTHERS = (0.3, 0.35, 0.2, 0.15)


def composed_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """Compose a cutout over a background, then bend, turn, relight and move it among distractors and behind an
    occluder.
    """
    found = pictures.draw_object(random)
    source = found.picture
    whole = found.mask is not None and random.random() < settings.whole
    if found.mask is not None and whole:
        figure = Figure(cut_object(source, found.mask), ())
    else:
        figure = cut_figure(random, source, pictures)
    limbs = len(figure.limbs)
    piece = pose(figure, np.zeros(limbs))
    # sometimes over its own photo, or in colors of the background, which is harder
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
    """Generate the image of a covered or broken camera: one color with noise of any strength."""
    noise = np.empty((size, size, 3), np.int16)
    cv2.setRNGSeed(int(random.integers(1 << 31)))
    cv2.randn(noise, random.uniform(0, 255, 3), np.full(3, random.uniform(0, 90)))
    return np.clip(noise, 0, 255).astype(np.uint8)


def backgrounds(
    random: Random, pictures: Pictures, behind: Image, template_size: int, search_size: int, settings: PairSettings
) -> tuple[Image, Image, Image | None]:
    """Create the backgrounds of both crops: one photo, drifted and zoomed for the second crop, or two photos.

    Optionally also that of the dynamic template, near that of the search crop.
    """

    def wide_scale(picture: Image) -> float:
        """Compute the crop pixels per photo pixel at which the search crop shows 0.5 to 1.1 of the short side of the
        photo.
        """
        return float(search_size / (min(picture.shape[:2]) * random.uniform(0.5, 1.1)))

    def look(picture: Image, point: Array, scale: float, size: int) -> Image:
        return view(picture, point, scale, size, turn(random.normal(0, 0.05)))

    ahead = behind if random.random() < settings.same_background else pictures.draw(random)
    scale = wide_scale(behind)
    # the template crop covers a smaller part of the scene
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
    """Paste the target so that a user's box of this ``side`` is centered, sometimes with another object, often one of
    ``others``.

    Returns:
        Width of the box divided by its height.
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
    """Paste the target near the center of the dynamic template, as for a tracked box, sometimes half hidden.

    Returns:
        Width of that box divided by its height.
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
    """Change the target as after some frames: mostly bent, often lit from another side."""
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
    """Paste another object into a third of the templates: one of ``others``, or any object."""
    if random.random() < 0.35:
        known = bool(others) and random.random() < 0.6
        intruder = others[int(random.integers(len(others)))] if known else draw_piece(random, pictures, SMALL_PIECE)
        spot = beside(random, middle, side, 0.8, 1.2)
        paste(crop, intruder, place(turn(0), intruder, spot, side * random.uniform(0.5, 1.1)))


def paste_others(random: Random, search: Image, others: Sequence[Piece], center: Array, side: float) -> None:
    """Paste other objects of about the size of the target, none over its center."""
    for other in others:
        spot = random.uniform(0, search.shape[0], 2)
        if np.abs(spot - center).max() < 0.7 * side:
            continue
        size = side * math.exp(random.normal(0, 0.25))
        paste(search, other, place(turn(random.normal(0, 0.3)), other, spot, size))


def distractor(random: Random, pictures: Pictures, found: Found, piece: Piece) -> Piece:
    """Create a distractor: the target in other colors or with another pattern, a similar object, a neighbor, or any
    object.
    """
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
