"""Pairs for training: a template crop, a search crop and the target's exact box in it, drawn from pictures.

A pair is composed (a piece cut from one photo, moved over another) or in place (a box of one photo, seen twice).
Both are rendered straight into the crops, at the scale and place at which tracking crops (``geometry.crops``); what
lies outside the made frame is black, as there. Bare numbers are shares and spreads chosen by eye, so that pairs look
like neighbouring stretches of a video; those worth changing stand in ``PairSettings``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.camera import (
    EVERYWHERE,
    Light,
    blacken_outside,
    coarser,
    degrade,
    frame_in_view,
    near_edge,
    view,
)
from singletrack.datasets.figures import Figure, cut_figure, pose
from singletrack.datasets.pictures import Array, Image, Pictures, Random
from singletrack.datasets.pieces import (
    Piece,
    box_of,
    cut_object,
    cut_piece,
    deform,
    draw_piece,
    paste,
    place,
    recolour,
    shade,
    smear,
    turn,
)

# Shares of pairs in which the frame's edge runs through the template crop, or near the target in the search crop.
TEMPLATE_AT_EDGE = 0.12
SEARCH_AT_EDGE = 0.25
# An occluder or intruder is cut at this many pixels across, less than a target: it is drawn smaller.
SMALL_PIECE = 64
# A box of one photo is a target only if its pixels spread by so much (standard deviation); plain sky is none.
LEAST_TEXTURE = 25
# A larger object, as a share of its photo's short side, would stand before little but black.
LARGEST_IN_PLACE = 0.6
# The target's centre is at most this far from the search crop's, as a fraction of its side: it stays in view.
FARTHEST = 0.42


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are drawn. Shares are probabilities.

    template_factor, search_factor: side of each crop over sqrt(width * height) of the target, as when tracking.
    in_place: share of pairs that look twice at a box of one photo; the others are composed.
    same_background: share of composed pairs whose two crops show one photo behind the target.
    anywhere: share of targets placed uniformly over the search crop; the others lie near its centre.
    scale: the target's size in the search crop is off by exp(U(-scale, scale)).
    rotation: standard deviation of the turn between the crops, radians.
    absent: share of composed pairs whose search crop does not show the target.
    whole: share of pairs, among those from a photo in which an object was found, whose target is that object.
    camouflaged: share of the other composed pairs whose target stands before the photo that it was cut from.
    swing: standard deviation of the turn of a figure's limbs between the crops, radians.
    coarse: share of pairs filmed from so far that both crops are enlarged.
    """

    template_factor: float = 2.0
    search_factor: float = 4.0
    in_place: float = 0.3
    same_background: float = 0.7
    anywhere: float = 0.4
    scale: float = 0.4
    rotation: float = 0.2
    occluded: float = 0.25
    absent: float = 0.08
    whole: float = 0.7
    camouflaged: float = 0.12
    swing: float = 0.45
    coarse: float = 0.3


@dataclass(frozen=True)
class Pair:
    """template (T, T, 3) and search (S, S, 3) uint8 RGB; box of the target in the search crop, xywh; is it there?"""

    template: Image
    search: Image
    box: Array
    present: bool


@dataclass(frozen=True)
class Scene:
    """A pair before light, noise and the frame's edge.

    box_xywh: the whole target in the search crop, also what lies outside it. visible_xyxy: the part of the search
    crop's plane that the frame shows; beyond it is black.
    """

    template: Image
    search: Image
    box_xywh: Array
    visible_xyxy: Array
    present: bool


def draw_pair(random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings) -> Pair:
    """One pair of crops with its exact box."""
    make = in_place_scene if random.random() < settings.in_place else composed_scene
    scene = make(random, pictures, template_size, search_size, settings)
    template_visible, search_visible = EVERYWHERE, scene.visible_xyxy
    if random.random() < TEMPLATE_AT_EDGE:
        side = template_size / settings.template_factor
        middle = np.array([(template_size - side) / 2, (template_size - side) / 2, side, side])
        template_visible = near_edge(random, template_size, middle, template_visible)
    if random.random() < SEARCH_AT_EDGE:
        search_visible = near_edge(random, search_size, scene.box_xywh, search_visible)
    light = Light.draw(random)
    template, search = light.shine(scene.template), light.varied(random).shine(scene.search)
    if random.random() < settings.coarse:
        factor = math.exp(random.uniform(0.2, 1.5))
        template, search = coarser(template, factor), coarser(search, factor)
    template, search = degrade(random, template), degrade(random, search)
    # after the light, which would brighten the black that the tracker pads with
    blacken_outside(template, template_visible)
    blacken_outside(search, search_visible)
    pair = Pair(template, search, visible_part(scene.box_xywh, search_visible), scene.present)
    return mirrored(pair) if random.random() < 0.5 else pair


