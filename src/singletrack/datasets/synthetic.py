"""Made pictures with exact boxes: template and search pairs for training, and clips for trying things out.

Everything is drawn from a ``numpy.random.Generator`` that is handed in: the same generator gives the same picture.
Knows nothing of networks. Pixels are RGB uint8; boxes are xywh in pixels of the crop or frame they are in.

A pair is composed (a piece cut from one photo, moved over another) or in place (a box of one photo, seen twice).
Both are rendered straight into the crops: what lies outside the made frame is black, as it is when tracking.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError

Image = NDArray[np.uint8]
Array = NDArray[np.float64]
Random = np.random.Generator

PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class Pictures(Protocol):
    """Where pieces and backgrounds come from."""

    def draw(self, random: Random) -> Image:
        """Some picture, (H, W, 3) RGB, at least 64 pixels on each side."""


class Photos:
    """Pictures from the files below a folder, read when drawn."""

    def __init__(self, folder: str | Path, longest: int = 480) -> None:
        """Larger photos are shrunk to ``longest`` pixels on their longer side. Raises InputError without photos."""
        self.paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in PICTURE_ENDINGS)
        self.longest = longest
        if not self.paths:
            raise InputError(f"expected photos below {folder} ({', '.join(sorted(PICTURE_ENDINGS))}), found none")

    def __len__(self) -> int:
        return len(self.paths)

    def split(self, every: int = 50) -> tuple[Photos, Photos]:
        """All but every so-manyth photo, for training, and those, held out for validation."""
        train, held = copy.copy(self), copy.copy(self)
        held.paths = self.paths[::every]
        train.paths = [path for index, path in enumerate(self.paths) if index % every] or self.paths
        return train, held

    def draw(self, random: Random) -> Image:
        path = self.paths[random.integers(len(self.paths))]
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"expected a readable picture, got {path}; remove it from the folder or replace it")
        shrink = max(self.longest / max(picture.shape[:2]), 72 / min(picture.shape[:2]))
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        elif min(picture.shape[:2]) < 72:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class Procedural:
    """Pictures made from nothing: clouds of noise at several scales under a few filled shapes."""

    def __init__(self, size: int = 320) -> None:
        self.size = size

    def draw(self, random: Random) -> Image:
        size = self.size
        picture = np.zeros((size, size, 3), np.float32)
        strength = random.uniform(0.3, 1.0)
        for cells in (3, 8, 24, 80):
            noise = random.standard_normal((cells, cells, 3)).astype(np.float32)
            noise = noise.mean(2, keepdims=True) + 0.5 * noise
            picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) * strength
            strength *= random.uniform(0.4, 0.8)
        out = np.clip(picture * 40 + random.uniform(40, 210, 3), 0, 255).astype(np.uint8)
        for _ in range(random.integers(3, 14)):
            color = tuple(int(c) for c in random.integers(0, 256, 3))
            points = random.uniform(0, size, 2) + random.normal(0, size * random.uniform(0.03, 0.2), (5, 2))
            if random.random() < 0.5:
                cv2.fillConvexPoly(out, cv2.convexHull(points.astype(np.int32)), color, cv2.LINE_AA)
            else:
                axes = [int(a) for a in random.uniform(3, size / 6, 2)]
                centre = [int(c) for c in points[0]]
                cv2.ellipse(out, centre, axes, float(random.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        return out


# ---- pieces ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A cut-out: pixels (h, w, 3), how much of each belongs to it (h, w) 0..255, and its outline (n, 2) xy."""

    pixels: Image
    alpha: Image
    outline: Array


