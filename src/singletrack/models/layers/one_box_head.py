"""Heads that predict one box instead of maps, for the ablation of OSTrack's head.

Their answer is put in the form of the center head's maps: in every cell, size and offset give the same box, so that
tracker, losses and export need not know them. The window of the tracker has then no effect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from singletrack.models.layers.towers import convolution_tower


class OneBoxHead(nn.Module):
    """Corner head (two towers whose expected positions are the corners, as in STARK) or MLP head (on the mean token).

    Args:
        inputs: channels of the tokens.
        channels: channels of the corner towers; None for the MLP.
    """

    def __init__(self, inputs: int, channels: int | None) -> None:
        super().__init__()
        self.corners = channels is not None
        if channels is not None:
            self.top_left = convolution_tower(inputs, channels, 1)
            self.bottom_right = convolution_tower(inputs, channels, 1)
        else:
            self.box = nn.Sequential(
                nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, 4)
            )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute ``score`` (B, h, w), ``size`` and ``offset`` (B, 2, h, w) from tokens (B, C, h, w).

        The score is the same in all cells: for corners, how concentrated their maps are; for the MLP 0.5.
        """
        batch, _, height, width = x.shape
        center, size, score = self._from_corners(x) if self.corners else self._from_mean(x)
        cells = [torch.arange(side, dtype=x.dtype, device=x.device) for side in (width, height)]
        columns, rows = cells[0].expand(height, width), cells[1][:, None].expand(height, width)
        grid = x.new_tensor([width, height])
        offset = (center * grid)[:, :, None, None] - torch.stack([columns, rows])
        return {
            "score": score.clamp(1e-4, 1 - 1e-4)[:, None, None].expand(batch, height, width),
            "size": size[:, :, None, None].expand(batch, 2, height, width),
            "offset": offset,
        }

    def _from_corners(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return center and size (B, 2) as fractions of the crop, and the score (B,)."""
        height, width = x.shape[2:]
        logits = torch.cat([self.top_left(x), self.bottom_right(x)], 1)
        chances = logits.flatten(2).softmax(2).view_as(logits)
        columns = torch.arange(width, dtype=x.dtype, device=x.device) / width
        rows = torch.arange(height, dtype=x.dtype, device=x.device) / height
        corners = torch.stack([(chances.sum(2) * columns).sum(2), (chances.sum(3) * rows).sum(2)], 2)  # (B, corner, xy)
        first, second = corners.unbind(1)
        size = second - first
        if not self.training:  # corners may be swapped; the loss must see that, a tracker needs a box
            size = size.clamp(min=1e-4)
        return (first + second) / 2, size, chances.flatten(2).amax(2).prod(1).sqrt()

    def _from_mean(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        box = self.box(x.flatten(2).mean(2)).sigmoid()
        return box[:, :2], box[:, 2:], torch.full_like(box[:, 0], 0.5)
