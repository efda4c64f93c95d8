"""benchmarks/footage.py: what is followed, and every number that is printed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from singletrack.tracking.ostrack import OSTrackSettings

ROOT = Path(__file__).parent.parent


def loaded(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def footage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("benchmarks/footage.py", monkeypatch)


def test_numbers_by_hand(footage: ModuleType) -> None:
    nan = np.nan
    objects = [
        footage.Followed(
            "a", np.array([0.8, 0.4, nan, nan]), np.array([0.9, 0.5, 0.1, 0.6]), np.array([False, True, True, False])
        ),
        footage.Followed("b", np.array([0.6, 1.0]), np.array([0.7, 0.95]), np.array([True, False])),
    ]
    numbers = footage.summary(objects)
    assert numbers["ao"] == pytest.approx((0.6 + 0.8) / 2)
    assert numbers["sr50"] == pytest.approx((0.5 + 1.0) / 2)
    assert (numbers["present"], numbers["absent"]) == (4, 2)
    assert (numbers["lost_of_absent"], numbers["lost_of_present"]) == (0.5, 0.5)
    assert numbers["lost_of_followed"] == pytest.approx(1 / 3)
    point = numbers["below_0.05"]
    assert point["threshold"] == pytest.approx(np.quantile([0.9, 0.5, 0.7, 0.95], 0.05))
    assert point["of_absent"] == 0.5
    # bins: 0.1 -> 0, 0.5 -> 0.4, 0.6 -> 0, 0.7 -> 0.6, 0.9 and 0.95 -> 0.8 and 1
    assert numbers["ece"] == pytest.approx((0.1 + 0.1 + 0.6 + 0.1 + 2 * abs(0.925 - 0.9)) / 6)


def test_calibration_in_bins(footage: ModuleType) -> None:
    error, bins = footage.calibration_error(np.array([0.12, 0.18, 1.0]), np.array([0.0, 0.1, 0.7]))
    assert bins == [pytest.approx((0.15, 0.05, 2)), pytest.approx((1.0, 0.7, 1))]
    assert error == pytest.approx((2 * 0.1 + 0.3) / 3)


def test_calibration_curve_rises_and_is_tested_on_other_objects(footage: ModuleType) -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 1, 4000)
    overlap = np.where(score < 0.5, 0.9 * score, 0.45) + rng.uniform(-0.05, 0.05, 4000)
    curve = footage.calibration_curve(score, overlap)
    assert curve == pytest.approx([0.02, 0.09, 0.18, 0.27, 0.36, 0.44, 0.45, 0.45, 0.45, 0.45, 0.45], abs=0.04)
    assert min(np.diff(curve)) > 0
    assert footage.calibration_curve(np.array([0.5]), np.array([0.5])) == pytest.approx(np.linspace(0, 1, 11), abs=0.02)
    flags = np.zeros(4000, bool)
    first = footage.Followed("a", overlap, score, flags)
    second = footage.Followed("b", np.full(6, 0.4), np.full(6, 0.85), flags[:6])
    fitted, before, after = footage.calibrated([first, second])
    assert fitted == curve
    assert before == pytest.approx(0.45)
    assert after == pytest.approx(0.05, abs=0.03)


def test_calibration_starts_from_the_scores_of_the_network(footage: ModuleType) -> None:
    settings = OSTrackSettings(
        lost_below=0.3, found_above=0.35, update_above=0.3, score_curve=(0.1, 0.3, 0.4), num_templates=2
    )
    plain = footage.without_curve(settings)
    assert plain.pop("score_curve") == ()
    assert plain == pytest.approx({"lost_below": 0.5, "found_above": 0.75, "update_above": 0.5})
    assert footage.without_curve(OSTrackSettings()) == {}


def test_follows_held_out_objects(footage: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = loaded("tests/datasets/made_clips.py", monkeypatch).write_folder(tmp_path / "footage")
    arguments = ["--footage", str(folder), "--set", "size_momentum=0.8,0", "--json", str(tmp_path / "out.json")]
    said = CliRunner().invoke(footage.main, arguments, catch_exceptions=False).output
    first = said.splitlines()[0]
    assert first.startswith("ostrack-tiny size_momentum=0.8: 1 objects, AO 0.")
    assert "(+0.000, standard error 0.000)" in first
    report = json.loads((tmp_path / "out.json").read_text())
    (track,) = report["ostrack-tiny size_momentum=0"]["tracks"]
    assert track["name"] == "held-1"
    assert len(track["overlap"]) == 10  # of 12 frames, without the first and the one that is not labeled
    assert np.isnan(track["overlap"][4])
    assert track["ao"] > 0.5


def test_every_nth_object(footage: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clips = loaded("tests/datasets/made_clips.py", monkeypatch)
    pair = [clips.made_clip(tmp_path / name) for name in "ab"]
    names = [[track.name for track in tracks] for _, tracks in footage.chosen(pair, 3)]
    assert names == [["target"], ["other"]]
    gone = [clips.made_clip(tmp_path / "c"), clips.made_clip(tmp_path / "d", absent=(4,))]
    ((clip, tracks),) = footage.chosen(gone, 1, absent=True)
    assert (clip.video, [track.name for track in tracks]) == (gone[1].video, ["target"])
