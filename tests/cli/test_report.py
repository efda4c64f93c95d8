from __future__ import annotations

import csv
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.evaluation.vot_case import make_2020

from singletrack.cli.main import main
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.evaluation.report import BenchmarkScores, several_table
from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult
from singletrack.install import install_command

NAMES = {"bird": 8, "car": 6}
BOX = (12.0, 10.0, 20.0, 16.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of two short sequences."""
    for name, count in NAMES.items():
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / f"{index:04d}.jpg"), np.full((48, 64, 3), 20 * index, np.uint8))
        (folder / "groundtruth.txt").write_text("12,10,20,16\n" * count)
    return tmp_path / "mine"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of `singletrack evaluate` over it."""
    return make_run(tmp_path / "run", list(NAMES))


def make_run(path: Path, done: list[str], *, dataset: str = "folder") -> Path:
    facts = RunFacts(
        dataset=dataset,
        split="test",
        sequences=NAMES,
        model="ostrack-tiny",
        weights="0123",
        engine="openvino",
        device="CPU",
        precision="fp32",
        settings={},
        version="0.1.0",
    )
    folder = RunFolder.start(path, facts)
    for name in done:
        count = NAMES[name]
        result = SequenceResult(
            boxes_xywh=np.tile(BOX, (count, 1)),
            seconds=np.full(count, 0.02),
            scores=np.ones(count),
            lost=np.zeros(count, bool),
        )
        folder.write(name, result)
    return path


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Results of another tracker, off by its width after half the frames."""
    (tmp_path / "KCF").mkdir()
    for name, count in NAMES.items():
        boxes = np.tile(BOX, (count, 1))
        boxes[count // 2 :, 0] += 20
        np.savetxt(tmp_path / "KCF" / f"{name}.txt", boxes, delimiter="\t")
    return tmp_path / "KCF"


def test_a_run(root: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine: 2 sequences, 14 frames; protocol ostrack; in percent"
    assert " ".join(lines[1].split()) == "tracker AUC OP50 OP75 P P_norm AO Pr Re F frames/s"
    assert lines[2].split()[:6] == ["ostrack-tiny", "95.24", "100.00", "100.00", "100.00", "100.00"]
    assert lines[2].split()[-1] == "50.00"


def test_with_another_tracker_and_everything_written(
    root: Path, run: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["report", f"ours={run}", str(others), "--root", str(root), "--out", str(out), "--strips", "1"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "ours − KCF" in said
    assert f"wrote {out / 'report.html'}" in said
    assert {"report.html", "success.pdf", "table.tex", "best_1.png", "worst_1.svg"} <= {f.name for f in out.iterdir()}


def test_results_of_others_alone(root: Path, others: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", str(others), "--data", "folder", "--root", str(root), "--protocol", "pysot"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "protocol pysot" in said
    assert "KCF" in said


def test_the_data_set_must_be_known_and_one(
    root: Path, run: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(others), "--root", str(root)]) == 2
    assert "give --data" in capsys.readouterr().err
    otb = make_run(tmp_path / "otb run", ["car"], dataset="otb")
    assert main(["report", str(run), str(otb), "--root", str(root)]) == 2
    assert "got folder test and" in capsys.readouterr().err
    assert main(["report", str(run), "--split", "val", "--root", str(root)]) == 2
    assert "report them separately" in capsys.readouterr().err


def test_a_run_that_is_not_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "runs/none", "--root", str(root)]) == 2
    assert "folder of results not found: runs/none" in capsys.readouterr().err


def test_two_runs_of_one_model_are_called_by_their_folders(
    root: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "again", list(NAMES))
    assert main(["report", str(run), str(other), "--root", str(root)]) == 0
    assert "run − again" in capsys.readouterr().out


def test_an_unfinished_run(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = make_run(tmp_path / "part", ["car"])
    assert main(["report", str(part), "--root", str(root)]) == 2
    assert "--common-only" in capsys.readouterr().err
    assert main(["report", str(part), "--root", str(root), "--common-only"]) == 0
    assert capsys.readouterr().out.startswith("mine: 1 of 2 sequences, 6 frames")


def test_pictures_need_the_extra(
    root: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    assert main(["report", str(run), "--root", str(root), "--out", str(tmp_path / "out")]) == 1
    assert install_command("report") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["report", str(run), "--root", str(root)]) == 0


def test_several_data_sets_are_one_table(
    tmp_path: Path, root: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one is the same folder, under another name."""
    monkeypatch.setitem(BENCHMARKS, "otb", BENCHMARKS["folder"])
    other = make_run(tmp_path / "other", list(NAMES), dataset="otb")
    roots = ["--root", f"folder={root}", "--root", f"otb={root}"]
    out = tmp_path / "out"
    assert main(["report", f"ours={run}", f"ours={other}", *roots, "--published", "--out", str(out)]) == 0
    lines = (out / "several.csv").read_text().splitlines()
    header, ours = lines[0].split(","), lines[1].split(",")
    assert header[0] == "tracker"
    assert {"folder AUC", "otb AUC", "source"} <= set(header)
    assert ours[0] == "ours"
    assert float(ours[header.index("otb AUC")]) == float(ours[header.index("folder AUC")]) > 95
    papers = {line.split(",")[0]: line.split(",") for line in lines[2:]}
    assert float(papers["SiamRPN++ R50 (OTB)"][header.index("otb AUC")]) == 69.6
    assert (out / "several.md").is_file()
    assert "otb AUC" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "several.tex").is_file()
    assert "this report" in capsys.readouterr().out
    assert main(["report", str(run), *roots]) == 2
    assert "expected a --root for each data set of the runs (folder)" in capsys.readouterr().err
    assert main(["report", str(run), *roots, "--split", "x"]) == 2