def random_mask(random: Random, width: int, height: int) -> Image:
    """A filled random shape that spans (height, width): smooth blob, polygon, ellipse or rounded rectangle; 0..255."""
    kind = random.random()
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    if kind < 0.45:
        radius = np.ones_like(angles)
        for wave in range(2, 7):
            radius += random.normal(0, 0.28 / wave) * np.cos(wave * angles + random.uniform(0, 2 * np.pi))
        radius = np.clip(radius, 0.25, None)
    elif kind < 0.7:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(5, 12)))
        radius = random.uniform(0.45, 1.0, len(angles))
    elif kind < 0.82:
        radius = np.ones_like(angles)
    else:
        power = random.uniform(3, 12)
        radius = (np.abs(np.cos(angles)) ** power + np.abs(np.sin(angles)) ** power) ** (-1 / power)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    points -= points.min(0)
    points *= (np.array([width, height]) - 3) / np.maximum(points.max(0), 1e-6)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round((points + 1) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return mask


def outline_of(alpha: Image) -> Array:
    """Outer corners (n, 2) xy of the pixels of ``alpha`` that are more than half there, one at least."""
    contours, _ = cv2.findContours((alpha > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        height, width = alpha.shape
        return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    points: Array = np.concatenate([c[:, 0] for c in contours]).astype(np.float64)
    points += points >= points.mean(0)  # a pixel ends where the next begins
    return points


def cut_piece(random: Random, pictures: Pictures, side: int = 112) -> Piece:
    """A piece of some picture, about ``side`` pixels across, its aspect and outline random."""
    picture = pictures.draw(random)
    height, width = picture.shape[:2]
    aspect = math.exp(random.normal(0, 0.45))
    across = random.uniform(0.25, 0.85) * min(height, width)
    w = int(np.clip(across * math.sqrt(aspect), 16, width))
    h = int(np.clip(across / math.sqrt(aspect), 16, height))
    # objects of photos sit near the middle more often than not
    x = int(np.clip(random.normal(0.5, 0.22), 0, 1) * (width - w))
    y = int(np.clip(random.normal(0.5, 0.22), 0, 1) * (height - h))
    scale = side / math.sqrt(w * h)
    size = max(12, round(w * scale)), max(12, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(picture[y : y + h, x : x + w], size, interpolation=how)
    alpha = random_mask(random, *size)
    return Piece(pixels.astype(np.uint8), alpha, outline_of(alpha))


def deform(random: Random, piece: Piece, strength: float) -> Piece:
    """The piece bent smoothly by up to about ``strength`` of its size, as a living thing moves."""
    height, width = piece.alpha.shape
    margin = int(strength * max(height, width)) + 2
    size = width + 2 * margin, height + 2 * margin
    bend = random.normal(0, strength * 0.6, (4, 4, 2)).astype(np.float32) * (width, height)
    field = cv2.resize(bend.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), 2).astype(np.float32) - margin
    x, y = cv2.split((grid + field).astype(np.float32))
    pixels = cv2.remap(piece.pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(piece.alpha, x, y, cv2.INTER_LINEAR, borderValue=0)
    return Piece(pixels.astype(np.uint8), alpha.astype(np.uint8), outline_of(alpha.astype(np.uint8)))


def recolour(random: Random, pixels: Image) -> Image:
    """The same pattern in other colours: channels mixed anew."""
    mix = np.eye(3) * random.uniform(0.3, 0.8) + random.dirichlet(np.ones(3), 3) * random.uniform(0.3, 0.9)
    moved = cv2.transform(pixels, mix) if random.random() < 0.7 else 255 - pixels
    return np.clip(moved.astype(np.float32) + random.normal(0, 25, 3), 0, 255).astype(np.uint8)


def shade(random: Random, piece: Piece) -> Piece:
    """The piece lit from another side: a smooth change of brightness across it."""
    height, width = piece.alpha.shape
    corners = random.uniform(0.65, 1.35, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = np.clip(piece.pixels * light[..., None], 0, 255).astype(np.uint8)
    return Piece(pixels, piece.alpha, piece.outline)


def turn(angle: float, aspect: float = 1.0, shear: float = 0.0) -> Array:
    """A 2x2 matrix that stretches by ``aspect`` (width over height), shears and turns by ``angle`` radians."""
    c, s = math.cos(angle), math.sin(angle)
    stretch = np.array([[math.sqrt(aspect), shear], [0.0, 1 / math.sqrt(aspect)]])
    turned: Array = np.array([[c, -s], [s, c]]) @ stretch
    return turned


def box_of(points: Array) -> Array:
    """The smallest box, xywh, round points (n, 2)."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def place(matrix: Array, piece: Piece, centre: Array, side: float) -> Array:
    """The 2x3 map that turns a piece by ``matrix`` and sets its box at ``centre``, with an area of ``side`` squared."""
    x, y, w, h = box_of(piece.outline @ matrix.T)
    scale = side / math.sqrt(max(w * h, 1e-6))
    shift = centre - scale * np.array([x + w / 2, y + h / 2])
    return np.column_stack([matrix * scale, shift])


def paste(canvas: Image, piece: Piece, mapping: Array) -> Array:
    """Draw the piece onto the canvas, in place; returns its whole box, xywh, also where it lies outside."""
    box = box_of(piece.outline @ mapping[:, :2].T + mapping[:, 2])
    height, width = canvas.shape[:2]
    x0, y0 = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[:2] + box[2:]) + 1, [width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return box
    # pixel centres lie at half coordinates: map edges to edges
    local = mapping.copy()
    local[:, 2] += mapping[:, :2] @ np.array([0.5, 0.5]) - 0.5 - np.array([x0, y0])
    size = int(x1 - x0), int(y1 - y0)
    shrink = math.sqrt(abs(np.linalg.det(mapping[:, :2])))
    pixels, alpha = piece.pixels, piece.alpha
    if shrink < 0.6:
        # against aliasing
        pixels = cv2.blur(pixels, (3, 3)).astype(np.uint8)
        alpha = cv2.blur(alpha, (3, 3)).astype(np.uint8)
    drawn = cv2.warpAffine(pixels, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, local, size, flags=cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    under = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = (under + cover * (drawn.astype(np.float32) - under) + 0.5).astype(np.uint8)
    return box


def view(picture: Image, centre: Array, scale: float, size: int, matrix: Array | None = None) -> Image:
    """A (size, size) look at ``picture`` round the point ``centre``, enlarged by ``scale``; edges mirrored."""
    if scale < 0.6:
        shrink = max(scale, 0.1)
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
        centre, scale = centre * shrink, scale / shrink
    linear = (np.eye(2) if matrix is None else matrix) * scale
    mapping = np.column_stack([linear, np.array([size / 2, size / 2]) - linear @ centre])
    mapping[:, 2] += linear @ np.array([0.5, 0.5]) - 0.5
    seen = cv2.warpAffine(picture, mapping, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return seen.astype(np.uint8)


# ---- light, blur and noise ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Light:
    """One light for a view: gain and offset by channel, gamma, saturation."""

    gain: Array
    offset: Array
    gamma: float
    saturation: float

    @staticmethod
    def draw(random: Random) -> Light:
        """Mostly daylight; sometimes gray, dark or of low contrast."""
        kind = random.random(3)
        gain = np.exp(random.normal(0, 0.12)) * np.exp(random.normal(0, 0.06, 3))
        offset = np.full(3, random.normal(0, 10.0))
        saturation = float(np.clip(random.normal(1, 0.25), 0, 2))
        if kind[0] < 0.22:
            saturation, gain, offset = 0.0, np.full(3, gain.mean()), np.full(3, offset.mean())
        if kind[1] < 0.15:
            gain = gain * random.uniform(0.15, 0.6)
        if kind[2] < 0.12:
            contrast = random.uniform(0.15, 0.6)
            gain, offset = gain * contrast, offset + (1 - contrast) * random.uniform(30, 200)
        return Light(gain, offset, float(np.exp(random.normal(0, 0.18))), saturation)

    def varied(self, random: Random) -> Light:
        """Nearly the same light, as the other view of a pair sees it."""
        return Light(
            self.gain * np.exp(random.normal(0, 0.08)) * (np.exp(random.normal(0, 0.02, 3)) if self.saturation else 1),
            self.offset + random.normal(0, 4),
            self.gamma * float(np.exp(random.normal(0, 0.06))),
            self.saturation * float(np.exp(random.normal(0, 0.1))),
        )

    def shine(self, pixels: Image) -> Image:
        """The pixels (H, W, 3) in this light."""
        if abs(self.saturation - 1) > 0.02:
            gray = np.array([0.299, 0.587, 0.114])
            mix = self.saturation * np.eye(3) + (1 - self.saturation) * np.tile(gray, (3, 1))
            pixels = cv2.transform(pixels, mix).astype(np.uint8)
        steps = (np.arange(256) / 255.0) ** self.gamma * 255
        table = np.clip(steps[:, None] * self.gain + self.offset, 0, 255).astype(np.uint8)[None]
        return cv2.LUT(pixels, table).astype(np.uint8)


def degrade(random: Random, pixels: Image) -> Image:
    """What cameras and codecs do: motion blur, low resolution, noise, JPEG; each in some of the pictures."""
    chance = random.random(4)
    size = pixels.shape[0]
    if chance[0] < 0.25:
        length = random.uniform(2, 0.06 * size + 2)
        angle = random.uniform(0, math.pi)
        taps = int(length) | 1
        kernel = np.zeros((taps, taps), np.float32)
        middle = taps // 2
        reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
        ends = [tuple(int(v) for v in np.round((middle + sign * reach) * 16)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, shift=4)
        if kernel.sum() > 0:
            pixels = cv2.filter2D(pixels, -1, kernel / kernel.sum()).astype(np.uint8)
    if chance[1] < 0.3:
        small = max(16, int(size / random.uniform(1.3, 3.5)))
        pixels = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA).astype(np.uint8)
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if chance[2] < 0.3:
        noise = np.empty(pixels.shape, np.int16)
        cv2.setRNGSeed(int(random.integers(1 << 31)))
        # on red alone, as in the pairs that the bundled model was trained on; one number for each channel, or OpenCV
        # reads past the end of the array
        cv2.randn(noise, np.zeros(3), np.array([random.uniform(1, 12), 0.0, 0.0]))
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if chance[3] < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 70))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
        assert decoded is not None
        pixels = decoded.astype(np.uint8)
    return pixels


# ---- pairs -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are drawn. Shares are probabilities.

    template_factor, search_factor: side of each crop over sqrt(width * height) of the target, as when tracking.
    in_place: share of pairs that look twice at a box of one photo; the others are composed.
    same_background: share of composed pairs whose two crops show one photo behind the target.
    anywhere: share of targets placed uniformly over the search crop; the others lie near its centre.
    scale: the target's size in the search crop is off by exp(U(-scale, scale)).
    rotation: standard deviation of the turn between the crops, radians.
    absent: share of pairs whose search crop does not show the target.
    """

    template_factor: float = 2.0
    search_factor: float = 4.0
    in_place: float = 0.3
    same_background: float = 0.7
    anywhere: float = 0.5
    scale: float = 0.4
    rotation: float = 0.2
    occluded: float = 0.25
    absent: float = 0.04


@dataclass(frozen=True)
class Pair:
    """template (T, T, 3) and search (S, S, 3) uint8 RGB; box of the target in the search crop, xywh; is it there?"""

    template: Image
    search: Image
    box: Array
    present: bool


def draw_pair(random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings) -> Pair:
    """One pair of crops with its exact box."""
    make = in_place_pair if random.random() < settings.in_place else composed_pair
    template, search, box, frame, present = make(random, pictures, template_size, search_size, settings)
    around_template = np.array([-np.inf, -np.inf, np.inf, np.inf])
    if random.random() < 0.12:
        side = template_size / settings.template_factor
        middle = np.array([(template_size - side) / 2, (template_size - side) / 2, side, side])
        around_template = near_edge(random, template_size, middle, around_template)
    if random.random() < 0.25:
        frame = near_edge(random, search_size, box, frame)
    light = Light.draw(random)
    template = degrade(random, light.shine(template))
    search = degrade(random, light.varied(random).shine(search))
    # what lies outside the frame is black whatever the light: the tracker pads so
    blacken_outside(template, around_template)
    blacken_outside(search, frame)
    low, high = np.maximum(box[:2], frame[:2]), np.minimum(box[:2] + box[2:], frame[2:])
    box = np.concatenate([low, np.maximum(high - low, 1.0)])
    if random.random() < 0.5:
        template, search = np.ascontiguousarray(template[:, ::-1]), np.ascontiguousarray(search[:, ::-1])
        box = np.array([search_size - box[0] - box[2], *box[1:]])
    return Pair(template, search, box, present)


def near_edge(random: Random, size: int, box: Array, frame: Array) -> Array:
    """The frame (x0, y0, x1, y1 in the crop), one side moved so near that it cuts at most a third off ``box``."""
    axis, far = random.integers(2), random.integers(2)
    start, extent = box[axis], box[2 + axis]
    frame = frame.copy()
    if far:
        line = random.uniform(max(start + 0.67 * extent, 0.3 * size), max(size, start + extent))
        frame[2 + axis] = min(frame[2 + axis], round(line))
    else:
        line = random.uniform(min(0, start), min(start + 0.33 * extent, 0.7 * size))
        frame[axis] = max(frame[axis], round(line))
    return frame


def blacken_outside(crop: Image, frame: Array) -> None:
    """Black wherever ``crop`` shows what is outside ``frame`` (x0, y0, x1, y1), in place."""
    x0, y0, x1, y1 = np.round(np.clip(frame, 0, crop.shape[0])).astype(int)
    crop[:y0], crop[y1:], crop[:, :x0], crop[:, x1:] = 0, 0, 0, 0


def search_place(random: Random, size: int, settings: PairSettings) -> tuple[Array, float]:
    """Centre (xy) and sqrt-area side of the target in a search crop."""
    side = size / settings.search_factor * math.exp(random.uniform(-settings.scale, settings.scale))
    if random.random() < settings.anywhere:
        offset = random.uniform(-0.42, 0.42, 2)
    else:
        offset = np.clip(random.normal(0, 0.09, 2), -0.42, 0.42)
    return size * (0.5 + offset), side


def composed_pair(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> tuple[Image, Image, Array, Array, bool]:
    """A cut piece over a background, then bent, turned, lit anew, moved, among distractors and behind an occluder."""
    piece = cut_piece(random, pictures)
    behind = pictures.draw(random)
    ahead = behind if random.random() < settings.same_background else pictures.draw(random)

    def backdrop(picture: Image, point: Array, scale: float, size: int) -> Image:
        return view(picture, point, scale, size, turn(random.normal(0, 0.05)))

    extent = np.array([behind.shape[1], behind.shape[0]], float)
    # the search crop shows 0.5 to 1.1 of the photo's short side; the template shows the same scene twice as near
    search_scale = search_size / (min(extent) * random.uniform(0.5, 1.1))
    near = search_scale * settings.search_factor / settings.template_factor * template_size / search_size
    point = extent * random.uniform(0.25, 0.75, 2)
    template = backdrop(behind, point, near, template_size)
    extent = np.array([ahead.shape[1], ahead.shape[0]], float)
    if ahead is behind:
        point = np.clip(point + random.normal(0, 0.12, 2) * extent, 0, extent)
        search_scale *= math.exp(random.normal(0, 0.1))
    else:
        point = extent * random.uniform(0.2, 0.8, 2)
        search_scale = search_size / (min(extent) * random.uniform(0.5, 1.1))
    search = backdrop(ahead, point, search_scale, search_size)

    angle = random.normal(0, 0.15)
    middle = np.full(2, template_size / 2) + random.normal(0, 0.012, 2) * template_size
    side = template_size / settings.template_factor * math.exp(random.normal(0, 0.04))
    if random.random() < 0.3:
        intruder = cut_piece(random, pictures, 64)
        away = middle + side * random.uniform(0.8, 1.2) * np.array(_direction(random))
        paste(template, intruder, place(turn(0), intruder, away, side * random.uniform(0.5, 1.1)))
    paste(template, piece, place(turn(angle), piece, middle, side))

    centre, side = search_place(random, search_size, settings)
    moved = piece
    if random.random() < 0.7:
        moved = deform(random, moved, random.uniform(0.02, 0.09))
    if random.random() < 0.4:
        moved = shade(random, moved)
    form = turn(angle + random.normal(0, settings.rotation), math.exp(random.normal(0, 0.12)), random.normal(0, 0.08))
    mapping = place(form, moved, centre, side)
    for _ in range(random.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
        kind = random.random()
        if kind < 0.35:
            other = Piece(recolour(random, piece.pixels), piece.alpha, piece.outline)
        elif kind < 0.5:
            strange = cut_piece(random, pictures)
            pixels = cv2.resize(strange.pixels, piece.alpha.shape[::-1]).astype(np.uint8)
            other = Piece(pixels, piece.alpha, piece.outline)
        else:
            other = cut_piece(random, pictures)
        spot = random.uniform(0, search_size, 2)
        if np.abs(spot - centre).max() < 0.7 * side:
            continue
        size = side * math.exp(random.normal(0, 0.25))
        paste(search, other, place(turn(random.normal(0, 0.3)), other, spot, size))
    present = random.random() >= settings.absent
    unbounded = np.array([-np.inf, -np.inf, np.inf, np.inf])
    if not present:
        return (
            template,
            search,
            np.array([centre[0] - side / 2, centre[1] - side / 2, side, side]),
            unbounded,
            False,
        )
    box = paste(search, moved, mapping)
    if random.random() < settings.occluded:
        occluder = cut_piece(random, pictures, 64)
        spot = centre + side * random.uniform(0.25, 0.75) * np.array(_direction(random))
        paste(
            search,
            occluder,
            place(turn(random.normal(0, 0.5)), occluder, spot, side * random.uniform(0.3, 0.8)),
        )
    return template, search, box, unbounded, True


def in_place_pair(
    random: Random, pictures: Pictures, template_size: int, search_size: int, settings: PairSettings
) -> tuple[Image, Image, Array, Array, bool]:
    """A box of one photo that has some texture, seen twice: nearer, farther, slightly turned and off centre."""
    picture = pictures.draw(random)
    height, width = picture.shape[:2]
    for _ in range(6):
        across = min(height, width) * random.uniform(0.12, 0.45)
        aspect = math.exp(random.normal(0, 0.4))
        w = min(across * math.sqrt(aspect), 0.9 * width)
        h = min(across / math.sqrt(aspect), 0.9 * height)
        x, y = random.uniform(0, width - w), random.uniform(0, height - h)
        inside = picture[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1]
        if inside.std() > 25:
            break
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    middle = np.array([x + w / 2, y + h / 2])
    area = math.sqrt(w * h)
    shift = random.normal(0, 0.012, 2) * area * settings.template_factor
    scale = template_size / (settings.template_factor * area) * math.exp(random.normal(0, 0.04))
    template = view(picture, middle + shift, scale, template_size)
    centre, side = search_place(random, search_size, settings)
    form = turn(random.normal(0, 0.06), math.exp(random.normal(0, 0.1)), random.normal(0, 0.04))
    scale = side / area
    looked_at = middle - np.linalg.solve(form * scale, centre - search_size / 2)
    search = view(picture, looked_at, scale, search_size, form)
    box = box_of((corners - looked_at) @ (form * scale).T + search_size / 2)
    # beyond the photo's own edge a frame would be black
    frame = np.concatenate([-looked_at, np.array([width, height]) - looked_at]) * scale + search_size / 2
    if random.random() < settings.occluded * 0.6:
        occluder = cut_piece(random, pictures, 64)
        spot = centre + side * random.uniform(0.3, 0.75) * np.array(_direction(random))
        paste(
            search,
            occluder,
            place(turn(random.normal(0, 0.5)), occluder, spot, side * random.uniform(0.3, 0.7)),
        )
    return template, search, box, frame, True


def _direction(random: Random) -> tuple[float, float]:
    angle = random.uniform(0, 2 * math.pi)
    return math.cos(angle), math.sin(angle)


# ---- clips -------------------------------------------------------------------------------------------


def generate_clip(
    frames: int = 150,
    size_wh: tuple[int, int] = (640, 360),
    seed: int = 0,
    pictures: Pictures | None = None,
    distractors: int = 3,
    absent: Sequence[range] = (),
) -> Iterator[tuple[Image, tuple[float, float, float, float]]]:
    """A moving, turning, breathing piece over a drifting background: frames and the target's exact boxes, xywh.

    ``absent`` lists ranges of frames in which the target is not drawn; its box there is NaN. Without ``pictures``
    everything is procedural. The path is smooth and stays inside the frame.
    """
    random = np.random.default_rng(seed)
    pictures = pictures or Procedural()
    width, height = size_wh
    photo = pictures.draw(random)
    enlarge = 1.35 * max(width / photo.shape[1], height / photo.shape[0])
    world = cv2.resize(photo, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    slack = np.array([world.shape[1] - width, world.shape[0] - height])
    cast = [cut_piece(random, pictures) for _ in range(distractors + 1)]
    scale = min(size_wh) / 360
    sizes = random.uniform(45, 80, len(cast)) * scale
    waves = [random.uniform(0, 2 * np.pi, 6) for _ in range(len(cast) + 1)]
    paces = [random.uniform(0.012, 0.03, 4) for _ in range(len(cast) + 1)]
    light = Light.draw(np.random.default_rng([seed, 1]))
    gone = {index for span in absent for index in span}
    for index in range(frames):
        drift = 0.5 + 0.5 * np.sin(waves[-1][:2] + paces[-1][:2] * 0.6 * index)
        corner = np.round(drift * slack).astype(int)
        frame = world[corner[1] : corner[1] + height, corner[0] : corner[0] + width].copy()
        box = np.full(4, np.nan)
        for actor in reversed(range(len(cast))):
            if actor == 0 and index in gone:
                continue
            piece, wave, pace = cast[actor], waves[actor], paces[actor]
            side = sizes[actor] * math.exp(0.25 * math.sin(wave[4] + 0.8 * pace[2] * index))
            reach = np.array([width, height]) / 2 - 1.1 * side
            centre = np.array([width, height]) / 2 + reach * np.sin(wave[:2] + pace[:2] * index)
            centre += 0.08 * reach * np.sin(wave[2:4] + 3.1 * pace[:2] * index)
            form = turn(
                0.3 * math.sin(wave[5] + pace[3] * index),
                math.exp(0.12 * math.sin(wave[4] + pace[3] * index)),
            )
            drawn = paste(frame, piece, place(form, piece, centre, side))
            if actor == 0:
                box = drawn
        yield light.shine(frame), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
