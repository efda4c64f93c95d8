"""Losses where there is nothing to be right about; the published numbers stand in tests/parity."""

from __future__ import annotations

import math

import pytest
import torch

from singletrack.training.losses import LossWeights, ostrack_loss


@pytest.mark.parametrize("dense", [False, True])
def test_a_batch_without_any_target_has_a_finite_loss_and_teaches_the_score(dense: bool) -> None:
    torch.manual_seed(0)
    maps = {
        "score": torch.rand(3, 4, 4).requires_grad_(),
        "size": torch.rand(3, 2, 4, 4).requires_grad_(),
        "offset": torch.rand(3, 2, 4, 4).requires_grad_(),
    }
    boxes = torch.tensor([[0.2, 0.3, 0.4, 0.5]]).repeat(3, 1)
    attention = {0: torch.full((3, 16), 1 / 16)}
    weights = LossWeights(attention=1.0, dense=dense)
    loss, log = ostrack_loss(maps, boxes, weights, torch.zeros(3, dtype=torch.bool), attention)
    assert all(math.isfinite(value) for value in log.values())
    assert [log[name] for name in ("giou", "l1", "iou", "attention")] == [0, 0, 0, 0]
    assert loss == log["focal"] > 0
    loss.backward()
    assert maps["score"].grad is not None
    assert maps["score"].grad.abs().sum() > 0
    assert maps["size"].grad is None or not maps["size"].grad.any()


def test_only_present_targets_count() -> None:
    torch.manual_seed(0)
    maps = {"score": torch.rand(2, 4, 4), "size": torch.rand(2, 2, 4, 4), "offset": torch.rand(2, 2, 4, 4)}
    boxes = torch.tensor([[0.2, 0.3, 0.4, 0.5], [0.1, 0.1, 0.3, 0.3]])
    _, log = ostrack_loss(maps, boxes, LossWeights(), torch.tensor([True, False]))
    _, alone = ostrack_loss({name: value[:1] for name, value in maps.items()}, boxes[:1], LossWeights())
    assert [log[name] for name in ("giou", "l1", "iou")] == [alone[name] for name in ("giou", "l1", "iou")]
