from __future__ import annotations

import re
from pathlib import Path

import pytest

from singletrack.cli.main import main
from singletrack.results import read_results
from singletrack.video import open_video


def test_demo(loads: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["demo", "--out", str(folder)]) == 0
    with open_video(folder / "demo.mp4") as video:
        frames = sum(1 for _ in video)
    assert frames == len(read_results(folder / "demo.csv"))
    with open_video(folder / "demo-clip.mp4") as clip:
        assert clip.frame_count == frames
    text = capsys.readouterr().out
    assert f"wrote {folder / 'demo.mp4'}\nwrote {folder / 'demo.csv'}\n" in text
    overlap = re.search(r"mean overlap with the true boxes: (0\.\d{3})", text)
    assert overlap
    assert 0 < float(overlap[1]) < 0.6  # of a box that stays while the object moves
    assert main(["demo", "--out", str(folder)]) == 2
    assert main(["demo", "--out", str(folder), "--overwrite"]) == 0


def test_folder_that_cannot_be_made(loads: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "folder")]) == 2
    assert capsys.readouterr().err.startswith("singletrack: expected a folder")
