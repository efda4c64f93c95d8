"""The recipes of `ostrack-nano` and `ostrack-small`, which start from the weights of `ostrack-tiny`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singletrack.errors import CheckpointError
from singletrack.loading import bundled_file
from singletrack.models.checkpoints import read_weights
from singletrack.models.layers.pos_embed import resize_positions
from singletrack.models.ostrack import OSTrack
from singletrack.registry import MODELS
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training.data.labeled_clips import MixedPairs
from singletrack.training.recipes import RECIPES
from singletrack.training.tasks.ostrack import OSTrackTask

SIZES = ("nano", "small")


def task_of(size: str) -> tuple[OSTrackTask, OSTrack]:
    (stage,) = RECIPES[f"ostrack_{size}"]().stages
    assert isinstance(stage.task, OSTrackTask)
    return stage.task, stage.task.build(stage)


@pytest.mark.parametrize("size", SIZES)
def test_recipe_teaches_what_the_tracker_shows(size: str) -> None:
    recipe = RECIPES[f"ostrack_{size}"]()
    (stage,) = recipe.stages
    settings = MODELS[recipe.model].tracker_settings
    assert isinstance(settings, OSTrackSettings)
    assert (stage.template_size, stage.search_size) == (settings.template_size, settings.search_size)
    assert isinstance(stage.source, MixedPairs)
    video, photos = stage.source.sources
    assert video.settings.pairs.search_factor == settings.search_factor  # type: ignore[attr-defined]
    assert photos.pairs.search_factor == settings.search_factor  # type: ignore[attr-defined]
    assert stage.task.settings.search_factor == settings.search_factor  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", SIZES)
def test_start_from_the_weights_of_tiny(size: str) -> None:
    task, model = task_of(size)
    path = bundled_file("ostrack-tiny", ".safetensors")
    task.start(model, path, f"ostrack-{size}")
    given, held = read_weights(path), model.state_dict()
    name = "backbone.search_position"
    assert torch.equal(held[name], resize_positions(given[name].float(), model.config.search_grid))
    assert torch.equal(held["head.read.weight"], given["head.read.weight"].float())


@pytest.mark.parametrize("size", SIZES)
def test_weights_of_another_network_do_not_fit(size: str, tmp_path: Path) -> None:
    task, model = task_of(size)
    path = tmp_path / "other.pth"
    torch.save({"net": {"backbone.norm.weight": torch.ones(768)}}, path)
    with pytest.raises(CheckpointError, match="ostrack-tiny"):
        task.start(model, path, f"ostrack-{size}")
