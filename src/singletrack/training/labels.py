"""Training labels: Gaussian heat maps on the search grid, and the schedule of elimination.

Boxes are (B, 4) xywh in [0, 1] of the search crop. Source: the published code of OSTrack and the radius of
CornerNet.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_radius(width: float, height: float, overlap: float = 0.7) -> float:
    """Compute the radius of CornerNet, in cells, within which a shifted box still has this overlap, including its
    known error.
    """
    total, area = height + width, width * height
    r1 = (total + math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    r2 = (2 * total + math.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 2
    b3 = -2 * overlap * total
    r3 = (b3 + math.sqrt(b3**2 - 16 * overlap * (overlap - 1) * area)) / 2
    return min(r1, r2, r3)


def center_cells(boxes: Tensor, grid: int) -> Tensor:
    """Compute column and row (B, 2) of the cell nearest to the center of boxes (B, 4), xywh in [0, 1]; ties to even."""
    scaled = boxes.float() * grid
    return torch.round(scaled[:, :2] + boxes[:, 2:].float() * grid / 2).long()


def heatmaps(boxes: Tensor, grid: int) -> Tensor:
    """Compute Gaussians (B, grid, grid) with a 1 in the center cell of boxes (B, 4), xywh in [0, 1].

    If this cell is outside the map, the map has no 1.
    """
    maps = boxes.new_zeros(boxes.shape[0], grid, grid)
    centers, sizes = center_cells(boxes, grid).tolist(), (boxes[:, 2:].float() * grid).tolist()
    line = torch.arange(grid, device=boxes.device, dtype=torch.float32)
    for heat, (x, y), (w, h) in zip(maps, centers, sizes, strict=True):
        radius = int(max(0.0, gaussian_radius(w, h)))
        sigma = (2 * radius + 1) / 6
        near_x, near_y = line - x, line - y
        across = torch.exp(-(near_x**2) / (2 * sigma**2)) * (near_x.abs() <= radius)
        down = torch.exp(-(near_y**2) / (2 * sigma**2)) * (near_y.abs() <= radius)
        heat.copy_(down[:, None] * across[None, :])
    return maps


def keep_ratio_at(done: float, start: float, over: float, keep_ratio: float) -> float:
    """Compute the share of search tokens to keep: 1 up to ``start``, then a cosine over ``over`` down to
    ``keep_ratio``.

    ``done``, ``start`` and ``over`` are in any common unit: fractions of a stage, or the epochs (from 1) of the
    published code.
    """
    if done < start:
        return 1.0
    if done >= start + over:
        return keep_ratio
    return keep_ratio + (1 - keep_ratio) * (math.cos(math.pi * (done - start) / over) + 1) / 2
