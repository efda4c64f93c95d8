"""The loop at toy size: it learns, resumes to the same numbers, refuses what it must, and shares a batch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from singletrack.cli.main import singletrack
from singletrack.datasets.pictures import Procedural
from singletrack.datasets.scenes import PairSettings
from singletrack.errors import CheckpointError, InputError
from singletrack.geometry.crops import normalise
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.ostrack import CONFIGS, build_ostrack
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training import loop
from singletrack.training.loop import (
    Log,
    begin,
    kept_share,
    learning_rate,
    model_name,
    resized,
    staged,
    train,
    validate,
)
from singletrack.training.losses import LossWeights
from singletrack.training.recipes import RECIPES, Recipe, Stage, shortened

PICTURES = Procedural(96)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks of toy size gain nothing from more, and sums keep their order in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy(**changes: object) -> Recipe:
    """Two stages of four steps on a network of three narrow blocks."""
    config = dataclasses.replace(
        CONFIGS["ostrack-tiny"],
        width=48,
        depth=3,
        eliminate_in=(1, 2),
        attention_to_head=(1, 2),
        grid_convolutions=2,
        head_channels=16,
    )
    loss = LossWeights(attention=1.0, dense=True)
    one = Stage(
        name="one",
        template_size=32,
        search_size=64,
        steps=4,
        batch=4,
        lr=1e-3,
        head_lr=1e-3,
        warmup=2,
        loss=loss,
    )
    two = dataclasses.replace(one, name="two", template_size=48, search_size=96, keep_ratio=0.7)
    recipe = Recipe(
        name="toy",
        config=config,
        stages=(one, two),
        ema=0.9,
        clip=1.0,
        from_similarity=True,
    )
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def test_it_learns(tmp_path: Path) -> None:
    easy = PairSettings(anywhere=0.0, scale=0.1, occluded=0.0, absent=0.0)
    stage = dataclasses.replace(toy().stages[0], steps=40, batch=8, lr=3e-3, head_lr=1e-2, warmup=5, pairs=easy)
    train(toy(stages=(stage,)), PICTURES, PICTURES, tmp_path, log_every=1, validation_pairs=1)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_the_verb_goes_on_with_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        cv2.imwrite(str(photos / f"{index}.png"), PICTURES.draw(np.random.default_rng(index)))
    monkeypatch.setitem(RECIPES, "toy", toy)
    short = functools.partial(train, validation_pairs=2)

    def run(out: str, *flags: str, stop_after: int | None = None) -> Result:
        monkeypatch.setattr(loop, "train", functools.partial(short, stop_after=stop_after))
        arguments = ["train", "toy", "--photos", photos, "--out", tmp_path / out, "--steps", 4, "--batch", 2, *flags]
        return CliRunner().invoke(singletrack, [str(argument) for argument in arguments])

    assert run("whole").exit_code == 0
    assert run("cut", stop_after=3).exit_code == 0
    again = run("cut")
    assert isinstance(again.exception, InputError)
    assert "--resume" in str(again.exception)
    done = run("cut", "--resume")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "cut" / "weights.safetensors") in done.output
    same_state(tmp_path / "whole", tmp_path / "cut")


def test_a_run_cut_off_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = toy()
    whole = load_file(train(recipe, PICTURES, PICTURES, tmp_path / "whole"))
    train(recipe, PICTURES, PICTURES, tmp_path / "cut", stop_after=3)
    train(recipe, PICTURES, PICTURES, tmp_path / "cut", stop_after=3, resume_run=True)
    resumed = load_file(train(recipe, PICTURES, PICTURES, tmp_path / "cut", resume_run=True))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    final = dataclasses.replace(recipe.config, template_size=48, search_size=96)
    build_ostrack(final).load_state_dict(whole)


def test_a_run_may_start_from_weights(tmp_path: Path) -> None:
    recipe = toy(config=dataclasses.replace(toy().config, template_size=48, search_size=96))
    last_stage = dataclasses.replace(recipe, stages=recipe.stages[1:])
    first = train(last_stage, PICTURES, PICTURES, tmp_path / "first")
    given, facts = loop.read_start(recipe, first)
    progress = begin(recipe, 0, given, torch.device("cpu"), facts)
    assert progress.model.config.search_size == 64
    for name, value in load_file(first).items():
        if "position" not in name:  # the only ones that change with the size of the stage
            assert torch.equal(value, progress.model.state_dict()[name]), name

    train(recipe, PICTURES, PICTURES, tmp_path / "second", weights=first, stop_after=5)
    fact = {"name": "weights.safetensors", "sha256": hashlib.sha256(first.read_bytes()).hexdigest()}
    assert json.loads((tmp_path / "second" / "recipe.json").read_text())["started_from"] == fact
    train(recipe, PICTURES, PICTURES, tmp_path / "second", resume_run=True)
    assert json.loads((tmp_path / "second" / "recipe.json").read_text())["started_from"] == fact


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = toy(config=dataclasses.replace(toy().config, width=96))
    weights = tmp_path / "other.safetensors"
    save_safetensors(build_ostrack(other.config).state_dict(), weights, "toy")
    for path in (weights, tmp_path / "none.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            train(toy(), PICTURES, PICTURES, tmp_path / "run", weights=path)
        assert not (tmp_path / "run" / "last.pt").exists()


def test_a_run_writes_its_facts_its_log_and_pictures(tmp_path: Path) -> None:
    train(toy(), PICTURES, PICTURES, tmp_path, log_every=2, check_every=4, validation_pairs=32)
    facts = json.loads((tmp_path / "recipe.json").read_text())
    assert facts["recipe"]["name"] == "toy"
    assert facts["started_from"] is None
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("one", 2),
        ("one", 4),
        ("two", 2),
        ("two", 4),
    ]
    assert 0 <= lines[1]["argmax_iou"] <= 1
    assert {"loss", "focal", "giou", "l1", "attention", "norm", "pairs_per_second"} <= lines[0].keys()
    assert len(list((tmp_path / "pictures").glob("*.jpg"))) == 2
    assert list((tmp_path / "tensorboard").iterdir())
    with safe_open(tmp_path / "weights.safetensors", "pt") as weights:
        assert weights.metadata()["model"] == "toy"


def test_weights_are_named_by_their_network() -> None:
    assert model_name(RECIPES["ostrack_tiny"]()) == "ostrack-tiny"
    assert model_name(shortened(RECIPES["ostrack_tiny"](), 10)) == "ostrack-tiny"


def test_training_normalises_as_tracking_does() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    settings = OSTrackSettings()
    seen = loop.normalise(torch.from_numpy(crop).permute(2, 0, 1)[None], torch.device("cpu"))
    np.testing.assert_allclose(seen, normalise(crop, settings.mean, settings.std), atol=1e-6)


@pytest.mark.parametrize("pairs", [1, 33])
def test_every_held_out_pair_is_validated(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def overlaps(a_xyxy: torch.Tensor, b_xyxy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(b_xyxy)
        return a_xyxy[:, 0], torch.arange(len(a_xyxy)) / len(a_xyxy)

    monkeypatch.setattr(loop, "giou", overlaps)
    progress = begin(toy(), 0, None, torch.device("cpu"))
    mean = validate(progress, toy(), PICTURES, pairs, torch.device("cpu"))
    assert [len(boxes) for boxes in seen] == [min(pairs, 32), pairs - 32][: len(seen)]
    assert sum(map(len, seen)) == pairs
    assert len(torch.cat(seen).unique(dim=0)) == pairs
    assert mean == pytest.approx(sum(i / 32 for i in range(32)) / 33 if pairs == 33 else 0)


def test_the_log_counts_steps_over_all_stages(tmp_path: Path) -> None:
    recipe = toy()
    log = Log(tmp_path, recipe, 1)
    first, second = (begin(recipe, stage, None, torch.device("cpu")) for stage in (0, 1))
    first.step, second.step = 3, 2
    assert [log.step(first), log.step(second)] == [3, 4 + 2]
    log.close()


def test_elimination_of_the_recipe_sets_in_by_fractions_of_the_stage() -> None:
    stage = dataclasses.replace(toy().stages[0], steps=4000, keep_ratio=0.7, keep_from=0.25, keep_over=0.5)
    shares = [kept_share(stage, step) for step in (0, 999, 1000, 2000, 2003, 3000, 3999)]
    assert shares == pytest.approx([1, 1, 1, 0.85, 0.85, 0.7, 0.7])
    assert kept_share(dataclasses.replace(stage, keep_from=0.0, keep_over=0.0), 0) == 0.7


def test_workers_change_nothing_and_are_no_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy(stages=toy().stages[:1])
    inline = load_file(train(recipe, PICTURES, PICTURES, tmp_path / "inline"))
    monkeypatch.delattr(os, "fork")  # of a process with threads: Python 3.12 warns
    workers = load_file(train(recipe, PICTURES, PICTURES, tmp_path / "workers", workers=1))
    assert all(torch.equal(value, workers[name]) for name, value in inline.items())


def test_what_must_be_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        train(toy(), PICTURES, PICTURES, tmp_path, resume_run=True)
    train(toy(), PICTURES, PICTURES, tmp_path, stop_after=1)
    with pytest.raises(InputError, match="validation_pairs"):
        train(toy(), PICTURES, PICTURES, tmp_path, validation_pairs=0)
    with pytest.raises(InputError, match="--resume"):
        train(toy(), PICTURES, PICTURES, tmp_path)
    with pytest.raises(CheckpointError, match="clip"):
        train(toy(clip=2.0), PICTURES, PICTURES, tmp_path, resume_run=True)


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_loop import PICTURES, toy
from singletrack.training.loop import train
train(toy(stages=toy().stages[:1]), PICTURES, PICTURES, Path({out!r}))
"""


