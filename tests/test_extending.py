"""docs/extending.md, carried out: its blocks are applied to a copy of the package, and its commands run there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.opencv import cv2
from singletrack.video import VideoWriter

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block. title: the file that it is, or changes."""

    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))]


def apply(block: Block, root: Path) -> None:
    """Write a new file, or make one change where the block's unmarked and removed lines stand, which is one place."""
    path = root / block.title
    if block.language == "python":
        assert not path.exists(), f"{block.title} is there already"
        path.write_text(block.text, encoding="utf-8")
        return
    lines = block.text.splitlines()
    assert all(not line or line[0] in " +-" for line in lines), block
    before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{block.title} has this {text.count(before)} times:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with everything on the page, beside a clip and a toy data set."""
    root = tmp_path_factory.mktemp("extending")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for block in blocks():
        if block.title:
            apply(block, root)
    (root / "toys/videos/one").mkdir(parents=True)
    (root / "toys/boxes").mkdir()
    with VideoWriter(root / "clip.mp4", 30.0) as video, (root / "toys/boxes/one.txt").open("w") as boxes:
        for index, (frame, box) in enumerate(generate_clip(frames=4)):
            video.write(frame, index / 30)
            cv2.imwrite(str(root / f"toys/videos/one/{index:04d}.jpg"), frame[..., ::-1])
            boxes.write(",".join(map(str, box)) + "\n")
    return root


def test_every_change_has_one_place(copy: Path) -> None:
    changed = {block.title for block in blocks() if block.title}
    assert len(changed) > 12
    assert {block.language for block in blocks()} == {"python", "diff", "bash"}


@pytest.mark.slow
def test_the_commands(copy: Path) -> None:
    """In the order of the page; some use what an earlier one wrote."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "SINGLETRACK_CACHE": str(copy / "cache")}
    said = {}
    for block in blocks():
        for line in block.text.replace("\\\n", "").splitlines() if block.language == "bash" else ():
            command = [sys.executable, "-m", *shlex.split(line)]
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said[line] = done.stdout + done.stderr
    commands = list(said)
    assert "toy" in said["singletrack models"]
    assert "missed" in next(said[line] for line in commands if "--protocol misses" in line)
    assert said["singletrack count clip.mp4"].strip() == "4"
    assert (copy / "toy.onnx").is_file()
    assert (copy / "runs/toy/weights.safetensors").is_file()
    assert (copy / "misses/report.html").is_file()


@pytest.mark.slow
def test_the_types(copy: Path) -> None:
    """What the page adds passes the project's own checks."""
    shutil.copy(ROOT / "pyproject.toml", copy)
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "src"]
    done = subprocess.run(ruff, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    if (ROOT / ".mypy_cache").is_dir():  # what has not changed is not checked again
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    mypy = [sys.executable, "-m", "mypy", "src/singletrack"]
    done = subprocess.run(mypy, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
