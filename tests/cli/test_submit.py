from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from singletrack.cli.main import main
from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A whole run on GOT-10k, two frames a sequence."""
    monkeypatch.setattr("os.fsync", lambda file: None)
    empty = dict.fromkeys(("model", "weights", "engine", "device", "precision", "version"), "")
    names = [f"GOT-10k_Test_{number:06d}" for number in range(1, 181)]
    facts = RunFacts(dataset="got10k", split="test", sequences=dict.fromkeys(names, 2), settings={}, **empty)
    run = RunFolder.start(tmp_path / "run", facts)
    boxes = np.array([[1.5, 2, 3, 4], [5, 6, 7.25, 8]])
    for name in names:
        run.write(name, SequenceResult(boxes_xywh=boxes, seconds=np.ones(2), scores=np.ones(2), lost=boxes[:, 0] < 0))
    return run


@pytest.mark.parametrize(("options", "text"), [([], "1.5,2,3,4\n5,6,7.25,8\n"), (["--integers"], "1,2,3,4\n5,6,7,8\n")])
def test_archive(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    out = tmp_path / "out.zip"
    assert main(["submit", "got10k", str(run.path), "--out", str(out), *options]) == 0
    assert f"wrote {out}: 180 sequences, 360 frames; upload it at http" in capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert archive.read("GOT-10k_Test_000180/GOT-10k_Test_000180_001.txt").decode() == text
    out.write_text("mine")
    assert main(["submit", "got10k", str(run.path), "--out", str(out), *options]) == 2
    assert f"{out} exists already; add --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["submit", "got10k", str(run.path), "--out", str(out), *options, "--overwrite"]) == 0


def test_what_is_not_whole_is_refused(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path / "boxes" / "GOT-10k_Test_000003.txt").unlink()
    assert main(["submit", "got10k", str(run.path), "--out", str(tmp_path / "out.zip")]) == 2
    assert (
        "has no results for 1 of 180 sequences: GOT-10k_Test_000003; run the same `singletrack evaluate` again"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out.zip").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "got10k", str(tmp_path), "--out", str(tmp_path / "out.zip")]) == 2
    assert "is not a run folder of `singletrack evaluate`" in capsys.readouterr().err


def test_an_archive_over_a_file_of_the_run_is_refused(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    linked = run.path / "linked.zip"
    linked.hardlink_to(run.path / "run.json")
    before = linked.read_bytes()
    assert main(["submit", "got10k", str(run.path), "--out", str(linked)]) == 2
    assert "would overwrite another file" in capsys.readouterr().err
    assert linked.read_bytes() == before
