"""The official VOT toolkit runs our tracker, unchanged: its own test, and workspaces of two short sequences.

The toolkit lives in an environment of its own, which is made once and kept in pytest's cache.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import singletrack
from singletrack.geometry.boxes import iou
from singletrack.integrations.vot import add_entry, make_entry

SOURCES = Path(__file__).resolve().parents[2] / "src"
NEW, OLD = "vot-toolkit==0.9.0", "vot-toolkit==0.7.4"  # the old one is the last with VOT2022's experiments
FRAMES = 8
SEQUENCES = ("one", "two")
PROTOCOLS = ("trax", "python")
WORKSPACE = "stack: stack.yaml\nregistry:\n- ./trackers.ini\n"
STACK = """title: made
experiments:
  baseline:
    type: unsupervised
    repetitions: 1
    multiobject: {several}
    analyses:
      - type: average_accuracy
        burnin: 0
"""
STACK_2022 = "title: made\nexperiments:\n  baseline:\n    type: multistart\n"


@dataclass(frozen=True)
class Toolkit:
    """How to run the toolkit and ourselves: `python` has its packages first and ours behind them."""

    python: Path
    search_path: str = ""

    def run(self, *arguments: str, folder: Path) -> str:
        """Run `python -m` these arguments in a folder, and give all that it says."""
        environment = {
            **os.environ,
            "PYTHONPATH": self.search_path,
            "HTTPS_PROXY": "http://127.0.0.1:9",  # it looks for updates of itself; this ends that at once
            "VOT_RESULTS_BINARY": "false",
        }
        done = subprocess.run(
            [str(self.python), "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def toolkit(request: pytest.FixtureRequest) -> Toolkit:
    return Toolkit(make_environment(request) / "bin/python")


@pytest.fixture(scope="session")
def old_toolkit(request: pytest.FixtureRequest) -> Toolkit:
    home = make_environment(request)
    return Toolkit(home / "bin/python", str(home / "old"))


def make_environment(request: pytest.FixtureRequest) -> Path:
    """The folder of the environment; skips, saying what to run, where pip cannot make it."""
    if sys.platform == "win32":
        pytest.skip("needs a POSIX system: the environment of these tests is laid out for one")
    assert request.config.cache is not None
    home = Path(request.config.cache.mkdir("vot-toolkit")) / f"{sys.version_info.major}.{sys.version_info.minor}"
    if (home / "whole").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    # not into our environment: it needs opencv-python, which overwrites opencv-python-headless
    install = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in ([NEW, "attributee!=0.1.10"], ["--no-deps", "--target", str(home / "old"), OLD]):
        done = subprocess.run([*install, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1]
            pytest.skip(f"needs the VOT toolkit, which pip cannot fetch ({reason}); try: {shlex.join(arguments)}")
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "singletrack.pth").write_text(f"{SOURCES}\n{sysconfig.get_path('purelib')}\n")
    (home / "whole").touch()
    return home


def true_boxes(sequence: str) -> np.ndarray:
    """(N, 4) xywh: to the right and down, the second one faster."""
    pace = 2 + SEQUENCES.index(sequence)
    return np.array([(15 + pace * index, 25 + index, 20, 24) for index in range(FRAMES)])


def inner(boxes: np.ndarray, inset: int) -> np.ndarray:
    """The boxes so many pixels smaller on each side."""
    return boxes + np.array([inset, inset, -2 * inset, -2 * inset])


@pytest.fixture
def workspace(tmp_path: Path, toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with both ways to our tracker: a patch of noise moves over a smooth ground."""
    random = np.random.default_rng(0)
    for name in SEQUENCES:
        folder = tmp_path / "sequences" / name
        (folder / "color").mkdir(parents=True)
        ground = cv2.GaussianBlur(random.integers(0, 256, (72, 96, 3)).astype(np.uint8), (0, 0), 3)
        patch = random.integers(0, 256, (24, 20, 3)).astype(np.uint8)
        for index, (x, y, width, height) in enumerate(true_boxes(name)):
            frame = ground.copy()
            frame[y : y + height, x : x + width] = patch
            cv2.imwrite(str(folder / "color" / f"{index + 1:08d}.jpg"), frame)
        (folder / "sequence").write_text(f"name={name}\nfps=30\nformat=default\nchannels.color=color/%08d.jpg\n")
        np.savetxt(folder / "groundtruth.txt", true_boxes(name), fmt="%d", delimiter=",")
        (folder / "anchor.value").write_text("\n".join(["1", *["0"] * (FRAMES - 2), "-1"]))
    (tmp_path / "sequences" / "list.txt").write_text("\n".join(SEQUENCES))
    (tmp_path / "results").mkdir()
    (tmp_path / "config.yaml").write_text(WORKSPACE)
    (tmp_path / "stack.yaml").write_text(STACK.format(several="false"))
    monkeypatch.setattr(sys, "executable", str(toolkit.python))
    for protocol in PROTOCOLS:
        add_entry(tmp_path / "trackers.ini", protocol, make_entry(protocol, in_process=protocol == "python"))
    return tmp_path


