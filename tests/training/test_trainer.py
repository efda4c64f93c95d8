"""The loop at toy size: it learns, resumes to the same numbers, and refuses what it must."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from tests.training.toys import ALONE, NOTHING, changed, one_stage, same_state, toy
from torch.optim.optimizer import register_optimizer_step_pre_hook

from singletrack.cli.main import singletrack
from singletrack.datasets.photos import Procedural
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.errors import CheckpointError, InputError, SingletrackError
from singletrack.models.configs import stored_fields
from singletrack.training import trainer
from singletrack.training.amp import Autocast
from singletrack.training.base import Recipe
from singletrack.training.checkpoint import begin
from singletrack.training.data.loading import shares
from singletrack.training.recipes import RECIPES, shortened
from singletrack.training.trainer import RunSettings, train, train_step

HERE = str(Path(__file__).resolve().parents[2])


def lines_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_it_learns(tmp_path: Path) -> None:
    easy = {"pairs": PairSettings(anywhere=0.0, scale=0.1, occluded=0.0, absent=0.0)}
    recipe = one_stage(steps=40, batch=8, lr=3e-3, head_lr=1e-2, warmup=5, source=easy)
    train(recipe, NOTHING, tmp_path, settings=RunSettings(log_every=1))
    losses = [line["loss"] for line in lines_of(tmp_path)]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


# --- cut off and gone on ---


def test_the_verb_goes_on_with_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        cv2.imwrite(str(photos / f"{index}.png"), Procedural(96).draw(np.random.default_rng(index)))
    monkeypatch.setitem(RECIPES, "toy", toy)

    def run(out: str, *flags: str, stop_after: int | None = None) -> Result:
        monkeypatch.setattr(trainer, "train", functools.partial(train, stop_after=stop_after))
        arguments = ["train", "toy", "--photos", photos, "--out", tmp_path / out, "--steps", 4, "--batch", 2, *flags]
        return CliRunner().invoke(singletrack, [str(argument) for argument in arguments])

    assert run("whole").exit_code == 0
    assert run("cut", stop_after=3).exit_code == 0
    again = run("cut")
    assert isinstance(again.exception, InputError)
    assert "--resume" in str(again.exception)
    (photos / "4.png").write_bytes((photos / "3.png").read_bytes())
    other = run("cut", "--resume")
    assert isinstance(other.exception, CheckpointError)
    assert "is from other data: photos differ" in str(other.exception)
    (photos / "4.png").unlink()
    done = run("cut", "--resume")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "cut" / "weights.safetensors") in done.output
    same_state(tmp_path / "whole", tmp_path / "cut")


def test_a_run_cut_off_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = toy()
    whole = load_file(train(recipe, NOTHING, tmp_path / "whole"))
    train(recipe, NOTHING, tmp_path / "cut", stop_after=3)
    train(recipe, NOTHING, tmp_path / "cut", stop_after=3, resume_run=True)
    train(recipe, NOTHING, tmp_path / "cut", resume_run=True)
    same_state(tmp_path / "whole", tmp_path / "cut")
    last = recipe.stages[-1]
    last.task.build(last).load_state_dict(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_step_is_obeyed_at_its_end(number: int, tmp_path: Path) -> None:
    recipe, handler = toy(), signal.getsignal(number)
    hook = register_optimizer_step_pre_hook(lambda *_: os.kill(os.getpid(), number))
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, NOTHING, tmp_path / "cut")
    finally:
        hook.remove()
    assert signal.getsignal(number) is handler
    train(recipe, NOTHING, tmp_path / "one", stop_after=1)
    same_state(tmp_path / "cut", tmp_path / "one")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_validation_is_obeyed_at_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = one_stage(steps=4, check_every=2)
    followed: list[int] = []

    def follow(model: object, stage: object, data: object, distributed: object, stop: Callable[[], bool]) -> float:
        for frame in range(1000):
            if frame == 3 and not followed:
                os.kill(os.getpid(), number)
            if stop():
                break
        followed.append(frame)
        return 0.5 + 0.1 * len(followed)

    monkeypatch.setattr(trainer, "tracking_overlap", follow)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, NOTHING, tmp_path / "cut")
    assert followed == [3]  # at once, not after the whole validation
    assert "stopping after this step" in capfd.readouterr().err
    state = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)
    assert (state["step"], state["best"]) == (2, None)
    assert state["pending"]["loss"] > 0
    train(recipe, NOTHING, tmp_path / "cut", resume_run=True)
    assert followed == [3, 999, 999]  # the validation that was cut, and the last one
    monkeypatch.setattr(trainer, "tracking_overlap", lambda *_: None)
    train(recipe, NOTHING, tmp_path / "whole")
    for name in ("last.pt", "weights.safetensors"):
        assert (tmp_path / "cut" / name).exists()
    cut, whole = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("cut", "whole"))
    assert all(torch.equal(cut["model"][key], value) for key, value in whole["model"].items())
    steps = [json.loads(line).get("step") for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [step for step in steps if step is not None].count(2) == 1


INTERRUPTED = """
import functools, sys
sys.path.insert(0, {here!r})
from tests.training.test_trainer import long_toy
from singletrack.cli.main import main
from singletrack.training import recipes, trainer
recipes.RECIPES["toy"] = long_toy
trainer.RunSettings = functools.partial(trainer.RunSettings, log_every=1, save_seconds=0.0)
sys.exit(main(["train", "toy", "--out", {out!r}]))
"""


def long_toy() -> Recipe:
    """One stage that does not end by itself within a test."""
    return one_stage(steps=1000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_goes_on_to_the_same_numbers(number: int, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(INTERRUPTED.format(here=HERE, out=str(tmp_path / "cut")))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("one 1/1000")
        assert run.stdout.readline().startswith("one 2/1000")
        run.send_signal(number)
        _, errors = run.communicate(timeout=60)
    if number == signal.SIGINT:
        assert run.returncode == 130, errors
        assert "singletrack: interrupted" in errors
    else:
        assert run.returncode == -signal.SIGKILL
    taken = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)["step"]
    train(long_toy(), NOTHING, tmp_path / "cut", stop_after=2, resume_run=True)
    train(long_toy(), NOTHING, tmp_path / "whole", stop_after=taken + 2)
    same_state(tmp_path / "cut", tmp_path / "whole")


# --- what changes no numbers, and what little ---


def test_workers_change_nothing_and_are_no_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = one_stage()
    train(recipe, NOTHING, tmp_path / "inline")
    monkeypatch.delattr(os, "fork")  # of a process with threads: Python 3.12 warns
    train(recipe, NOTHING, tmp_path / "workers", settings=RunSettings(workers=1))
    same_state(tmp_path / "inline", tmp_path / "workers")


def test_the_shares_of_a_batch_are_the_batch() -> None:
    assert shares(2, 4, 6, 0, 1) == [range(12, 18), range(18, 24)]
    assert shares(2, 4, 6, 1, 3) == [range(14, 16), range(20, 22)]


def gradients(
    recipe: Recipe, grad_accum_steps: int = 1, precision: str = "fp32"
) -> tuple[dict[str, float], torch.Tensor]:
    """The numbers of one step on eight samples, two of them without a target, and all gradients in a row."""
    progress = begin(recipe, 0, None, torch.device("cpu"))
    stage = recipe.stages[0]
    samples = stage.source.samples(stage, NOTHING, [0])
    drawn = [samples[index] for index in range(8)]
    batch = {name: torch.stack([sample[name] for sample in drawn]) for name in drawn[0]}
    batch["present"][:2] = False
    progress.model.train()
    for module in progress.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # whose statistics are those of a part
            module.eval()
    network = Autocast(progress.model, precision, torch.device("cpu"))
    numbers = train_step(network, progress, batch, recipe, ALONE, grad_accum_steps)
    return numbers, torch.cat([p.grad.flatten() for p in progress.model.parameters() if p.grad is not None])


def test_a_batch_in_parts_is_the_same_batch() -> None:
    recipe = one_stage(batch=8)
    (whole, one), (parts, four) = gradients(recipe), gradients(recipe, grad_accum_steps=4)
    assert parts == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(four, one, rtol=1e-4, atol=1e-6)


def test_a_batch_whose_targets_are_all_gone_is_learned_from(tmp_path: Path) -> None:
    recipe = one_stage(steps=1, source={"pairs": PairSettings(in_place=0.0, absent=1.0)})
    train(recipe, NOTHING, tmp_path)
    (line,) = lines_of(tmp_path)
    assert line["loss"] == line["focal"] > 0
    assert line["giou"] == line["l1"] == line["attention"] == 0


def test_activations_may_be_computed_twice(tmp_path: Path) -> None:
    recipe = one_stage()
    train(recipe, NOTHING, tmp_path / "once")
    train(recipe, NOTHING, tmp_path / "twice", settings=RunSettings(activation_checkpointing=True))
    same_state(tmp_path / "once", tmp_path / "twice")


def test_the_network_may_be_compiled(tmp_path: Path) -> None:
    recipe = one_stage(steps=2)
    for name, compiler in (("plain", None), ("compiled", "aot_eager")):
        train(recipe, NOTHING, tmp_path / name, settings=RunSettings(precision="fp32", compiler=compiler, log_every=1))
    plain, compiled = ([line["loss"] for line in lines_of(tmp_path / name)] for name in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-4)


# --- what must be refused, and what is lost ---


def test_what_must_be_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint not found"):
        train(toy(), NOTHING, tmp_path, resume_run=True)
    train(toy(), NOTHING, tmp_path, stop_after=1)
    with pytest.raises(InputError, match="--resume"):
        train(toy(), NOTHING, tmp_path)
    with pytest.raises(CheckpointError, match="clip"):
        train(toy(clip=2.0), NOTHING, tmp_path, resume_run=True)
    with pytest.raises(CheckpointError, match="stages"):
        train(one_stage(), NOTHING, tmp_path, resume_run=True)
    with pytest.raises(InputError, match="not divisible by 3"):
        train(toy(), NOTHING, tmp_path / "other", settings=RunSettings(grad_accum_steps=3))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_lost_loss_ends_the_run_and_keeps_the_last_checkpoint(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = one_stage()
    train(recipe, NOTHING, tmp_path, stop_after=2)
    before = (tmp_path / "last.pt").read_bytes()
    right = type(recipe.stages[0].task).loss

    def wrong(self: object, network: object, batch: object, progress: float) -> object:
        total, log = right(self, network, batch, progress)
        return (total * float("nan"), log) if bad == "loss" else (total + (total - total.detach()).sqrt(), log)

    monkeypatch.setattr(type(recipe.stages[0].task), "loss", wrong)
    with pytest.raises(SingletrackError, match=r"loss and gradient must be finite; .* at step 3 of stage one"):
        train(recipe, NOTHING, tmp_path, resume_run=True)
    assert (tmp_path / "last.pt").read_bytes() == before


# --- recipes ---


def test_a_shortened_recipe_keeps_its_shares() -> None:
    recipe = RECIPES["ostrack_tiny"]()
    whole = sum(stage.steps for stage in recipe.stages)
    half = shortened(recipe, whole // 2)
    assert [2 * stage.steps for stage in half.stages] == [stage.steps for stage in recipe.stages]
    assert [stage.steps for stage in shortened(recipe, 1).stages] == [1] * len(recipe.stages)


def test_tired_runs_leave_their_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlaps = iter([0.5, 0.4, 0.3, 0.6, 0.7])
    monkeypatch.setattr(trainer, "tracking_overlap", lambda *_: next(overlaps))
    stage = changed(toy().stages[0], check_every=1, steps=10)
    train(toy(stages=(stage,), patience=2), NOTHING, tmp_path, settings=RunSettings(log_every=1))
    assert [line["ao"] for line in lines_of(tmp_path)] == [0.5, 0.4, 0.3]
    best, last = (load_file(tmp_path / f"{name}.safetensors") for name in ("best", "weights"))
    assert any(not torch.equal(value, last[name]) for name, value in best.items())
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["step"], state["best"], state["checks_since_best"]) == (3, {"ao": 0.5, "step": 1}, 2)


def test_weights_carry_the_ratio_that_they_were_trained_with(tmp_path: Path) -> None:
    recipe = one_stage(task={"keep_ratio": 0.5}, steps=1)
    weights = train(recipe, NOTHING, tmp_path)
    assert stored_fields(weights)["keep_ratio"] == 0.5


def test_weights_are_kept_every_few_steps(tmp_path: Path) -> None:
    train(one_stage(steps=5), NOTHING, tmp_path, settings=RunSettings(keep_every=2))
    kept = sorted(path.name for path in tmp_path.glob("weights-*.safetensors"))
    assert kept == ["weights-one-0000002.safetensors", "weights-one-0000004.safetensors"]
    states = [load_file(tmp_path / name) for name in (*kept, "weights.safetensors")]
    assert states[0].keys() == states[2].keys()
    moved = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(states)]
    assert moved == [True, True]


def test_memory_is_noted_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    assert trainer.memory_used(torch.device("cuda", 0)) == {"gpu_gib": 1.5}
    assert trainer.memory_used(torch.device("cpu")) == {}
