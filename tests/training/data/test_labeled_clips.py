"""VideoPairs and MixedPairs: what they train and validate on, and that a sample follows from (seed, index) alone."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.datasets.made_clips import write_folder
from tests.training.toys import NOTHING, changed, one_stage

from singletrack.datasets.clip_pairs import ClipPairSettings
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.errors import InputError
from singletrack.training.base import Batch, DataPaths, Stage
from singletrack.training.checkpoint import begin
from singletrack.training.data.labeled_clips import ClipPairStream, MixedPairs, VideoPairs
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.recipes import RECIPES
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.trainer import train

VIDEO = VideoPairs(settings=ClipPairSettings(pairs=PairSettings(num_templates=2, mark_template=True)), followed=1)
MADE = SyntheticPairs(pairs=PairSettings(num_templates=2), picture_size=96, clips=0)
STAGE: Stage = one_stage().stages[0]


@pytest.fixture
def data(tmp_path: Path) -> DataPaths:
    return DataPaths(folders={"footage": write_folder(tmp_path / "footage")}, cache=tmp_path / "cache")


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_samples_follow_from_seed_and_index(data: DataPaths) -> None:
    stream, again = (VIDEO.samples(STAGE, data, [1, 2]) for _ in range(2))
    third = stream[3]
    assert same(third, again[3])
    assert same(third, pickle.loads(pickle.dumps(stream))[3])
    assert not same(third, stream[4])
    assert not same(third, VIDEO.samples(STAGE, data, [1, 3])[3])


def test_samples_look_like_those_made_from_pictures(data: DataPaths) -> None:
    video, made = VIDEO.samples(STAGE, data, [1])[0], MADE.samples(STAGE, NOTHING, [1])[0]
    assert {name: (value.shape, value.dtype) for name, value in video.items()} == {
        name: (value.shape, value.dtype) for name, value in made.items()
    }


def test_trains_on_the_wanted_license_classes_and_validates_on_the_others(data: DataPaths) -> None:
    train_stream, held_stream = VIDEO.samples(STAGE, data, [1]), VIDEO.held_out(STAGE, data, [1])
    assert isinstance(train_stream, ClipPairStream)
    assert isinstance(held_stream, ClipPairStream)
    assert [clip.video.name for clip in train_stream.pairs.clips] == ["walk.mp4"]
    assert [clip.video.name for clip in held_stream.pairs.clips] == ["held.mp4"]
    assert (held_stream.pairs.settings.absent, held_stream.pairs.settings.lit) == (0.0, 0.0)
    (sequence,) = VIDEO.sequences(data)
    assert sequence.name == "held-1"
    assert np.isnan(sequence.boxes_xywh[[5, 7]]).all()
    assert len(dataclasses.replace(VIDEO, followed_frames=4).sequences(data)[0]) == 4
    assert set(VIDEO.fingerprints(data)) == {"footage training", "footage validation"}


def test_the_folder_must_be_given() -> None:
    with pytest.raises(InputError, match="missing --data footage=DIR"):
        VIDEO.samples(STAGE, NOTHING, [1])


def test_mixed_samples_are_those_of_their_sources(data: DataPaths) -> None:
    mixed = MixedPairs(sources=(VIDEO, MADE), shares=(3.0, 1.0))
    streams = [source.samples(STAGE, data, [5]) for source in (VIDEO, MADE)]
    stream, counts = mixed.samples(STAGE, data, [5]), [0, 0]
    for index in range(40):
        which = [same(stream[index], each[index]) for each in streams]
        assert sum(which) == 1
        counts[which.index(True)] += 1
    assert counts[0] > 20 > counts[1] > 3
    assert [sequence.name for sequence in mixed.sequences(data)] == ["held-1"]
    with pytest.raises(InputError, match="each of the 2 sources needs a share"):
        MixedPairs(sources=(VIDEO, MADE), shares=(1.0,))


def test_frozen_parts_keep_their_values(data: DataPaths, tmp_path: Path) -> None:
    recipe = one_stage(steps=2, task={"frozen": ("backbone.patch_embed",)}, check_every=2)
    stage = dataclasses.replace(recipe.stages[0], source=MixedPairs(sources=(VIDEO, MADE), shares=(0.5, 0.5)))
    recipe = dataclasses.replace(recipe, stages=(stage,), ema=0.0)
    before = begin(recipe, 0, None, torch.device("cpu")).model.state_dict()
    train(recipe, data, tmp_path / "run")
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert not any(name.startswith("backbone.patch_embed.") for name in moved)
    recorded = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert "footage training" in json.dumps(recorded)


def test_recipe_of_the_bundled_model_on_footage() -> None:
    recipe = RECIPES["ostrack_tiny_footage"]()
    (stage,) = recipe.stages
    assert isinstance(stage.source, MixedPairs)
    video, made = stage.source.sources
    assert isinstance(video, VideoPairs)
    assert isinstance(made, SyntheticPairs)
    assert isinstance(stage.task, OSTrackTask)
    assert video.license_classes == ("free",)
    # the same crops from both
    assert dataclasses.replace(video.settings.pairs, fit=made.pairs.fit) == made.pairs
    assert stage.task.settings.search_factor == made.pairs.search_factor
    assert recipe.starts_from


def test_stage_of_this_test_takes_two_templates() -> None:
    assert changed(STAGE, steps=1).task.config.num_templates == 2  # type: ignore[attr-defined]
