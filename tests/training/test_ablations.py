"""What the papers ablate, at toy size: each variant is trained for 20 steps, saved, and read back as itself."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.toys import NOTHING, changed, one_stage

from singletrack.export.simplify import simplify
from singletrack.models.build import build_network
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.checkpoints import load_weights
from singletrack.models.configs import OSTrackConfig, SiamRPNConfig, change_config, stored_config
from singletrack.models.layers.center_head import decode
from singletrack.models.layers.one_box_head import OneBoxHead
from singletrack.models.ostrack import Trace, build_ostrack
from singletrack.models.siamrpn import build_siamrpn
from singletrack.training.base import Recipe
from singletrack.training.losses import LossWeights
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.tasks.siamrpn import SiamRPNTask
from singletrack.training.trainer import RunSettings, train
from singletrack.training.variants import change_recipe

SMALL = OSTrackConfig(
    template_size=32, search_size=64, patch_size=8, width=24, depth=3, heads=2, mlp_ratio=2.0, drop_path=0.0,
    eliminate_in=(0, 1), head_channels=16,
)  # fmt: skip
CHANGES: list[dict[str, Any]] = [
    {"eliminate_in": [1]},
    {"eliminate_in": None},
    {"keep_ratio": 0.5},
    {"keep_ratios": [0.9, 0.5]},
    *({"template_rows": rows} for rows in ("center", "rectangle", "box", "all")),
    *({"positions": positions} for positions in ("none", "segment", "relative")),
    *({"head": head} for head in ("corner", "mlp")),
]


def small_recipe() -> Recipe:
    stage = one_stage().stages[0]
    source: Any = stage.source
    source = replace(source, pairs=replace(source.pairs, num_templates=1))
    task = OSTrackTask(config=SMALL, keep_ratio=0.7, loss_weights=LossWeights())
    stage = changed(replace(stage, task=task, source=source), steps=20, batch=2, check_samples=2)
    return Recipe(name="small", model="small", stages=(stage,), clip=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(map(str, next(iter(changes.items())))))
def test_each_is_trained_and_read_back(changes: dict[str, Any], tmp_path: Path) -> None:
    recipe = change_recipe(small_recipe(), changes)
    weights = train(recipe, NOTHING, tmp_path, settings=RunSettings(log_every=1, boards=(), precision="fp32"))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 20
    config = stored_config(SMALL, weights)
    assert config == change_config(SMALL, changes)
    network = build_network(config).eval()
    load_weights(network, weights, "small")
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "score": (1, 8, 8),
        "size": (1, 2, 8, 8),
        "offset": (1, 2, 8, 8),
    }


def test_ratios_by_block_are_those_of_training_and_of_use() -> None:
    config = replace(SMALL, keep_ratios=(0.5, 0.25))
    trace = Trace()
    with torch.inference_mode():
        build_ostrack(config).eval()(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64), trace=trace)
    assert [kept.shape[1] for kept in trace.kept.values()] == [32, 8]
    task = OSTrackTask(config=config, keep_ratio=0.7, keep_from=0, keep_over=2, epochs=4)
    assert [task.kept_share(0.99, last) for last in config.keep_ratios] == [0.5, 0.25]
    assert [task.kept_share(0.0, last) for last in config.keep_ratios] == [0.75, 0.625]


def test_relative_positions_follow_the_tokens_that_are_left() -> None:
    torch.manual_seed(0)
    network = build_ostrack(replace(SMALL, positions="relative")).eval()
    torch.nn.init.normal_(network.backbone.step_bias)
    crops = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    kept = torch.tensor([[3, 60], [0, 9]])
    bias = network.backbone.bias(16, kept)
    assert bias is not None
    whole = network.backbone.bias(16, torch.arange(64)[None])
    assert whole is not None
    places = torch.tensor([*range(16), 16 + 3, 16 + 60])
    assert torch.equal(bias[0], whole[0][:, places[:, None], places])
    with torch.inference_mode():
        alone = [network(crops[0][[i]], crops[1][[i]])["score"] for i in range(2)]
        torch.testing.assert_close(network(*crops)["score"], torch.cat(alone))
        other = build_ostrack(replace(SMALL, positions="relative")).eval()
        other.load_state_dict(
            {**network.state_dict(), "backbone.step_bias": torch.zeros_like(network.backbone.step_bias)}
        )
        assert not torch.allclose(other(*crops)["score"], network(*crops)["score"])


@pytest.mark.parametrize(
    "changes", [{"positions": "relative"}, {"positions": "none"}, {"head": "corner"}, {"head": "mlp"}]
)
def test_simplified_for_export_they_compute_the_same(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = build_ostrack(replace(SMALL, **changes)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    crops = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, found = network(*crops), simplify(copy.deepcopy(network))(*crops)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels", [16, None])
def test_heads_with_one_box_give_it_in_every_cell(channels: int | None) -> None:
    torch.manual_seed(0)
    head = OneBoxHead(8, channels).eval()
    maps = head(torch.randn(3, 8, 4, 6))
    assert all((maps["score"] > 0).flatten().tolist())
    answers = []
    for cell in ((0, 0), (3, 5), (1, 2)):
        response = torch.zeros(3, 4, 6)
        response[:, cell[0], cell[1]] = 1
        answers.append(decode(maps, response))
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])
    assert ((answers[0][:, :2] > 0) & (answers[0][:, :2] < 1)).all()
    assert (answers[0][:, 2:] > 0).all()


# --- SiamRPN++: layers, and depth-wise against up-channel correlation ---


@pytest.mark.parametrize("correlation", ["depthwise", "up-channel"])
@pytest.mark.parametrize("stages", [(2,), (4,), (2, 3), (2, 3, 4)])
def test_layers_and_correlations(correlation: Any, stages: tuple[int, ...]) -> None:
    config = SiamRPNConfig(stages=stages, correlation=correlation)
    with torch.device("meta"):
        network = build_siamrpn(config).eval()
        maps = network(torch.empty(1, 3, 127, 127), torch.empty(1, 3, 255, 255))
    assert (tuple(maps["cls"].shape), tuple(maps["loc"].shape)) == ((1, 10, 25, 25), (1, 20, 25, 25))
    assert len(network.heads) == len(stages)
    if correlation == "depthwise":
        assert set(official_keys(config).values()) == set(network.state_dict())


@pytest.mark.slow
def test_up_channel_correlation_learns() -> None:
    torch.manual_seed(0)
    task = SiamRPNTask(config=SiamRPNConfig(stages=(2,), correlation="up-channel", widths=(8, 8, 8)))
    stage = changed(one_stage().stages[0], template_size=127, search_size=143, head_lr=1e-3)
    network = task.build(stage)
    batch = {
        "template": torch.randint(0, 256, (2, 3, 127, 127), dtype=torch.uint8),
        "search": torch.randint(0, 256, (2, 3, 143, 143), dtype=torch.uint8),
        "box": torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.4, 0.2, 0.3, 0.5]]),
        "present": torch.tensor([True, True]),
    }
    loss, _ = task.loss(network, batch, 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    heads = dict(network.heads.named_parameters())
    assert heads.keys() >= {"0.cls.kernel.weight", "0.loc.read.weight"}
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in heads.values())
    assert heads["0.cls.kernel.weight"].grad.abs().sum() > 0  # type: ignore[union-attr]
