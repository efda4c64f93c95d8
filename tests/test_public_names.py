from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import singletrack


@pytest.mark.parametrize("name", singletrack.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(singletrack, name).__name__ == name
    assert name in dir(singletrack)


def test_public_names() -> None:
    tools = [name for name in singletrack.__all__ if not name.endswith("Error")]
    assert tools == ["Result", "Tracker", "load", "open_video", "track"]


def test_version() -> None:
    assert singletrack.__version__ == version("singletrack")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'follow_all'"):
        singletrack.follow_all  # noqa: B018


def test_import_is_light() -> None:
    program = """
import time
start = time.perf_counter()
import singletrack
assert time.perf_counter() - start < 0.5
import sys
heavy = {"torch", "openvino", "onnxruntime", "av", "cv2"} & set(sys.modules)
assert not heavy, heavy
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr
