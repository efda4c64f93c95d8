"""Stems from pixels to tokens of 16 x 16 pixels: the single convolution of ViT, or several small ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualConvolution(nn.Module):
    """Residual block of a depth-wise 3x3 and two 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.project(F.relu(self.expand(self.norm(self.spatial(x)))))
        return out


def convolutional_stem(width: int) -> nn.Sequential:
    """Build a stem (B, 3, H, W) -> (B, width, H/16, W/16): four strided 3x3 convolutions with residual blocks in
    between.
    """

    def strided(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    eighth, quarter, half = width // 8, width // 4, width // 2
    return nn.Sequential(
        *strided(3, eighth),
        *strided(eighth, quarter),
        ResidualConvolution(quarter),
        *strided(quarter, half),
        ResidualConvolution(half),
        ResidualConvolution(half),
        nn.Conv2d(half, width, 3, 2, 1),
    )
