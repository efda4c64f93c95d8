"""benchmarks/lost.py: what it counts, what it chooses, and that the command runs."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from singletrack.tracking.base import Result
from singletrack.tracking.common import LostSettings

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "lost.py"
BOX = (10.0, 10.0, 20.0, 20.0)
AWAY = (100.0, 100.0, 20.0, 20.0)
NOWHERE = (np.nan,) * 4


@pytest.fixture(scope="module")
def lost() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lost", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["lost"] = module  # where dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def result(score: float, lost: bool = False, box: tuple[float, float, float, float] = BOX) -> Result:
    return Result(box=box, score=score, lost=lost)


def test_shares_count_only_frames_on_the_target_as_wrong(lost: ModuleType) -> None:
    flags = [False, True, True, False, True, True]
    truth = np.array([BOX, BOX, AWAY, NOWHERE, NOWHERE, NOWHERE])
    record = lost.Record([result(0.9, flag) for flag in flags], truth)
    assert record.overlap.tolist() == [1, 1, 0, 0, 0, 0]
    shares = lost.Shares.of([record], [record.lost])
    assert (shares.absent, shares.wrong, shares.present) == pytest.approx((2 / 3, 1 / 3, 2 / 3))
    assert lost.mean_overlap([record]) == pytest.approx(2 / 3)


def test_the_thresholds_between_the_scores_of_both_are_chosen(lost: ModuleType) -> None:
    random = np.random.default_rng(0)
    there, away = random.uniform(0.6, 0.9, 200), random.uniform(0.1, 0.4, 30)
    scores = [*there, *away]
    record = lost.Record([result(score) for score in scores], np.array([BOX] * 200 + [NOWHERE] * 30))
    chosen = lost.choose([record], LostSettings())
    flags = record.replay(chosen)
    shares = lost.Shares.of([record], [flags])
    assert shares.absent > 0.9
    assert shares.wrong <= lost.WRONG
    assert [round(below, 2) for below, _ in lost.curve([record], chosen)] == lost.LOST_BELOW


def test_found_after_counts_from_the_return_and_wants_it_to_last(lost: ModuleType) -> None:
    truth = np.array([BOX] * 3 + [NOWHERE] * 4 + [BOX] * 14)
    flags = [False] * 3 + [True] * 6 + [False] + [True] * 3 + [False] * 8
    record = lost.Record([result(0.9, flag) for flag in flags], truth)
    assert lost.found_after(record) == 6
    never = lost.Record([result(0.9, flag, AWAY) for flag in flags], truth)
    assert lost.found_after(never) is None


def test_the_command_writes_curve_cases_and_strips(
    lost: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FRAMES": 22, "SIZE_WH": (160, 90), "GONE": range(8, 14)}.items():
        monkeypatch.setattr(lost, name, value)
    done = CliRunner().invoke(
        lost.main, ["--clips", "4", "--cases", "1", "--threads", "1", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "chosen on 2 clips: lost_below=" in done.output
    for way in ("as it was", "chosen", "long-term"):
        assert f"2 other clips, {way}: AO 0." in done.output
        for company in lost.COMPANIES:
            assert f"{company}, left for 30 frames, {way}: found " in done.output
    with (tmp_path / "curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["lost_below"]) for row in rows] == lost.LOST_BELOW
    strips = {f"case-{company.replace(' ', '-')}-3000.png" for company in lost.COMPANIES}
    assert {path.name for path in tmp_path.iterdir()} == {"curve.csv", "curve.png", "cases.csv", *strips}
