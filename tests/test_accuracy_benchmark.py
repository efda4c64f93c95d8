"""benchmarks/accuracy.py: its measures on a hand-made case, and the command on a small folder."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from singletrack.datasets.base import VideoSequence
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import MissingDependencyError
from singletrack.opencv import cv2

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "accuracy.py"


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Scripted:
    """Gives the boxes and flags that it was made with."""

    def __init__(self, answers: list[tuple[Sequence[float], bool | None]]) -> None:
        self.answers = answers

    def init(self, frame: np.ndarray, box: Sequence[float]) -> None:
        self.left = iter(self.answers)

    def update(self, frame: np.ndarray) -> tuple[Sequence[float], bool | None]:
        return next(self.left)


def test_measures(accuracy: ModuleType) -> None:
    """Overlaps 1, 1/3 and 0 in the three frames with the target; it is absent in one, which was reported."""
    gone = (np.nan,) * 4
    truth = np.array([(0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 10), gone, (0, 0, 10, 10)], float)
    frames = [np.zeros((20, 40, 3), np.uint8)] * 5
    sequence = VideoSequence(name="a", frames=frames, boxes_xywh=truth)
    answers: list[tuple[Sequence[float], bool | None]] = [
        ((0, 0, 10, 10), False),
        ((5, 0, 10, 10), False),
        ((0, 0, 10, 10), True),
        ((20, 0, 10, 10), True),
    ]
    row = accuracy.score(Scripted(answers), [sequence], None)["a"]
    assert row["AO"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert row["SR50"] == pytest.approx(1 / 3)
    assert row["absent"] == 1
    assert row["false"] == pytest.approx(1 / 3)
    assert row["FPS"] > 0
    silent = accuracy.score(accuracy.FirstBox(), [sequence], 3)["a"]
    assert silent == {"AO": 1.0, "SR50": 1.0, "FPS": silent["FPS"], "absent": None, "false": None}


def test_means(accuracy: ModuleType) -> None:
    one = {"AO": 0.5, "SR50": 1.0, "FPS": 100.0, "absent": None, "false": 0.0}
    two = {"AO": 0.7, "SR50": 0.0, "FPS": 50.0, "absent": 0.5, "false": 0.5}
    mean = accuracy.mean_row([one, two])
    assert mean == pytest.approx({"AO": 0.6, "SR50": 0.5, "FPS": 2 / (1 / 100 + 1 / 50), "absent": 0.5, "false": 0.25})


def test_command(accuracy: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "sequences" / "made"
    folder.mkdir(parents=True)
    lines = []
    for index, (frame, box) in enumerate(generate_clip(frames=5)):
        cv2.imwrite(str(folder / f"{index:08d}.jpg"), frame[..., ::-1])
        lines.append(",".join(map(str, box)))
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    arguments = ["ostrack-tiny", "--first-box", "--root", str(folder.parent), "--json", str(tmp_path / "rows.json")]
    said = CliRunner().invoke(accuracy.main, arguments, catch_exceptions=False).output
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert list(rows) == ["first box", "ostrack-tiny"]
    assert rows["ostrack-tiny"]["made"]["AO"] > 0.6
    table = [line for line in said.splitlines() if line.startswith("| ostrack-tiny |")]
    assert table[0].split(" | ")[1] == f"{rows['ostrack-tiny']['made']['AO']:.3f}"
    assert any(line.startswith("| made |") for line in said.splitlines())


def test_a_tracker_that_this_opencv_lacks(accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accuracy.OPENCV, "kcf", "TrackerNoSuch_create")
    with pytest.raises(MissingDependencyError, match="tracker kcf is not in the installed OpenCV"):
        accuracy.open_opencv_tracker("kcf", None)
