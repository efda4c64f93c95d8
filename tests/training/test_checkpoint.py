"""Where a run stands: rates, weights of other sizes and of files, frozen parts, and what is compared on resuming."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.training.toys import NOTHING, changed, one_stage, toy
from torch import nn

from singletrack.errors import CheckpointError, InputError, SingletrackError
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.training.base import Stage, epoch_at
from singletrack.training.checkpoint import begin, described, read_start, resume, save, set_training
from singletrack.training.recipes import RECIPES
from singletrack.training.schedules import learning_rate
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.trainer import train

CPU = torch.device("cpu")


def test_learning_rate_warms_up_and_ends_low() -> None:
    stage = changed(toy().stages[0], steps=110, warmup=10, last_lr=0.1)
    assert learning_rate(stage, 0) == pytest.approx(0.1)
    assert learning_rate(stage, 9) == pytest.approx(1.0)
    assert learning_rate(stage, 60) == pytest.approx(0.55)
    assert learning_rate(stage, 110) == pytest.approx(0.1)
    assert learning_rate(changed(stage, warmup_from=0.2), 4) == pytest.approx(0.6)
    falling = changed(stage, schedule="exponential", last_lr=0.01)
    assert [learning_rate(falling, step) for step in (10, 60, 110)] == pytest.approx([1, 0.1, 0.01])
    steps = changed(stage, schedule="step", warmup=0, steps=300, drop_at=0.8)
    assert [learning_rate(steps, step) for step in (0, 239, 240, 299)] == [1.0, 1.0, 0.1, 0.1]


def test_the_published_run_drops_its_rate_after_240_epochs() -> None:
    stage = changed(toy().stages[0], schedule="step", warmup=0, steps=300 * 468, drop_at=0.8)
    assert [learning_rate(stage, 240 * 468 + more) for more in (-1, 0)] == [1.0, 0.1]


def test_epochs_begin_with_their_first_step() -> None:
    steps = 300 * 468
    for epoch in range(1, 301):
        first = (epoch - 1) * 468
        assert [epoch_at(step / steps, 300) for step in (first, first + 467)] == [epoch, epoch]


def test_elimination_sets_in_by_epochs_of_the_stage() -> None:
    task = OSTrackTask(
        config=RECIPES["ostrack_tiny"]().stages[0].task.config,  # type: ignore[attr-defined]
        keep_ratio=0.7,
        keep_from=20,
        keep_over=80,
        epochs=300,
    )
    shares = [task.kept_share((epoch - 1) / 300) for epoch in (1, 20, 21, 60, 100, 300)]
    assert shares == pytest.approx([1, 1, 0.99988, 0.85, 0.7, 0.7], abs=1e-5)
    assert dataclasses.replace(task, keep_from=0, keep_over=0).kept_share(0.0) == 0.7


def test_weights_move_to_another_size_with_only_positions_changed() -> None:
    one, two = toy().stages
    small, large = one.task.build(one), two.task.build(two)
    moved = two.task.fitted(small.state_dict(), large)
    large.load_state_dict(moved)
    different = [name for name, value in small.state_dict().items() if value.shape != moved[name].shape]
    assert different == ["backbone.template_position", "backbone.search_position"]


def test_a_run_may_start_from_weights(tmp_path: Path) -> None:
    recipe = toy()
    last_stage = dataclasses.replace(recipe, stages=recipe.stages[1:])
    first = train(last_stage, NOTHING, tmp_path / "first")
    given, _ = read_start(recipe, first)
    model = begin(recipe, 0, given, CPU).model
    assert isinstance(model, OSTrack)
    assert model.config.search_size == 64
    for name, value in load_file(first).items():
        if "position" not in name:  # the only ones that change with the size of the stage
            assert torch.equal(value, model.state_dict()[name]), name

    second, fact = tmp_path / "second", {"name": "weights.safetensors", "sha256": hashed(first)}
    train(recipe, NOTHING, second, weights=first, stop_after=5)
    assert json.loads((second / "recipe.json").read_text())["started_from"] == fact
    with pytest.raises(InputError, match=f"the run in {second} started from weights.safetensors .*; got other"):
        train(recipe, NOTHING, second, weights=another(first, tmp_path), resume_run=True)
    train(recipe, NOTHING, second, weights=first, stop_after=1, resume_run=True)
    train(recipe, NOTHING, second, resume_run=True)
    facts = json.loads((second / "recipe.json").read_text())
    assert facts["started_from"] == fact
    assert [(start["stage"], start["step"]) for start in facts["starts"]] == [(0, 0), (1, 1), (1, 2)]


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def another(weights: Path, folder: Path) -> Path:
    """A file of other weights of the same network."""
    path = folder / "other.safetensors"
    save_safetensors({name: value + 1 for name, value in load_file(weights).items()}, path, "toy")
    return path


def test_a_run_from_nothing_is_not_resumed_from_weights(tmp_path: Path) -> None:
    weights = train(one_stage(), NOTHING, tmp_path, stop_after=1)
    with pytest.raises(InputError, match="started from nothing"):
        train(one_stage(), NOTHING, tmp_path, weights=weights, resume_run=True)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    config = toy().stages[0].task.config  # type: ignore[attr-defined]
    weights = tmp_path / "other.safetensors"
    save_safetensors(build_ostrack(dataclasses.replace(config, width=96)).state_dict(), weights, "toy")
    for path in (weights, tmp_path / "none.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            train(toy(), NOTHING, tmp_path / "run", weights=path)
        assert not (tmp_path / "run").exists()


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOnly(OSTrackTask):
    """Trains nothing but the head's blocks."""

    def groups(self, model: OSTrack, stage: Stage) -> list[dict[str, Any]]:
        return [{"params": list(model.head.blocks.parameters()), "lr": stage.lr, "peak": stage.lr}]


