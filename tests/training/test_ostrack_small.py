"""The recipe of `ostrack-small`, whose network is grown from that of `ostrack-tiny`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singletrack.loading import bundled_file
from singletrack.models.checkpoints import read_weights
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import OSTrack, build_ostrack, grow, init_from_similarity, spread_blocks
from singletrack.registry import network_config
from singletrack.training.recipes import RECIPES
from singletrack.training.tasks.ostrack import OSTrackTask


@pytest.mark.parametrize(
    ("depth", "convolutions", "larger", "places"),
    [
        (8, 3, 12, [0, 1, 2, 4, 6, 7, 9, 11]),
        (8, 3, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 0, 5, [0, 2, 4]),
    ],
)
def test_blocks_spread_evenly(depth: int, convolutions: int, larger: int, places: list[int]) -> None:
    smaller = OSTrackConfig(depth=depth, grid_convolutions=convolutions, eliminate_in=())
    if convolutions:
        smaller = replace(smaller, stem="convolution")
    assert spread_blocks(smaller, replace(smaller, depth=larger)) == places


def test_a_grown_network_computes_what_the_smaller_one_does() -> None:
    small, tiny = (
        replace(network_config(name, OSTrackConfig), template_size=32, search_size=64, keep_ratio=1.0)
        for name in ("ostrack-small", "ostrack-tiny")
    )
    torch.manual_seed(0)
    before, after = build_ostrack(tiny).eval(), build_ostrack(small).eval()
    for model in (before, after):
        init_from_similarity(model)
    fresh = {name: value.clone() for name, value in after.state_dict().items()}
    grown = grow(before.state_dict(), tiny, after)
    assert all(torch.equal(value, fresh[name]) for name, value in after.state_dict().items())
    after.load_state_dict(grown)
    template, search = torch.randn(2, *tiny.template_shape), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, maps = before(template, search), after(template, search)
    for name, value in expected.items():
        torch.testing.assert_close(maps[name], value, rtol=0, atol=1e-5)
    added = after.backbone.blocks[3]
    assert added.attn.qkv.weight.std() > 0.01  # type: ignore[union-attr, operator]
    assert not added.attn.proj.weight.any()  # type: ignore[union-attr, operator]


def test_start_from_the_weights_of_tiny() -> None:
    (stage,) = RECIPES["ostrack_small"]().stages
    assert isinstance(stage.task, OSTrackTask)
    model = stage.task.build(stage)
    assert isinstance(model, OSTrack)
    path = bundled_file("ostrack-tiny", ".safetensors")
    stage.task.start(model, path, "ostrack-small")
    given, held = read_weights(path), model.state_dict()
    for here, there in ((11, 7), (0, 0)):
        name = "backbone.blocks.{}.mlp.fc1.weight"
        assert torch.equal(held[name.format(here)][:576], given[name.format(there)].float())
