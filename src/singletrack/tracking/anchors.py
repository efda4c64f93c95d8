"""Boxes from the maps of a region proposal network: anchors, what is proposed from them, which proposal is chosen.

What SiamRPN++ and DaSiamRPN share to the letter; pure functions. Proposals are numbered as the maps lie in memory:
anchor shape by anchor shape, each row by row. Coordinates are pixels of the search crop, counted from its center.
Knows nothing of frames, crops, networks or the state of a tracker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box

Array = NDArray[np.floating[Any]]
Origin = Literal["python2", "python3"]
Pair = tuple[float, float]

STRIDE = 8  # pixels of the crop from one cell of the maps to the next
RATIOS = (0.33, 0.5, 1.0, 2.0, 3.0)  # height to width of the anchors
SCALE = 8  # side of the square anchor, in strides
ANCHORS = len(RATIOS)  # in each cell


def anchor_shapes() -> NDArray[np.float64]:
    """Width and height of each anchor, (5, 2), in pixels: 104 x 32, 88 x 40, 64 x 64, 40 x 80, 32 x 96."""
    shapes = []
    for ratio in RATIOS:
        width = int(math.sqrt(STRIDE * STRIDE / ratio))  # cut to whole numbers, as published
        shapes.append((width * SCALE, int(width * ratio) * SCALE))
    return np.array(shapes, np.float64)


def anchor_grid(cells: int, origin: Origin = "python2") -> NDArray[np.float64]:
    """The anchors of a map of cells x cells: (5 cells^2, 4), cxcywh.

    origin: where the first column and row are. "python2": cells // 2 strides before the center, so that the middle
    of an odd number of cells is at the center itself. "python3": cells / 2 strides, half a stride up and left of it:
    what the published code of DaSiamRPN does where division keeps its fraction. Raises InputError for another name.
    """
    if origin not in ("python2", "python3"):
        raise InputError(f"expected an anchor origin among python2 and python3; got {origin!r}; give one of these")
    first = -STRIDE * (cells // 2 if origin == "python2" else cells / 2)
    places = first + STRIDE * np.arange(cells)
    grid = np.empty((ANCHORS, cells, cells, 4))
    grid[..., 0] = places
    grid[..., 1] = places[:, None]
    grid[..., 2:] = anchor_shapes()[:, None, None]
    return grid.reshape(-1, 4)


def cosine_window(cells: int) -> NDArray[np.float64]:
    """A Hann window over each anchor's map, (5 cells^2,): 1 in the middle, 0 in the outermost cells."""
    axis = np.hanning(cells)
    return np.tile(np.outer(axis, axis).flatten(), ANCHORS)


def decode_proposals(loc: Array, anchors: Array) -> NDArray[np.float64]:
    """What the network moves the anchors to: loc (20, n, n) and anchors (5 n^2, 4) -> (5 n^2, 4), cxcywh.

    The channels of ``loc`` are dx, dy, dw, dh, five of each: shifts in widths and heights of the anchor, and
    logarithms of the ratios of the sizes.
    """
    shift_x, shift_y, log_width, log_height = loc.reshape(4, -1).astype(np.float64)
    center_x, center_y, width, height = anchors.T
    with np.errstate(over="ignore"):
        proposals = (
            shift_x * width + center_x,
            shift_y * height + center_y,
            np.exp(log_width) * width,
            np.exp(log_height) * height,
        )
    return np.stack(proposals, 1)


def proposal_scores(cls: Array) -> NDArray[np.float64]:
    """cls (10, n, n), five logits against the target and five for it -> (5 n^2,), the chance of the target."""
    against, towards = cls.reshape(2, -1).astype(np.float64)
    return np.asarray(0.5 + 0.5 * np.tanh((towards - against) / 2))  # a softmax over two


def change_penalty(sizes_wh: Array, before_wh: tuple[float, float], strength: float) -> NDArray[np.float64]:
    """What is left of the score of proposals that differ in scale and proportions from the last box: 0 to 1.

    sizes_wh: (N, 2); before_wh: the last box at the scale of the crop. exp(-strength (scale change x ratio change
    - 1)), each change as a factor of 1 or more (SiamRPN, Li et al., CVPR 2018, equation 13).
    """
    width, height = sizes_wh.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = _factor(padded_side(width, height) / padded_side(*before_wh))
        ratio = _factor(before_wh[0] / before_wh[1] / (width / height))
        change = np.minimum(scale * ratio, np.finfo(np.float64).max)  # 0 x infinity would be no number
        return np.asarray(np.exp(-strength * (change - 1)))


def padded_side(width: Any, height: Any, context: float = 0.5) -> Any:
    """Side of the square with the area of a box to which ``context`` (width + height) was added on both sides."""
    margin = context * (width + height)
    return np.sqrt((width + margin) * (height + margin))


def _factor(change: Array) -> Array:
    return np.maximum(change, 1 / change)


class Proposal(NamedTuple):
    """The proposal that was chosen.

    number: its place among all. box_cxcywh: from the center of the crop, in its pixels.
    score: as the network gives it. penalty: what is left of the score for the change of shape, 0 to 1.
    """

    number: int
    box_cxcywh: tuple[float, float, float, float]
    score: float
    penalty: float


def choose_proposal(
    proposals: Array,
    scores: Array,
    window: Array,
    *,
    before_wh: tuple[float, float],
    penalty_strength: float,
    window_influence: float,
) -> Proposal | None:
    """The proposal whose score is highest, once penalized for its change of shape and blended with the window.

    proposals: (N, 4), scores and window: (N,). before_wh: the last box at the scale of the crop. None where nothing
    can be read: some number is none, or the box that is chosen has no finite size above zero.
    """
    penalty = change_penalty(proposals[:, 2:], before_wh, penalty_strength)
    ranking = penalty * scores * (1 - window_influence) + window * window_influence
    number = int(np.argmax(ranking))
    x, y, width, height = (float(value) for value in proposals[number])
    if np.isnan(ranking).any() or not np.isfinite([x, y, width, height]).all() or min(width, height) <= 0:
        return None
    return Proposal(number, (x, y, width, height), float(scores[number]), float(penalty[number]))


def smooth_size(before_wh: tuple[float, float], seen_wh: tuple[float, float], rate: float) -> tuple[float, float]:
    """The size that lies the share ``rate`` of the way from the last one to the one that was seen.

    The published rate is penalty x score x a constant: a proposal that is doubted changes the size little.
    """
    width, height = (before + rate * (seen - before) for before, seen in zip(before_wh, seen_wh, strict=True))
    return width, height


def read_proposals(maps: Mapping[str, Array] | None, origin: Origin = "python2") -> tuple[Array, Array] | None:
    """All boxes (N, 4), cxcywh, and their scores (N,), of maps with a batch of 1; None where nothing can be read.

    maps: cls and loc; None where the network was not asked.
    """
    if maps is None or np.isnan(maps["cls"]).any() or np.isnan(maps["loc"]).any():
        return None
    anchors = anchor_grid(maps["cls"].shape[-1], origin)
    return decode_proposals(maps["loc"][0], anchors), proposal_scores(maps["cls"][0])


def center_and_size(box_xywh: Box) -> tuple[Pair, Pair]:
    """Of a box, each as x, y."""
    x, y, width, height = box_xywh
    return (x + width / 2, y + height / 2), (width, height)


def clip_pair(values: Pair, low: float, high: tuple[int, int]) -> Pair:
    """Each value, not below ``low`` nor above its own bound."""
    return max(low, min(high[0], values[0])), max(low, min(high[1], values[1]))
