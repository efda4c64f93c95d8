"""The tower of convolutions inside heads."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def convolution_tower(inputs: int, channels: int, outputs: int) -> nn.Sequential:
    """Build a tower (B, inputs, h, w) -> (B, outputs, h, w): four 3x3 convolutions with batch norm and ReLU, then a 1x1
    one.

    Their widths are ``channels``, and a half, a quarter and an eighth of it (heads of OSTrack and STARK).
    """
    widths = [inputs, channels, channels // 2, channels // 4, channels // 8]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 1))
