"""Losses of OSTrack (Section 3.3): focal loss on the score map, GIoU and L1 on the box; and an attention loss for small
networks.

Boxes are (..., 4) as fractions of the search crop; the order is part of each argument name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from singletrack.models.layers.center_head import decode
from singletrack.training.labels import center_cells, heatmaps


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the loss parts. ``dense`` trains boxes in every cell near the target instead of the one at the
    peak.
    """

    giou: float = 2.0
    l1: float = 5.0
    focal: float = 1.0
    attention: float = 0.0
    dense: bool = False


def focal_loss(score: Tensor, heat: Tensor, ones: Tensor | None = None) -> Tensor:
    """Compute the focal loss of CenterNet (alpha 2, beta 4), summed and divided by the number of ones.

    Args:
        score: (B, h, w).
        heat: (B, h, w).
        ones: number to divide by instead.
    """
    at_one = heat.eq(1).float()
    score = score.clamp(1e-12, 1 - 1e-12) if score.dtype == torch.float64 else score
    positive = (score.clamp(min=1e-12).log() * (1 - score) ** 2 * at_one).sum()
    negative = ((1 - score).clamp(min=1e-12).log() * score**2 * (1 - heat) ** 4 * (1 - at_one)).sum()
    return -(positive + negative) / (at_one.sum().clamp(min=1) if ones is None else ones)


def to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Convert cxcywh to xyxy."""
    center, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([center - half, center + half], -1)


def giou(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Compute generalized IoU and IoU of pairs of boxes (..., 4)."""

    def area(boxes: Tensor) -> Tensor:
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    inside = (torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])).clamp(
        min=0
    )
    around = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    both, hull = inside.prod(-1), around.clamp(min=0).prod(-1)
    union = area(a_xyxy) + area(b_xyxy) - both
    iou = both / union
    return iou - (hull - union) / hull, iou


def clamped_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Convert true boxes to corners clamped to the crop, as used by GIoU and L1."""
    return torch.cat([boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:]], -1).clamp(0, 1)


def ostrack_counts(boxes_xywh: Tensor, grid: int, present: Tensor) -> dict[str, Tensor]:
    """Count what the loss parts are divided by: positive cells, present targets, and the weight of cells near them.

    Args:
        boxes_xywh: (B, 4) as fractions of the search crop.
        grid: cells per side.
        present: (B,) bool.
    """
    cells = center_cells(boxes_xywh, grid)
    ones = ((cells >= 0) & (cells < grid)).all(1) & present
    near = nearness(boxes_xywh, grid).sum(1) * present
    return {"ones": ones.sum().float(), "present": present.sum().float(), "near": near.sum()}


def ostrack_loss(
    maps: dict[str, Tensor],
    boxes_xywh: Tensor,
    weights: LossWeights,
    present: Tensor | None = None,
    attention: dict[int, Tensor] | None = None,
    counts: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the weighted sum and its detached parts, with ``iou``, the overlap at the peak, for the log.

    Args:
        maps: from ``OSTrack.locate``.
        boxes_xywh: (B, 4) as fractions of the search crop.
        present: (B,) bool. If False, the score map should be empty and no box is trained; if all are False, all parts
            except ``focal`` are 0.
        attention: ``Trace.attention``, each (B, Ns).
        counts: numbers to divide by instead of ``ostrack_counts`` of this batch, each positive.
    """
    grid = maps["score"].shape[-1]
    there = torch.ones(len(boxes_xywh), dtype=torch.bool, device=boxes_xywh.device) if present is None else present
    if counts is None:
        counts = {name: count.clamp(min=1) for name, count in ostrack_counts(boxes_xywh, grid, there).items()}
    truth = clamped_xyxy(boxes_xywh[there])
    predicted = to_xyxy(decode({name: value[there] for name, value in maps.items()}))
    at_peak, overlap = giou(predicted, truth)
    parts = {"focal": focal_loss(maps["score"], heatmaps(boxes_xywh, grid) * there[:, None, None], counts["ones"])}
    if weights.dense:
        cells, share = boxes_everywhere(maps)[there], nearness(boxes_xywh, grid)[there]
        each, _ = giou(cells, truth[:, None].expand_as(cells))
        parts["giou"] = ((1 - each) * share).sum() / counts["near"]
        parts["l1"] = ((cells - truth[:, None]).abs().mean(-1) * share).sum() / counts["near"]
    else:
        parts["giou"] = (1 - at_peak).sum() / counts["present"]
        parts["l1"] = (predicted - truth).abs().mean(-1).sum() / counts["present"]
    total_loss = weights.focal * parts["focal"] + weights.giou * parts["giou"] + weights.l1 * parts["l1"]
    if weights.attention and attention:
        each = attention_loss(attention, boxes_xywh)
        parts["attention"] = each[there].sum() / counts["present"]
        total_loss = total_loss + weights.attention * parts["attention"]
    log = {name: value.detach() for name, value in parts.items()}
    log["iou"] = overlap.detach().sum() / counts["present"]
    return total_loss, log


def boxes_everywhere(maps: dict[str, Tensor]) -> Tensor:
    """Decode the box of each cell, (B, h * w, 4) xyxy."""
    grid = maps["score"].shape[-1]
    line = torch.arange(grid, device=maps["score"].device, dtype=torch.float32)
    cells = torch.stack([line.expand(grid, grid), line[:, None].expand(grid, grid)])
    return to_xyxy(torch.cat([(cells + maps["offset"]) / grid, maps["size"]], 1).flatten(2).transpose(1, 2))


def nearness(boxes_xywh: Tensor, grid: int) -> Tensor:
    """Compute the weight of the box of each cell, (B, h * w): positive near the true center, 0 elsewhere."""
    line = torch.arange(grid, device=boxes_xywh.device, dtype=torch.float32)
    cells = torch.stack([line.expand(grid, grid), line[:, None].expand(grid, grid)])
    target = (boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2) * grid
    reach = (0.2 * boxes_xywh[:, 2:] * grid).clamp(min=0.5)
    away = (cells - target[:, :, None, None]) / reach[:, :, None, None]
    share = torch.exp(-0.5 * away.square().sum(1)).flatten(1)
    return share * (share > 0.1)


def attention_loss(attention: dict[int, Tensor], boxes_xywh: Tensor) -> Tensor:
    """Compute minus the logarithm of the template attention on the target, (B,), averaged over blocks.

    Elimination ranks by this attention; training it lets a small network learn to match at all.
    """
    grid = math.isqrt(next(iter(attention.values())).shape[1])
    edges = torch.arange(grid + 1, device=boxes_xywh.device, dtype=torch.float32) / grid
    low, high = boxes_xywh[:, :2, None], (boxes_xywh[:, :2] + boxes_xywh[:, 2:])[:, :, None]
    covered = (torch.minimum(edges[1:], high) - torch.maximum(edges[:-1], low)).clamp(min=0) * grid
    inside = (covered[:, 1, :, None] * covered[:, 0, None, :]).flatten(1)
    # a cell has full weight if a large part of it is target
    inside = (2 * inside).clamp(max=1)
    return torch.stack([-((share * inside).sum(1) + 1e-4).log() for share in attention.values()]).mean(0)
