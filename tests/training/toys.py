"""A recipe so small that a test can run it: two stages of four steps on a network of three narrow blocks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.models.configs import OSTrackConfig
from singletrack.registry import network_config
from singletrack.training.base import DataPaths, Recipe, Stage
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.distributed import Distributed
from singletrack.training.losses import LossWeights
from singletrack.training.tasks.ostrack import OSTrackTask

NOTHING = DataPaths()
ALONE = Distributed(0, 1, torch.device("cpu"))


def toy(**changes: object) -> Recipe:
    """The recipe, with some of its values changed; it follows no clips."""
    config = dataclasses.replace(
        network_config("ostrack-tiny", OSTrackConfig),
        width=48,
        depth=3,
        eliminate_in=(1, 2),
        attention_to_head=(1, 2),
        grid_convolutions=2,
        head_channels=16,
    )
    weights = LossWeights(attention=1.0, dense=True)
    one = Stage(
        name="one",
        task=OSTrackTask(config=config, loss_weights=weights, from_similarity=True),
        source=SyntheticPairs(pairs=PairSettings(num_templates=2), picture_size=96, clips=0),
        template_size=32,
        search_size=64,
        steps=4,
        batch=4,
        lr=1e-3,
        head_lr=1e-3,
        warmup=2,
        check_samples=2,
    )
    two = changed(one, name="two", template_size=48, search_size=96, task={"keep_ratio": 0.7})
    recipe = Recipe(name="toy", model="toy", stages=(one, two), ema=0.9, clip=1.0)
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def one_stage(**changes: object) -> Recipe:
    """The first stage alone, changed."""
    return toy(stages=(changed(toy().stages[0], **changes),))


def changed(stage: Stage, **changes: object) -> Stage:
    """The stage with other values; a dict changes those of its objective or source."""
    for name, value in changes.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(stage, name), **value)
        stage = dataclasses.replace(stage, **{name: value})
    return stage


def same_state(one: Path, two: Path) -> None:
    """Both runs stand at the same step with the same weights, averages, moments and statistics."""
    left, right = (torch.load(out / "last.pt", weights_only=True) for out in (one, two))
    assert (left["stage"], left["step"], left["updates"]) == (right["stage"], right["step"], right["updates"])
    for part in ("model", "average"):
        assert all(torch.equal(value, right[part][name]) for name, value in left[part].items())
    for index, moments in left["optimizer"]["state"].items():
        assert all(torch.equal(value, right["optimizer"]["state"][index][name]) for name, value in moments.items())
