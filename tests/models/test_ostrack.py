"""What the tiny OSTrack has beside the published ones."""

from __future__ import annotations

import torch

from singletrack.models.configs import OSTrackConfig
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
    alone = model.backbone.embed(templates[:, 0], model.backbone.template_position)
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
