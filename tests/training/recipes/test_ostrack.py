"""The published recipes: their numbers, their variants, the weights that they start from, and their data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.training.made_data import FRAMES, make_all, make_lasot
from torch.utils.data import DataLoader

from singletrack.cli.main import singletrack
from singletrack.datasets.augmentations import Jitter
from singletrack.errors import CheckpointError, InputError
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import OSTrack
from singletrack.training.base import DataPaths, Stage
from singletrack.training.data.video import DatasetPairs, Part
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.ostrack import OSTRACK, PretrainedOSTrack, ostrack_256, with_reduced_decoding
from singletrack.training.schedules import learning_rate
from singletrack.training.trainer import train

GENERAL = ("ostrack_256", "ostrack_384")
ONE_SHOT = ("ostrack_256_got10k", "ostrack_384_got10k")


def only_stage(name: str) -> tuple[Stage, PretrainedOSTrack, DatasetPairs]:
    (stage,) = RECIPES[name]().stages
    assert isinstance(stage.task, PretrainedOSTrack)
    assert isinstance(stage.source, DatasetPairs)
    return stage, stage.task, stage.source


@pytest.mark.parametrize("name", [*GENERAL, *ONE_SHOT])
def test_numbers_of_the_published_runs(name: str) -> None:
    recipe, (stage, task, source) = RECIPES[name](), only_stage(name)
    epochs = 300 if name in GENERAL else 100
    assert (stage.steps, stage.batch, stage.lr, stage.head_lr) == (468 * epochs, 128, 4e-5, 4e-4)
    assert (recipe.weight_decay, recipe.clip, recipe.ema, recipe.optimizer) == (1e-4, 0.1, 0.0, "adamw")
    rates = [learning_rate(stage, step) for step in (0, 468 * epochs * 4 // 5 - 1, 468 * epochs * 4 // 5)]
    assert rates == [1.0, 1.0, 0.1]
    by_epoch = {20: 1, 21: 0.99988, 40: 0.95607, 60: 0.85, 80: 0.74393, 100: 0.7, 300: 0.7}
    for epoch, ratio in (by_epoch if name in GENERAL else {20: 1, 45: 0.85, 70: 0.7, 100: 0.7}).items():
        for step in ((epoch - 1) * 468, epoch * 468 - 1):
            assert task.kept_share(step / stage.steps) == pytest.approx(ratio, abs=1e-5)
    weights = task.loss_weights
    assert (weights.giou, weights.l1, weights.focal, weights.attention, weights.dense) == (2, 5, 1, 0, False)
    augmentation = source.augmentation
    large = "384" in name
    assert (stage.template_size, stage.search_size) == ((192, 384) if large else (128, 256))
    assert augmentation.search_factor == task.settings.search_factor == (5.0 if large else 4.0)
    assert augmentation.search_jitter == (Jitter(scale=0.5, center=4.5) if large else Jitter(scale=0.25, center=3.0))
    assert augmentation.template_jitter == Jitter()
    assert (augmentation.gray, augmentation.flip, augmentation.flip_one, augmentation.brightness) == (
        0.05,
        0.5,
        0.5,
        0.2,
    )
    assert (source.rules.longest_gap, source.rules.shortest, source.rules.fewest_visible) == (199, 20, 5)
    parts = [(part.dataset, part.split, part.share) for part in source.parts]
    if name in GENERAL:
        assert parts == [
            ("lasot", "train", 1),
            ("got10k", "vottrain", 1),
            ("coco", "train", 1),
            ("trackingnet", "train", 1),
        ]
        assert source.held == (Part(dataset="got10k", split="votval"),)
    else:
        assert parts == [("got10k", "train", 1)]
        assert source.held == (Part(dataset="got10k", split="val"),)


def test_variants_differ_in_what_their_names_say() -> None:
    assert len(OSTRACK) == 4 * 2 * 4 * 2
    assert all(make().name == name for name, make in OSTRACK.items())
    _, task, source = only_stage("ostrack_256_plain_deit")
    assert task.kept_share(0.99) == 1.0
    assert task.pretraining == "deit"
    assert RECIPES["ostrack_256_scratch"]().starts_from == ""
    assert "mae_pretrain" in RECIPES["ostrack_256"]().starts_from
    _, _, published = only_stage("ostrack_256_as_published")
    assert (published.augmentation.label_shift, published.augmentation.flip_shift) == (0.5, 1.0)
    assert published.augmentation.levels == "float"
    assert published.unreadable == "redraw"
    assert published.shared_light is not None
    assert not RECIPES["ostrack_256_as_published"]().whole_batch
    assert (source.augmentation.label_shift, source.shared_light, source.unreadable) == (0.0, None, "raise")
    reduced = with_reduced_decoding(ostrack_256()).stages[0].source
    assert isinstance(reduced, DatasetPairs)
    assert reduced.augmentation.decode == "reduced"
    assert source.augmentation.decode == "whole"
    with pytest.raises(InputError, match="reads no frames of data sets"):
        with_reduced_decoding(RECIPES["ostrack_tiny"]())


def test_the_flag_for_reduced_decoding_is_refused_where_no_frames_are_read(tmp_path: Path) -> None:
    arguments = ["train", "ostrack_tiny", "--reduced-decoding", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(singletrack, arguments)
    assert isinstance(done.exception, InputError)
    assert "reads no frames of data sets" in str(done.exception)


def test_all_parameters_are_decayed_in_two_groups() -> None:
    stage, task, _ = only_stage("ostrack_256")
    small = replace(task, config=OSTrackConfig(width=24, depth=2, heads=2, eliminate_in=(1,), head_channels=16))
    model = small.build(replace(stage, template_size=32, search_size=64))
    backbone, head = small.groups(model, stage)
    assert (backbone["lr"], head["lr"]) == (4e-5, 4e-4)
    assert "weight_decay" not in backbone.keys() | head.keys()
    assert len(backbone["params"]) + len(head["params"]) == len(list(model.parameters()))


def test_validation_keeps_the_final_share_from_the_start() -> None:
    """The published code validates with the share of the epoch; docs/training.md lists the difference."""
    stage, task, _ = only_stage("ostrack_256")
    small = replace(task, config=OSTrackConfig(width=24, depth=2, heads=2, eliminate_in=(1,), head_channels=16))
    model = small.build(replace(stage, template_size=32, search_size=64))
    assert small.kept_share(0.0) == 1.0
    assert model.config.kept_shares == (0.7,)


# --- the weights that they start from ---


@pytest.fixture
def small() -> tuple[PretrainedOSTrack, OSTrack]:
    stage, task, _ = only_stage("ostrack_256")
    config = OSTrackConfig(width=24, depth=1, heads=2, patch_size=8, eliminate_in=(0,), head_channels=16)
    task = replace(task, config=config)
    return task, task.build(replace(stage, template_size=32, search_size=64))


def vision_transformer(model: OSTrack) -> dict[str, torch.Tensor]:
    """Weights of ones under timm's names."""
    names = [name for name in model.backbone.state_dict() if name.startswith(("blocks", "norm"))]
    weights = {name: torch.ones_like(model.backbone.state_dict()[name]) for name in names}
    weights |= {
        f"patch_embed.proj.{part}": torch.ones_like(getattr(model.backbone.patch_embed, part))  # type: ignore[arg-type]
        for part in ("weight", "bias")
    }
    return weights | {"pos_embed": torch.ones(1, 17, 24)}


