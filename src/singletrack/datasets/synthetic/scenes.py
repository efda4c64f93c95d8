"""Settings, scenes and occluders that both kinds of synthetic pairs share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Random
from singletrack.datasets.synthetic.cutouts import cut_piece, draw_piece, paste, place, turn
from singletrack.errors import InputError

# Size in pixels at which occluders and intruders are cut; smaller than targets.
SMALL_PIECE = 64
# Largest distance of the target from the center of the search crop, as a fraction of its side.
FARTHEST = 0.42
# Share of pairs with boxes three times as loose.
LOOSE = 0.12
# Share of dynamic templates that show another object, as after a tracking failure.
ELSEWHERE = 0.06
# Share of occluders that are posts or rails.
POSTS = 0.4


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are generated. Shares are probabilities.

    Attributes:
        template_factor: side of the template crop relative to the square root of the target area.
        search_factor: side of the search crop relative to the square root of the target area.
        in_place: share of pairs with two views of one photo region; the others are composed.
        living: share of these whose target moves against its background, see ``warped_photo.Living``.
        same_background: share of composed pairs with the same photo behind the target in both crops.
        anywhere: share of targets placed uniformly in the search crop; the others are near its center.
        scale: the target size in the search crop is changed by exp(U(-scale, scale)).
        rotation: standard deviation of the rotation between the crops, in radians; four times as much for a fifth of
            the composed pairs.
        absent: share of composed pairs whose search crop does not show the target.
        whole: share of pairs, among those from a photo with an object, whose target is that object.
        tries: largest number of photos to try for a small enough object, for two views of one photo.
        camouflaged: share of the other composed pairs with the target over the photo that it was cut from.
        dressed: share of the other composed pairs with the target in colors of its background.
        swing: standard deviation of the limb angles between the crops, in radians.
        rolled: share of composed pairs whose target rotates out of the plane, see ``cutouts.roll``.
        coarse: share of distant pairs, in which both crops are enlarged.
        fit: looseness of the boxes, equal in both crops: standard deviation of the center shift in widths and heights;
            three times as much for ``LOOSE`` of the pairs. Sizes vary by one and a half times that.
        mark_template: draw the box into the template, see ``geometry.crops.mark_box``.
        num_templates: 2 for pairs with a dynamic template: mostly as in the search crop, around a tracked box;
            sometimes older, or of another object.
    """

    template_factor: float = 2.0
    search_factor: float = 4.0
    in_place: float = 0.3
    living: float = 0.75
    same_background: float = 0.7
    anywhere: float = 0.4
    scale: float = 0.4
    rotation: float = 0.2
    occluded: float = 0.25
    absent: float = 0.08
    whole: float = 0.7
    tries: int = 1
    camouflaged: float = 0.12
    dressed: float = 0.3
    swing: float = 0.45
    rolled: float = 0.5
    coarse: float = 0.3
    fit: float = 0.02
    mark_template: bool = False
    num_templates: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.tries < 1 or self.fit < 0:
            raise InputError(
                f"tries must be at least 1 and fit at least 0; got {self.tries} and {self.fit}; fit 0 is exact"
            )


@dataclass(frozen=True)
class Scene:
    """A pair before light, noise and frame edges.

    Attributes:
        aspect: width / height of the target box in the template, where it is centered.
        box_xywh: box of the complete target in the search crop, including parts outside.
        visible_xyxy: part of the search crop inside the frame; the rest is black.
        newest: dynamic template, or None.
        newest_aspect: as ``aspect``, for the dynamic template.
    """

    template: Image
    search: Image
    aspect: float
    box_xywh: Array
    visible_xyxy: Array
    present: bool
    newest: Image | None = None
    newest_aspect: float = 1.0


