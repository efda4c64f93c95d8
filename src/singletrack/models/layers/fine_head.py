"""A center head on a grid twice as fine as the tokens, for networks with a convolutional stem. Ours."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WideResidual(nn.Module):
    """Residual block of a depth-wise 7x7 and two 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.project(F.relu(self.expand(self.norm(self._spread(x)))))
        return out

    def _spread(self, x: Tensor) -> Tensor:
        """Apply the 7x7 convolution, in fp32 on CPUs, where the bf16 gradient of oneDNN is 2.5 times slower."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return torch.as_tensor(self.spatial(x.float()))
        return torch.as_tensor(self.spatial(x))


class FineHead(nn.Module):
    """Combines tokens, each expanded to four cells, with stem features at half their stride, then wide convolutions.

    The tokens identify the target; the stem features locate its edges.
    """

    def __init__(self, inputs: int, fine_inputs: int, channels: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)  # for the sum of both
        self.spread = nn.Conv2d(inputs, 4 * channels, 1)
        self.fine = nn.Conv2d(fine_inputs, channels, 1)
        self.blocks = nn.Sequential(*(WideResidual(channels) for _ in range(depth)))
        self.read = nn.Conv2d(channels, 5, 3, padding=1)

    def forward(self, x: Tensor, fine: Tensor) -> dict[str, Tensor]:
        """Compute the maps of ``CenterHead`` on a grid of 2h x 2w from tokens (B, C, h, w) and features (B, F, 2h,
        2w).
        """
        joint = F.relu(self.norm(F.pixel_shuffle(self.spread(x), 2) + self.fine(fine)))
        score, size, offset = self.read(self.blocks(joint)).split([1, 2, 2], 1)
        return {
            "score": score.sigmoid().clamp(1e-4, 1 - 1e-4).squeeze(1),
            "size": size.sigmoid().clamp(1e-4, 1 - 1e-4),
            "offset": offset,
        }


def draw_fine_head(head: FineHead) -> None:
    """Initialize a head: low scores, and targets of a quarter of the crop side."""
    for name, parameter in head.named_parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        if name.endswith("project.weight"):
            nn.init.normal_(parameter, std=0.01)
    nn.init.normal_(head.read.weight, std=0.01)
    with torch.no_grad():
        for outputs, value in ((slice(0, 1), 0.01), (slice(1, 3), 0.25), (slice(3, 5), 0.5)):
            head.read.bias[outputs] = math.log(value / (1 - value))  # type: ignore[index]
