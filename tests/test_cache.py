"""The cache folder: without a home, and cleared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from singletrack import cache, loading
from singletrack.cli.main import main
from singletrack.errors import SingletrackError

FOLLOW = """
import numpy as np, singletrack
tracker = singletrack.load(threads=1)
frame = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
tracker.init(frame, (40, 30, 30, 30))
print(tracker.update(frame).score > 0.1)
"""


def test_without_a_home_the_folder_lasts_as_long_as_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SINGLETRACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    folder = cache.cache_folder()
    assert folder.is_dir()
    assert folder == cache.cache_folder()
    assert folder.stat().st_mode & 0o077 == 0
    cache._temporary_folder.cache_clear()
    shutil.rmtree(folder)


@pytest.mark.skipif(not shutil.which("setpriv") or not hasattr(os, "getuid"), reason="needs setpriv (util-linux)")
def test_a_user_without_home_and_name_follows(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root becomes another user")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = ["setpriv", "--reuid", "54321", "--clear-groups", sys.executable, "-c", FOLLOW]
    probe = [*command[:4], sys.executable, "-c", "import singletrack"]
    if subprocess.run(probe, env=environment, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("another user cannot read this Python or this package")
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_doctor_clears_what_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path))
    (tmp_path / "compiled").mkdir()
    (tmp_path / "clips").mkdir()
    key = "0123456789abcdef" * 2
    ours = [f"ostrack-256-{key}.onnx", f"ostrack-256-{key}.blake2b", f"ostrack-256-{key}.alias"]
    ours += [f".ostrack-256-{key}.123.part.onnx", "compiled/1.blob"]
    theirs = ["mine.onnx", "clips/holiday.mp4", "thesis.txt"]
    for name in (*ours, *theirs):
        (tmp_path / name).write_bytes(bytes(200_000))
    assert main(["doctor", "--clear-cache"]) == 0
    assert capsys.readouterr().out == f"removed 5 files, 1.0 MB, from {tmp_path}\n"
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(theirs)


@pytest.mark.parametrize("full", [True, False])
def test_no_room_for_an_export_is_told_before_it_is_made(  # C24
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cache"
    if full:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    else:
        place.write_text("a file")
    monkeypatch.setenv("SINGLETRACK_CACHE", str(place))
    monkeypatch.setattr("singletrack.export.export_model", lambda *_, **options: pytest.fail("exported"), raising=False)
    with pytest.raises(SingletrackError, match=r"cache folder.*SINGLETRACK_CACHE"):
        loading.load("ostrack-tiny", weights=loading.bundled_file("ostrack-tiny", ".safetensors"), engine="openvino")
