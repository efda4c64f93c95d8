"""What a run leaves to be read: facts, numbers, pictures, boards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.training.toys import NOTHING, changed, toy

from singletrack import errors
from singletrack.training import loggers
from singletrack.training.checkpoint import begin
from singletrack.training.loggers import Log, check_boards, revision
from singletrack.training.trainer import RunSettings, train

CPU = torch.device("cpu")


def test_a_run_writes_its_facts_its_log_and_pictures(tmp_path: Path) -> None:
    stages = tuple(changed(stage, check_every=4, check_samples=33) for stage in toy().stages)
    train(toy(stages=stages), NOTHING, tmp_path, settings=RunSettings(log_every=2))
    facts = json.loads((tmp_path / "recipe.json").read_text())
    assert (facts["recipe"]["name"], facts["recipe"]["seed"]) == ("toy", 42)
    assert (facts["started_from"], facts["data"]) == (None, {})
    (start,) = facts["starts"]
    assert start["torch"] == torch.__version__
    assert {"singletrack", "git", "processor", "command", "precision", "grad_accum_steps"} <= start.keys()
    assert start["processes"] == 1
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("one", 2), ("one", 4), ("two", 2), ("two", 4)]
    assert 0 <= lines[1]["argmax_iou"] <= 1
    assert "ao" not in lines[1]  # the toy follows nothing
    assert {"loss", "focal", "giou", "l1", "attention", "keep", "norm", "samples_per_second"} <= lines[0].keys()
    pictures = sorted((tmp_path / "pictures").glob("*.jpg"))
    assert [path.name for path in pictures] == ["0_000004.jpg", "1_000004.jpg"]
    assert cv2.imread(str(pictures[0])).shape == (6 * 64, 5 * 64, 3)  # two templates, search, score, attention
    assert cv2.imread(str(pictures[1])).shape == (6 * 96, 6 * 96, 3)  # and what was kept
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_log_counts_steps_over_all_stages(tmp_path: Path) -> None:
    recipe = toy()
    first, second = (begin(recipe, stage, None, CPU) for stage in (0, 1))
    log = Log(tmp_path, recipe, first, {})
    first.step, second.step = 3, 2
    assert [log.step(first), log.step(second)] == [3, 4 + 2]
    log.close()


def test_the_codes_revision_is_known_where_it_is_under_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = revision()
    if found is not None:  # the tests may run in a copy without git
        assert len(found["commit"]) == 40
        assert found["changed"] in (True, False)
    monkeypatch.setattr(loggers, "__file__", str(tmp_path / "logs.py"))
    assert revision() is None


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_hosted_board_gets_facts_numbers_and_pictures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []
    package = SimpleNamespace(
        init=lambda **options: calls.append(("init", options)),
        log=lambda values, step: calls.append(("log", (values, step))),
        Image=lambda pixels: ("image", pixels.shape),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, name, package)
    recipe = toy()
    progress = begin(recipe, 1, None, CPU)
    progress.step = 2
    log = Log(tmp_path / "", recipe, progress, {"processes": 1}, [name])
    log.write(progress, recipe.stages[1], {"loss": 1.5})
    log.picture(progress, np.zeros((4, 6, 3), np.uint8))
    log.close()
    kinds, values = zip(*calls, strict=True)
    assert kinds == ("init", "log", "log", "finish")
    assert (values[0]["project"], values[0]["name"]) == ("singletrack", tmp_path.name)
    assert values[0]["config"]["recipe"]["name"] == "toy"
    assert values[1] == ({"two/loss": 1.5}, 6)
    assert values[2] == ({"pairs": ("image", (4, 6, 3))}, 6)


def test_boards_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.InputError, match="unknown logger 'paper'; choose among tensorboard, wandb, trackio"):
        check_boards(["paper"])
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    with pytest.raises(errors.MissingDependencyError, match="wandb, which is not installed; run: pip install wandb"):
        check_boards(["wandb"])
