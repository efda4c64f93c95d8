"""A made clip whose boxes are known, and a server for it without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the label page: pip install 'singletrack[web]'")
pytest.importorskip("httpx2", reason="needs Starlette's test client: pip install httpx2")

from starlette.testclient import TestClient
from tests.web.served import ADDRESS, FAILED, FRAMES, SIZE_WH, TOKEN

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.geometry.boxes import Box
from singletrack.video import VideoWriter
from singletrack.web.app import build_app
from singletrack.web.workspace import Workspace


@pytest.fixture(scope="session")
def made_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Box]]:
    """A clip of 40 frames of 320 x 180, and the true box of its target in each."""
    path = tmp_path_factory.mktemp("made") / "made.mp4"
    boxes = []
    with VideoWriter(path, 30.0) as video:
        for frame, box in generate_clip(frames=FRAMES, size_wh=SIZE_WH):
            video.write(frame)
            boxes.append(box)
    return path, boxes


@pytest.fixture
def clip(made_clip: tuple[Path, list[Box]], tmp_path: Path) -> Path:
    """The clip in a folder of its own, where its project may lie beside it."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(made_clip[0].read_bytes())
    return path


@pytest.fixture
def workspace(clip: Path, tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(secret=TOKEN, upload_folder=tmp_path / "uploads", upload_bytes=1_000_000)
    workspace.add(clip)
    yield workspace
    workspace.close()


@pytest.fixture
def clip_id(workspace: Workspace) -> str:
    return next(iter(workspace.clips))


@pytest.fixture
def stranger(workspace: Workspace) -> Iterator[TestClient]:
    """A client without the token."""
    with TestClient(build_app(workspace, token=TOKEN), base_url=ADDRESS) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """A client that opened the printed address."""
    stranger.get("/", params={"token": TOKEN})
    return stranger


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Let fixtures know that a test failed, so that they keep a picture of the page."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report
