"""What the tiny OSTrack has beside the published ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from singletrack.geometry.crops import fill_boxes
from singletrack.models.configs import FixedRows, OSTrackConfig
from singletrack.models.layers.center_head import CenterHead, init_head
from singletrack.models.layers.pos_embed import template_rows, tokens_in_boxes
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
        (2, "all", [0, 1, 2, 3]),
    ],
)
def test_tokens_that_rank(grid: int, rows: FixedRows, expected: list[int]) -> None:
    assert template_rows(grid, rows).tolist() == expected


# --- the tokens in the target's box ---


def in_middle(width: float, height: float, size: int = 128) -> np.ndarray:
    """A box in the middle of a template, as tracking and training place it."""
    return np.array([[(size - 1 - width) / 2, (size - 1 - height) / 2, width, height]])


@pytest.mark.parametrize(
    ("box_wh", "rows", "columns"),
    [
        ((64, 64), range(2, 6), range(2, 6)),  # square
        ((128, 32), range(3, 5), range(8)),  # wide
        ((32, 128), range(8), range(3, 5)),  # tall
        ((400, 10), range(3, 5), range(8)),  # of so few pixels in height that no middle of a token lies in it
        ((5, 5), range(3, 5), range(3, 5)),  # tiny: where four tokens meet
        ((0.5, 0.5), range(3, 4), range(3, 4)),
    ],
)
def test_tokens_in_the_targets_box(box_wh: tuple[float, float], rows: range, columns: range) -> None:
    inside = torch.from_numpy(fill_boxes(in_middle(*box_wh), 128)).float()
    found = tokens_in_boxes(inside, 16).reshape(8, 8)
    expected = torch.zeros(8, 8)
    expected[rows.start : rows.stop, columns.start : columns.stop] = 1
    assert torch.equal(found, expected)


def test_tokens_in_boxes_are_those_of_the_published_rule() -> None:
    """CE_TEMPLATE_RANGE of GT_BOX in our words: the box's pixels, bilinearly scaled to the grid, where not 0."""
    random = np.random.default_rng(5)
    low = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate([low, random.uniform(20, 128 - low)], 1)
    mask = torch.zeros(200, 1, 128, 128)
    for one, (x, y, width, height) in zip(mask, boxes, strict=True):
        one[0, int(y) : int(y + height - 1), int(x) : int(x + width - 1)] = 1
    expected = F.interpolate(mask, scale_factor=1 / 16, mode="bilinear", align_corners=False).flatten(1) > 0
    assert torch.equal(tokens_in_boxes(torch.from_numpy(fill_boxes(boxes, 128)), 16), expected.to(torch.uint8))


@torch.no_grad()
def test_a_box_of_the_four_middle_tokens_ranks_as_they_do() -> None:
    config = replace(LITTLE, num_templates=1, eliminate_in=(0, 1), template_rows="rectangle")
    torch.manual_seed(3)
    published = build_ostrack(config).eval()
    model = build_ostrack(replace(config, template_rows="box")).eval()
    model.load_state_dict(published.state_dict())
    template, search = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 128, 128)

    def maps_of(*sizes: tuple[float, float]) -> dict[str, torch.Tensor]:
        boxes = np.concatenate([in_middle(*size, 64) for size in sizes])
        inside = torch.from_numpy(fill_boxes(boxes, 64)).float()[:, None]
        crops = torch.cat([template[: len(sizes)], inside], 1)
        return model.locate(model.encode(crops), search[: len(sizes)])

    both = maps_of((32, 32), (64, 20))
    torch.testing.assert_close(both["score"][0], published(template, search)["score"][0])
    assert not torch.allclose(both["score"][1], published(template, search)["score"][1])
    torch.testing.assert_close(maps_of((32, 32))["score"][0], both["score"][0])  # each sample has its own rows


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
