from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.cli.datasets import PROBLEMS_SHOWN
from singletrack.cli.main import main
from singletrack.datasets.tracking_datasets import BENCHMARKS


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "groundtruth.txt").write_text("1,2,3,4\n")
        cv2.imwrite(str(root / name / "1.png"), np.zeros((8, 8, 3), np.uint8))
    return root


def test_list_names_every_data_set_with_its_splits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "SPLITS", "DESCRIPTION"]
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert "test (280), train (1120)" in lines[0]


def test_a_whole_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "check", "folder", "--root", str(make(tmp_path, "cat", "dog"))]) == 0
    first, digest, last = capsys.readouterr().out.splitlines()
    assert first == "folder test: 2 sequences, 2 frames"
    assert digest.startswith("names of the split: sha256 ")
    assert last == "complete: no problems found"


def test_a_copy_that_is_not_whole_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path, *(f"s{number:02d}" for number in range(PROBLEMS_SHOWN + 2)))
    for folder in root.iterdir():
        (folder / "1.png").write_bytes(b"no picture")
    (root / "s00" / "1.png").unlink()
    asked = ["datasets", "check", "folder", "--root", str(root)]
    assert main(asked) == 1
    out = capsys.readouterr().out
    assert f"  s00: no frames in {root / 's00'}; get a complete copy\n" in out
    assert "  s01: 1 frames cannot be read, the first is 1.png\n" in out
    assert "  ... and 2 more (--all shows them)\n" in out
    assert out.endswith(f"INCOMPLETE: problems in {PROBLEMS_SHOWN + 2} places\n")
    assert main([*asked, "--all"]) == 1
    assert "more (--all" not in capsys.readouterr().out


def test_counts_are_held_against_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "check", "dtb70", "--root", str(make(tmp_path, "cat"))]) == 1
    out = capsys.readouterr().out
    assert out.startswith("dtb70 test: 0 of 70 sequences, 0 frames\n")
    assert "  the split: 70 sequences expected, 1 found\n" in out


def test_what_cannot_be_meant_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "check", "lasot", "--root", str(tmp_path)]) == 2
    assert "testing_set.txt not found in" in capsys.readouterr().err
    assert main(["datasets", "check", "lasso", "--root", str(tmp_path)]) == 2
    assert main(["datasets", "check", "lasot"]) == 2
