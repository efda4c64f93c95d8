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

TOWARDS_ABOVE, AGAINST_BELOW = 0.6, 0.3  # overlap with the target; in between, an anchor is not taught
MOST_TOWARDS, MOST_AGAINST, MOST_WITHOUT_TARGET = 16, 48, 16  # anchors of one sample
REACH = 3  # cells round what stands in the target's place, where the anchors of a negative pair are taught
SHIFT_WEIGHT = 1.2


class AnchorLabels(NamedTuple):
    """For B samples and N anchors, numbered as in ``tracking.anchors``.

    towards, against: (B, N), how much an anchor counts that should speak for the target, or against it; 0 for most.
    shifts: (B, 4, N), dx, dy, dw, dh from each anchor to the target.
    """

    towards: Tensor
    against: Tensor
    shifts: Tensor


def label_anchors(boxes_xywh: Tensor, present: Tensor, search_size: int, cells: int) -> AnchorLabels:
    """Labels for maps of cells x cells.

    boxes_xywh: (B, 4) in [0, 1] of the search crop. present: (B,) bool; where False, the box is of something else that
    stands where the target would be, and only the anchors near it are taught, all against it.
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
    """What the two halves of the score's loss divide by."""
    return {"towards": labels.towards.sum(), "against": labels.against.sum()}


def anchor_loss(
    maps: Mapping[str, Tensor], labels: AnchorLabels, counts: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Half the cross entropy of each kind of anchor, and 1.2 times the distance of the shifts; and these, detached.

    maps: cls (B, 10, n, n) and loc (B, 20, n, n). counts: what to divide by instead of this batch's own.
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
    """(B, 4) xyxy in [0, 1] of the search crop: where the anchor with the highest score has moved, no window."""
    anchors = torch.from_numpy(anchor_grid(maps["cls"].shape[-1])).to(maps["loc"])
    against, towards = _grouped(maps["cls"], 2).unbind(1)
    best = (towards - against).argmax(1)
    shifts = _grouped(maps["loc"], 4)[torch.arange(len(best)), :, best]
    anchor = anchors[best]
    centers = shifts[:, :2] * anchor[:, 2:] + anchor[:, :2]
    sizes = shifts[:, 2:].clamp(max=5.0).exp() * anchor[:, 2:]
    return torch.cat([centers - sizes / 2, centers + sizes / 2], 1) / search_size + 0.5


def _grouped(values: Tensor, groups: int) -> Tensor:
    """(B, groups x anchors, n, n) -> (B, groups, N)."""
    return values.reshape(len(values), groups, -1)


def _shares(chosen: Tensor, most: int) -> Tensor:
    """(B, N) bool -> 1 for each, or less where there are more of a sample than ``most``, so that they sum up to it."""
    counts = chosen.sum(1, keepdim=True).clamp(min=1)
    return chosen * (most / counts).clamp(max=1.0)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), cxcywh."""
    low = torch.maximum(one[..., :2] - one[..., 2:] / 2, other[..., :2] - other[..., 2:] / 2)
    high = torch.minimum(one[..., :2] + one[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / (one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - shared)
