"""`singletrack label`: what it refuses before the page opens. tests/web has the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from singletrack import opencv
from singletrack.cli.main import main

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
