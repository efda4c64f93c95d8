"""The wheel as a user gets it: built, installed elsewhere, and used with the weights that are inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

USE = """
import sys, time
start = time.perf_counter()
import singletrack
took = time.perf_counter() - start
assert "torch" not in sys.modules, "import singletrack brought torch"
assert singletrack.__file__.startswith({home!r}), singletrack.__file__
from singletrack.datasets.synthetic.clips import generate_clip
clip = list(generate_clip(frames=5))
tracker = singletrack.load("ostrack-tiny")
tracker.init(*clip[0])
results = [tracker.update(frame) for frame, _ in clip[1:]]
assert "torch" not in sys.modules, "following brought torch"
print(f"{{took:.3f}} s to import; last box {{results[-1].box}} score {{results[-1].score:.2f}}")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "source/src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "./source"]
    subprocess.run(build, cwd=folder, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(folder / "home"), str(wheel)], check=True)
    return wheel


def test_the_wheel_holds_weights_card_and_types_and_stays_small(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "evaluation/templates/report.html",
        "weights/ostrack-tiny.onnx",
        "weights/ostrack-tiny.safetensors",
        "weights/ostrack-tiny.md",
        "weights/ostrack-nano.onnx",
        "weights/ostrack-nano.safetensors",
        "weights/ostrack-nano.md",
        "weights/ostrack-small.onnx",
        "weights/ostrack-small.safetensors",
        "weights/ostrack-small.md",
        "py.typed",
    ):
        assert f"singletrack/{name}" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    assert not [name for name in names if name.endswith(".jsonl")]  # the training log is in docs
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    needs = [line for line in zipfile.ZipFile(wheel).read(metadata).decode().splitlines() if "opencv-" in line]
    required = [line for line in needs if line.startswith("Requires-Dist")]
    assert required == ['Requires-Dist: opencv-python-headless>=4.10; extra == "opencv"']
    graphs = [each for each in zipfile.ZipFile(wheel).infolist() if each.filename.endswith(".onnx")]
    assert all(graph.file_size < 1e6 for graph in graphs)  # their weights are in the .safetensors beside them
    assert wheel.stat().st_size < 32e6


def test_the_installed_wheel_follows_a_target_without_torch(wheel: Path, tmp_path: Path) -> None:
    home = wheel.parent / "home"
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE.format(home=str(home))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout
