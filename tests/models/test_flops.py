from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from singletrack.models.build import build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.flops import Macs, count, time_parts, write_untrained
from singletrack.registry import MODELS


@pytest.mark.parametrize(
    ("model", "keep_ratio", "published", "total"),
    [  # by the paper's table 3 and the tool behind it, and by PyTorch's counter on the published code
        ("ostrack-256", 0.7, 21.52, 22.64),
        ("ostrack-256", 1.0, 29.05, 30.91),
        ("ostrack-384", 0.7, 48.36, 54.09),
        ("ostrack-384", 1.0, 65.36, 74.86),
    ],
)
def test_products_of_ostrack_are_those_of_the_paper(
    model: str, keep_ratio: float, published: float, total: float
) -> None:
    """But for the template's tokens in the last block: once they have been attended to, nothing reads them."""
    template, search = {"ostrack-256": (64, 256), "ostrack-384": (144, 576)}[model]
    for _ in range(3):
        search = math.ceil(keep_ratio * search)
    left_out = template * (768 * 768 + 2 * 768 * 3072)
    cost = count(MODELS[model].network, keep_ratio)
    assert (cost.published + left_out) / 1e9 == pytest.approx(published, abs=0.06)
    left_out += template * (template + search) * 2 * 768  # their queries
    assert (cost.total + left_out) / 1e9 == pytest.approx(total, abs=0.06)
    assert cost.paper is not None
    assert round(cost.paper / 1e9, 2) == published
    unused = 768 + 197 * 768  # a class token and positions for it, which the published code carries along
    assert cost.parameters + unused == {"ostrack-256": 92_518_533, "ostrack-384": 92_825_733}[model]


def test_products_by_hand() -> None:
    """The stem of OSTrack-256 alone: 16 x 16 x 3 products for each of 768 channels of each token."""
    cost = count(MODELS["ostrack-256"].network)
    assert cost.encode == Macs(convolution=64 * 768 * 3 * 16 * 16, linear=0, attention=0)
    assert cost.locate.convolution > 256 * 768 * 3 * 16 * 16


@pytest.mark.parametrize("model", ["ostrack-tiny", "stark-st50"])
def test_counting_needs_no_weights_and_computes_nothing(model: str) -> None:
    cost = count(MODELS[model].network)
    assert cost.parameters > 1e6
    assert cost.locate.linear > 0
    assert cost.locate.attention > 0
    assert cost.published < cost.total


def test_parts_of_a_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(MODELS["ostrack-tiny"].network).eval()
    with torch.inference_mode():
        features = network.encode(torch.randn(1, *network.config.template_shape))
    parts = time_parts(network, features, torch.randn(1, *network.config.search_shape), repeats=1)
    assert {"backbone.blocks 0-2", "backbone.blocks 3-5", "backbone.blocks 6-8", "head"} <= parts.keys()
    assert "backbone" not in parts
    assert list(parts)[-1] == "rest"
    assert all(seconds >= 0 for seconds in parts.values())
    assert not any(module._forward_hooks for module in network.modules())  # the network itself is left alone


def test_untrained_weights_are_always_the_same(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        write_untrained(MODELS["ostrack-tiny"].network, tmp_path / name)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    load_weights(build_network(MODELS["ostrack-tiny"].network), tmp_path / "a.safetensors", "ostrack-tiny")


@pytest.mark.parametrize("model", MODELS)
def test_listed_size_and_cost_are_those_counted(model: str) -> None:
    cost, looks = count(MODELS[model].network), 2 if MODELS[model].settings.get("mirror") else 1
    assert MODELS[model].parameters == pytest.approx(cost.parameters / 1e6, abs=0.0051)
    operations = looks * cost.locate.total / 1e9
    assert MODELS[model].gmacs == pytest.approx(operations, abs=0.0051 if operations > 1 else 0.00051)
