"""The README's own commands and code, run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.ostrack import build_ostrack
from singletrack.registry import MODELS
from singletrack.video import VideoWriter

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every line of the shell blocks, its comment left out."""
    lines = [line.split("  #")[0].split(" #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the README speaks of: clip.mp4, sequences, photos; removed at the end, as it grows much."""
    folder = tmp_path_factory.mktemp("readme")
    sequence = folder / "sequences" / "made"
    sequence.mkdir(parents=True)
    with VideoWriter(folder / "clip.mp4", 30.0) as video, (sequence / "groundtruth.txt").open("w") as truth:
        for index, (frame, box) in enumerate(generate_clip(frames=6)):
            video.write(frame, index / 30)
            cv2.imwrite(str(sequence / f"{index:04d}.jpg"), frame[..., ::-1])
            truth.write(",".join(map(str, box)) + "\n")
    (folder / "photos").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 255, (90, 120, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "photos" / f"{index}.jpg"), noise)
    yield folder
    shutil.rmtree(folder)


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "SINGLETRACK_CACHE": str(folder / "cache")}
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_readme_holds_what_is_tested_here() -> None:
    kinds = [" ".join(command.split()[:2]) for command in commands()]
    assert kinds == [
        "make demo",
        "make test",
        "pip install",
        "singletrack track",
        "pip install",
        "singletrack label",
        "singletrack convert",
        "singletrack track",
        "singletrack export",
        "singletrack train",
        "singletrack evaluate",
        "singletrack report",
        "singletrack bulk",
        "singletrack bulk",
        "singletrack bulk",
    ]
    assert len(blocks("python")) == 1


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="`make demo` runs in .venv, which `make test` makes")
def test_make_demo() -> None:
    told = run("make demo", ROOT)
    assert "mean overlap" in told
    assert (ROOT / "demo.mp4").stat().st_size > 10_000
    assert len((ROOT / "demo.csv").read_text().splitlines()) == 151


def test_track_and_code(folder: Path) -> None:
    line = next(command for command in commands() if command.startswith("singletrack track") and "--out" in command)
    run(line, folder)
    assert (folder / "followed.mp4").exists()
    assert len((folder / "boxes.csv").read_text().splitlines()) == 7
    script = folder / "code.py"
    script.write_text(blocks("python")[0] + "\nassert len(results) == 5\n")
    told = run(f"{sys.executable} -W error {script}", folder)
    assert len(told.splitlines()) == 6


def test_export(folder: Path) -> None:
    line = next(command for command in commands() if command.startswith("singletrack export"))
    told = run(line, folder)
    assert "difference" in told
    assert (folder / "ostrack-tiny.onnx").exists()


def test_train(folder: Path) -> None:
    line = next(command for command in commands() if command.startswith("singletrack train"))
    told = run(f"{line} --steps 2 --batch 2", folder)
    assert "runs/tiny/weights.safetensors" in told
    assert (folder / "runs/tiny/weights.safetensors").exists()


def test_evaluate_and_report(folder: Path) -> None:
    evaluate, report = (command for command in commands() if command.split()[1] in ("evaluate", "report"))
    assert "AUC" in run(evaluate, folder)
    assert "AUC" in run(report, folder)
    assert (folder / "report" / "report.html").stat().st_size > 10_000


def test_bulk_and_status(folder: Path) -> None:
    start, on_ray, status = (command for command in commands() if command.startswith("singletrack bulk"))
    (folder / "clips.csv").write_text("video,start,x,y,w,h\nclip.mp4,0,280,150,80,60\n")
    assert "1 of 1 rows done, 0 failed; 6 boxes in boxes" in run(start, folder)
    assert "finished" in run(status, folder)
    assert on_ray == start.replace("--jobs 2", "--ray auto")


def test_official_checkpoint_is_converted_and_followed_with(folder: Path) -> None:
    """Both lines of that block, with random weights of ostrack-256's shapes under the official names; few frames."""
    ours = build_ostrack(MODELS["ostrack-256"].network).state_dict()
    unused = {"backbone.cls_token": torch.zeros(1, 1, 768), "backbone.pos_embed": torch.zeros(1, 197, 768)}
    names = official_keys(MODELS["ostrack-256"].network)
    official = {name: unused[name] if own is None else ours[own] for name, own in names.items()}
    torch.save({"net": official}, folder / "OSTrack_ep0300.pth.tar")
    (block,) = (block for block in blocks("bash") if "OSTrack_ep0300.pth.tar" in block)
    convert, track = block.splitlines()
    told = run(convert, folder)
    assert told.startswith("ostrack-256.safetensors: weights of ostrack-256")
    told = run(f"{track} --save-boxes big.txt", folder)
    assert "Traceback" not in told
    assert len((folder / "big.txt").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    "models",
    [
        ("ostrack-tiny",),
        ("ostrack-256", "ostrack-384"),
        ("droptrack-384",),
        ("stark-s50", "stark-st50", "stark-st101"),
        ("stark-aligned", "swintrack-aligned"),
    ],
    ids=lambda models: models[0],
)
def test_parameters_are_those_that_profile_counts(models: tuple[str, ...]) -> None:
    torch = pytest.importorskip("torch")
    from singletrack.models.build import build_network

    row = next(line for line in README.splitlines() if line.startswith(f"| `{models[0]}`"))
    said = [part.split()[0] for part in row.split("|")[2].split(",")]
    assert len(said) == len(models)
    for model, number in zip(models, said, strict=True):
        with torch.device("meta"):
            network = build_network(MODELS[model].network)
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert f"{count:.{len(number.partition('.')[2])}f}" == number, model