def visible_part(box_xywh: Array, visible_xyxy: Array) -> Array:
    """The part of a box inside bounds, xywh, at least one pixel wide and high."""
    low = np.maximum(box_xywh[:2], visible_xyxy[:2])
    high = np.minimum(box_xywh[:2] + box_xywh[2:], visible_xyxy[2:])
    return np.concatenate([low, np.maximum(high - low, 1.0)])


def mirrored(pair: Pair) -> Pair:
    """The pair with left and right exchanged."""
    template, search = (np.ascontiguousarray(crop[:, ::-1]) for crop in (pair.template, pair.search))
    box = np.array([search.shape[1] - pair.box[0] - pair.box[2], *pair.box[1:]])
    return Pair(template, search, box, pair.present)


def search_place(random: Random, size: int, settings: PairSettings) -> tuple[Array, float]:
    """Centre (xy) and sqrt-area side of the target in a search crop."""
    side = size / settings.search_factor * math.exp(random.uniform(-settings.scale, settings.scale))
    if random.random() < settings.anywhere:
        offset = random.uniform(-FARTHEST, FARTHEST, 2)
    else:
        offset = np.clip(random.normal(0, 0.09, 2), -FARTHEST, FARTHEST)
    return size * (0.5 + offset), side


# --- composed scenes ---


def composed_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """A cut piece over a background, then bent, turned, lit anew, moved, among distractors and behind an occluder."""
    source, mask = pictures.draw_object(random)
    whole = mask is not None and random.random() < settings.whole
    if mask is not None and whole:
        figure = Figure(cut_object(source, mask), ())
    else:
        figure = cut_figure(random, source, pictures)
    limbs = len(figure.limbs)
    piece = pose(figure, np.zeros(limbs))
    # now and then before the photo it was cut from, where it is hard to tell apart
    behind = source if random.random() < settings.camouflaged and not whole else pictures.draw(random)
    template, search = backgrounds(random, pictures, behind, template_size, search_size, settings)
    angle = random.normal(0, 0.15)
    paste_into_template(random, pictures, template, piece, angle, template_size / settings.template_factor)

    centre, side = search_place(random, search_size, settings)
    later = changed(random, pose(figure, random.normal(0, settings.swing, limbs)))
    form = turn(angle + random.normal(0, settings.rotation), math.exp(random.normal(0, 0.16)), random.normal(0, 0.08))
    paste_distractors(random, pictures, search, source, piece, centre, side)
    if random.random() < settings.absent:
        if random.random() < 0.25:
            search = nothing(random, search_size)
        where_it_would_be = np.array([centre[0] - side / 2, centre[1] - side / 2, side, side])
        return Scene(template, search, where_it_would_be, EVERYWHERE, False)
    box = paste(search, later, place(form, later, centre, side))
    if random.random() < settings.occluded:
        paste_occluder(random, pictures, search, centre, side, nearest=0.25, largest=0.8)
    return Scene(template, search, box, EVERYWHERE, True)


def nothing(random: Random, size: int) -> Image:
    """What a covered or broken camera shows: one colour under noise of any strength."""
    noise = np.empty((size, size, 3), np.int16)
    cv2.setRNGSeed(int(random.integers(1 << 31)))
    cv2.randn(noise, random.uniform(0, 255, 3), np.full(3, random.uniform(0, 90)))
    return np.clip(noise, 0, 255).astype(np.uint8)


def backgrounds(
    random: Random, pictures: Pictures, behind: Image, template_size: int, search_size: int, settings: PairSettings
) -> tuple[Image, Image]:
    """What lies behind the target in both crops: one photo, the second time drifted and zoomed, or two photos."""

    def wide_scale(picture: Image) -> float:
        """Crop pixels a photo pixel at which the search crop shows 0.5 to 1.1 of the photo's short side."""
        return float(search_size / (min(picture.shape[:2]) * random.uniform(0.5, 1.1)))

    def look(picture: Image, point: Array, scale: float, size: int) -> Image:
        return view(picture, point, scale, size, turn(random.normal(0, 0.05)))

    ahead = behind if random.random() < settings.same_background else pictures.draw(random)
    scale = wide_scale(behind)
    # the template shows the same scene nearer: its crop is smaller in the scene
    near = scale * settings.search_factor / settings.template_factor * template_size / search_size
    point = size_xy(behind) * random.uniform(0.25, 0.75, 2)
    template = look(behind, point, near, template_size)
    if ahead is behind:
        point = np.clip(point + random.normal(0, 0.12, 2) * size_xy(behind), 0, size_xy(behind))
        scale *= math.exp(random.normal(0, 0.1))
    else:
        point = size_xy(ahead) * random.uniform(0.2, 0.8, 2)
        scale = wide_scale(ahead)
    return template, look(ahead, point, scale, search_size)


