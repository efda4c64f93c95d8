"""Settings, scenes and occluders that both kinds of synthetic pairs share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Random
from singletrack.datasets.synthetic.cutouts import cut_piece, draw_piece, paste, place, turn
from singletrack.errors import InputError

# An occluder or intruder is cut at this many pixels across, less than a target: it is drawn smaller.
SMALL_PIECE = 64
# The target's center is at most this far from the search crop's, as a fraction of its side: it stays in view.
FARTHEST = 0.42
# Share of pairs whose boxes sit three times as loosely.
LOOSE = 0.12
# Share of newest looks that show something else, for the tracker had lost the target.
ELSEWHERE = 0.06
# Share of occluders that stand across the view.
POSTS = 0.4


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are drawn. Shares are probabilities.

    template_factor, search_factor: side of each crop over sqrt(width * height) of the target, as when tracking.
    in_place: share of pairs that look twice at something of one photo; the others are composed.
    living: share of pairs in place whose target moves against what is behind it, see ``living.Living``.
    same_background: share of composed pairs whose two crops show one photo behind the target.
    anywhere: share of targets placed uniformly over the search crop; the others lie near its center.
    scale: the target's size in the search crop is off by exp(U(-scale, scale)).
    rotation: standard deviation of the turn between the crops, radians; of a fifth of the composed pairs four times as
        much.
    absent: share of composed pairs whose search crop does not show the target.
    whole: share of pairs, among those from a photo in which an object was found, whose target is that object.
    tries: how many photos a pair in place looks at, at most, for one in which a small enough object was found.
    camouflaged: share of the other composed pairs whose target stands before the photo that it was cut from.
    dressed: share of the other composed pairs whose target has colors like those behind it.
    swing: standard deviation of the turn of a figure's limbs between the crops, radians.
    rolled: share of composed pairs whose target turns out of the plane between the crops, see ``pieces.roll``.
    coarse: share of pairs filmed from so far that both crops are enlarged.
    fit: how loosely boxes sit on their targets, in both crops alike: standard deviation of their centers, in widths
        and heights; of ``LOOSE`` of the pairs three times as much. Sizes are off by one and a half times that.
    mark_template: draw the box into the template, see ``geometry.crops.mark_box``.
    num_templates: 2 for pairs with the target's newest look beside its first one: mostly as in the search crop, cut
        round a box that was followed, more or less well; at times older, or of something else.
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
                f"expected tries of 1 or more and fit of 0 or more; got {self.tries} and {self.fit}; fit 0 is exact"
            )


@dataclass(frozen=True)
class Scene:
    """A pair before light, noise and the frame's edge.

    aspect: width over height of the target's box in the template, where it is in the middle and as large as when
    tracking. box_xywh: the whole target's in the search crop, also what lies outside it. visible_xyxy: the part of the
    search crop's plane that the frame shows; beyond it is black. newest, newest_aspect: the newest look, and its box as
    ``aspect``; None where nobody asked for it.
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
    """How a user's box lies about a thing's true extent: its center in widths and heights, its size by ratio, xy."""

    shift: Array
    growth: Array

    @staticmethod
    def draw(random: Random, settings: PairSettings) -> Fit:
        """As loose as the settings say."""
        loose = wider(random, settings.fit, 3.0, LOOSE)
        drawn = random.normal(0, loose, (2, 2)).clip(-2.5 * loose, 2.5 * loose)
        return Fit(drawn[0], np.exp(1.5 * drawn[1]))

    def box(self, extent_xywh: Array) -> Array:
        """The user's box, xywh, of a thing with this extent."""
        wh = extent_xywh[2:] * self.growth
        middle = extent_xywh[:2] + extent_xywh[2:] * (0.5 + self.shift)
        return np.concatenate([middle - wh / 2, wh])


@dataclass(frozen=True)
class Newest:
    """Of what kind a newest look is. older: the target as it was at another time. elsewhere: something else's.

    shift, growth: how the followed box errs: its center in widths and heights, its size by ratio, xy.
    """

    older: bool
    elsewhere: bool
    shift: Array
    growth: Array

    @staticmethod
    def draw(random: Random) -> Newest:
        """Mostly the target of just now, in a box a little off."""
        kind = random.random(3)
        error = 0.12 if kind[2] < 0.35 else 0.04
        drawn = random.normal(0, error, (2, 2)).clip(-2.5 * error, 2.5 * error)
        return Newest(bool(kind[0] < 0.25), bool(kind[1] < ELSEWHERE), drawn[0], np.exp(1.5 * drawn[1]))


def search_place(random: Random, size: int, settings: PairSettings) -> tuple[Array, float]:
    """Center (xy) and sqrt-area side of the target in a search crop."""
    side = size / settings.search_factor * math.exp(random.uniform(-settings.scale, settings.scale))
    if random.random() < settings.anywhere:
        offset = random.uniform(-FARTHEST, FARTHEST, 2)
    else:
        offset = np.clip(random.normal(0, 0.09, 2), -FARTHEST, FARTHEST)
    return size * (0.5 + offset), side


def paste_occluder(
    random: Random, pictures: Pictures, search: Image, center: Array, side: float, *, nearest: float, largest: float
) -> None:
    """Something over part of the target: from ``nearest`` to 0.75 of its side off its center, up to ``largest``.

    Or, as often as ``POSTS``, what stands across the view: a trunk, a post, a rail, at most as wide as the target.
    """
    if random.random() < POSTS:
        picture, thick, slim = pictures.draw(random), random.uniform(0.15, 0.9), random.uniform(0.08, 0.25)
        upright = random.random() < 0.8
        post = cut_piece(random, picture, SMALL_PIECE, aspect=slim if upright else 1 / slim)
        spot = center + side * random.normal(0, [0.35, 0.6] if upright else [0.6, 0.35])
        form = turn(random.normal(0, 0.08))
        # its box is thick by thick / slim
        paste(search, post, place(form, post, spot, side * thick / math.sqrt(slim)))
        return
    occluder = draw_piece(random, pictures, SMALL_PIECE)
    spot = beside(random, center, side, nearest, 0.75)
    form = turn(random.normal(0, 0.5))
    paste(search, occluder, place(form, occluder, spot, side * random.uniform(0.3, largest)))


def beside(random: Random, center: Array, side: float, low: float, high: float) -> Array:
    """A point ``low`` to ``high`` sides away from the center, in any direction."""
    distance = side * random.uniform(low, high)
    angle = random.uniform(0, 2 * math.pi)
    away: Array = distance * np.array([math.cos(angle), math.sin(angle)])
    return center + away


def wider(random: Random, usual: float, times: float, share: float = 0.25) -> float:
    """A spread: mostly the usual one, of a ``share`` of the pairs so many times as much."""
    return usual * (times if random.random() < share else 1.0)


def size_xy(picture: Image) -> Array:
    """Width and height in pixels."""
    return np.array([picture.shape[1], picture.shape[0]], float)
