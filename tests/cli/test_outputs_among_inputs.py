"""Every command compares what it writes with what it reads, before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from singletrack.cli.main import main

OUTSIDE = "the output folder must be outside the input folder"
OVERWRITE = "would overwrite another file"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with inputs that no command may touch."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.jpg", "mine/one/0001.jpg", "run/weights.safetensors", "run/finetuned.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"precious")
    os.link(tmp_path / "run" / "weights.safetensors", tmp_path / "linked.safetensors")
    (tmp_path / "link").symlink_to("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("train ostrack_tiny --photos photos --out photos/run", OUTSIDE),
        ("train ostrack_tiny --data mine=mine --out link/run", OUTSIDE),
        ("train ostrack_tiny --weights run/weights.safetensors --out run", OVERWRITE),
        ("train ostrack_tiny --weights linked.safetensors --out run", OVERWRITE),
        ("finetune ostrack-tiny --data folder=mine --out mine", OUTSIDE),
        ("finetune ostrack-tiny --data folder=mine --photos photos --out photos/x/..", OUTSIDE),
        ("finetune ostrack-tiny --data folder=mine --weights run/finetuned.safetensors --out run", OVERWRITE),
        ("evaluate folder --root mine --out mine", OUTSIDE),
        ("evaluate folder --root mine --out link/one", OUTSIDE),
        ("datasets crops got10k --root mine --out mine/crops", OUTSIDE),
        ("inspect mine --box 1,1,9,9 --out mine/seen", OUTSIDE),
        ("report run --root mine --data folder --out mine/report", OUTSIDE),
    ],
)
def test_refused(command: str, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(command.split()) == 2
    assert reason in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
