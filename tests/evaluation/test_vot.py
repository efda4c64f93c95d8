"""Scores of made results, beside the numbers that vot-toolkit 0.7.4 gave for them (`vot_case.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.evaluation.vot_case import make_2018, make_2020

from singletrack.cli.main import main
from singletrack.errors import InputError
from singletrack.evaluation.vot import CHALLENGES, open_workspace, score
from singletrack.evaluation.vot_regions import read_regions

PLOTS = ("expected_overlap", "accuracy_robustness")


@pytest.fixture(scope="module")
def restarts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vot2018")
    make_2018(root)
    return root


@pytest.fixture(scope="module")
def anchors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vot2020")
    make_2020(root)
    return root


def test_scores_with_restarts_are_those_of_the_toolkit(restarts: Path) -> None:
    found = score(open_workspace(restarts), restarts / "results" / "made", "vot2018")
    assert found.eao == pytest.approx(0.28626326833452503, abs=1e-8)  # the toolkit's curve is of float32
    assert found.accuracy == pytest.approx(0.615848049891859, abs=1e-12)
    assert found.failures == pytest.approx(1.2444444444444445, abs=1e-12)
    assert found.robustness == pytest.approx(4 / 450)  # failures of a repetition per frame


def test_scores_from_anchors_are_those_of_the_toolkit(anchors: Path) -> None:
    found = score(open_workspace(anchors), anchors / "results" / "made", "vot2020")
    assert found.eao == pytest.approx(0.07215863236941608, abs=1e-12)
    assert found.accuracy == pytest.approx(0.5834725327546653, abs=1e-12)
    assert found.robustness == pytest.approx(0.8550406644143168, abs=1e-12)
    assert found.failures is None


def test_the_report_shows_them_beside_published_ones(
    restarts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker, out = restarts / "results" / "made", tmp_path / "out"
    options = ["--root", str(restarts), "--data", "vot2018", "--published", "--out", str(out)]
    assert main(["report", f"ours={tracker}", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    ours = next(line for line in lines if line.strip().startswith("ours"))
    assert ours.split()[1:5] == ["28.63", "61.58", "0.89", "1.24"]
    published = next(line for line in lines if "SiamRPN++ R50 " in line)
    assert {"41.50", "60.10", "23.40"} <= set(published.split())
    pictures = {f"{name}.{kind}" for name in PLOTS for kind in ("png", "svg", "pdf")}
    assert {path.name for path in out.iterdir()} == {"report.html", "table.md", "table.csv", "table.tex"} | pictures
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h1>VOT2018: ours</h1>" in page
    assert '<td class="number">28.63</td>' in page
    assert "SiamRPN++ R50" in page
    assert page.count("data:image/svg+xml;base64,") == len(PLOTS)


def test_the_curve_is_that_of_which_the_eao_is_a_mean(restarts: Path, anchors: Path) -> None:
    for root, year in ((restarts, "vot2018"), (anchors, "vot2020")):
        found, part = score(open_workspace(root), root / "results" / "made", year), CHALLENGES[year]
        assert found.curve[part.low : part.high + 1].mean() == pytest.approx(found.eao)


def test_what_is_missing_is_named(anchors: Path, restarts: Path, tmp_path: Path) -> None:
    sequences, results = open_workspace(anchors), anchors / "results" / "made"
    with pytest.raises(InputError, match="expected results of the experiment realtime"):
        score(sequences, results, "vot2020", "realtime")
    with pytest.raises(InputError, match=r"box_00000000.bin or .txt; the toolkit has not finished"):
        score(sequences, restarts / "results" / "made", "vot2020")
    with pytest.raises(InputError, match=r"expected a workspace of the VOT toolkit"):
        open_workspace(tmp_path)
    copied = tmp_path / "made"
    shutil.copytree(results, copied)
    (copied / "baseline" / "box" / "box_00000000.txt").write_text("1\n1,2,3,4\n")
    with pytest.raises(InputError, match=r"expected 150 regions in .*; got 2"):
        score(sequences, copied, "vot2020")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", b"1,2\n", "expected 1, 4, 6 or more numbers"),
        ("a.txt", b"1,2,3,inf\n", "expected numbers of pixels"),
        ("a.txt", b"m0,0,2,2,9\n", "its runs add up to 9"),
        ("a.bin", b"\x01\x00\x02\x00\x00\x00\x01", "expected version 1|unpack"),
        ("a.bin", b"\x01\x00\x01\x00\x00\x00\x09", "expected a kind of region from 0 to 3; got 9"),
    ],
)
def test_files_that_are_not_regions(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=error):
        read_regions(tmp_path / name)
