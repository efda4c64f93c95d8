"""examples/got10k_toolkit.py as a user runs it, on a made GOT-10k of two short sequences."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import singletrack
from singletrack.evaluation.protocols import mean_score, score_sequence
from singletrack.results import read_results

for name in ("got10k", "six", "matplotlib"):
    pytest.importorskip(name, reason="needs the GOT-10k toolkit; run: pip install got10k==0.1.3 six")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "got10k_toolkit.py"
SIZE_WH = (96, 72)
COVER = {"GOT-10k_Val_000001": [8] * 9, "GOT-10k_Val_000002": [8, 8, 5, 0, 0, 3, 8]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A patch of noise that drifts over a smooth ground, hidden where its cover is 0, and out at the left in the end.

    One sequence is longer than the other, so that frames that are pooled and means of means differ.
    """
    random = np.random.default_rng(0)
    for name, cover in COVER.items():
        folder = tmp_path / "data" / "val" / name
        folder.mkdir(parents=True)
        ground = cv2.GaussianBlur(random.integers(0, 256, (72, 96, 3)).astype(np.uint8), (0, 0), 4)
        patch = random.integers(0, 256, (20, 24, 3)).astype(np.uint8)
        boxes = [(10 + 5 * index, 20 + 2 * index, 24, 20) for index in range(len(cover) - 1)] + [(-6, 30, 24, 20)]
        for index, (x, y, width, height) in enumerate(boxes):
            frame = ground.copy()
            if cover[index]:
                frame[y : y + height, max(x, 0) : x + width] = patch[:, max(-x, 0) :][:, : 96 - max(x, 0)]
            cv2.imwrite(str(folder / f"{index + 1:08d}.jpg"), frame)
        np.savetxt(folder / "groundtruth.txt", boxes, fmt="%.4f", delimiter=",")
        np.savetxt(folder / "cover.label", cover, fmt="%d")
        np.savetxt(folder / "absence.label", [level == 0 for level in cover], fmt="%d")
        np.savetxt(folder / "cut_by_image.label", [0] * len(cover), fmt="%d")
        (folder / "meta_info.ini").write_text(f"[METAINFO]\nresolution: {SIZE_WH}\n")
    (tmp_path / "data" / "val" / "list.txt").write_text("\n".join(COVER) + "\n")
    return tmp_path / "data"


def test_the_toolkit_runs_our_tracker_and_says_what_we_say(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--root", str(root)])
    monkeypatch.chdir(root.parent)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    report = json.loads(Path("reports/GOT-10k/ostrack-tiny/performance.json").read_text())["ostrack-tiny"]["overall"]

    scores = []
    for name, cover in COVER.items():
        truth = np.loadtxt(root / "val" / name / "groundtruth.txt", delimiter=",")
        results = Path("results/GOT-10k/ostrack-tiny") / name
        assert [path.name for path in sorted(results.iterdir())] == [f"{name}_001.txt", f"{name}_time.txt"]
        boxes = [record.box for record in read_results(results / f"{name}_001.txt")]
        np.testing.assert_allclose(boxes, follow(root / "val" / name, truth[0]), atol=6e-4)  # it keeps 3 decimals
        scores.append(score_sequence(boxes, truth, benchmark="got10k", cover=cover, size_wh=SIZE_WH))
    score = mean_score(scores)
    assert score.weight == 8 + 4  # all frames but the first of each, and those in which the target is hidden
    assert score.measures["AO"] == pytest.approx(report["ao"], abs=1e-9)
    assert score.measures["SR0.5"] == pytest.approx(report["sr"], abs=1e-9)
    np.testing.assert_allclose(score.curves["success"], report["succ_curve"], atol=1e-9)


def follow(folder: Path, box: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The same without the toolkit."""
    first, *later = sorted(folder.glob("*.jpg"))
    tracker = singletrack.load("ostrack-tiny")
    tracker.init(read(first), tuple(box))
    return [tuple(box), *(tracker.update(read(path)).box for path in later)]


def read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))
