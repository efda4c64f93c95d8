"""The recipe of `ostrack-nano`, which starts from the weights of `ostrack-tiny`."""

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


def task_of() -> tuple[OSTrackTask, OSTrack]:
    (stage,) = RECIPES["ostrack_nano"]().stages
    assert isinstance(stage.task, OSTrackTask)
    return stage.task, stage.task.build(stage)


@pytest.mark.parametrize("name", ["ostrack_nano", "ostrack_small"])
def test_recipe_teaches_what_the_tracker_shows(name: str) -> None:
    recipe = RECIPES[name]()
    (stage,) = recipe.stages
    settings = MODELS[recipe.model].tracker_settings
    assert isinstance(settings, OSTrackSettings)
    assert (stage.template_size, stage.search_size) == (settings.template_size, settings.search_size)
    assert isinstance(stage.source, MixedPairs)
    video, photos = stage.source.sources
    assert video.settings.pairs.search_factor == settings.search_factor  # type: ignore[attr-defined]
    assert photos.pairs.search_factor == settings.search_factor  # type: ignore[attr-defined]
    assert stage.task.settings.search_factor == settings.search_factor  # type: ignore[attr-defined]


def test_start_from_the_weights_of_tiny() -> None:
    task, model = task_of()
    path = bundled_file("ostrack-tiny", ".safetensors")
    task.start(model, path, "ostrack-nano")
    given, held = read_weights(path), model.state_dict()
    name = "backbone.search_position"
    assert torch.equal(held[name], resize_positions(given[name].float(), model.config.search_grid))
    assert torch.equal(held["head.read.weight"], given["head.read.weight"].float())


def test_start_from_its_own_weights() -> None:
    task, model = task_of()
    path = bundled_file("ostrack-nano", ".safetensors")
    task.start(model, path, "ostrack-nano")
    given, held = read_weights(path), model.state_dict()
    assert all(torch.equal(held[name], value.float()) for name, value in given.items() if value.is_floating_point())


def test_weights_of_another_network_do_not_fit(tmp_path: Path) -> None:
    task, model = task_of()
    path = tmp_path / "other.pth"
    torch.save({"net": {"backbone.norm.weight": torch.ones(768)}}, path)
    with pytest.raises(CheckpointError, match="ostrack-tiny"):
        task.start(model, path, "ostrack-nano")