@dataclass(frozen=True)
class Fit:
    """Offset of a user's box from the true extent: shift of the center in widths and heights, ratio of the sizes,
    xy.
    """

    shift: Array
    growth: Array

    @staticmethod
    def draw(random: Random, settings: PairSettings) -> Fit:
        """Draw an offset with the looseness of the settings."""
        loose = wider(random, settings.fit, 3.0, LOOSE)
        drawn = random.normal(0, loose, (2, 2)).clip(-2.5 * loose, 2.5 * loose)
        return Fit(drawn[0], np.exp(1.5 * drawn[1]))

    def box(self, extent_xywh: Array) -> Array:
        """Compute the user's box, xywh, of an object with this extent."""
        wh = extent_xywh[2:] * self.growth
        middle = extent_xywh[:2] + extent_xywh[2:] * (0.5 + self.shift)
        return np.concatenate([middle - wh / 2, wh])


@dataclass(frozen=True)
class Newest:
    """Kind of a dynamic template.

    Attributes:
        older: the target at an earlier time.
        elsewhere: another object.
        shift: error of the center of the tracked box, in widths and heights.
        growth: error of its size, as a ratio, xy.
    """

    older: bool
    elsewhere: bool
    shift: Array
    growth: Array

    @staticmethod
    def draw(random: Random) -> Newest:
        """Draw a kind: mostly the recent target in a slightly wrong box."""
        kind = random.random(3)
        error = 0.12 if kind[2] < 0.35 else 0.04
        drawn = random.normal(0, error, (2, 2)).clip(-2.5 * error, 2.5 * error)
        return Newest(bool(kind[0] < 0.25), bool(kind[1] < ELSEWHERE), drawn[0], np.exp(1.5 * drawn[1]))


def search_place(random: Random, size: int, settings: PairSettings) -> tuple[Array, float]:
    """Draw center (xy) and size (square root of the area) of the target in a search crop."""
    side = size / settings.search_factor * math.exp(random.uniform(-settings.scale, settings.scale))
    if random.random() < settings.anywhere:
        offset = random.uniform(-FARTHEST, FARTHEST, 2)
    else:
        offset = np.clip(random.normal(0, 0.09, 2), -FARTHEST, FARTHEST)
    return size * (0.5 + offset), side


def paste_occluder(
    random: Random, pictures: Pictures, search: Image, center: Array, side: float, *, nearest: float, largest: float
) -> None:
    """Paste an object over part of the target: from ``nearest`` to 0.75 of its side off its center, up to ``largest``.

    With the probability ``POSTS``, it is a trunk, post or rail, at most as wide as the target.
    """
    if random.random() < POSTS:
        picture, thick, slim = pictures.draw(random), random.uniform(0.15, 0.9), random.uniform(0.08, 0.25)
        upright = random.random() < 0.8
        post = cut_piece(random, picture, SMALL_PIECE, aspect=slim if upright else 1 / slim)
        spot = center + side * random.normal(0, [0.35, 0.6] if upright else [0.6, 0.35])
        form = turn(random.normal(0, 0.08))
        # its box is thick x thick / slim
        paste(search, post, place(form, post, spot, side * thick / math.sqrt(slim)))
        return
    occluder = draw_piece(random, pictures, SMALL_PIECE)
    spot = beside(random, center, side, nearest, 0.75)
    form = turn(random.normal(0, 0.5))
    paste(search, occluder, place(form, occluder, spot, side * random.uniform(0.3, largest)))


def beside(random: Random, center: Array, side: float, low: float, high: float) -> Array:
    """Draw a point ``low`` to ``high`` sides away from the center, in any direction."""
    distance = side * random.uniform(low, high)
    angle = random.uniform(0, 2 * math.pi)
    away: Array = distance * np.array([math.cos(angle), math.sin(angle)])
    return center + away


def wider(random: Random, usual: float, times: float, share: float = 0.25) -> float:
    """Return the usual spread, or ``times`` as much for a ``share`` of the pairs."""
    return usual * (times if random.random() < share else 1.0)


def size_xy(picture: Image) -> Array:
    """Return width and height in pixels."""
    return np.array([picture.shape[1], picture.shape[0]], float)
