"""The documentation site builds with warnings as errors: links, anchors, navigation, and the API reference."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from singletrack.cli.main import VERBS

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    for name in ("singletrack.api.track", "singletrack.loading.load", "singletrack.tracking.multi.MultiTracker"):
        assert f'id="{name}"' in api
    commands = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"singletrack {verb}" in commands
    assert "demo.gif" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_the_moving_picture_is_small() -> None:
    picture = ROOT / "docs" / "demo.gif"
    assert picture.read_bytes().startswith(b"GIF89a")
    assert picture.stat().st_size < 2_000_000
