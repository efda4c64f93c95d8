from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singletrack import loading
from singletrack.cli.main import main
from singletrack.errors import InputError
from singletrack.evaluation.run_store import RunFolder
from singletrack.install import install_command
from singletrack.loading import LoadOptions
from singletrack.tracking.base import Result

# a model that stays where it was, as a module that every process can import
MODEL = """
import os, pathlib, time
from dataclasses import dataclass
from singletrack import cache, loading, registry
from singletrack.tracking.base import Result

class Network:
    device, engine = "cpu", "torch"

@dataclass(frozen=True)
class Settings:
    step: float = 0.1

class Slow:
    network, settings = Network(), Settings()
    def init(self, frame, box):
        self.box = box
        (pathlib.Path(os.environ["DESK"]) / str(os.getpid())).touch()
    def update(self, frame):
        time.sleep(float(os.environ["PAUSE"]))
        x, y, width, height = self.box
        self.box = (x + self.settings.step, y, width + float(frame[0, 0, 0]) / 1000, height)
        return Result(box=self.box, score=0.5, lost=False)

def load(name, options):
    return Slow()

loading.load_with = load
"""


@dataclass(frozen=True)
class Settings:
    step: float = 1.0


class Network:
    device, engine = "cpu", "torch"


class Stepping:
    """A tracker that goes a pixel to the right in each frame, and stumbles where it is told to."""

    network, settings = Network(), Settings()

    def init(self, frame: np.ndarray, box: Any) -> None:
        if frame[0, 0, 0] == 255:
            raise InputError("expected a darker frame; got 255; dim it")
        self.box = box

    def update(self, frame: np.ndarray) -> Result:
        x, y, width, height = self.box
        self.box = (x + 1, y, width, height)
        return Result(box=self.box, score=0.5, lost=False)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, LoadOptions]]:
    """Puts ``Stepping`` in the place of every model; lists the names and options."""
    asked = []

    def load(name: str, options: LoadOptions) -> Stepping:
        asked.append((name, options))
        return Stepping()

    monkeypatch.setattr(loading, "load_with", load)
    monkeypatch.setattr(loading, "bundled_file", lambda name, suffix: Path(__file__))
    return asked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of the plain kind: two sequences of 5 and 4 frames, in which the target goes a pixel to the right."""
    make_sequence(tmp_path / "data" / "one", 5)
    make_sequence(tmp_path / "data" / "two", 4)
    return tmp_path / "data"


def make_sequence(folder: Path, count: int, shade: int = 40) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:04d}.png"), np.full((24, 32, 3), shade, np.uint8))
    (folder / "groundtruth.txt").write_text("".join(f"{4 + index},5,8,6\n" for index in range(count)))


def evaluate(root: Path, *options: object) -> int:
    return main(["evaluate", "folder", "--root", str(root), *map(str, options)])


def test_results_facts_and_the_score(
    root: Path, loads: list[tuple[str, LoadOptions]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert evaluate(root, "--out", out) == 0
    run = RunFolder.open(out)
    assert run.done() == ["one", "two"]
    assert (out / "boxes" / "two.txt").read_text() == "".join(f"{4.0 + index},5.0,8.0,6.0\n" for index in range(4))
    assert loads == [("ostrack-tiny", LoadOptions(threads=1, settings={}))]
    facts = json.loads((out / "run.json").read_text())
    assert (facts["dataset"], facts["split"], facts["model"]) == ("folder", "test", "ostrack-tiny")
    assert facts["sequences"] == {"one": 5, "two": 4}
    assert facts["settings"] == {"step": 1.0}
    assert len(facts["weights"]) == 64
    text = capsys.readouterr().out
    assert f"2 of 2 sequences done, in {out}" in text
    assert "2 sequences, 9 frames; protocol ostrack" in text
    row = next(line for line in text.splitlines() if line.startswith("ostrack-tiny"))
    assert "100.0" in row


def test_options_reach_the_loader_and_the_files(
    root: Path, loads: list[tuple[str, LoadOptions]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--model", "ostrack-256", "--weights", "w.pth", "--engine", "torch", "--device", "cpu", "--limit", "1"]
    options += ["--threads", "3", "--set", "lost_after=3"]
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert evaluate(root, *options, "--integers") == 0
    weights = tmp_path / "w.pth"
    expected = LoadOptions(weights=weights, engine="torch", device="cpu", threads=3, settings={"lost_after": 3})
    assert loads == [("ostrack-256", expected)]
    run = RunFolder.open(tmp_path / "runs" / "folder-test-ostrack-256")
    assert run.facts.sequences == {"one": 5}
    assert (run.path / "boxes" / "one.txt").read_text().startswith("4,5,8,6\n5,5,8,6\n")


def test_the_same_command_goes_on_and_another_is_refused(
    root: Path, loads: list[tuple[str, LoadOptions]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert evaluate(root, "--out", out, "--limit", 1) == 0
    first = (out / "boxes" / "one.txt").stat()
    capsys.readouterr()
    assert evaluate(root, "--out", out) == 0
    assert "1 of 2 sequences were already done" in capsys.readouterr().out
    assert (out / "boxes" / "one.txt").stat().st_mtime_ns == first.st_mtime_ns
    assert evaluate(root, "--out", out, "--integers") == 2
    said = capsys.readouterr().err
    assert "holds another run: integers was False, is True; give another folder (--out)" in said


def test_a_sequence_that_fails_is_told_at_the_end(
    root: Path, loads: list[tuple[str, LoadOptions]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sequence(root / "bright", 3, shade=255)
    (root / "torn").mkdir()
    (root / "torn" / "0000.png").write_bytes(b"no picture")
    (root / "torn" / "groundtruth.txt").write_text("1,1,5,5\n")
    assert evaluate(root, "--out", tmp_path / "run") == 1
    said = capsys.readouterr()
    assert "2 of 4 sequences done" in said.out
    assert "100.0" in said.out
    assert "failed: bright: expected a darker frame; got 255; dim it" in said.err
    assert "failed: torn: cannot decode image" in said.err
    assert said.err.splitlines()[-1] == "2 of 4 sequences failed; run the same command to retry them"
    assert "Traceback" not in said.err


def test_without_true_boxes_there_is_no_score(
    loads: list[tuple[str, LoadOptions]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sequence(tmp_path / "data" / "one", 5)
    (tmp_path / "data" / "one" / "groundtruth.txt").write_text("4,5,8,6\n")
    assert evaluate(tmp_path / "data", "--out", tmp_path / "run") == 0
    assert "no ground truth for folder test, so no scores" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "three"], "folder test has no sequence 'three'"),
        (["--split", "val"], "folder has no split 'val'"),
        (["--batch", "2"], "batches need a tracker with preprocess and postprocess"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(
    root: Path,
    loads: list[tuple[str, LoadOptions]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    assert evaluate(root, "--out", tmp_path / "run", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ray_is_asked_for_where_it_is_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    assert evaluate(root, "--out", tmp_path / "run", "--ray", "auto") == 1
    assert install_command("ray") in capsys.readouterr().err


# --- killed and started again --------------------------------------------------------------------------------------


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command in a process, with the slow model; `pause` is how long it takes for a frame."""
    (tmp_path / "slow_model.py").write_text(MODEL)
    (tmp_path / "desk").mkdir()
    for seed in range(6):
        make_sequence(tmp_path / "data" / f"sequence {seed}", 6 + 3 * seed, shade=20 * seed + 3)

    def run(out: Path, *options: str, pause: float) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "DESK": str(tmp_path / "desk"),
            "PAUSE": str(pause),
            "OMP_NUM_THREADS": "1",
        }
        # a shell's background jobs are born deaf to Ctrl-C
        start = "import signal, sys, slow_model; from singletrack.cli.main import main; "
        start += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
        arguments = ["evaluate", "folder", "--root", str(tmp_path / "data"), "--out", str(out), *options]
        return subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def written(out: Path) -> dict[str, bytes]:
    """Every byte that must be the same again: boxes and scores, not times."""
    files = [*(out / "boxes").iterdir(), *(out / "scores").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files if not path.name.startswith(".")}


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to see it does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + 240
    while not what():
        assert time.monotonic() < end
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()}")
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux, to see which processes are left")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_killed_in_the_middle_it_goes_on(tmp_path: Path, begin: Callable[..., subprocess.Popen[str]], how: str) -> None:
    out, desk = tmp_path / "stopped", tmp_path / "desk"
    process = begin(out, "--jobs", "2", pause=0.05)
    wait_for(lambda: len(list((out / "boxes").glob("sequence*.txt"))) >= 2, process)
    process.send_signal(signal.Signals[how])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if how == "SIGINT" else -signal.Signals[how]), errors
    assert "Traceback" not in errors
    assert ("run the same command to resume" in errors) == (how == "SIGINT")
    workers = [int(path.name) for path in desk.iterdir()]
    assert len(workers) == 2
    wait_for(lambda: not any(map(alive, workers)))

    stopped = RunFolder.open(out)
    assert 2 <= len(stopped.done()) < 6
    for name in stopped.done():
        assert len(stopped.read(name).boxes_xywh) == stopped.facts.sequences[name]
    before = written(out)
    for folder, jobs in ((out, "2"), (tmp_path / "whole", "1")):
        process = begin(folder, "--jobs", jobs, pause=0)
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert "6 of 6 sequences done" in output
    assert written(out) == written(tmp_path / "whole")
    assert {name: data for name, data in written(out).items() if name in before} == before
