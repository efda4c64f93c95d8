"""DaSiamRPN (arXiv 1808.06048): thirty kernels from the target are correlated with the search region.

    template (B, 3, 127, 127) ──encode──> features (B, 30, C, 4, 4) ─┐
    search   (B, 3, S, S)     ───────────────────────────────────────┴─locate──> cls, loc

Crops are BGR, 0 to 255, not normalized. Convolutions have no padding, so the result does not depend on the position
in the crop, and a search crop may have any size of 127 + 8 n pixels. Correlation is linear in the kernels up to
``adjust``, which only affects the boxes.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn

from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.layers.alexnet import alexnet

ANCHORS = 5  # per cell
KERNEL_SIDE = 4  # cells, for a template of 127 pixels
SCORES, SHIFTS = 2 * ANCHORS, 4 * ANCHORS  # kernels for classification and regression


def correlate(kernels: Tensor, image: Tensor) -> Tensor:
    """Correlate each sample with its own kernels: (B, K, C, k, k), (B, C, h, w) -> (B, K, h - k + 1, w - k + 1).

    This computes a convolution as one matrix product and k^2 shifted sums, because in ONNX the number of groups cannot
    depend on an unknown batch size.
    """
    batch, count, channels, side, _ = kernels.shape
    height, width = image.shape[2:]
    rows, columns = height - side + 1, width - side + 1
    weights = kernels.permute(0, 3, 4, 1, 2).reshape(batch, side * side * count, channels)
    products = (weights @ image.flatten(2)).reshape(batch, side, side, count, height, width)
    shifted = [products[:, y, x, :, y : y + rows, x : x + columns] for y, x in product(range(side), repeat=2)]
    return torch.stack(shifted).sum(0)


class DaSiamRPN(nn.Module):
    """DaSiamRPN network: an AlexNet, and branches for kernels and search features of classification and regression."""

    def __init__(self, config: DaSiamRPNConfig, backbone: nn.Sequential) -> None:
        super().__init__()
        width = config.widths[-1]
        self.config = config
        self.backbone = backbone
        self.score_kernels = nn.Conv2d(width, SCORES * width, 3)
        self.shift_kernels = nn.Conv2d(width, SHIFTS * width, 3)
        self.score_search = nn.Conv2d(width, width, 3)
        self.shift_search = nn.Conv2d(width, width, 3)
        self.adjust = nn.Conv2d(SHIFTS, SHIFTS, 1)

    def encode(self, template: Tensor) -> Tensor:
        """Compute kernels (B, 30, C, 4, 4), the ten for classification first, from template crops (B, 3, T, T), BGR
        in 0 to 255.
        """
        seen = self.backbone(template)
        kernels = [branch(seen) for branch in (self.score_kernels, self.shift_kernels)]
        return torch.cat([each.unflatten(1, (-1, seen.shape[1])) for each in kernels], 1)

    def locate(self, features: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Compute maps with n = (S - 127) / 8 + 1 cells per side.

        Args:
            features: kernels (B, 30, C, 4, 4) from ``encode``.
            search: (B, 3, S, S) search crops, BGR in 0 to 255.

        Returns:
            ``cls`` (B, 10, n, n), the background logits of five anchors, then their target logits; ``loc`` (B, 20, n,
            n), dx, dy, dw, dh of five anchors each. ``tracking.anchors`` decodes both.
        """
        seen = self.backbone(search)
        scores = correlate(features[:, :SCORES], self.score_search(seen))
        shifts = correlate(features[:, SCORES:], self.shift_search(seen))
        return {"cls": scores, "loc": self.adjust(shifts)}

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Run both calls, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search)


def build_dasiamrpn(config: DaSiamRPNConfig) -> DaSiamRPN:
    """Build the network of a config, with kernels initialized so that the maps start at about 1."""
    model = DaSiamRPN(config, alexnet(config.widths))
    for branch in (model.score_kernels, model.shift_kernels):
        nn.init.normal_(branch.weight, std=1 / (config.widths[-1] * math.prod(branch.kernel_size) * KERNEL_SIDE))
    return model
