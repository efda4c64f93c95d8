"""Anchors and proposals of a region proposal network, shared by SiamRPN++ and DaSiamRPN.

Proposals are ordered as in the maps: by anchor shape, then row by row. Coordinates are pixels of the search crop,
relative to its center.
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

STRIDE = 8  # crop pixels between cells of the maps
RATIOS = (0.33, 0.5, 1.0, 2.0, 3.0)  # height / width of the anchors
SCALE = 8  # side of the square anchor, in strides
ANCHORS = len(RATIOS)  # per cell


def anchor_shapes() -> NDArray[np.float64]:
    """Compute width and height of each anchor, (5, 2), in pixels: 104 x 32, 88 x 40, 64 x 64, 40 x 80, 32 x 96."""
    shapes = []
    for ratio in RATIOS:
        width = int(math.sqrt(STRIDE * STRIDE / ratio))  # truncated to integers, as published
        shapes.append((width * SCALE, int(width * ratio) * SCALE))
    return np.array(shapes, np.float64)


def anchor_grid(cells: int, origin: Origin = "python2") -> NDArray[np.float64]:
    """Build the anchors of a square map.

    Args:
        cells: number of cells per side of the map.
        origin: position of the first column and row. "python2": cells // 2 strides before the center, so that the
            middle of an odd number of cells is at the center. "python3": cells / 2 strides, which is half a stride
            further up-left, as the published code of DaSiamRPN does under Python 3.

    Returns:
        (5 cells^2, 4) anchors, cxcywh in crop pixels from the center.

    Raises:
        InputError: an unknown origin.
    """
    if origin not in ("python2", "python3"):
        raise InputError(f"unknown anchor origin {origin!r}; choose python2 or python3")
    first = -STRIDE * (cells // 2 if origin == "python2" else cells / 2)
    places = first + STRIDE * np.arange(cells)
    grid = np.empty((ANCHORS, cells, cells, 4))
    grid[..., 0] = places
    grid[..., 1] = places[:, None]
    grid[..., 2:] = anchor_shapes()[:, None, None]
    return grid.reshape(-1, 4)


def cosine_window(cells: int) -> NDArray[np.float64]:
    """Build a Hann window for each anchor shape, (5 cells^2,): 1 in the middle, 0 in the outermost cells."""
    axis = np.hanning(cells)
    return np.tile(np.outer(axis, axis).flatten(), ANCHORS)


def decode_proposals(loc: Array, anchors: Array) -> NDArray[np.float64]:
    """Apply the regression output to the anchors.

    Args:
        loc: (20, n, n), five channels each of dx, dy (shifts relative to the anchor size), dw, dh (logarithms of the
            size ratios).
        anchors: (5 n^2, 4) cxcywh.

    Returns:
        (5 n^2, 4) proposals, cxcywh.
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
    """Compute the target probability of each proposal.

    Args:
        cls: (10, n, n), five background logits and five target logits.

    Returns:
        (5 n^2,) probabilities, 0 to 1.
    """
    against, towards = cls.reshape(2, -1).astype(np.float64)
    return np.asarray(0.5 + 0.5 * np.tanh((towards - against) / 2))  # a softmax over two


def change_penalty(sizes_wh: Array, before_wh: tuple[float, float], strength: float) -> NDArray[np.float64]:
    """Compute the penalty factor for changes of scale and aspect ratio.

    exp(-strength (scale change x ratio change - 1)), each change as a factor of at least 1 (SiamRPN, Li et al.,
    CVPR 2018, Equation 13).

    Args:
        sizes_wh: (N, 2) sizes of the proposals in crop pixels.
        before_wh: size of the last box in crop pixels.
        strength: weight of the penalty.

    Returns:
        (N,) factors on the score, 0 to 1.
    """
    width, height = sizes_wh.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = _factor(padded_side(width, height) / padded_side(*before_wh))
        ratio = _factor(before_wh[0] / before_wh[1] / (width / height))
        change = np.minimum(scale * ratio, np.finfo(np.float64).max)  # avoids 0 x infinity
        return np.asarray(np.exp(-strength * (change - 1)))


def padded_side(width: Any, height: Any, context: float = 0.5) -> Any:
    """Compute the side of the square with the area of a box after adding ``context`` (width + height) to each side."""
    margin = context * (width + height)
    return np.sqrt((width + margin) * (height + margin))


def _factor(change: Array) -> Array:
    return np.maximum(change, 1 / change)


class Proposal(NamedTuple):
    """The chosen proposal.

    Attributes:
        number: index among all proposals.
        box_cxcywh: box in crop pixels from the center of the crop.
        score: probability from the network, 0 to 1.
        penalty: penalty factor for the change of shape, 0 to 1.
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
    """Choose the proposal with the highest score after penalty and window.

    Args:
        proposals: (N, 4) cxcywh in crop pixels.
        scores: (N,) in 0 to 1.
        window: (N,) in 0 to 1.
        before_wh: size of the last box in crop pixels.
        penalty_strength: see ``change_penalty``.
        window_influence: weight of the window, 0 to 1.

    Returns:
        The proposal; None if a value is NaN or the chosen box has no finite positive size.
    """
    penalty = change_penalty(proposals[:, 2:], before_wh, penalty_strength)
    ranking = penalty * scores * (1 - window_influence) + window * window_influence
    number = int(np.argmax(ranking))
    x, y, width, height = (float(value) for value in proposals[number])
    if np.isnan(ranking).any() or not np.isfinite([x, y, width, height]).all() or min(width, height) <= 0:
        return None
    return Proposal(number, (x, y, width, height), float(scores[number]), float(penalty[number]))


def smooth_size(before_wh: tuple[float, float], seen_wh: tuple[float, float], rate: float) -> tuple[float, float]:
    """Move the size by the share ``rate`` from the last to the predicted one.

    The published rate is penalty x score x a constant, so an uncertain proposal changes the size little.
    """
    width, height = (before + rate * (seen - before) for before, seen in zip(before_wh, seen_wh, strict=True))
    return width, height


def read_proposals(maps: Mapping[str, Array] | None, origin: Origin = "python2") -> tuple[Array, Array] | None:
    """Decode all proposals of maps with a batch of 1.

    Args:
        maps: ``cls`` (1, 10, n, n) and ``loc`` (1, 20, n, n), or None.
        origin: see ``anchor_grid``.

    Returns:
        Boxes (N, 4), cxcywh, and scores (N,); None without maps or if they contain NaN.
    """
    if maps is None or np.isnan(maps["cls"]).any() or np.isnan(maps["loc"]).any():
        return None
    anchors = anchor_grid(maps["cls"].shape[-1], origin)
    return decode_proposals(maps["loc"][0], anchors), proposal_scores(maps["cls"][0])


def center_and_size(box_xywh: Box) -> tuple[Pair, Pair]:
    """Convert x, y, width, height to (center x, center y), (width, height)."""
    x, y, width, height = box_xywh
    return (x + width / 2, y + height / 2), (width, height)


def clip_pair(values: Pair, low: float, high: tuple[int, int]) -> Pair:
    """Clip each value to ``low`` and its own upper bound."""
    return max(low, min(high[0], values[0])), max(low, min(high[1], values[1]))
