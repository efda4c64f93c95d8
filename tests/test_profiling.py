from __future__ import annotations

import json
from pathlib import Path

import pytest

from singletrack import profiling
from singletrack.cli.main import main
from singletrack.errors import InputError
from singletrack.profiling import Job, Row, draw, format_row, measure, plan

ROW = Row(
    model="ostrack-tiny",
    keep_ratio=0.7,
    engine="openvino",
    precision="fp32",
    batch=4,
    crop=1.0,
    encode=2.0,
    locate=16.0,
    decode=3.0,
    frames_per_second=200.0,
    memory=300.4,
)


def test_every_combination_is_planned() -> None:
    jobs = plan(["ostrack-tiny", "ostrack-256"], keep_ratios=[1.0, 0.7], engines=["onnx", "torch"], batches=[1, 4])
    assert len(jobs) == 16
    assert jobs[0] == Job(model="ostrack-tiny", keep_ratio=1.0, engine="onnx", batch=1)
    assert jobs[-1] == Job(model="ostrack-256", keep_ratio=0.7, engine="torch", batch=4)


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["ostrack-9"], {}, "got 'ostrack-9'"),
        ([], {}, "give at least one model"),
        (["ostrack-256", "ostrack-384"], {"weights": Path("w")}, "a weights file needs exactly one model"),
        (["ostrack-tiny"], {"batches": [0]}, "frames and batches must be at least 1"),
    ],
)
def test_plans_that_cannot_be_meant(models: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(models, **options)


def test_a_row_is_measured() -> None:
    row = measure(Job(model="ostrack-tiny", engine="openvino", batch=2, frames=1, threads=1))
    assert (row.model, row.engine, row.batch) == ("ostrack-tiny", "openvino", 2)
    assert min(row.crop, row.encode, row.locate, row.decode) > 0
    assert row.frames_per_second == pytest.approx(2000 / (row.crop + row.locate + row.decode))
    assert row.memory is None or row.memory > 50


def test_rows_as_text() -> None:
    assert format_row(ROW) == (
        "| ostrack-tiny | 0.7 | openvino | fp32 | 4 | 1.00 | 2.00 | 16.00 | 3.00 | 200.0 | 300 |"
    )
    assert format_row(ROW).count("|") == profiling.ROW_HEADER.splitlines()[0].count("|")


def test_picture(tmp_path: Path) -> None:
    draw([ROW, ROW], tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Job] = []

    def measure_each(jobs: list[Job]) -> list[Row]:
        asked.extend(jobs)
        return [ROW]

    monkeypatch.setattr(profiling, "measure_each", measure_each)
    options = ["--keep-ratio", "1,0.7", "--engines", "openvino", "--precisions", "fp32", "--batches", "1, 4"]
    files = ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.svg")]
    assert main(["profile", "ostrack-tiny", *options, *files]) == 0
    assert [(job.keep_ratio, job.precision, job.batch) for job in asked] == [
        *[(1.0, "fp32", 1), (1.0, "fp32", 4)],
        *[(0.7, "fp32", 1), (0.7, "fp32", 4)],
    ]
    output = capsys.readouterr().out
    assert "| ostrack-tiny | 0.7 | " in output
    assert format_row(ROW) in output
    assert json.loads((tmp_path / "a.json").read_text())[0]["locate"] == 16.0
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    "options",
    [["--keep-ratio", "2"], ["--engines", "paper"], ["--precisions", "f8"], ["--batches", "x"], ["--plot", "a.gif"]],
)
def test_options_that_cannot_be_meant(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "ostrack-tiny", *options]) == 2
    assert f"Invalid value for '{options[0]}'" in (said := capsys.readouterr().err) or "a.gif" in said


def test_a_model_without_elimination_is_measured_beside_others_at_a_ratio_of_1() -> None:
    jobs = profiling.plan(["ostrack-256", "stark-aligned"], keep_ratios=[1.0], engines=["torch"])
    assert [(job.model, job.keep_ratio) for job in jobs] == [("ostrack-256", 1.0), ("stark-aligned", None)]
    with pytest.raises(InputError, match=r"stark-aligned eliminates no tokens, so its keep ratio is 1; got 0\.7"):
        profiling.plan(["stark-aligned"], keep_ratios=[0.7], engines=["torch"])


def test_settings_reach_the_tracker_that_is_measured() -> None:
    (job,) = profiling.plan(["dasiamrpn-vot"], engines=["torch"], settings={"distractor_aware": True})
    assert job.settings == {"distractor_aware": True}