def test_the_example_of_the_page_on_data_sets_with_a_vot_challenge(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At toy size, in a folder with the names of the example."""
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    (example,) = [block for block in page.split("```bash\n")[1:] if "vot2022" in block]
    words = shlex.split(example.split("```")[0].replace("\\\n", " "))
    for name in ("lasot", "uav123"):
        monkeypatch.setitem(BENCHMARKS, name, BENCHMARKS["folder"])
    make_run(tmp_path / "runs" / "lasot", list(NAMES), dataset="lasot")
    make_run(tmp_path / "runs" / "uav123", list(NAMES), dataset="uav123")
    make_2020(tmp_path / "ws")
    (tmp_path / "ws" / "results" / "made").rename(tmp_path / "ws" / "results" / "ostrack-256")
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("/data/LaSOT", str(root)).replace("/data/UAV123", str(root)) for word in words[1:]]) == 0
    table = list(csv.DictReader((tmp_path / "over-all" / "several.csv").read_text().splitlines()))
    assert table[0]["tracker"] == "ours"
    assert float(table[0]["vot2022 EAO"]) == pytest.approx(7.2158632369)
    assert float(table[0]["lasot AUC"]) > 95
    assert float(table[0]["uav123 AUC"]) > 95
    papers = {row["tracker"]: row for row in table[1:]}
    assert papers["OSTrack-256"]["lasot AUC"] == "69.1"
    assert "vot2022 EAO" in (tmp_path / "over-all" / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    (tmp_path / "elsewhere").mkdir()
    assert main(["report", "elsewhere", "--root", f"lasot={root}", "--root", "vot2022=ws"]) == 2
    assert "or a tracker's folder below the root of a VOT challenge; got" in capsys.readouterr().err


def test_less_failures_are_marked_as_better() -> None:
    scores = BenchmarkScores(
        benchmark="vot2018",
        trackers={"one": {"EAO": 40.0, "robustness": 1.0}, "two": {"EAO": 30.0, "robustness": 2.0}},
        less=("robustness",),
    )
    assert several_table([scores]).marked == {(0, 1), (0, 2)}
