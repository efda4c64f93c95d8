"""Conversion of crops from uint8 pixels to network input.

Engines distinguish two forms of crops by type: uint8 pixels (B, ..., H, W, channels), which the engine normalizes
inside the graph or on the device; and float32 (B, ..., channels, H, W), which are passed through unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD

FloatArray = NDArray[np.float32]
CropArray = NDArray[np.uint8] | FloatArray


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Normalization of pixels, as in training. A fourth channel (the padding mask) is not changed.

    Attributes:
        mean: mean of each color channel, in 0 to 1, in the channel order of the crop.
        std: standard deviation of each color channel, in 0 to 1.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def of_channels(self, count: int) -> tuple[list[float], list[float]]:
        """Return the values to subtract from and to divide each of ``count`` channels in 0 to 255 by."""
        more = count - 3
        return [255.0 * value for value in self.mean] + [0.0] * more, [255.0 * value for value in self.std] + [
            1.0
        ] * more


UNCHANGED = Normalization(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # for networks that take 0 to 255


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convert the shape (B, ..., H, W, channels) to (B, ..., channels, H, W)."""
    return (*shape[:-3], shape[-1], *shape[-3:-1])


def channels_first_order(dimensions: int) -> list[int]:
    """Return the axis order that moves channels from last to before height and width."""
    return [*range(dimensions - 3), dimensions - 1, dimensions - 3, dimensions - 2]


def as_network_input(crops: CropArray, normalization: Normalization) -> FloatArray:
    """Normalize pixels to network input as every engine does; network input is returned unchanged."""
    if crops.dtype != np.uint8:
        return np.asarray(crops, np.float32)
    mean, std = (np.asarray(values, np.float32) for values in normalization.of_channels(crops.shape[-1]))
    return np.moveaxis((crops.astype(np.float32) - mean) / std, -1, -3)
