"""Animates photos without a seam: the object moves, grows and bends against its background.

Cut and pasted objects have unnaturally sharp edges. Here the background around the object is stretched instead, so
that the object keeps its edges from the photo. Points are xy in pixels, measured along pixel edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from singletrack.datasets.photos import Array, Image, Random
from singletrack.datasets.synthetic.cutouts import outline_of, turn
from singletrack.opencv import cv2

CELLS = 24  # cells per side of a displacement field


@dataclass(frozen=True)
class Bend:
    """A smooth displacement field (CELLS, CELLS, 2), in photo pixels, over a square of the photo."""

    field: Array
    corner: Array
    side: float

    @staticmethod
    def draw(random: Random, box_xywh: Array, strength: float) -> Bend:
        """Draw a field that bends the contents of a box by up to about ``strength`` of its size."""
        side = 2 * float(box_xywh[2:].max())
        coarse = random.normal(0, 0.6 * strength, (5, 5, 2)) * box_xywh[2:]
        field = cv2.resize(coarse, (CELLS, CELLS), interpolation=cv2.INTER_CUBIC)
        return Bend(field.astype(np.float64), box_xywh[:2] + box_xywh[2:] / 2 - side / 2, side)

    def at(self, points: Array) -> Array:
        """Return the displacement at points (n, m, 2)."""
        cells = ((points - self.corner) * (CELLS / self.side) - 0.5).astype(np.float32)
        field = self.field.astype(np.float32)
        moved = cv2.remap(field, cells[..., 0], cells[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved.astype(np.float64)


@dataclass(frozen=True)
class Living:
    """A photo and an object in it.

    Attributes:
        outline: (n, 2) outline of the object.
        away: (h, w), possibly smaller than the photo, distance of each position from the object in photo pixels.
    """

    picture: Image
    outline: Array
    away: Array

    @staticmethod
    def of_mask(picture: Image, mask: Image) -> Living:
        """Create it from a mask (h, w), possibly smaller than the photo."""
        grow = np.array([picture.shape[1] / mask.shape[1], picture.shape[0] / mask.shape[0]])
        return Living(picture, outline_of(mask, corners=False) * grow, _distance(mask) * float(grow.mean()))

    @staticmethod
    def of_box(picture: Image, box_xywh: Array) -> Living:
        """Create it from a box."""
        shrink = 4
        mask = np.zeros((math.ceil(picture.shape[0] / shrink), math.ceil(picture.shape[1] / shrink)), np.uint8)
        low, high = np.round(box_xywh[:2] / shrink), np.round((box_xywh[:2] + box_xywh[2:]) / shrink)
        x0, y0, x1, y1 = np.concatenate([low, np.maximum(high, low + 1)]).astype(int)
        mask[max(y0, 0) : y1, max(x0, 0) : x1] = 255
        x, y, w, h = box_xywh
        line = np.linspace(0, 1, 12)
        sides = [np.column_stack(each) for end in (0 * line, 0 * line + 1) for each in ((line, end), (end, line))]
        return Living(picture, [x, y] + np.concatenate(sides) * [w, h], _distance(mask) * shrink)

    def seen(
        self, size_wh: tuple[int, int], thing: Array, ground: Array, bend: Bend | None, reach: float
    ) -> tuple[Image, Array]:
        """Render a view (height, width, 3), and return the outline in it, (n, 2).

        Args:
            thing: 2x3 map from photo to view, for the object before it is bent.
            ground: 2x3 map from photo to view, for the background. In between, the photo is stretched over ``reach``
                pixels.
            bend: displacement field; None for none.
        """
        from_thing, from_ground = _sources(size_wh, thing), _sources(size_wh, ground)
        if bend is not None:
            from_thing = from_thing + bend.at(from_thing)
        height, width = self.away.shape
        places = from_thing * [width / self.picture.shape[1], height / self.picture.shape[0]] - 0.5
        x, y = places.astype(np.float32).transpose(2, 0, 1)
        away = cv2.remap(self.away.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        share = (1 - away / reach).clip(0, 1)[..., None]
        share = share**2 * (3 - 2 * share)
        source = from_ground + share * (from_thing - from_ground)
        picture, scale = self.picture, math.sqrt(abs(np.linalg.det(thing[:, :2])))
        if scale < 0.6:  # against aliasing
            shrink = max(scale, 0.1)
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
            source = source * [picture.shape[1] / self.picture.shape[1], picture.shape[0] / self.picture.shape[0]]
        x, y = (source - 0.5).astype(np.float32).transpose(2, 0, 1)
        look = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        unbent = self.outline[None]
        for _ in range(4 if bend is not None else 0):  # toward the points that are bent to those of the outline
            assert bend is not None
            unbent = self.outline[None] - bend.at(unbent)
        return look.astype(np.uint8), unbent[0] @ thing[:, :2].T + thing[:, 2]


def map_to(matrix: Array, point: Array, target: Array) -> Array:
    """Compute the 2x3 map with ``matrix`` (2, 2) that maps a point to a target."""
    return np.column_stack([matrix, target - matrix @ point])


def behind(random: Random, matrix: Array, point: Array, target: Array, side: float) -> Array:
    """Compute the 2x3 map of the background of an object that ``matrix`` maps from ``point`` to ``target``, ``side``
    pixels large.

    It is nearly the same: slightly nearer or farther, rotated and shifted.
    """
    zoom = math.exp(np.clip(random.normal(0, 0.13), -0.26, 0.26))
    ground = zoom * matrix @ turn(random.normal(0, 0.05), math.exp(random.normal(0, 0.05)), random.normal(0, 0.03))
    return map_to(ground, point, target + side * random.normal(0, 0.1, 2).clip(-0.2, 0.2))


def _distance(mask: Image) -> Array:
    """Compute the distance in mask pixels to the nearest marked position."""
    away: Array = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 3).astype(np.float64)
    return away


def _sources(size_wh: tuple[int, int], mapping: Array) -> Array:
    """Compute the source positions (height, width, 2) of the pixel centers under a 2x3 map."""
    columns, rows = (np.arange(count)[:, None] + 0.5 for count in size_wh)
    back = np.linalg.inv(mapping[:, :2])
    sources: Array = columns * back[:, 0] - back @ mapping[:, 2] + (rows * back[:, 1])[:, None]
    return sources
