"""The way of docs/training.md at reduced size: four made data sets, each recipe, resume, export, evaluate, submit."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tests.training.made_data import make_all, make_got10k_test

from singletrack.cli.main import singletrack
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import build_ostrack
from singletrack.registry import MODELS
from singletrack.training.base import DataPaths, Recipe
from singletrack.training.data.video import DatasetPairs
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.ostrack import OSTRACK, PretrainedOSTrack
from singletrack.training.trainer import RunSettings, train

NAMES = ("ostrack_256", "ostrack_384", "ostrack_256_got10k", "ostrack_384_got10k")
TEMPLATE, SEARCH, STEPS = 32, 64, 10
SETTINGS = RunSettings(log_every=5, precision="fp32", boards=())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    root = tmp_path_factory.mktemp("data")
    return DataPaths(folders=make_all(root), cache=root / "cache")


def reduced(config: OSTrackConfig) -> OSTrackConfig:
    return replace(
        config,
        template_size=TEMPLATE,
        search_size=SEARCH,
        width=24,
        depth=3,
        heads=2,
        eliminate_in=(1, 2),
        head_channels=16,
    )


def reduced_recipe(name: str) -> Recipe:
    """The recipe with a narrow network, small crops and ten steps; all else stays."""
    recipe = OSTRACK[name]()
    (stage,) = recipe.stages
    task, source = stage.task, stage.source
    assert isinstance(task, PretrainedOSTrack)
    assert isinstance(source, DatasetPairs)
    stage = replace(
        stage,
        task=replace(task, config=reduced(task.config)),
        source=replace(source, incomplete=True, followed=1),
        template_size=TEMPLATE,
        search_size=SEARCH,
        steps=STEPS,
        batch=4,
        check_every=STEPS,
        check_samples=4,
    )
    return replace(recipe, stages=(stage,))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as MAE's, of the reduced network's size."""
    model = build_ostrack(reduced(MODELS["ostrack-256"].network))
    state = model.backbone.state_dict()
    weights = {name: value for name, value in state.items() if name.startswith(("blocks", "norm"))}
    weights |= {f"patch_embed.proj.{part}": state[f"patch_embed.{part}"] for part in ("weight", "bias")}
    path = tmp_path_factory.mktemp("weights") / "mae_pretrain_vit_base.pth"
    torch.save({"model": weights | {"pos_embed": torch.randn(1, 17, 24), "cls_token": torch.zeros(1, 1, 24)}}, path)
    return path


def call(*arguments: object) -> str:
    """Run a command line and return what it prints."""
    done = CliRunner().invoke(singletrack, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def runs(data: DataPaths, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each recipe's run folder, cut off after six steps and gone on with, once by its command."""
    folders = {}
    for name in NAMES:
        folders[name] = out = tmp_path_factory.mktemp("runs") / name
        train(reduced_recipe(name), data, out, weights=backbone, settings=SETTINGS, stop_after=6)
        if name != NAMES[0]:
            train(reduced_recipe(name), data, out, settings=SETTINGS, resume_run=True)
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(RECIPES, name, partial(reduced_recipe, name))
            patch.setenv("SINGLETRACK_CACHE", str(data.cache))
            folder_flags = [part for flag in data.folders.items() for part in ("--data", "{}={}".format(*flag))]
            call("train", name, *folder_flags, "--out", out, "--precision", "fp32", "--resume")
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_runs_and_goes_on(name: str, runs: dict[str, Path]) -> None:
    out = runs[name]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    assert 0 <= lines[-1]["ao"] <= 1
    assert 0 <= lines[-1]["argmax_iou"] <= 1
    facts = json.loads((out / "recipe.json").read_text())
    assert facts["started_from"]["name"] == "mae_pretrain_vit_base.pth"
    assert any("got10k" in key and len(value) == 64 for key, value in facts["data"].items())
    model = build_ostrack(reduced(MODELS["ostrack-256"].network))
    model.load_state_dict(load_file(out / "weights.safetensors"))


def test_a_run_cut_off_ends_as_one_that_was_not(
    runs: dict[str, Path], data: DataPaths, backbone: Path, tmp_path: Path
) -> None:
    whole = load_file(train(reduced_recipe(NAMES[0]), data, tmp_path / "whole", weights=backbone, settings=SETTINGS))
    resumed = load_file(runs[NAMES[0]] / "weights.safetensors")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_result_is_exported_evaluated_and_submitted(
    runs: dict[str, Path], data: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = MODELS["ostrack-256"]
    monkeypatch.setitem(MODELS, "ostrack-256", replace(spec, network=reduced(spec.network)))
    weights, onnx, run = runs["ostrack_256_got10k"] / "weights.safetensors", tmp_path / "model.onnx", tmp_path / "run"

    call("export", "ostrack-256", "--weights", weights, "--out", onnx)
    make_got10k_test(data.folders["got10k"])
    root = ("--root", data.folders["got10k"], "--model", onnx, "--device", "cpu")
    assert "AO" in call("evaluate", "got10k", "--split", "val", "--incomplete", "--out", tmp_path / "val", *root)
    call("evaluate", "got10k", "--out", run, *root)
    call("submit", "got10k", run, "--out", tmp_path / "got10k.zip")
    with zipfile.ZipFile(tmp_path / "got10k.zip") as archive:
        assert "GOT-10k_Test_000180/GOT-10k_Test_000180_001.txt" in archive.namelist()
