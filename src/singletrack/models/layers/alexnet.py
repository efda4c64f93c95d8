"""The AlexNet of Siamese trackers: five convolutions without padding."""

from __future__ import annotations

from torch import nn

STRIDE = 8  # crop pixels per cell
CONVOLUTIONS = (0, 4, 8, 11, 14)  # indices of the convolutions; each is followed by a batch norm


def alexnet(widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)) -> nn.Sequential:
    """Build an AlexNet: (B, 3, H, W) -> (B, widths[-1], h, w), with 6 cells for 127 pixels, 22 for 255, 26 for 287.

    Convolutions of size 11 (stride 2), 5, 3, 3 and 3, each with bias and batch norm. The first two are followed by max
    pooling and ReLU, the next two by ReLU (DaSiamRPN, and AlexNetLegacy of pysot).
    """
    first, second, third, fourth, fifth = widths
    return nn.Sequential(
        nn.Conv2d(3, first, 11, 2),
        nn.BatchNorm2d(first),
        nn.MaxPool2d(3, 2),
        nn.ReLU(),
        nn.Conv2d(first, second, 5),
        nn.BatchNorm2d(second),
        nn.MaxPool2d(3, 2),
        nn.ReLU(),
        nn.Conv2d(second, third, 3),
        nn.BatchNorm2d(third),
        nn.ReLU(),
        nn.Conv2d(third, fourth, 3),
        nn.BatchNorm2d(fourth),
        nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3),
        nn.BatchNorm2d(fifth),
    )