def test_two_processes_share_a_batch_and_leave_one_log(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), out=str(tmp_path / "out")))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert (tmp_path / "out" / "weights.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_step_is_obeyed_at_its_end(number: int, tmp_path: Path) -> None:
    recipe, handler = toy(), signal.getsignal(number)
    hook = register_optimizer_step_pre_hook(lambda *_: os.kill(os.getpid(), number))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, PICTURES, PICTURES, tmp_path / "cut")
    finally:
        hook.remove()
    assert signal.getsignal(number) is handler
    train(recipe, PICTURES, PICTURES, tmp_path / "one", stop_after=1)
    same_state(tmp_path / "cut", tmp_path / "one")


def same_state(one: Path, two: Path) -> None:
    """Both runs stand at the same step with the same weights and the same averages."""
    left, right = (torch.load(out / "last.pt", weights_only=True) for out in (one, two))
    assert (left["stage"], left["step"], left["updates"]) == (right["stage"], right["step"], right["updates"])
    for part in ("model", "average"):
        assert all(torch.equal(value, right[part][name]) for name, value in left[part].items())


INTERRUPTED = """
import functools, sys
sys.path.insert(0, {here!r})
from test_loop import long_toy
from singletrack.cli.main import main
from singletrack.training import loop, recipes
recipes.RECIPES["toy"] = long_toy
loop.train = functools.partial(loop.train, log_every=1)
sys.exit(main(["train", "toy", "--out", {out!r}]))
"""


