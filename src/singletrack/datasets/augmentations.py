"""Augmentations of a training pair: gray, flips, jittered crops, brightness.

All random values are drawn first, as a ``Roll`` and two ``ViewRoll``; the rest is deterministic, so that a recorded
draw reproduces the recorded crops. Crops are those of tracking. Source: the published code of OSTrack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.base import Image
from singletrack.datasets.photos import Random
from singletrack.geometry.crops import box_to_crop, square_crop, square_padding
from singletrack.opencv import cv2

Box = NDArray[np.float32]
Pixels = NDArray[np.uint8] | NDArray[np.float32]

STRIDE = 16  # token size in pixels; each crop must have a token that shows some of the frame


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Random offset of a crop from the target, as after a frame of tracking.

    Attributes:
        scale: standard deviation of the logarithm of width and height.
        center: range of the shift, relative to the square root of the box area, centered, in x and y.
    """

    scale: float = 0.0
    center: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How crops are cut and changed. The defaults are those of OSTrack-256. Shares are probabilities.

    Attributes:
        template_factor: side of the template crop relative to the square root of the box area.
        search_factor: side of the search crop relative to the square root of the box area.
        gray: share of pairs with both frames gray.
        flip: share of pairs with both frames mirrored.
        flip_one: share of crops mirrored separately.
        brightness: largest relative change of brightness per crop.
        decode: "whole", or "reduced" to decode JPEGs at a half, quarter or eighth of their size if the crop is even
            smaller; faster, but smoother than the crops of tracking.
        levels: "rounded" rounds crops to integers after the change of brightness; "float" does not, as published.
        label_shift: crop pixels by which labels lie up-left of where tracking reads boxes; published: 0.5.
        flip_shift: pixels by which the box of a mirrored frame lies left of its target; published: 1.
        mark_template: draw the box into the template, see ``geometry.crops.mark_box``.
        num_templates: 2 for pairs with a dynamic template, see ``frame_pairs.newest_frame``.
    """

    template_factor: float = 2.0
    search_factor: float = 4.0
    template_jitter: Jitter = Jitter()
    search_jitter: Jitter = Jitter(scale=0.25, center=3.0)
    gray: float = 0.05
    flip: float = 0.5
    flip_one: float = 0.5
    brightness: float = 0.2
    decode: Literal["whole", "reduced"] = "whole"
    levels: Literal["rounded", "float"] = "rounded"
    label_shift: float = 0.0
    flip_shift: float = 0.0
    mark_template: bool = False
    num_templates: Literal[1, 2] = 1

    def for_validation(self) -> Augmentation:
        """Return the same crops without gray, flips and changes of brightness."""
        return replace(self, gray=0.0, flip=0.0, flip_one=0.0, brightness=0.0)


@dataclass(frozen=True)
class Roll:
    """Random values shared by both frames of a pair."""

    gray: bool
    flip: bool


@dataclass(frozen=True)
class ViewRoll:
    """Random values of one crop. ``size``: two normal numbers. ``center``: two in [0, 1)."""

    size: NDArray[np.float32]
    center: NDArray[np.float32]
    brightness: float
    flip: bool


def draw_roll(random: Random, augmentation: Augmentation) -> Roll:
    return Roll(bool(random.random() < augmentation.gray), bool(random.random() < augmentation.flip))


def draw_view(random: Random, augmentation: Augmentation, light: Random | None = None) -> ViewRoll:
    """Draw the random values of a crop. ``light``: another generator for the brightness."""
    reach = augmentation.brightness
    return ViewRoll(
        random.standard_normal(2).astype(np.float32),
        random.random(2).astype(np.float32),
        float((light or random).uniform(max(0.0, 1 - reach), 1 + reach)),
        bool(random.random() < augmentation.flip_one),
    )


def jittered(box_xywh: Box, jitter: Jitter, view: ViewRoll) -> Box:
    """Jitter the box of a crop, xywh in float32, as published: first the size, then the center relative to it."""
    size = box_xywh[2:] * np.exp(view.size * np.float32(jitter.scale))
    reach = np.sqrt(size[0] * size[1]) * np.float32(jitter.center)
    center = box_xywh[:2] + np.float32(0.5) * box_xywh[2:] + reach * (view.center - np.float32(0.5))
    return np.concatenate([center - np.float32(0.5) * size, size]).astype(np.float32)


def to_gray(image: Image) -> Image:
    """Convert (H, W, 3) RGB to gray with three channels."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8, copy=False)


def mirrored_box(box_xywh: Box, width: int, shift: float = 0.0) -> Box:
    """Mirror a box in a frame of ``width`` pixels, ``shift`` pixels too far left."""
    return np.array([width - shift - box_xywh[0] - box_xywh[2], *box_xywh[1:]], np.float32)


def brightened(crop: Image, factor: float, levels: Literal["rounded", "float"] = "rounded") -> Pixels:
    """Multiply pixels by ``factor``, at most 255: uint8, or float32 without rounding."""
    table = np.clip(np.arange(256, dtype=np.float32) * np.float32(factor), 0, 255)
    if levels == "float":
        bright: NDArray[np.float32] = table[crop]
        return bright
    return cv2.LUT(crop, np.rint(table).astype(np.uint8)).astype(np.uint8, copy=False)


def reduction(box_xywh: Box, factor: float, size: int) -> int:
    """Return 1, 2, 4 or 8: the decoding divisor at which the crop still has one source pixel per pixel."""
    side = float(np.sqrt(box_xywh[2] * box_xywh[3])) * factor
    return next((shrunk for shrunk in (8, 4, 2) if side >= shrunk * size), 1)


def is_empty(box_xywh: Box, around_xywh: Box, frame_wh: tuple[int, int], *, factor: float, size: int) -> bool:
    """Check whether a crop must be rejected: no target area, no box area, or almost nothing of the frame."""
    target, around = (float(box[2]) * float(box[3]) for box in (box_xywh, around_xywh))
    if not (target > 0 and around > 0 and np.isfinite(around)):
        return True
    beyond = square_padding(frame_wh, around_xywh.tolist(), factor=factor, size=size)
    return bool(beyond[::STRIDE, ::STRIDE].all())


def cut(
    image: Image, box_xywh: Box, around_xywh: Box, *, factor: float, size: int, shift: float
) -> tuple[Image, NDArray[np.float64]]:
    """Crop around a box, (size, size, 3), and map another box to the crop, xywh as fractions, not clipped."""
    crop, scale = square_crop(image, around_xywh.tolist(), factor=factor, size=size)
    label = box_to_crop(box_xywh.tolist(), around_xywh.tolist(), scale=scale, size=size, shift=shift)
    return crop, np.concatenate([label[:2] - label[2:] / 2, label[2:]])


def finish_view(
    crop: Image, label_xywh: NDArray[np.float64], view: ViewRoll, levels: Literal["rounded", "float"]
) -> tuple[Pixels, NDArray[np.float64]]:
    """Apply the last two steps to a crop: brightness and mirroring."""
    pixels = brightened(np.ascontiguousarray(crop[:, ::-1]) if view.flip else crop, view.brightness, levels)
    if view.flip:
        label_xywh = np.array([1 - label_xywh[0] - label_xywh[2], *label_xywh[1:]])
    return pixels, label_xywh
