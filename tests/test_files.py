from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from singletrack.errors import InputError
from singletrack.files import atomic_write, check_outputs, new_folder, remove_unfinished


def test_an_output_that_is_an_input_is_refused_by_any_name(tmp_path: Path) -> None:  # C18: it was destroyed
    source = tmp_path / "source.mp4"
    source.write_bytes(b"video")
    (tmp_path / "symbolic.txt").symlink_to(source)
    os.link(source, tmp_path / "hard.txt")
    frames = tmp_path / "frames"
    frames.mkdir()
    os.link(source, frames / "1.png")
    new = tmp_path / "new.txt"
    for output in (source, tmp_path / "symbolic.txt", tmp_path / "hard.txt", frames / ".." / "source.mp4"):
        for given in (source, str(source), frames, str(frames / "*.png")):
            with pytest.raises(InputError, match="is to be read as well"):
                check_outputs([None, new, output], ["0", "rtsp://camera", None, given])
    check_outputs([new, tmp_path / "other.txt"], [source, frames, "a" * 5000])
    assert source.read_bytes() == b"video"
    assert not new.exists()


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").touch()
    (tmp_path / "link.txt").symlink_to(tmp_path / "old.mp4")
    for pair in ([tmp_path / "old.mp4", tmp_path / "link.txt"], [tmp_path / "new", tmp_path / "x" / ".." / "new"]):
        with pytest.raises(InputError, match="is to be written already"):
            check_outputs(pair, [])


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:  # C32
    path, errors = tmp_path / "run.json", []

    def write(text: str) -> None:
        try:
            for _ in range(200):
                with atomic_write(path) as unfinished:
                    unfinished.write_text(text)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(path.read_text())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:  # C31
    code = """
import os, signal, sys
from pathlib import Path
from singletrack.files import atomic_write
with atomic_write(Path(sys.argv[1]) / "model.onnx") as unfinished:
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    gone = left.name.split("-")[-2]
    machine = re.sub(r"[^\w-]", "_", platform.node())
    older = tmp_path / f".model.{gone}.onnx"  # as versions before named them
    older.touch()
    kept = [
        tmp_path / "model.onnx",
        tmp_path / f".model.{machine}-{os.getpid()}-0.part.onnx",  # this process may be writing it
        tmp_path / f".model.elsewhere-{gone}-0.part.onnx",  # of another machine that shares the folder
        tmp_path / ".hidden.txt",
    ]
    for path in kept:
        path.touch()
    remove_unfinished(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(
    ("name", "writes", "left"), [("new", False, False), ("new", True, True), ("there", False, True)]
)
def test_a_new_folder_that_stays_empty_goes_with_an_error(name: str, writes: bool, left: bool, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    def fail() -> None:
        with new_folder(tmp_path / name):
            if writes:
                (tmp_path / name / "a.txt").write_text("kept")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert (tmp_path / name).exists() == left


def test_a_new_folder_stays_without_an_error(tmp_path: Path) -> None:
    with new_folder(tmp_path / "fine"):
        pass
    assert (tmp_path / "fine").is_dir()
