"""The aligned rivals at toy size: taught alike, at equal cost, and from the same start as OSTrack."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from singletrack.models.configs import AlignedConfig, OSTrackConfig, RelationConfig
from singletrack.training.base import DataPaths, Recipe, Stage, Task
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.losses import LossWeights
from singletrack.training.recipes import RECIPES
from singletrack.training.tasks.two_stream import OneStreamTask, TwoStreamTask
from singletrack.training.trainer import RunSettings, train

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
VIT: dict[str, Any] = {"width": 24, "depth": 2, "heads": 2, "drop_path": 0.0, "head_channels": 16}
RELATION: dict[str, Any] = {"width": 16, "heads": 2, "hidden": 16, "encoder_layers": 2, "decoder_layers": 1}
METADATA_KEYS: dict[str, Any] = {
    "loss_weights": LossWeights(attention=1.0, dense=True),
    "listen": (0, 1),
    "from_similarity": True,
}
OBJECTIVES: dict[str, Task] = {
    "one": OneStreamTask(config=OSTrackConfig(**VIT, eliminate_in=()), **METADATA_KEYS),
    "stark": TwoStreamTask(config=AlignedConfig(**VIT, relation=RelationConfig(**RELATION)), **METADATA_KEYS),
    "swintrack": TwoStreamTask(
        config=AlignedConfig(**VIT, relation=RelationConfig(**RELATION, kind="concatenation")), **METADATA_KEYS
    ),
}


def stage(name: str) -> Stage:
    return Stage(
        name="small",
        task=OBJECTIVES[name],
        source=SyntheticPairs(picture_size=96, clips=1, clip_frames=3, clip_size_wh=(96, 96)),
        template_size=32,
        search_size=64,
        steps=2,
        batch=4,
        lr=1e-3,
        head_lr=1e-2,
        check_samples=4,
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_is_trained_and_validated(name: str, tmp_path: Path) -> None:
    recipe = Recipe(name=name, model=name, stages=(stage(name),), clip=1.0)
    weights = load_file(train(recipe, DataPaths(), tmp_path, settings=RunSettings(log_every=1)))
    assert weights.keys() == stage(name).task.build(stage(name)).state_dict().keys()
    first, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert {"focal", "giou", "l1", "attention", "iou"} <= first.keys()
    assert {"argmax_iou", "ao"} <= last.keys()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_parameter_has_its_rate(name: str) -> None:
    now = stage(name)
    model = now.task.build(now)
    backbone, rest = now.task.groups(model, now)
    assert (backbone["peak"], rest["peak"]) == (1e-3, 1e-2)
    named = dict(model.named_parameters())
    assert {id(part) for part in backbone["params"]} == {id(p) for n, p in named.items() if n.startswith("backbone.")}
    assert len(backbone["params"]) + len(rest["params"]) == len(named)


def test_the_backbone_starts_from_a_vision_transformer(tmp_path: Path) -> None:
    now = stage("stark")
    model = now.task.build(now)
    theirs = {"pos_embed": torch.randn(1, 1 + 14 * 14, 24), "cls_token": torch.zeros(1, 1, 24)}
    for name, value in model.backbone.state_dict().items():  # type: ignore[union-attr]
        if "position" not in name:
            theirs[name.replace("patch_embed.", "patch_embed.proj.")] = torch.randn_like(value)
    save_file(theirs, tmp_path / "vit.safetensors")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    now.task.start(model, tmp_path / "vit.safetensors", "stark-aligned")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("backbone.")}


@pytest.mark.parametrize(
    ("name", "pairs", "batch", "rates", "drop"),
    [
        ("stark_aligned", 500 * 60_000, 128, (1e-5, 1e-4), 0.8),
        ("swintrack_aligned", 300 * 131_072, 512, (5e-5, 5e-4), 0.7),
    ],
)
@pytest.mark.parametrize("one_shot", [False, True])
def test_recipes_keep_the_original_schedules(
    name: str, pairs: int, batch: int, rates: tuple[float, float], drop: float, one_shot: bool
) -> None:
    """Table 5 of OSTrack's paper: 30 M and 39.3 M pairs; data, crops and losses are OSTrack's."""
    ending = "_got10k" if one_shot else ""
    recipe, other = RECIPES[name + ending](), RECIPES[f"ostrack_256{ending}_plain"]()
    assert (recipe.name, recipe.model) == (name + ending, name.replace("_", "-"))
    (ours,), (theirs,) = recipe.stages, other.stages
    assert abs(ours.steps * ours.batch - pairs) < pairs * 0.003  # whole batches in each epoch
    assert (ours.batch, (ours.lr, ours.head_lr), ours.drop_at) == (batch, rates, drop)
    assert ours.source == theirs.source
    assert (ours.template_size, ours.search_size) == (theirs.template_size, theirs.search_size)
    assert replace(recipe, name=other.name, model=other.model, stages=other.stages) == other


def test_the_benchmark_compares_at_equal_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import aligned  # type: ignore[import-not-found]

    plans = {name: aligned.recipe(name, 96, 48, 48, 8, 0) for name in aligned.OBJECTIVES}
    costs = {name: aligned.cost(plan.stages[0])["locate_mmacs"] for name, plan in plans.items()}
    sys.modules.pop("aligned")
    assert len(costs) == 3
    assert max(costs.values()) / min(costs.values()) < 1.01
    objectives = [plan.stages[0].task for plan in plans.values()]
    assert len({task.loss_weights for task in objectives}) == 1
    assert {len(task.listen) for task in objectives} == {3}
