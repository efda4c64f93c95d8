"""`singletrack label`: what it refuses before the page opens. tests/web has the page."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.web.browser import Server

from singletrack import opencv
from singletrack.cli.main import main
from singletrack.labeling import Project
from singletrack.opencv import cv2
from singletrack.video import VideoWriter

pytest.importorskip("starlette", reason="needs the label page: pip install 'singletrack[web]'")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "ostrack-265"], "did you mean ostrack-256?"),
        (["--model", "ostrack-256"], "no bundled weights for ostrack-256"),
        (["--weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_before_the_page_opens(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.web.server.serve", lambda *_, **given: pytest.fail("the page was opened"))
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path))
    assert main(["label", "--no-browser", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["label"], ["live", "rtsp://127.0.0.1:1/none"]])
def test_a_missing_opencv_is_told_before_the_page_opens(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.web.server.serve", lambda *_, **given: pytest.fail("the page was opened"))
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path))
    monkeypatch.setattr(opencv, "cv2", opencv.MissingOpenCV("expected OpenCV; got none; run: pip install it"))
    assert main([*verb, "--no-browser"]) == 1
    assert "run: pip install it" in capsys.readouterr().err


def test_of_several_clips_a_missing_one_is_told_before_the_page_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.web.server.serve", lambda *_, **given: pytest.fail("the page was opened"))
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path))
    (tmp_path / "a.mp4").write_bytes(b"no video, which the page says when it is chosen")
    assert main(["label", "--no-browser", str(tmp_path / "a.mp4"), str(tmp_path / "none.mp4")]) == 2
    assert "none.mp4" in capsys.readouterr().err


def test_a_missing_file_is_told_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.loading.load_with", lambda *_: pytest.fail("the model was loaded"))
    assert main(["live", "--no-browser", "--record-to", str(tmp_path / "out"), str(tmp_path / "none.mp4")]) == 2
    assert "none.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The clips and projects with which the page was opened."""
    found: list[tuple[str, str]] = []

    def serve(workspace: Any, **given: Any) -> None:
        found.extend((str(clip.source), str(clip.project.path)) for clip in workspace.clips.values())

    monkeypatch.setattr("singletrack.web.server.serve", serve)
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path / "cache"))
    return found


def test_a_project_opens_its_clip(
    served: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, path = tmp_path / "frames", tmp_path / "work.singletrack"
    clip.mkdir()
    cv2.imwrite(str(clip / "0.png"), np.full((20, 30, 3), 90, np.uint8))
    Project.create(path, clip).close()
    assert main(["label", "--no-browser", str(path)]) == 0
    assert served == [(str(clip), str(path))]
    assert "ended; the labels are saved" in capsys.readouterr().out
    assert main(["label", "--no-browser", str(path), "--project", str(path)]) == 2
    assert "leave --project out" in capsys.readouterr().err
    clip.rename(tmp_path / "moved")
    assert main(["label", "--no-browser", str(path)]) == 1
    assert "singletrack label CLIP --project work.singletrack" in capsys.readouterr().err
    assert main(["label", "--no-browser", str(tmp_path / "moved"), "--project", str(path)]) == 0
    assert served[1:] == [(str(tmp_path / "moved"), str(path))]


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_dropped_clips_are_kept_with_their_labels(
    ended_by: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made.mp4"
    with VideoWriter(made, fps=30) as writer:
        for level in range(0, 200, 40):
            writer.write(np.full((48, 64, 3), level, np.uint8))
    server = Server(tmp_path)
    clips = tmp_path / "singletrack-clips"

    def ask(path: str, body: bytes) -> dict[str, Any]:
        start, token = server.address.split("/?token=")
        request = urllib.request.Request(start + path, body, {"authorization": f"Bearer {token}"}, method="POST")
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    try:
        dog = ask("/api/clips?name=dog.mp4", made.read_bytes())["id"]
        ask("/api/clips?name=cat.mp4", made.read_bytes())
        ask(f"/api/clips/{dog}/targets", b'{"name": "Rex", "frame": 0, "box": [1, 2, 20, 30]}')
        assert {path.name for path in clips.iterdir()} >= {"dog.mp4", "cat.mp4", "dog.singletrack"}
    finally:
        server.process.send_signal(ended_by)
        assert server.process.wait(60) == 0
    assert sorted(path.name for path in clips.iterdir()) == ["dog.mp4", "dog.singletrack"]
    said = (tmp_path / "server.log").read_text()
    assert said.endswith("kept: singletrack-clips/dog.mp4 and its labels, dog.singletrack\n")
    assert "cat" not in said
    monkeypatch.chdir(tmp_path)
    assert main(["labels", "singletrack-clips/dog.singletrack", "--out", "dog.csv"]) == 0
    assert "Rex" in Path("dog.csv").read_text()


def test_no_folder_is_left_where_no_clip_was_dropped(
    served: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["label", "--no-browser"]) == 0
    assert not Path("singletrack-clips").exists()


def test_only_what_can_be_labeled_is_offered(
    served: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", "--no-browser", str(tmp_path / "none.mp4")]) == 2
    assert capsys.readouterr().err.endswith("give a video file, a folder of frames or a glob\n")
    assert main(["live", "--no-browser", str(tmp_path / "none.mp4")]) == 2
    assert capsys.readouterr().err.endswith("a glob, a camera number or a stream\n")
