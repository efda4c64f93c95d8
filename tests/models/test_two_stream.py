"""The two-stream networks: what is kept of the template, that the streams are apart, and how places are numbered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singletrack.export.to_onnx import export_onnx
from singletrack.models.configs import AlignedConfig, RelationConfig
from singletrack.models.layers.pos_embed import grid_steps
from singletrack.models.layers.vit import Block
from singletrack.models.two_stream import Aligned, TwoStreamTrace, build_aligned, init_from_similarity
from singletrack.registry import MODELS, network_config

SMALL = {"width": 16, "heads": 2, "hidden": 16}
RELATIONS = {
    "stark": RelationConfig(**SMALL, encoder_layers=2, decoder_layers=1),  # type: ignore[arg-type]
    "swintrack": RelationConfig(**SMALL, kind="concatenation", encoder_layers=2, decoder_layers=1),  # type: ignore[arg-type]
}


@pytest.fixture(params=RELATIONS)
def network(request: pytest.FixtureRequest) -> Aligned:
    torch.manual_seed(0)
    config = AlignedConfig(
        template_size=32,
        search_size=64,
        width=32,
        depth=1,
        heads=2,
        head_channels=16,
        relation=RELATIONS[request.param],
    )
    return build_aligned(config).eval()


@torch.inference_mode()
def test_the_template_is_seen_once_and_by_itself(network: Aligned) -> None:
    template, search = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    seen: list[torch.Size] = []
    network.backbone.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape[-1]))
    features = network.encode(template)
    assert features.shape == (2, 4, 16)
    maps = network.locate(features, search)
    assert seen == [32, 64]
    assert {name: tuple(values.shape) for name, values in maps.items()} == {
        "score": (2, 4, 4),
        "size": (2, 2, 4, 4),
        "offset": (2, 2, 4, 4),
    }
    assert all(torch.equal(maps[name], values) for name, values in network(template, search).items())
    other = network.locate(network.encode(torch.randn(2, 3, 32, 32)), search)
    assert not torch.allclose(other["score"], maps["score"])


@torch.inference_mode()
def test_attention_is_noted_where_it_is_asked_for(network: Aligned) -> None:
    crops = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    trace = TwoStreamTrace(listen=(1,))
    maps = network(*crops, trace)
    assert list(trace.attention) == [1]
    assert trace.attention[1].shape == (2, 16)
    torch.testing.assert_close(trace.attention[1].sum(1), torch.ones(2))
    assert all(torch.equal(maps[name], values) for name, values in network(*crops).items())


def test_every_parameter_learns(network: Aligned) -> None:
    maps = network(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64))
    sum((values * torch.randn_like(values)).sum() for values in maps.values()).backward()  # type: ignore[union-attr]
    still = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert still == []


def test_similar_start_compares_in_both_streams_and_between_them(network: Aligned) -> None:
    init_from_similarity(network)
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    attentions = [part for name, part in network.named_parameters() if name.endswith(("qkv.weight", "in_proj.weight"))]
    assert len(attentions) > len(blocks) == 1
    for weight in attentions:
        query, key, _ = weight.chunk(3)
        assert torch.equal(query, key)
        torch.testing.assert_close(query @ query.T, torch.eye(len(query)), atol=1e-5, rtol=0)


def test_steps_between_tokens_are_numbered_by_distance_and_by_the_grids_that_they_join() -> None:
    steps, number = grid_steps(1, 2)
    # one token of the template, then (0, 0), (0, 1), (1, 0), (1, 1) of the search region
    assert steps.shape == (5, 5)
    assert number == 1 + 4 + 4 + 9
    assert steps[0, 0] == 0
    assert len(steps[0, 1:].unique()) == len(steps[1:, 0].unique()) == 4
    within = steps[1:, 1:]
    assert within.diagonal().unique().numel() == 1
    assert within[0, 1] == within[2, 3] != within[1, 0]
    assert within[0, 2] == within[1, 3] != within[0, 1]
    assert len({*steps[0].tolist(), *steps[1:, 0].tolist(), *within.flatten().tolist()}) == number


def test_each_engine_gives_the_same_boxes(network: Aligned, tmp_path: Path) -> None:
    differences = export_onnx(network, tmp_path / "aligned.onnx", name="stark-aligned")
    assert {each.batch for each in differences} == {1, 3}
    assert all(max(*each.maps.values(), each.box) < 1e-4 for each in differences)


@pytest.mark.parametrize("name", ["stark-aligned", "swintrack-aligned"])
def test_backbone_head_and_sizes_are_those_of_ostrack(name: str) -> None:
    config, other = network_config(name, AlignedConfig), MODELS["ostrack-256"].network
    for fact in ("template_size", "search_size", "patch_size", "width", "depth", "heads", "mlp_ratio", "head_channels"):
        assert getattr(config, fact) == getattr(other, fact), fact
    with torch.device("meta"):
        blocks = build_aligned(replace(config, depth=1)).backbone.state_dict()
    assert blocks["blocks.0.attn.qkv.weight"].shape == (3 * 768, 768)