def evaluate(toolkit: Toolkit, tracker: str, workspace: Path) -> None:
    told = toolkit.run("vot", "evaluate", "--workspace", str(workspace), tracker, folder=workspace)
    assert "Evaluation concluded successfuly" in told  # it exits with 0 whatever happens


def boxes_of(path: Path) -> np.ndarray:
    """(N - 1, 4) xywh of a result file; its first line says that the tracker was given that frame's box."""
    first, *later = path.read_text().splitlines()
    assert first == "1"
    return np.array([[float(value) for value in line.split(",")] for line in later])


def follow(sequence: Path, box: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The same without the toolkit: boxes and scores from the second frame on."""
    frames = list(singletrack.open_video(sequence / "color"))
    tracker = singletrack.load("ostrack-tiny")
    tracker.init(frames[0], tuple(box))
    results = [tracker.update(frame) for frame in frames[1:]]
    return np.array([result.box for result in results]), [result.score for result in results]


@pytest.mark.parametrize("options", [[], ["--in-process"]])
def test_what_we_register_passes_the_toolkits_own_test(toolkit: Toolkit, tmp_path: Path, options: list[str]) -> None:
    toolkit.run("singletrack", "vot", "register", *options, folder=tmp_path)
    told = toolkit.run("vot", "test", "ostrack-tiny", folder=tmp_path)
    assert "Processing frame 49/49" in told
    assert "Test concluded successfuly" in told
    assert "Error" not in told


def test_a_workspace_is_evaluated_to_our_own_boxes(toolkit: Toolkit, workspace: Path) -> None:
    for protocol in PROTOCOLS:
        evaluate(toolkit, protocol, workspace)
    for name in SEQUENCES:
        boxes, scores = follow(workspace / "sequences" / name, true_boxes(name)[0])
        assert iou(boxes, true_boxes(name)[1:]).mean() > 0.5
        for protocol in PROTOCOLS:
            results = workspace / "results" / protocol / "baseline" / name
            np.testing.assert_allclose(boxes_of(results / f"{name}_001.txt"), boxes, atol=1e-4)  # TraX: 4 decimals
            told = [float(line) for line in (results / f"{name}_001_confidence.value").read_text().split()]
            assert told == pytest.approx([1.0, *scores], abs=1e-6)

    toolkit.run("vot", "analysis", "--workspace", str(workspace), "--name", "made", *PROTOCOLS, folder=workspace)
    report = json.loads((workspace / "analysis" / "made.json").read_text())
    (over_trax,), (in_process,) = report["results"]["baseline"]["results"][0]
    assert over_trax == pytest.approx(in_process, abs=1e-3)
    assert 0.5 < over_trax < 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_several_targets_given_as_masks_are_followed_at_once(toolkit: Toolkit, workspace: Path, protocol: str) -> None:
    (workspace / "stack.yaml").write_text(STACK.format(several="true"))
    for name in SEQUENCES:
        folder = workspace / "sequences" / name
        (folder / "groundtruth.txt").unlink()
        for target, inset in (("a", 0), ("b", 4)):
            boxes = inner(true_boxes(name), inset)
            lines = [f"m{x},{y},{width},{height},0,{width * height}" for x, y, width, height in boxes]
            (folder / f"groundtruth_{target}.txt").write_text("\n".join(lines) + "\n")
    evaluate(toolkit, protocol, workspace)
    for target, inset in (("a", 0), ("b", 4)):
        expected, _ = follow(workspace / "sequences" / "one", inner(true_boxes("one"), inset)[0])
        path = workspace / "results" / protocol / "baseline" / "one" / f"one_{target}_001.txt"
        np.testing.assert_allclose(boxes_of(path), expected, atol=1e-4)


def test_the_toolkit_of_vot2022_starts_at_anchors_and_runs_backwards(
    toolkit: Toolkit, old_toolkit: Toolkit, workspace: Path
) -> None:
    (workspace / "stack.yaml").write_text(STACK_2022)
    registry = (workspace / "trackers.ini").read_text()
    (workspace / "trackers.ini").write_text(registry[: registry.index("[python]")])  # which it does not know
    evaluate(old_toolkit, "trax", workspace)
    results = workspace / "results" / "trax" / "baseline" / "one"
    expected, _ = follow(workspace / "sequences" / "one", true_boxes("one")[0])
    np.testing.assert_allclose(boxes_of(results / "one_00000000.txt"), expected, atol=1e-4)
    assert iou(boxes_of(results / f"one_{FRAMES - 1:08d}.txt"), true_boxes("one")[-2::-1]).mean() > 0.5


def test_a_model_that_loads_slowly_is_waited_for(toolkit: Toolkit, workspace: Path) -> None:
    """Loading takes longer than the toolkit waits for an answer; no answer does."""
    slow = workspace / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "from singletrack import loading\n"
        "from singletrack.cli.main import main\n"
        "load = loading.load_with\n"
        "loading.load_with = lambda name, options: time.sleep(8) or load(name, options)\n"
        "sys.exit(main(['vot', 'serve']))\n"
    )
    registry = configparser.ConfigParser()
    registry["slow"] = {"protocol": "trax", "command": f"{toolkit.python} {slow}", "timeout": "6"}
    with (workspace / "trackers.ini").open("w") as file:
        registry.write(file)
    evaluate(toolkit, "slow", workspace)