def paste_into_template(
    random: Random, pictures: Pictures, template: Image, piece: Piece, angle: float, side: float
) -> None:
    """The target in the middle of its crop, as well as a user's box fits; at times with an intruder beside it."""
    size = template.shape[0]
    middle = np.full(2, size / 2) + random.normal(0, 0.012, 2) * size
    side *= math.exp(random.normal(0, 0.04))
    if random.random() < 0.3:
        intruder = draw_piece(random, pictures, SMALL_PIECE)
        spot = beside(random, middle, side, 0.8, 1.2)
        paste(template, intruder, place(turn(0), intruder, spot, side * random.uniform(0.5, 1.1)))
    paste(template, piece, place(turn(angle), piece, middle, side))


def changed(random: Random, piece: Piece) -> Piece:
    """The target some frames later: mostly bent, often lit from another side."""
    if random.random() < 0.7:
        piece = deform(random, piece, random.uniform(0.02, 0.12))
    if random.random() < 0.4:
        piece = shade(random, piece)
    if random.random() < 0.1:
        piece = smear(random, piece)
    return piece


def paste_distractors(
    random: Random, pictures: Pictures, search: Image, source: Image, piece: Piece, centre: Array, side: float
) -> None:
    """Up to three others about as large as the target, none over its middle."""
    for _ in range(random.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
        other = distractor(random, pictures, source, piece)
        spot = random.uniform(0, search.shape[0], 2)
        if np.abs(spot - centre).max() < 0.7 * side:
            continue
        size = side * math.exp(random.normal(0, 0.25))
        paste(search, other, place(turn(random.normal(0, 0.3)), other, spot, size))


def distractor(random: Random, pictures: Pictures, source: Image, piece: Piece) -> Piece:
    """The target in other colours, another pattern in its outline, a neighbour from its photo, or anything else."""
    kind = random.random()
    if kind < 0.35:
        return replace(piece, pixels=recolour(random, piece.pixels))
    other = cut_piece(random, source) if random.random() < 0.4 else draw_piece(random, pictures)
    if kind < 0.5:
        height, width = piece.alpha.shape
        return replace(piece, pixels=cv2.resize(other.pixels, (width, height)).astype(np.uint8))
    return other


def paste_occluder(
    random: Random, pictures: Pictures, search: Image, centre: Array, side: float, *, nearest: float, largest: float
) -> None:
    """Something over part of the target: from ``nearest`` to 0.75 of its side off its centre, up to ``largest``."""
    occluder = draw_piece(random, pictures, SMALL_PIECE)
    spot = beside(random, centre, side, nearest, 0.75)
    form = turn(random.normal(0, 0.5))
    paste(search, occluder, place(form, occluder, spot, side * random.uniform(0.3, largest)))


def beside(random: Random, centre: Array, side: float, low: float, high: float) -> Array:
    """A point ``low`` to ``high`` sides away from the centre, in any direction."""
    distance = side * random.uniform(low, high)
    angle = random.uniform(0, 2 * math.pi)
    away: Array = distance * np.array([math.cos(angle), math.sin(angle)])
    return centre + away


def size_xy(picture: Image) -> Array:
    """Width and height in pixels."""
    return np.array([picture.shape[1], picture.shape[0]], float)


# --- scenes in place ---


def in_place_scene(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> Scene:
    """A box of one photo that has some texture, seen twice: nearer, farther, slightly turned and off centre."""
    picture, mask = pictures.draw_object(random)
    target_xywh = textured_box(random, picture)
    if mask is not None and random.random() < settings.whole:
        found_xywh = np.array(cv2.boundingRect(mask)) * np.tile(size_xy(picture) / size_xy(mask), 2)
        if found_xywh[2:].prod() < (LARGEST_IN_PLACE * min(picture.shape[:2])) ** 2:
            target_xywh = found_xywh
    middle = target_xywh[:2] + target_xywh[2:] / 2
    extent = math.sqrt(target_xywh[2] * target_xywh[3])
    shift = random.normal(0, 0.012, 2) * extent * settings.template_factor
    near = template_size / (settings.template_factor * extent) * math.exp(random.normal(0, 0.04))
    template = view(picture, middle + shift, near, template_size)

    centre, side = search_place(random, search_size, settings)
    form = turn(random.normal(0, 0.06), math.exp(random.normal(0, 0.1)), random.normal(0, 0.04))
    scale = side / extent
    looked_at = middle - np.linalg.solve(form * scale, centre - search_size / 2)
    search = view(picture, looked_at, scale, search_size, form)
    box = box_of((corners(target_xywh) - looked_at) @ (form * scale).T + search_size / 2)
    visible_xyxy = frame_in_view(picture, looked_at, scale, search_size)
    if random.random() < settings.occluded * 0.6:
        paste_occluder(random, pictures, search, centre, side, nearest=0.3, largest=0.7)
    return Scene(template, search, box, visible_xyxy, True)


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
