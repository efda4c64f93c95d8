"""Nothing leaves the machine, and nothing appears in the home folder, unless the user asks for it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.video import VideoWriter

SOURCE = Path(__file__).parent.parent / "src" / "singletrack"
REPORTERS = {"openvino", "onnxruntime", "nncf", "ray", "trackio"}  # packages that report their use when imported

SINGLETRACK = ["-m", "singletrack"]
EXPORT = """
from pathlib import Path
from singletrack.export.to_onnx import export_onnx
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import build_ostrack

small = OSTrackConfig(template_size=32, search_size=64, width=16, depth=1, heads=2, eliminate_in=(), head_channels=8)
export_onnx(build_ostrack(small).eval(), Path("small.onnx"), name="small")
"""

# Runs at the start of every Python process, children included, and writes down each use of the network.
GUARD = """
import os, sys

def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if isinstance(arguments[1], (tuple, list)):  # a text is the path of a local socket
            record(event, arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "http.client.connect"):
        record(event, arguments)

def record(event, arguments):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(f"{sys.argv[:2]} {event} {arguments}\\n")

sys.addaudithook(note)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A made clip as video, and as a data set of one sequence in the folder ``sequences``."""
    sequences = [tmp_path / "sequences" / name for name in ("a", "b")]
    for sequence in sequences:
        sequence.mkdir(parents=True)
        (sequence / "groundtruth.txt").write_text("")
    with VideoWriter(tmp_path / "clip.mp4", fps=30) as writer:
        for index, (frame, box) in enumerate(generate_clip(frames=4, size_wh=(320, 180))):
            writer.write(frame)
            for sequence in sequences:
                cv2.imwrite(str(sequence / f"{index:04}.jpg"), frame[..., ::-1])
                with (sequence / "groundtruth.txt").open("a") as file:
                    file.write(",".join(f"{value:.2f}" for value in box) + "\n")
    return tmp_path / "clip.mp4"


def run_guarded(arguments: list[str], home: Path, folder: Path, **variables: str) -> str:
    """Run Python with a fresh home; gives all that its processes did on the network, a line each."""
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    log, trace = folder / "network.log", folder / "strace.log"
    unwanted = ("XDG_CACHE_HOME", "SINGLETRACK_CACHE", "CI", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"HOME": str(home), "NETWORK_LOG": str(log), **variables}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "guard"), str(SOURCE.parent)])
    command = [sys.executable, *arguments]
    strace = shutil.which("strace")
    if strace:  # which also sees what is not done by Python
        command = [
            strace,
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-o",
            str(trace),
            "-e",
            "trace=connect,sendto,sendmsg",
            *command,
        ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines() if log.exists() else []
    if strace and trace.exists():
        lines += [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    return "\n".join(lines)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_track_uses_no_network_and_leaves_the_home_alone(clip: Path, home: Path, tmp_path: Path, engine: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnx")
    arguments = [
        *SINGLETRACK,
        "track",
        str(clip),
        "--box",
        "100,60,60,50",
        "--save-boxes",
        "boxes.csv",
        "--engine",
        engine,
    ]
    assert run_guarded(arguments, home, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == ""
    assert files_in(home) == []


def test_the_home_gets_the_documented_cache_alone(clip: Path, home: Path, tmp_path: Path) -> None:
    arguments = [*SINGLETRACK, "track", str(clip), "--box", "100,60,60,50", "--save-boxes", "boxes.csv"]
    assert run_guarded(arguments, home, tmp_path) == ""
    assert set(files_in(home)[:3]) == {".cache", ".cache/singletrack", ".cache/singletrack/compiled"}
    assert all(name.startswith(".cache/singletrack/compiled/") for name in files_in(home)[3:])


@pytest.mark.parametrize("verb", ["demo", "evaluate", "doctor"])
def test_other_verbs_use_no_network(clip: Path, home: Path, tmp_path: Path, verb: str) -> None:
    arguments = {
        "demo": ["demo", "--out", "demo"],
        "evaluate": ["evaluate", "folder", "--root", str(tmp_path / "sequences"), "--jobs", "2"],
        "doctor": ["doctor", "--seconds", "0"],
    }
    assert run_guarded([*SINGLETRACK, *arguments[verb]], home, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == ""
    assert files_in(home) == []


def test_export_uses_no_network(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert run_guarded(["-c", EXPORT], home, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == ""
    assert files_in(home) == []


def test_the_guard_sees_a_child_that_calls_home(home: Path, tmp_path: Path) -> None:
    program = "import multiprocessing, socket\nmultiprocessing.get_context('fork').Process("
    program += "target=socket.getaddrinfo, args=('localhost', 80)).start()\n"
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "guard"), "NETWORK_LOG": str(tmp_path / "network.log")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert "socket.getaddrinfo" in (tmp_path / "network.log").read_text()


@pytest.mark.parametrize("path", sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")))
def test_packages_that_report_are_imported_in_silence(path: str) -> None:
    tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and "without_telemetry" in ast.unparse(node.items[0]):
            silent |= set(ast.walk(node))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            names = [ast.literal_eval(node.args[0])] if isinstance(node.args[0], ast.Constant) else []
        reporting = [name for name in names if name.split(".")[0] in REPORTERS]
        assert node in silent or not reporting, f"{path} line {getattr(node, 'lineno', 0)}: import in without_telemetry"
