"""OpenCV comes from whichever package is installed: none, one, several, and one that another's removal damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import types
import venv
from pathlib import Path

import pytest

from singletrack import opencv
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import MissingDependencyError

ROOT = Path(__file__).parent.parent
SITE = Path(sysconfig.get_path("purelib"))


def with_packages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(opencv, "installed_packages", lambda: dict.fromkeys(names, "5.0"))


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with_packages(monkeypatch)
    assert opencv.find_problem(ModuleNotFoundError("No module named 'cv2'")) == (
        "expected OpenCV; got none of its packages; run: pip install opencv-python-headless "
        "(or opencv-python, opencv-contrib-python: any of them serves)"
    )


def test_a_package_that_another_one_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the removal of one package nothing may be left of cv2, or a folder without its library."""
    with_packages(monkeypatch, "opencv-python")
    for left in (ModuleNotFoundError("No module named 'cv2'"), types.ModuleType("cv2")):
        problem = opencv.find_problem(left)
        assert problem is not None
        assert "got a damaged module cv2 of opencv-python" in problem
        assert problem.endswith("run: pip install --force-reinstall --no-deps opencv-python")


def test_two_packages_of_which_none_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with_packages(monkeypatch, "opencv-python", "opencv-contrib-python")
    problem = opencv.find_problem(types.ModuleType("cv2"))
    assert problem is not None
    assert problem.endswith(
        "of opencv-python and opencv-contrib-python: removing one package of OpenCV removes files of the others; run: "
        "pip uninstall --yes opencv-python; pip install --force-reinstall --no-deps opencv-contrib-python"
    )


def test_a_system_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with_packages(monkeypatch, "opencv-python")
    assert opencv.find_problem(ImportError("libGL.so.1: cannot open\nshared object file")) == (
        "expected OpenCV; opencv-python cannot be imported: libGL.so.1: cannot open shared object file; "
        "run: pip uninstall --yes opencv-python opencv-contrib-python; pip install opencv-python-headless"
    )


def test_the_stand_in_raises_at_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with_packages(monkeypatch)
    monkeypatch.setitem(sys.modules, "cv2", None)
    module = opencv.load()
    assert not hasattr(module, "__wrapped__")
    with pytest.raises(MissingDependencyError, match="run: pip install opencv-python-headless"):
        module.resize(None, (1, 1))


def test_several_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with_packages(monkeypatch, "opencv-python")
    assert opencv.find_conflict() is None
    with_packages(monkeypatch, "opencv-python-headless", "opencv-python")
    conflict = opencv.find_conflict()
    assert conflict is not None
    assert conflict.startswith("opencv-python-headless 5.0 and opencv-python 5.0 share one module cv2")


def test_only_the_helper_imports_cv2() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        if path.name != "opencv.py":
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
            assert not [line for line in lines if line.startswith(("import cv2", "from cv2"))], path


# --- in an environment of its own ---


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with singletrack and what it needs, but without OpenCV; gives its Python."""
    if sys.platform == "win32":
        pytest.skip("needs links between folders, which Windows does not let everybody make")
    folder = tmp_path_factory.mktemp("opencv")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env/bin/python"
    (folder / "linked").mkdir()
    for entry in SITE.iterdir():  # all other packages, as they are here
        if not entry.name.startswith(("cv2", "opencv", "pip", "__editable__", "__pycache__", "setuptools")):
            (folder / "linked" / entry.name).symlink_to(entry)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "linked.pth").write_text(f"{folder / 'linked'}\n{ROOT / 'src'}\n")
    return python


def pip(python: Path, *arguments: str) -> None:
    """Run pip; skips where it cannot fetch."""
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and arguments[0] == "install":
        pytest.skip(f"needs packages of OpenCV, which pip cannot fetch: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def singletrack(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-m", "singletrack", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_every_state_of_an_environment(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for index, (frame, _) in enumerate(generate_clip(frames=3)):
        opencv.cv2.imwrite(str(tmp_path / "clip" / f"{index:04d}.png"), frame[..., ::-1])
    track = ("track", str(tmp_path / "clip"), "--box", "300,150,60,60")
    # none: one line that names the command
    done = singletrack(environment, *track)
    assert done.returncode == 1
    assert done.stderr.startswith("singletrack: expected OpenCV; got none of its packages; run: pip install opencv-")
    done = singletrack(environment, "doctor", "--seconds", "0")
    assert done.returncode == 1
    assert "got none of its packages" in done.stdout
    # the user's own, with windows and trackers: it serves, and installing singletrack asks for no other
    pip(environment, "install", "--no-deps", "opencv-contrib-python")
    assert singletrack(environment, *track).returncode == 0
    has_trackers = [str(environment), "-c", "import cv2; cv2.TrackerCSRT_create; cv2.imshow"]
    assert subprocess.run(has_trackers, check=False).returncode == 0
    # a second one beside it
    pip(environment, "install", "--no-deps", "opencv-python-headless")
    done = singletrack(environment, "doctor", "--seconds", "0")
    assert done.returncode == 0, done.stdout
    assert "share one module cv2" in done.stdout
    # removed again: it takes files of the first with it
    pip(environment, "uninstall", "--yes", "opencv-python-headless")
    done = singletrack(environment, "doctor", "--seconds", "0")
    assert done.returncode == 1
    cure = "pip install --force-reinstall --no-deps opencv-contrib-python"
    assert cure in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert cure in singletrack(environment, *track).stderr
    # the cure
    pip(environment, *cure.split()[1:])
    assert singletrack(environment, *track).returncode == 0
    assert singletrack(environment, "doctor", "--seconds", "0").returncode == 0


def test_the_core_depends_on_no_package_of_opencv() -> None:
    """pip would install it over the one that is there."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    named = [line.partition("=")[0].strip() for line in lines if '"opencv-' in line]
    assert named == ["opencv"]
