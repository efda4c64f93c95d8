"""`convert`, `export` and `train`: what they need, and where they cannot write."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from singletrack import engines
from singletrack.cli.main import main
from singletrack.engines import TRAIN_EXTRA
from singletrack.install import install_command
from singletrack.models.configs import stored_fields
from singletrack.registry import MODELS
from singletrack.training import trainer
from singletrack.training.recipes import RECIPES

CALLS = {
    "convert": ["convert", "in.safetensors", "--model", "ostrack-tiny", "--out", "new.safetensors"],
    "export": ["export", "ostrack-tiny", "--out", "new.onnx"],
    "train": ["train", "ostrack_tiny", "--out", "run"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the verbs run in: it holds the files clip.mp4 and in.safetensors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_text("older")
    (tmp_path / "in.safetensors").write_text("weights")
    return tmp_path


def save_weights(path: Path) -> None:
    from singletrack.models.checkpoints import save_safetensors
    from singletrack.models.ostrack import build_ostrack

    save_safetensors(build_ostrack(MODELS["ostrack-tiny"].network).state_dict(), path, "ostrack-tiny")


def test_packages_are_those_of_the_extra() -> None:
    listed = [line for line in requires("singletrack") or [] if re.search(r"extra == .train.", line)]
    assert [re.split(r"[<>=; ]", line)[0] for line in listed] == list(TRAIN_EXTRA[0])


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("package", TRAIN_EXTRA[0])
def test_a_missing_package_is_named(
    verb: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == package else find(name))
    assert main(CALLS[verb]) == 1
    assert capsys.readouterr().err.endswith(f"{package}, which is not installed; run: {install_command('train')}\n")


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("place", ["clip.mp4", "/proc"])
def test_place_that_cannot_be_written(verb: str, place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if place == "/proc" and sys.platform != "linux":
        pytest.skip("only Linux has a folder where nobody can write")
    *arguments, name = CALLS[verb]
    assert main([*arguments, f"{place}/{name}"]) == (2 if place == "clip.mp4" else 1)
    expected = "expected a folder, to write {}" if place == "clip.mp4" else "cannot write {}"
    assert capsys.readouterr().err.startswith(f"singletrack: {expected.format(f'{place}/{name}')}")
    assert sorted(entry.name for entry in folder.iterdir()) == ["clip.mp4", "in.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ostrack_tiny", "--device", "foo"], "PyTorch has no device 'foo' here; choose"),
        (
            ["train", "huge"],
            f"unknown recipe 'huge'; choose one of singletrack/training/recipes, such as {next(iter(RECIPES))}, ",
        ),
        (
            ["train", "ostrack_266"],
            "unknown recipe 'ostrack_266'; choose one of singletrack/training/recipes, such as ostrack_256, ",
        ),
        ([*CALLS["convert"][:-1], "x.onnx"], "output file must end in .safetensors; got x.onnx; change its name"),
        ([*CALLS["export"][:-1], "x.xml"], "output file must end in .onnx; got x.xml; change its name"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"singletrack: {message}")
    assert sorted(entry.name for entry in folder.iterdir()) == ["clip.mp4", "in.safetensors"]


@pytest.mark.parametrize("device", ["auto", "CPU"])
def test_device_of_train(device: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr(trainer, "train", lambda *_, settings, **options: asked.append(settings.device))
    assert main([*CALLS["train"], "--device", device]) == 0
    assert asked == ["cpu"]


def test_weights_to_start_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | None] = []
    monkeypatch.setattr(trainer, "train", lambda *_, weights, **options: asked.append(weights))
    assert main(CALLS["train"]) == 0
    assert main([*CALLS["train"], "--weights", "in.safetensors"]) == 0
    assert asked == [None, Path("in.safetensors")]


def test_weights_to_start_from_that_do_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CALLS["train"], "--weights", "clip.mp4"]) == 1
    assert capsys.readouterr().err.startswith("singletrack: expected safetensors or a PyTorch checkpoint; got clip.mp4")


@pytest.mark.parametrize("out", ["photos", "photos/runs/new", "elsewhere/../photos/run"])
def test_a_run_among_the_photos(out: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "photos").mkdir()
    assert main(["train", "ostrack_tiny", "--photos", "photos", "--out", out]) == 2
    assert capsys.readouterr().err.startswith(
        f"singletrack: the output folder must be outside the input folder; got {out} in photos, where"
    )
    assert not list((folder / "photos").iterdir())


def test_train_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ostrack_tiny", "--out", "clip.mp4"]) == 2
    assert "expected a folder; clip.mp4 is a file" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_converted_weights_may_be_read_by_others(folder: Path) -> None:
    save_weights(folder / "in.safetensors")
    assert main([*CALLS["convert"][:-1], "deep/new.safetensors"]) == 0
    mask = os.umask(0o022)
    os.umask(mask)
    assert (folder / "deep" / "new.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask
    assert [entry.name for entry in (folder / "deep").iterdir()] == ["new.safetensors"]


def test_converted_weights_carry_a_keep_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(Path("own.safetensors"))
    base = ["convert", "own.safetensors", "--model", "ostrack-tiny", "--out"]
    assert main([*base, "first.safetensors", "--keep-ratio", "1"]) == 0
    assert stored_fields("first.safetensors")["keep_ratio"] == 1.0
    assert main(["convert", "first.safetensors", "--model", "ostrack-tiny", "--out", "second.safetensors"]) == 0
    assert stored_fields("second.safetensors") == stored_fields("first.safetensors")
    assert main([*base, "third.safetensors"]) == 0
    assert stored_fields("third.safetensors") == {}
    assert main([*base, "fourth.safetensors", "--keep-ratio", "2"]) == 2
    assert "keep ratio must be above 0" in capsys.readouterr().err


def test_a_run_that_cannot_begin_leaves_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ostrack_tiny", "--photos", "nowhere", "--out", "run"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("command", ["profile", "export --out a.onnx", "finetune --data folder=."])
def test_the_nearest_model_is_named(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb, *options = command.split()
    assert main([verb, "ostrack-tinny", *options, *(["--out", "run"] if verb == "finetune" else [])]) == 2
    assert capsys.readouterr().err.rstrip().endswith("did you mean ostrack-tiny?")
