"""Positions of tokens that a network learns: what they start as, and how they change with the size of the crops."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from singletrack.models.configs import TemplateRows


def centered_positions(grid: int, width: int) -> Tensor:
    """Fixed sine and cosine positions (1, grid * grid, width), centered on the grid; first half of the channels: x.

    One step is one token of a grid whose center is the origin, so that template and search region of the same scale
    speak the same positions.
    """
    line = torch.arange(grid, dtype=torch.float32) - (grid - 1) / 2
    waves = line[:, None] / 100 ** (torch.arange(width // 4) / (width // 4))
    axis = torch.cat([waves.sin(), waves.cos()], 1)
    y, x = axis[:, None].expand(grid, grid, -1), axis[None].expand(grid, grid, -1)
    return torch.cat([x, y], 2).reshape(1, grid * grid, width)


def resize_positions(position: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, n * n, C) -> (1, grid * grid, C): bicubic, corners not aligned, no antialias."""
    before = math.isqrt(position.shape[1])
    image = position.transpose(1, 2).reshape(1, -1, before, before)
    resized = F.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


def template_rows(grid: int, rows: TemplateRows) -> Tensor:
    """Flat places of the template tokens that rank the search tokens, on a grid x grid template (CE_TEMPLATE_RANGE).

    An even grid has no center: "point" is then the token up-left of it; an odd grid has one, for "rectangle" too.
    """
    if rows == "all":
        return torch.arange(grid * grid)
    low, high = (grid - 1) // 2, grid // 2
    lines = torch.arange(low, (low if rows == "point" else high) + 1)
    return (lines[:, None] * grid + lines[None, :]).flatten()
