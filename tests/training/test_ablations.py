"""Every ablation of `train --list` trains: 20 steps on made data, at the smallest sizes that have its parts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.models.test_pretrained import TOY, WIDTH, jax_arrays, timm_weights
from tests.training.tasks.test_siamrpn import make_crops
from tests.training.toys import NOTHING
from torch.utils.data import DataLoader

from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.errors import InputError
from singletrack.geometry.crops import MARK
from singletrack.models.build import build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.configs import OSTrackConfig, SiamRPNConfig, stored_config
from singletrack.registry import network_config
from singletrack.training.base import DataPaths, Recipe, Stage
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.ostrack import PretrainedOSTrack
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.tasks.siamrpn import SiamRPNTask
from singletrack.training.trainer import RunSettings, train
from singletrack.training.variants import VALUES, change_recipe, variants

STEPS = 20
SETTINGS = RunSettings(log_every=1, precision="fp32", boards=())


def values_of(name: str) -> list[tuple[str, Any]]:
    """The variants of a recipe, without what it starts from, see ``test_pretraining``."""
    return [
        (variant, value)
        for variant, values in variants(RECIPES[name]()).items()
        if variant != "pretraining"
        for value in values
    ]


def titled(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def losses_of(run: Path) -> list[float]:
    entries = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def one_stage_recipe(model: str, stage: Stage) -> Recipe:
    return Recipe(name="ablation", model=model, stages=(stage,), clip=1.0)


def little_ostrack(task: OSTrackTask, lr: float = 1e-3) -> Recipe:
    stage = Stage(
        name="stage",
        task=task,
        source=SyntheticPairs(pairs=PairSettings(), picture_size=96, clips=0),
        template_size=32,
        search_size=64,
        steps=STEPS,
        batch=2,
        lr=lr,
        head_lr=1e-3,
        check_samples=2,
    )
    return one_stage_recipe("ostrack-256", stage)


@pytest.mark.parametrize(("variant", "value"), values_of("ostrack_256"), ids=titled)
def test_ostrack(variant: str, value: Any, tmp_path: Path) -> None:
    config = replace(
        network_config("ostrack-256", OSTrackConfig),
        width=24,
        heads=2,
        mlp_ratio=2.0,
        head_channels=16,
        template_size=32,
        search_size=64,
    )
    recipe = change_recipe(little_ostrack(OSTrackTask(config=config, keep_ratio=0.7)), {variant: value})
    weights = train(recipe, NOTHING, tmp_path, settings=SETTINGS)
    losses = losses_of(tmp_path)
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses))
    held = stored_config(config, weights)  # the weights carry the variant
    assert getattr(held, variant) == (() if value is None else value)
    load_weights(build_network(held), weights, "ostrack-256")


@pytest.mark.parametrize("kind", VALUES["pretraining"], ids=titled)
def test_pretraining(kind: str | None, tmp_path: Path) -> None:
    """From a small file in the format of each."""
    path = tmp_path / ("vit.npz" if kind == "augreg" else "vit.pth")
    if kind == "augreg":
        np.savez(path, **jax_arrays())  # type: ignore[arg-type]
    else:
        classifier = {"head.weight": torch.zeros(9, WIDTH), "head.bias": torch.zeros(9)} if kind == "deit" else {}
        torch.save({"model": timm_weights() | classifier}, path)
    recipe = change_recipe(little_ostrack(PretrainedOSTrack(config=TOY, keep_ratio=0.7), lr=0.0), {"pretraining": kind})
    assert bool(recipe.starts_from) == (kind is not None)
    weights = train(recipe, NOTHING, tmp_path / "run", weights=path if kind else None, settings=SETTINGS)
    losses = losses_of(tmp_path / "run")
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses))
    assert load_file(weights).keys() == build_network(TOY).state_dict().keys()


def test_ranking_by_the_targets_box_needs_the_box() -> None:
    config = replace(network_config("ostrack-256", OSTrackConfig), template_rows="box")
    batch = {"template": torch.zeros(1, 3, 128, 128, dtype=torch.uint8)}
    with pytest.raises(InputError, match=r"template_rows=box needs template_box in a batch.* got template; add it"):
        OSTrackTask(config=config).templates(batch)


@pytest.mark.parametrize("num_templates", [1, 2])
def test_the_box_of_a_synthetic_template_becomes_its_fourth_channel(num_templates: int) -> None:
    """Each sample its own: the box that is drawn into the template is around what the channel marks."""
    pairs = PairSettings(mark_template=True, num_templates=num_templates)
    config = replace(network_config("ostrack-256", OSTrackConfig), template_rows="box", num_templates=num_templates)
    task = OSTrackTask(config=config)
    stage = Stage(
        name="stage",
        task=task,
        source=SyntheticPairs(pairs=pairs, picture_size=96, clips=0),
        template_size=128,
        search_size=256,
        steps=1,
        batch=6,
        lr=1e-3,
        head_lr=1e-3,
    )
    samples: Any = stage.source.samples(stage, NOTHING, [3])
    batch = next(iter(DataLoader(samples, batch_sampler=[range(6)])))
    templates = task.templates(batch).reshape(6, -1, 4, 128, 128)
    assert templates.shape[1] == num_templates
    for sample, box, inside in zip(batch["template"], batch["template_box"] * 128, templates[:, 0, 3], strict=True):
        x, y, width, height = box.tolist()
        marked = torch.nonzero(inside)
        assert marked.min(0).values.tolist() == [max(0, int(y)), max(0, int(x))]
        assert marked.max(0).values.tolist() == [int(min(128, y + height - 1)) - 1, int(min(128, x + width - 1)) - 1]
        first = sample.reshape(-1, 3, 128, 128)[0].int()
        row, column = (int(y) - 1, 64) if y >= 2 else (64, int(x) - 1)  # on the drawn line
        assert (first[:, row, column] - torch.tensor(MARK)).abs().max() < 80


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    root = tmp_path_factory.mktemp("crops")
    return DataPaths(folders={"vid": make_crops(root / "vid")}, cache=root / "cache")


@pytest.mark.parametrize(("variant", "value"), values_of("siamrpnpp_r50"), ids=titled)
def test_siamrpn(variant: str, value: Any, crops: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages on a ResNet of one block each, frozen as in its first epochs; the others on AlexNet."""
    monkeypatch.setattr("singletrack.models.siamrpn.RESNET_BLOCKS", (1, 1, 1, 1))
    model = "siamrpnpp-r50" if variant == "stages" else "siamrpnpp-alex"
    config = network_config(model, SiamRPNConfig)
    stage = Stage(
        name="stage",
        task=SiamRPNTask(config=config),
        source=CroppedPairs(shares={"vid": 1.0}),
        template_size=127,
        search_size=143,
        steps=STEPS,
        batch=1,
        lr=0.0 if variant == "stages" else 1e-4,
        head_lr=1e-3,
        check_samples=1,
    )
    recipe = change_recipe(replace(one_stage_recipe(model, stage), optimizer="sgd"), {variant: value})
    weights = train(recipe, crops, tmp_path, settings=SETTINGS)
    losses = losses_of(tmp_path)
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses))
    held = stored_config(config, weights)
    if variant != "search_shift":
        assert getattr(held, variant) == value
    load_weights(build_network(held), weights, model)
