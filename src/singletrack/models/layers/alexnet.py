"""The AlexNet of Siamese trackers: five convolutions without padding."""

from __future__ import annotations

from torch import nn

STRIDE = 8  # pixels of a crop for one cell
CONVOLUTIONS = (0, 4, 8, 11, 14)  # where they stand among the layers; each is followed by its batch norm


def alexnet(widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)) -> nn.Sequential:
    """(B, 3, H, W) -> (B, widths[-1], h, w): for 127 pixels 6 cells, for 255 pixels 22, for 287 pixels 26.

    Convolutions of 11 (stride 2), 5, 3, 3 and 3, each with a bias and batch norm. The first two are followed by max
    pooling and then by ReLU, the next two by ReLU, the last by nothing (DaSiamRPN, pysot's AlexNetLegacy).
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
