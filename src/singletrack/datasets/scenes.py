"""What both kinds of pair share: settings, the scene before the camera spoils it, places and occluders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from singletrack.datasets.pictures import Array, Image, Pictures, Random
from singletrack.datasets.pieces import draw_piece, paste, place, turn
from singletrack.errors import InputError

# An occluder or intruder is cut at this many pixels across, less than a target: it is drawn smaller.
SMALL_PIECE = 64
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
    tries: how many photos a pair in place looks at, at most, for one in which an object was found.
    camouflaged: share of the other composed pairs whose target stands before the photo that it was cut from.
    swing: standard deviation of the turn of a figure's limbs between the crops, radians.
    coarse: share of pairs filmed from so far that both crops are enlarged.
    fit: how loosely boxes sit on their targets, in both crops alike: standard deviation of their centres, in widths
        and heights; of a quarter of the pairs three times as much. Sizes are off by one and a half times that.
    marked: draw the box into the template, see ``geometry.crops.mark_box``.
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
    tries: int = 1
    camouflaged: float = 0.12
    swing: float = 0.45
    coarse: float = 0.3
    fit: float = 0.02
    marked: bool = False

    def __post_init__(self) -> None:
        if self.tries < 1 or self.fit < 0:
            raise InputError(
                f"expected tries of 1 or more and fit of 0 or more; got {self.tries} and {self.fit}; fit 0 is exact"
            )


@dataclass(frozen=True)
class Scene:
    """A pair before light, noise and the frame's edge.

    aspect: width over height of the target's box in the template, where it is in the middle and as large as when
    tracking. box_xywh: the whole target's in the search crop, also what lies outside it. visible_xyxy: the part of the
    search crop's plane that the frame shows; beyond it is black.
    """

    template: Image
    search: Image
    aspect: float
    box_xywh: Array
    visible_xyxy: Array
    present: bool


@dataclass(frozen=True)
class Fit:
    """How a user's box lies about a thing's true extent: its centre in widths and heights, its size by ratio, xy."""

    shift: Array
    growth: Array

    @staticmethod
    def draw(random: Random, settings: PairSettings) -> Fit:
        """As loose as the settings say."""
        loose = settings.fit * (3.0 if random.random() < 0.25 else 1.0)
        drawn = random.normal(0, loose, (2, 2)).clip(-2.5 * loose, 2.5 * loose)
        return Fit(drawn[0], np.exp(1.5 * drawn[1]))

    def box(self, extent_xywh: Array) -> Array:
        """The user's box, xywh, of a thing with this extent."""
        wh = extent_xywh[2:] * self.growth
        middle = extent_xywh[:2] + extent_xywh[2:] * (0.5 + self.shift)
        return np.concatenate([middle - wh / 2, wh])


def search_place(random: Random, size: int, settings: PairSettings) -> tuple[Array, float]:
    """Centre (xy) and sqrt-area side of the target in a search crop."""
    side = size / settings.search_factor * math.exp(random.uniform(-settings.scale, settings.scale))
    if random.random() < settings.anywhere:
        offset = random.uniform(-FARTHEST, FARTHEST, 2)
    else:
        offset = np.clip(random.normal(0, 0.09, 2), -FARTHEST, FARTHEST)
    return size * (0.5 + offset), side


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