def test_what_is_in_no_group_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    stage = toy().stages[0]
    fields = {field.name: getattr(stage.task, field.name) for field in dataclasses.fields(stage.task)}
    recipe = toy(stages=(changed(stage, task=HeadOnly(**fields)),), ema=0.0, optimizer="sgd")
    before = begin(recipe, 0, None, CPU).model.state_dict()
    after = load_file(train(recipe, NOTHING, tmp_path))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith("head.blocks.") for name in moved)
    assert any("running_mean" in name for name in moved)


def test_norms_of_frozen_parts_stay_in_evaluation() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    model[1].requires_grad_(False)
    set_training(model)
    assert [module.training for module in model] == [True, False, True]


def test_a_recipe_is_described_with_the_kinds_of_its_parts() -> None:
    said = described(toy())
    assert said["stages"][0]["task"]["kind"] == "OSTrackTask"
    assert said["stages"][0]["source"]["kind"] == "SyntheticPairs"
    assert said == json.loads(json.dumps(said)) == described(toy())
    assert said != described(toy(stages=(changed(toy().stages[0], source={"picture_size": 97}), toy().stages[1])))


def test_weights_are_named_by_their_model(tmp_path: Path) -> None:
    train(one_stage(), NOTHING, tmp_path, stop_after=1)
    with safe_open(tmp_path / "weights.safetensors", "pt") as weights:
        assert weights.metadata()["model"] == "toy"


@pytest.mark.parametrize("content", [b"", b"garbage", "half", b"\x80\x02}r\x00\x00\x00\x20."])
def test_a_broken_file_to_resume_from_is_named(content: bytes | str, tmp_path: Path) -> None:  # C24
    recipe = toy()
    save(begin(recipe, 0, None, torch.device("cpu")), recipe, tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if isinstance(content, str) else content)
    with pytest.raises(CheckpointError, match=r"cannot resume from .*last\.pt, which is damaged"):
        resume(recipe, tmp_path, torch.device("cpu"))
    torch.save({"recipe": described(recipe)}, path)
    with pytest.raises(CheckpointError, match=r"cannot resume from .*last\.pt, which is damaged \(KeyError"):
        resume(recipe, tmp_path, torch.device("cpu"))


def test_a_full_disk_is_told(tmp_path: Path) -> None:  # C24
    recipe = toy()
    progress = begin(recipe, 0, None, torch.device("cpu"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(SingletrackError, match="cannot write"):
            save(progress, recipe, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
