"""Crops as pixels: uint8, channels last, straight from the frame. How an engine makes network input of them.

Every engine tells the two forms of a crop apart by their type: uint8 pixels (B, ..., H, W, channels), which it
normalizes itself, inside the graph or on the device; or float32 (B, ..., channels, H, W), taken as they are.
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
    """What is taken from pixels and what they are divided by, as the network was trained.

    mean, std: of the crop's colors, in their order, in 0 to 1. A fourth channel, 1 beyond the frame and 0 elsewhere,
        stays as it is.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def of_channels(self, count: int) -> tuple[list[float], list[float]]:
        """For so many channels with values of 0 to 255: what to take away, and then what to divide by."""
        more = count - 3
        return [255.0 * value for value in self.mean] + [0.0] * more, [255.0 * value for value in self.std] + [
            1.0
        ] * more


UNCHANGED = Normalization(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # the network takes 0 to 255


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that pixels (B, ..., H, W, channels) have once their channels come before height and width."""
    return (*shape[:-3], shape[-1], *shape[-3:-1])


def channels_first_order(dimensions: int) -> list[int]:
    """The order of axes that brings the last one before height and width."""
    return [*range(dimensions - 3), dimensions - 1, dimensions - 3, dimensions - 2]


def as_network_input(crops: CropArray, normalization: Normalization) -> FloatArray:
    """Pixels -> network input, as every engine does it; network input as it is."""
    if crops.dtype != np.uint8:
        return np.asarray(crops, np.float32)
    mean, std = (np.asarray(values, np.float32) for values in normalization.of_channels(crops.shape[-1]))
    return np.moveaxis((crops.astype(np.float32) - mean) / std, -1, -3)
