"""`plot-runs`: convergence of training runs, and speed, accuracy and cost of evaluation runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_report import make_run, root  # noqa: F401

from singletrack.cli import plot_runs
from singletrack.cli.main import main
from singletrack.evaluation import plots


def training_run(path: Path, overlaps: list[float]) -> Path:
    """A run of two stages of 40 steps: batches of 8, then of 4; it validates every 20 steps."""
    path.mkdir()
    stages = [{"name": "one", "steps": 40, "batch": 8}, {"name": "two", "steps": 40, "batch": 4}]
    (path / "recipe.json").write_text(json.dumps({"recipe": {"stages": stages}}))
    places = [("one", 20), ("one", 40), ("two", 20), ("two", 40)]
    lines = [{"stage": "one", "step": 10, "loss": 3.0}]
    lines += [{"stage": s, "step": n, "loss": 1.0, "ao": ao} for (s, n), ao in zip(places, overlaps, strict=False)]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_convergence_of_several_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = plots.draw_convergence
    monkeypatch.setattr(plots, "draw_convergence", lambda runs, **words: drawn.append(runs) or draw(runs, **words))
    one = training_run(tmp_path / "one", [0.1, 0.2, 0.3, 0.4])
    two = training_run(tmp_path / "two", [0.2, 0.3])
    out = tmp_path / "new" / "figure.svg"
    assert main(["plot-runs", str(one), f"plain={two}", "--out", str(out)]) == 0
    assert out.read_text().startswith("<?xml")
    (runs,) = drawn
    assert list(runs) == ["one", "plain"]
    np.testing.assert_array_equal(runs["one"], ([160, 320, 400, 480], [0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_array_equal(runs["plain"], ([160, 320], [0.2, 0.3]))


def test_speed_accuracy_and_cost(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    drawn = []
    draw = plots.draw_cost
    monkeypatch.setattr(plots, "draw_cost", lambda points, **words: drawn.append(points) or draw(points, **words))
    monkeypatch.setattr(plot_runs, "_cost", lambda facts: 1.25)
    run = make_run(tmp_path / "run", ["bird", "car"])
    out = tmp_path / "figure.png"
    assert main(["plot-runs", f"tiny={run}", "--root", str(root), "--out", str(out)]) == 0
    assert out.stat().st_size > 5000
    ((speed, overlap, cost),) = drawn[0].values()
    assert (speed, overlap, cost) == (pytest.approx(50), pytest.approx(1.0, abs=0.06), 1.25)
    assert main(["plot-runs", f"tiny={run}", "--root", str(root), "--out", str(out)]) == 2  # it exists


def test_runs_that_cannot_be_plotted(
    root: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = training_run(tmp_path / "trained", [])
    evaluated = make_run(tmp_path / "evaluated", ["bird", "car"])

    def complaint(*runs: str | Path) -> str:
        assert main(["plot-runs", *map(str, runs), "--out", str(tmp_path / "out.png")]) == 2
        return capsys.readouterr().err

    assert "has no 'ao'; it has loss" in complaint(trained)
    assert "got both; plot each alone" in complaint(trained, evaluated)
    assert "need --root" in complaint(evaluated)
    assert "must be a folder of `singletrack train`" in complaint(tmp_path)
    assert "labels must be unique; got x, x" in complaint(f"x={trained}", f"x={tmp_path}")
