"""The center head of OSTrack and the decoding of its maps (arXiv 2203.11991, Section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from singletrack.models.layers.towers import convolution_tower


class CenterHead(nn.Module):
    """Three towers of 3x3 convolutions on the search grid: score, size and offset."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.score = convolution_tower(inputs, channels, 1)
        self.size = convolution_tower(inputs, channels, 2)
        self.offset = convolution_tower(inputs, channels, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute score (B, h, w) and size (B, 2, h, w), both in [1e-4, 1 - 1e-4], and offset (B, 2, h, w) from (B,
        C, h, w).
        """

        def squash(logits: Tensor) -> Tensor:
            return logits.sigmoid().clamp(1e-4, 1 - 1e-4)

        return {
            "score": squash(self.score(x)).squeeze(1),
            "size": squash(self.size(x)),
            "offset": self.offset(x),
        }


def init_head(head: CenterHead) -> None:
    """Initialize a head: Xavier for weights, as published; the biases of the last layers start at 0, which is ours."""
    for name, parameter in head.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith(".4.bias"):
            nn.init.zeros_(parameter)


def init_bias_prior(head: CenterHead) -> None:
    """Initialize a head for training from scratch: low scores, and targets of a quarter of the crop side."""
    for tower, value in ((head.score, 0.02), (head.size, 0.25)):
        last = tower[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.constant_(last.bias, math.log(value / (1 - value)))  # type: ignore[arg-type]
        nn.init.normal_(last.weight, std=0.01)


def decode(maps: dict[str, Tensor], response: Tensor | None = None) -> Tensor:
    """Decode boxes (B, 4), cxcywh as fractions of the search crop, at the peak of ``response`` (B, h, w).

    Without ``response``, the score map is used, as in training. Cell i is at coordinate i / w, without adding half a
    cell (Section 3.3 and the published code).
    """
    return read(maps, maps["score"] if response is None else response)[0]


def read(maps: dict[str, Tensor], response: Tensor) -> tuple[Tensor, Tensor]:
    """Decode boxes like ``decode``, and return the scores (B,) of their cells."""
    batch, height, width = response.shape
    peak = response.flatten(1).argmax(1)
    place = peak.view(batch, 1, 1).expand(-1, 2, 1)
    size = maps["size"].flatten(2).gather(2, place).squeeze(2)
    offset = maps["offset"].flatten(2).gather(2, place).squeeze(2)
    cell = torch.stack([peak % width, peak // width], 1).to(offset.dtype)
    scale = offset.new_tensor([width, height])
    score = maps["score"].flatten(1).gather(1, peak[:, None]).squeeze(1)
    return torch.cat([(cell + offset) / scale, size], 1), score