def long_toy() -> Recipe:
    """One stage that does not end by itself within a test."""
    return toy(stages=(dataclasses.replace(toy().stages[0], steps=1000),))


def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(INTERRUPTED.format(here=str(Path(__file__).parent), out=str(tmp_path / "cut")))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("one 1/1000")
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "singletrack: stopped" in errors
    taken = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)["step"]
    train(long_toy(), Procedural(), Procedural(), tmp_path / "cut", stop_after=2, resume_run=True)
    train(long_toy(), Procedural(), Procedural(), tmp_path / "whole", stop_after=taken + 2)
    same_state(tmp_path / "cut", tmp_path / "whole")


def test_learning_rate_warms_up_and_ends_low() -> None:
    stage = Stage(
        name="s",
        template_size=32,
        search_size=64,
        steps=110,
        batch=1,
        lr=1,
        head_lr=1,
        warmup=10,
        last_lr=0.1,
    )
    assert learning_rate(stage, 0) == pytest.approx(0.1)
    assert learning_rate(stage, 9) == pytest.approx(1.0)
    assert learning_rate(stage, 60) == pytest.approx(0.55)
    assert learning_rate(stage, 110) == pytest.approx(0.1)
    steps = dataclasses.replace(stage, schedule="step", warmup=0, steps=300, drop_at=0.8)
    assert [learning_rate(steps, s) for s in (0, 239, 240, 299)] == [1.0, 1.0, 0.1, 0.1]


def test_weights_move_to_another_size_with_only_positions_changed() -> None:
    recipe = toy()
    small, large = staged(recipe, recipe.stages[0]), staged(recipe, recipe.stages[1])
    moved = resized(small.state_dict(), large)
    large.load_state_dict(moved)
    changed = [name for name, value in small.state_dict().items() if value.shape != moved[name].shape]
    assert changed == ["backbone.template_position", "backbone.search_position"]


def test_a_shortened_recipe_keeps_its_shares() -> None:
    recipe = RECIPES["ostrack_tiny"]()
    whole = sum(stage.steps for stage in recipe.stages)
    half = shortened(recipe, whole // 2)
    assert [2 * stage.steps for stage in half.stages] == [stage.steps for stage in recipe.stages]
    assert [stage.steps for stage in shortened(recipe, 1).stages] == [1] * len(recipe.stages)


def test_every_recipe_is_whole() -> None:
    for name, make in RECIPES.items():
        recipe = make()
        assert recipe.name == name
        last = recipe.stages[-1]
        assert (last.template_size, last.search_size) == (
            recipe.config.template_size,
            recipe.config.search_size,
        )
