from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.fakes import Drifting, write_clip

from singletrack import loading
from singletrack.bulk import run as run_module
from singletrack.bulk.worker import TrackParts

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a tracker of pixels in the place of every model, in this process."""
    monkeypatch.setattr(loading, "load_with", lambda name, options: Drifting())


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of four clips: a.mp4 and b.mp4 of 6 frames, c.mp4 of 3, bright.mp4 of 4."""
    folder = tmp_path / "library"
    folder.mkdir()
    write_clip(folder / "a.mp4", 6, seed=1)
    write_clip(folder / "b.mp4", 6, seed=2)
    write_clip(folder / "c.mp4", 3, seed=3)
    write_clip(folder / "bright.mp4", 4, seed=4, bright=True)
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, fake: None) -> list[str]:
    """Runs parts here instead of in processes, with a tracker of pixels; lists the parts."""
    ran: list[str] = []

    def run(parts: Any, make_work: TrackParts, *, on_count: Any, **_: Any) -> Iterator[Any]:
        for name, result in make_work()(parts, on_count):
            ran.append(name)
            yield name, result

    monkeypatch.setattr(run_module, "run_in_processes", run)
    return ran