def test_a_run_starts_from_a_vision_transformer_or_a_tracker(
    small: tuple[PretrainedOSTrack, OSTrack], tmp_path: Path
) -> None:
    task, model = small
    path = tmp_path / "mae.pth"
    torch.save({"model": vision_transformer(model)}, path)
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    task.start(model, path, "made")
    assert all((parameter == 1).all() for parameter in model.backbone.parameters())
    assert all(torch.equal(value, head[name]) for name, value in model.head.state_dict().items())
    with pytest.raises(CheckpointError, match="recipe for mae"):
        replace(task, pretraining="deit").start(model, path, "made")
    torch.save({name: torch.zeros_like(value) for name, value in model.state_dict().items()}, path)
    task.start(model, path, "made")
    assert all((value == 0).all() for value in model.state_dict().values())


def test_a_recipe_without_its_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mae_pretrain_vit_base\.pth"):
        train(ostrack_256(), DataPaths(), tmp_path / "run")


# --- their data ---


def made(source: DatasetPairs) -> DatasetPairs:
    return replace(source, incomplete=True, followed=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    root = tmp_path_factory.mktemp("data")
    return DataPaths(folders=make_all(root), cache=root / "cache")


def test_samples_come_from_all_four_data_sets(data: DataPaths) -> None:
    stage, _, source = only_stage("ostrack_256")
    stage = replace(stage, template_size=32, search_size=64)
    samples: Any = made(source).samples(stage, data, [1])
    drawn = [samples.pairs.draw(np.random.default_rng(index)).footage for index in range(40)]
    assert set(drawn) == {0, 1, 2, 3}
    batch = next(iter(DataLoader(samples, batch_sampler=[[0, 1, 2, 3]])))
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert shapes == {
        "template": ((4, 3, 32, 32), torch.uint8),
        "search": ((4, 3, 64, 64), torch.uint8),
        "box": ((4, 4), torch.float32),
        "present": ((4,), torch.bool),
        "template_box": ((4, 4), torch.float32),
    }
    again = made(source).samples(stage, data, [1])
    assert torch.equal(again[3]["search"], batch["search"][3])


def test_held_out_samples_are_neither_flipped_nor_lit_anew(data: DataPaths) -> None:
    stage, _, source = only_stage("ostrack_256")
    held: Any = made(source).held_out(replace(stage, template_size=32, search_size=64), data, [1])
    augmentation = held.drawing.augmentation
    assert (augmentation.gray, augmentation.flip, augmentation.flip_one, augmentation.brightness) == (0, 0, 0, 0)
    assert augmentation.search_jitter == source.augmentation.search_jitter
    assert [part.split for part in held.pairs.footage] == ["votval"]


def test_sequences_to_follow_and_fingerprints(data: DataPaths) -> None:
    _, _, source = only_stage("ostrack_256_got10k")
    sequences = made(source).sequences(data)
    assert [sequence.name for sequence in sequences] == ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
    assert sequences[0].boxes_xywh.shape == (FRAMES, 4)
    prints = made(source).fingerprints(data)
    assert prints.keys() == {"got10k train", "got10k val"}
    assert all(len(value) == 64 for value in prints.values())


def test_missing_data_are_named_with_their_layout(data: DataPaths, tmp_path: Path) -> None:
    stage, _, source = only_stage("ostrack_256")
    some = DataPaths(folders={"lasot": data.folders["lasot"], "coco": data.folders["coco"]})
    with pytest.raises(InputError, match=r"got none for got10k, trackingnet; .* got10k: train/GOT-10k_Train_000001"):
        made(source).samples(stage, some, [0])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"training_set.txt not found in .*empty.* lasot: CLASS/CLASS-N/img"):
        made(source).samples(stage, replace(data, folders={**data.folders, "lasot": empty}), [0])
    root = make_lasot(tmp_path / "lasot", 1)
    with pytest.raises(InputError, match="1120 sequences expected, 1 found"):
        source.samples(stage, DataPaths(folders={**data.folders, "lasot": root}), [0])
