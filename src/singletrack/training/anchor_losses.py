"""Labels and losses of the anchors of a region proposal network.

As in pysot, with one difference: pysot samples 16 positive and 48 negative anchors at random; here all of them
count, weighted by their average frequency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from singletrack.tracking.anchors import STRIDE, anchor_grid

TOWARDS_ABOVE, AGAINST_BELOW = 0.6, 0.3  # IoU with the target; anchors in between are not trained
MOST_TOWARDS, MOST_AGAINST, MOST_WITHOUT_TARGET = 16, 48, 16  # anchors per sample
REACH = 3  # cells around the other target of a negative pair whose anchors are trained
SHIFT_WEIGHT = 1.2


class AnchorLabels(NamedTuple):
    """Labels of B samples and N anchors, ordered as in ``tracking.anchors``.

    Attributes:
        towards: (B, N) weight of positive anchors; 0 for most.
        against: (B, N) weight of negative anchors; 0 for most.
        shifts: (B, 4, N), dx, dy, dw, dh from each anchor to the target.
    """

    towards: Tensor
    against: Tensor
    shifts: Tensor


def label_anchors(boxes_xywh: Tensor, present: Tensor, search_size: int, cells: int) -> AnchorLabels:
    """Compute the labels of maps with cells x cells.

    Args:
        boxes_xywh: (B, 4) as fractions of the search crop.
        present: (B,) bool. If False, the box is of another object in place of the target, and only the anchors near it
            are trained, all as negative.
        search_size: side of the search crop in pixels.
        cells: cells per side.
    """
    anchors = torch.from_numpy(anchor_grid(cells)).to(boxes_xywh)
    sizes = boxes_xywh[:, 2:] * search_size
    centers = (boxes_xywh[:, :2] - 0.5) * search_size + sizes / 2
    overlap = _overlap(torch.cat([centers, sizes], 1)[:, None], anchors)
    near = ((anchors[:, :2] - STRIDE * (centers / STRIDE).round()[:, None]).abs() <= REACH * STRIDE).all(2)
    there = present[:, None]
    towards = _shares((overlap > TOWARDS_ABOVE) & there, MOST_TOWARDS)
    against = torch.where(
        there, _shares((overlap < AGAINST_BELOW) & there, MOST_AGAINST), _shares(near & ~there, MOST_WITHOUT_TARGET)
    )
    places = (centers[:, None] - anchors[:, :2]) / anchors[:, 2:]
    ratios = (sizes.clamp(min=1.0)[:, None] / anchors[:, 2:]).log()
    return AnchorLabels(towards, against, torch.cat([places, ratios], 2).transpose(1, 2))


def anchor_counts(labels: AnchorLabels) -> dict[str, Tensor]:
    """Count what the two halves of the classification loss are divided by."""
    return {"towards": labels.towards.sum(), "against": labels.against.sum()}


def anchor_loss(
    maps: Mapping[str, Tensor], labels: AnchorLabels, counts: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute half the cross entropy of each kind of anchor, plus 1.2 times the distance of the shifts; and these,
    detached.

    Args:
        maps: ``cls`` (B, 10, n, n) and ``loc`` (B, 20, n, n).
        counts: numbers to divide by instead of those of this batch.
    """
    counts = counts or anchor_counts(labels)
    chances = F.log_softmax(_grouped(maps["cls"], 2), 1)
    against, towards = (
        -(weight * chance).sum() / counts[name].clamp(min=1e-6)
        for name, weight, chance in (
            ("against", labels.against, chances[:, 0]),
            ("towards", labels.towards, chances[:, 1]),
        )
    )
    far = (_grouped(maps["loc"], 4) - labels.shifts).abs().sum(1)
    shares = labels.towards / labels.towards.sum(1, keepdim=True).clamp(min=1e-6)
    shift = (far * shares).sum(1).mean()
    log = {"towards": towards.detach(), "against": against.detach(), "shift": shift.detach()}
    return 0.5 * towards + 0.5 * against + SHIFT_WEIGHT * shift, log


def best_boxes(maps: Mapping[str, Tensor], search_size: int) -> Tensor:
    """Decode the box (B, 4), xyxy as fractions of the search crop, with the highest score, without a window."""
    anchors = torch.from_numpy(anchor_grid(maps["cls"].shape[-1])).to(maps["loc"])
    against, towards = _grouped(maps["cls"], 2).unbind(1)
    best = (towards - against).argmax(1)
    shifts = _grouped(maps["loc"], 4)[torch.arange(len(best)), :, best]
    anchor = anchors[best]
    centers = shifts[:, :2] * anchor[:, 2:] + anchor[:, :2]
    sizes = shifts[:, 2:].clamp(max=5.0).exp() * anchor[:, 2:]
    return torch.cat([centers - sizes / 2, centers + sizes / 2], 1) / search_size + 0.5


def _grouped(values: Tensor, groups: int) -> Tensor:
    """Reshape (B, groups x anchors, n, n) to (B, groups, N)."""
    return values.reshape(len(values), groups, -1)


def _shares(chosen: Tensor, most: int) -> Tensor:
    """Weight the chosen of (B, N) bool by 1, or less if a sample has more than ``most``, so that they sum to it."""
    counts = chosen.sum(1, keepdim=True).clamp(min=1)
    return chosen * (most / counts).clamp(max=1.0)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Compute the IoU of boxes (..., 4), cxcywh."""
    low = torch.maximum(one[..., :2] - one[..., 2:] / 2, other[..., :2] - other[..., 2:] / 2)
    high = torch.minimum(one[..., :2] + one[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / (one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - shared)
