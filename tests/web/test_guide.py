"""docs/label-a-video.md: its code runs, and what it says of the command is true."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from singletrack.cli.label import command
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.labeling import Project
from singletrack.labeling.formats import FORMATS
from singletrack.video import VideoWriter

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "label-a-video.md").read_text(encoding="utf-8")


def test_its_python_and_its_commands_run(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 30.0) as video:
        for frame, _ in generate_clip(frames=6):
            video.write(frame)
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "SINGLETRACK_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True, env=environment)
    with Project.open(tmp_path / "clip.singletrack", read_only=True) as project:
        assert list(project.boxes(1)) == [0, 1, 2, 3, 4, 5]
    (line,) = re.findall(r"^singletrack labels .*", GUIDE, re.MULTILINE)
    arguments = shlex.split(line)[1:]
    subprocess.run([sys.executable, "-m", "singletrack", *arguments], cwd=tmp_path, check=True, env=environment)
    assert (tmp_path / "labels.json").stat().st_size > 100


def test_its_flags_exist() -> None:
    flags = {flag for parameter in command.params for flag in [*parameter.opts, *parameter.secondary_opts]}
    lines = re.findall(r"singletrack label .*?`|`--host[^`]*`|^singletrack label .*", GUIDE, re.MULTILINE)
    used = {flag for line in lines for flag in re.findall(r"--[a-z-]+", line)}
    assert used
    assert used <= flags


@pytest.mark.parametrize("name", FORMATS)
def test_it_names_every_format(name: str) -> None:
    words = {
        "mot": "MOTChallenge",
        "coco-video": "COCO",
        "label-studio": "Label Studio",
        "voc": "Pascal VOC",
        "got10k": "GOT-10k",
        "jsonl": "JSON Lines",
    }
    assert words.get(name, name).lower() in GUIDE.lower()
