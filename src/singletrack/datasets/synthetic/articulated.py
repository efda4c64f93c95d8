"""Articulated objects, such as people and animals: a body with limbs that swing about their joints.

Points are xy in pixels of the body, measured along pixel edges. A figure without limbs is a plain cutout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Random
from singletrack.datasets.synthetic.cutouts import Piece, cut_piece, outline_of
from singletrack.opencv import cv2

LIMBS = (0.6, 0.08, 0.14, 0.1, 0.08)  # probabilities of 0 to 4 limbs


@dataclass(frozen=True)
class Limb:
    """A piece attached to the body at the middle of its upper edge, pointing along ``angle`` (radians) at rest."""

    piece: Piece
    joint: Array
    angle: float
    behind: bool


@dataclass(frozen=True)
class Figure:
    """A body with its limbs."""

    body: Piece
    limbs: tuple[Limb, ...]


def cut_figure(random: Random, picture: Image, pictures: Pictures) -> Figure:
    """Cut a body from ``picture``, and up to four limbs from it or from other images."""
    body = cut_piece(random, picture)
    count = random.choice(len(LIMBS), p=LIMBS)
    material = picture if random.random() < 0.6 else pictures.draw(random)
    return Figure(body, tuple(_cut_limb(random, body, material) for _ in range(count)))


def _cut_limb(random: Random, body: Piece, picture: Image) -> Limb:
    height, width = body.alpha.shape
    middle = np.array([width, height]) / 2
    edge = body.outline[random.integers(len(body.outline))]
    away = edge - middle
    length = random.uniform(0.3, 0.9) * max(height, width)
    slim = random.uniform(0.2, 0.6)
    piece = cut_piece(random, picture, length * math.sqrt(slim), aspect=slim)
    angle = math.atan2(away[1], away[0]) + random.normal(0, 0.5)
    return Limb(piece, middle + 0.8 * away, angle, bool(random.random() < 0.5))


def pose(figure: Figure, turns: Array) -> Piece:
    """Render the figure as one piece, with each limb turned from rest by an angle in radians."""
    if not figure.limbs:
        return figure.body
    layers = [
        (limb.behind, limb.piece, _hang(limb, limb.angle + turn))
        for limb, turn in zip(figure.limbs, turns, strict=True)
    ]
    layers.append((False, figure.body, np.eye(2, 3)))
    layers = [layer for layer in layers if layer[0]] + layers[-1:] + [layer for layer in layers[:-1] if not layer[0]]
    spans = np.array([_span(piece, mapping) for _, piece, mapping in layers])
    low, high = spans[:, :2].min(0), spans[:, 2:].max(0)
    width, height = (high - low).tolist()
    pixels, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for (_, piece, mapping), span in zip(layers, spans, strict=True):
        (x0, y0), (x1, y1) = span[:2] - low, span[2:] - low
        local = mapping.copy()
        # pixel centers are at half coordinates, so map edges to edges
        local[:, 2] += mapping[:, :2] @ np.array([0.5, 0.5]) - 0.5 - span[:2]
        size = int(x1 - x0), int(y1 - y0)
        drawn = cv2.warpAffine(piece.pixels, local, size, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpAffine(piece.alpha, local, size)
        under, over = pixels[y0:y1, x0:x1], alpha[y0:y1, x0:x1]
        # nothing is below the first piece, so its colors extend beyond its edge
        share = np.where(over > 0, cover, 255 * (cover > 0)).astype(np.float32)[..., None] / 255
        under[:] = under + share * (drawn.astype(np.float32) - under)
        np.maximum(over, cover, out=over)
    return Piece(pixels, alpha, outline_of(alpha))


def _span(piece: Piece, mapping: Array) -> Array:
    """Compute the integer pixel range that a mapped piece can reach, xyxy."""
    height, width = piece.alpha.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ mapping[:, :2].T + mapping[:, 2]
    return np.concatenate([np.floor(corners.min(0)) - 1, np.ceil(corners.max(0)) + 1]).astype(int)


def _hang(limb: Limb, angle: float) -> Array:
    """Compute the 2x3 map that places a limb on its joint, with its downward axis along ``angle``."""
    c, s = math.cos(angle), math.sin(angle)
    linear = np.array([[s, c], [-c, s]])
    root = np.array([limb.piece.alpha.shape[1] / 2, 0.1 * limb.piece.alpha.shape[0]])
    return np.column_stack([linear, limb.joint - linear @ root])
