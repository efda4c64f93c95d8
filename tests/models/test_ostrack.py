"""What the tiny OSTrack has beside the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singletrack.models.configs import OSTrackConfig, TemplateRows
from singletrack.models.layers.center_head import CenterHead, init_head
from singletrack.models.layers.pos_embed import template_rows
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.registry import MODELS

LITTLE = OSTrackConfig(
    template_size=64, search_size=128, num_templates=2, width=32, depth=2, heads=2, drop_path=0.0, eliminate_in=()
)


def little() -> tuple[OSTrack, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    model = build_ostrack(LITTLE).eval()
    return model, torch.randn(3, *LITTLE.template_shape), torch.randn(3, *LITTLE.search_shape)


def test_templates_stand_side_by_side() -> None:
    assert LITTLE.template_shape == (2, 3, 64, 64)
    assert MODELS["ostrack-tiny"].network.template_shape == (2, 3, 112, 112)
    assert MODELS["ostrack-256"].network.template_shape == (3, 128, 128)


@torch.no_grad()
def test_a_fresh_network_sees_the_first_look_alone() -> None:
    model, templates, search = little()
    features = model.encode(templates)
    assert features.shape == (3, LITTLE.template_grid**2, 32)
    alone = model.backbone.embed(templates[:, 0], "template")
    torch.testing.assert_close(features, alone)
    newer = torch.stack([templates[:, 0], torch.randn_like(templates[:, 1])], 1)
    assert torch.equal(model(newer, search)["score"], model(templates, search)["score"])


def test_training_teaches_it_the_newest_one() -> None:
    model, templates, search = little()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(templates, search)["size"].square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        before = model.encode(templates)
        first = model.encode(torch.stack([torch.randn_like(templates[:, 0]), templates[:, 1]], 1))
        newest = model.encode(torch.stack([templates[:, 0], torch.randn_like(templates[:, 1])], 1))
    assert not torch.equal(before, newest)
    assert (before - first).norm() > (before - newest).norm()  # which it has only begun to heed
    tokens = model.backbone.fusion
    assert tokens is not None
    assert tokens.compare.weight.grad is not None
    assert tokens.compare.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("grid", "rows", "expected"),
    [
        (8, "point", [27]),  # CTR_POINT of the published code
        (12, "point", [65]),
        (8, "center", [36]),  # the paper's formula, Section 3.2
        (12, "center", [78]),
        (8, "rectangle", [27, 28, 35, 36]),
        (7, "center", [24]),
        (7, "point", [24]),
        (4, "box", [5, 6, 9, 10]),
        (8, "box", [row * 8 + column for row in range(2, 6) for column in range(2, 6)]),
        (2, "all", [0, 1, 2, 3]),
    ],
)
def test_tokens_that_rank(grid: int, rows: TemplateRows, expected: list[int]) -> None:
    assert template_rows(grid, rows).tolist() == expected


def test_the_last_biases_of_a_head_start_at_zero() -> None:
    """Ours; the published code keeps the small random values. docs/training.md lists it."""
    head = CenterHead(8, 16)
    init_head(head)
    for tower in (head.score, head.size, head.offset):
        assert (tower[-1].bias == 0).all()
        assert (tower[-1].weight != 0).any()
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert "biases of the head's last layers" in page
    assert "validation always keeps the final share" in page
