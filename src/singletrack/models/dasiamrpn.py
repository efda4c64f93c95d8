"""DaSiamRPN (arXiv 1808.06048): the target becomes thirty kernels, which score and place boxes wherever they match.

Pixels in, maps out; nothing is remembered between frames. Knows nothing of anchors, boxes, frames or engines.

    template (B, 3, 127, 127) ──encode──> features (B, 30, C, 4, 4) ─┐
    search   (B, 3, S, S)     ───────────────────────────────────────┴─locate──> cls, loc

Crops are BGR, 0 to 255, as they are. No convolution is padded: the same pixels give the same numbers anywhere in a
crop, and a search crop may have any size of 127 + 8 i pixels. Kernels are linear: what two of them would see together
is what their sum sees, up to ``adjust``, which only places boxes.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn

from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.layers.alexnet import alexnet

ANCHORS = 5  # in each cell
KERNEL_SIDE = 4  # cells, of a template of 127 pixels
SCORES, SHIFTS = 2 * ANCHORS, 4 * ANCHORS  # kernels that score, and that place


def correlate(kernels: Tensor, image: Tensor) -> Tensor:
    """Each sample's own kernels over its own image: (B, K, C, k, k), (B, C, h, w) -> (B, K, h - k + 1, w - k + 1).

    What a convolution does, as one product of matrices and k^2 shifted sums: ONNX has no convolution whose groups
    are as many as a batch that is not known before.
    """
    batch, count, channels, side, _ = kernels.shape
    height, width = image.shape[2:]
    rows, columns = height - side + 1, width - side + 1
    weights = kernels.permute(0, 3, 4, 1, 2).reshape(batch, side * side * count, channels)
    products = (weights @ image.flatten(2)).reshape(batch, side, side, count, height, width)
    shifted = [products[:, y, x, :, y : y + rows, x : x + columns] for y, x in product(range(side), repeat=2)]
    return torch.stack(shifted).sum(0)


class DaSiamRPN(nn.Module):
    """An AlexNet and, for scores and for shifts, a branch that makes kernels and one that they look at."""

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
        """Template crops (B, 3, T, T), BGR 0 to 255 -> kernels (B, 30, C, 4, 4), the ten that score first."""
        seen = self.backbone(template)
        kernels = [branch(seen) for branch in (self.score_kernels, self.shift_kernels)]
        return torch.cat([each.unflatten(1, (-1, seen.shape[1])) for each in kernels], 1)

    def locate(self, features: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Kernels and search crops (B, 3, S, S), BGR 0 to 255 -> maps of n = (S - 127) / 8 + 1 cells a side.

        cls: (B, 10, n, n), logits: five anchors against the target, then the same five for it. loc: (B, 20, n, n),
        dx, dy, dw, dh of five anchors each. ``tracking.anchors`` reads both.
        """
        seen = self.backbone(search)
        scores = correlate(features[:, :SCORES], self.score_search(seen))
        shifts = correlate(features[:, SCORES:], self.shift_search(seen))
        return {"cls": scores, "loc": self.adjust(shifts)}

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Both calls in one, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search)


def build_dasiamrpn(config: DaSiamRPNConfig) -> DaSiamRPN:
    """The network of ``config``, freshly initialized: the kernels so small that the maps start at about 1."""
    model = DaSiamRPN(config, alexnet(config.widths))
    for branch in (model.score_kernels, model.shift_kernels):
        nn.init.normal_(branch.weight, std=1 / (config.widths[-1] * math.prod(branch.kernel_size) * KERNEL_SIDE))
    return model
