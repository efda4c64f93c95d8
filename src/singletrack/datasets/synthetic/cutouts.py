"""Cutouts of images: cutting, bending, coloring, placing and pasting, with exact boxes.

Points are xy and boxes xywh in pixels, measured along pixel edges: the center of a pixel is at 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Random
from singletrack.datasets.synthetic.degradations import motion_kernel
from singletrack.opencv import cv2


@dataclass(frozen=True)
class Piece:
    """A cutout: pixels (h, w, 3), alpha (h, w) 0..255, and outline (n, 2) xy."""

    pixels: Image
    alpha: Image
    outline: Array


def random_mask(random: Random, width: int, height: int) -> Image:
    """Generate a random filled shape (height, width), 0..255: smooth blob, polygon, ellipse or rounded rectangle."""
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


def outline_of(alpha: Image, corners: bool = True) -> Array:
    """Return the outer corners (n, 2) xy of the pixels with an alpha above one half, at least one.

    Args:
        corners: False for every pixel along the outline, so that it can be bent.
    """
    how = cv2.CHAIN_APPROX_SIMPLE if corners else cv2.CHAIN_APPROX_NONE
    contours, _ = cv2.findContours((alpha > 127).astype(np.uint8), cv2.RETR_EXTERNAL, how)
    if not contours:
        height, width = alpha.shape
        return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    points: Array = np.concatenate([c[:, 0] for c in contours]).astype(np.float64)
    points += points >= points.mean(0)  # pixels extend to the next coordinate
    return points


def cut_piece(random: Random, picture: Image, side: float = 112, aspect: float | None = None) -> Piece:
    """Cut a piece of about ``side`` pixels; its outline, and its aspect if None, are random."""
    height, width = picture.shape[:2]
    if aspect is None:
        aspect = math.exp(np.clip(random.normal(0, 0.7), -1.5, 1.5))  # a standing person: about -1
    across = random.uniform(0.25, 0.85) * min(height, width)
    w = int(np.clip(across * math.sqrt(aspect), 16, width))
    h = int(np.clip(across / math.sqrt(aspect), 16, height))
    # objects in photos are mostly near the middle
    x = int(np.clip(random.normal(0.5, 0.22), 0, 1) * (width - w))
    y = int(np.clip(random.normal(0.5, 0.22), 0, 1) * (height - h))
    scale = side / math.sqrt(w * h)
    size = max(12, round(w * scale)), max(12, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(picture[y : y + h, x : x + w], size, interpolation=how)
    alpha = random_mask(random, *size)
    if random.random() < 0.35:  # a soft edge, such as fur or out of focus
        softness = 2 * int(random.integers(1, 5)) + 1
        alpha = cv2.blur(alpha, (softness, softness), borderType=cv2.BORDER_CONSTANT).astype(np.uint8)
    return Piece(pixels.astype(np.uint8), alpha, outline_of(alpha))


def cut_object(picture: Image, mask: Image, side: float = 112) -> Piece:
    """Cut out the complete object that ``mask`` (h, w), possibly smaller, marks; about ``side`` pixels."""
    height, width = picture.shape[:2]
    x, y, w, h = cv2.boundingRect(mask)
    grow = np.array([width / mask.shape[1], height / mask.shape[0]])
    low = np.floor((np.array([x, y]) - 1) * grow).clip(0).astype(int)
    high = np.minimum(np.ceil((np.array([x + w, y + h]) + 1) * grow), [width, height]).astype(int)
    whole = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    around = slice(low[1], high[1]), slice(low[0], high[0])
    scale = side / math.sqrt((high - low).prod())
    size = tuple(np.maximum(12, np.round((high - low) * scale)).astype(int).tolist())
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.resize(whole[around], size, interpolation=how).astype(np.uint8)
    pixels = cv2.resize(picture[around], size, interpolation=how).astype(np.uint8)
    return Piece(pixels, alpha, outline_of(alpha))


def draw_piece(random: Random, pictures: Pictures, side: float = 112) -> Piece:
    """Draw a complete object in half of the cases, if one is found, else a random piece."""
    found = pictures.draw_object(random)
    if found.mask is not None and random.random() < 0.5:
        return cut_object(found.picture, found.mask, side)
    return cut_piece(random, found.picture, side)


def deform(random: Random, piece: Piece, strength: float) -> Piece:
    """Bend a piece smoothly by up to about ``strength`` of its size."""
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


def roll(piece: Piece, angle: float) -> Piece:
    """Rotate a piece by ``angle`` radians about its vertical axis, as if it were round, such as a head that turns.

    Each row is the front of a cylinder with the width of the piece, so the outline stays. Newly visible content at one
    edge is the mirrored neighborhood; content at the other edge disappears.
    """
    there = piece.alpha > 127
    rows = there.any(1)
    if not rows.any():
        return piece
    height, width = there.shape
    line = np.arange(height)
    spans = np.stack([there.argmax(1), width - there[:, ::-1].argmax(1)]).astype(np.float64)
    # smoothed over rows, so that a jagged outline does not tear the content
    left, right = (cv2.blur(np.interp(line, line[rows], span[rows])[:, None], (1, 9))[:, 0] for span in spans)
    middle, half = (left + right)[:, None] / 2, np.maximum((right - left)[:, None] / 2, 1.0)
    across = ((np.arange(width) + 0.5 - middle) / half).clip(-1, 1)
    x = (middle + half * np.sin(np.arcsin(across) - angle) - 0.5).astype(np.float32)
    y = np.repeat(line[:, None], width, 1).astype(np.float32)
    pixels = cv2.remap(piece.pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Piece(pixels.astype(np.uint8), piece.alpha, piece.outline)


def tip(piece: Piece, angle: float) -> Piece:
    """Rotate a piece by ``angle`` radians about its horizontal axis, as ``roll``, such as a head that nods."""
    lying = Piece(piece.pixels.transpose(1, 0, 2), np.ascontiguousarray(piece.alpha.T), piece.outline[:, ::-1])
    rolled = roll(replace(lying, pixels=np.ascontiguousarray(lying.pixels)), angle)
    return replace(piece, pixels=np.ascontiguousarray(rolled.pixels.transpose(1, 0, 2)))


def smear(random: Random, piece: Piece) -> Piece:
    """Apply motion blur of up to a fifth of the size of the piece."""
    length = random.uniform(0.04, 0.2) * math.sqrt(piece.alpha.size)
    kernel = motion_kernel(random, length)
    margin = kernel.shape[0] // 2
    wide = [(margin, margin), (margin, margin)]
    pixels = cv2.filter2D(np.pad(piece.pixels, [*wide, (0, 0)], "edge"), -1, kernel).astype(np.uint8)
    alpha = cv2.filter2D(np.pad(piece.alpha, wide), -1, kernel).astype(np.uint8)
    return Piece(pixels, alpha, outline_of(alpha))


def recolor(random: Random, pixels: Image) -> Image:
    """Mix the channels randomly, giving the same pattern in colors near or far from the original ones."""
    if random.random() < 0.4:
        tint = np.exp(random.normal(0, 0.12, 3)) * pixels + random.normal(0, 18, 3)
        return np.clip(tint, 0, 255).astype(np.uint8)
    mix = np.eye(3) * random.uniform(0.3, 0.8) + random.dirichlet(np.ones(3), 3) * random.uniform(0.3, 0.9)
    moved = cv2.transform(pixels, mix) if random.random() < 0.7 else 255 - pixels
    return np.clip(moved.astype(np.float32) + random.normal(0, 25, 3), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Dress:
    """A change of colors: pixels times ``gain`` (3,) plus ``offset`` (3,), RGB."""

    gain: Array
    offset: Array

    @staticmethod
    def like(pixels: Image, others: Image, share: float) -> Dress:
        """Compute the change that moves mean and spread of ``pixels`` by ``share`` toward those of ``others``."""
        means, spreads = zip(*(cv2.meanStdDev(each) for each in (pixels, others)), strict=True)
        own, theirs = (mean[:, 0] for mean in means)
        wide = ((1 - share) * spreads[0][:, 0] + share * spreads[1][:, 0]) / np.maximum(spreads[0][:, 0], 1.0)
        gain = wide.clip(0.3, 1.5)
        return Dress(gain, own + share * (theirs - own) - gain * own)

    def on(self, piece: Piece) -> Piece:
        """Apply the change to a piece."""
        table = np.clip(np.arange(256)[:, None] * self.gain + self.offset, 0, 255).astype(np.uint8)[None]
        return replace(piece, pixels=cv2.LUT(piece.pixels, table).astype(np.uint8))


def shade(random: Random, piece: Piece) -> Piece:
    """Relight a piece with a smooth change of brightness."""
    height, width = piece.alpha.shape
    corners = random.uniform(0.65, 1.35, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = np.clip(piece.pixels * light[..., None], 0, 255).astype(np.uint8)
    return Piece(pixels, piece.alpha, piece.outline)


def turn(angle: float, aspect: float = 1.0, shear: float = 0.0) -> Array:
    """Compute a 2x2 matrix that stretches by ``aspect`` (width / height), shears, and rotates by ``angle`` radians."""
    c, s = math.cos(angle), math.sin(angle)
    stretch = np.array([[math.sqrt(aspect), shear], [0.0, 1 / math.sqrt(aspect)]])
    turned: Array = np.array([[c, -s], [s, c]]) @ stretch
    return turned


def box_of(points: Array) -> Array:
    """Compute the bounding box, xywh, of points (n, 2)."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def place(matrix: Array, piece: Piece, center: Array, side: float) -> Array:
    """Compute the 2x3 map that transforms a piece by ``matrix`` and places its box at ``center`` with area ``side``
    squared.
    """
    x, y, w, h = box_of(piece.outline @ matrix.T)
    scale = side / math.sqrt(max(w * h, 1e-6))
    shift = center - scale * np.array([x + w / 2, y + h / 2])
    return np.column_stack([matrix * scale, shift])


def paste(canvas: Image, piece: Piece, mapping: Array) -> Array:
    """Draw a piece onto the canvas, in place; returns its complete box, xywh, including parts outside."""
    box = box_of(piece.outline @ mapping[:, :2].T + mapping[:, 2])
    height, width = canvas.shape[:2]
    x0, y0 = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(box[:2] + box[2:]) + 1, [width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return box
    # pixel centers are at half coordinates, so map edges to edges
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
