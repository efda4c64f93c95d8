from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from singletrack.cli.main import main
from singletrack.labeling import Project
from singletrack.labeling.formats import FORMATS, read_labels
from singletrack.opencv import cv2
from singletrack.video import VideoWriter, open_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of ten frames."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(10):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((48, 64, 3), 20 * number, np.uint8))
    return folder


@pytest.fixture
def project(clip: Path, tmp_path: Path) -> Path:
    """A target that goes right, drawn in its first and last frame."""
    path = tmp_path / "clip.singletrack"
    with Project.create(path, clip) as project:
        target = project.add_target("white car", "car")
        project.set_keyframe(target, 0, (0, 10, 8, 6))
        project.set_keyframe(target, 9, (18, 10, 8, 6))
    return path


def test_a_project_becomes_each_format(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason='pip install "singletrack[labels]"')
    pytest.importorskip("yaml", reason='pip install "singletrack[labels]"')
    with Project.open(project, read_only=True) as opened:
        video = opened.video
    for name, row in FORMATS.items():
        out = tmp_path / f"{name}{row.suffix}"
        assert main(["labels", str(project), "--format", name, "--out", str(out)]) == 0, name
        assert capsys.readouterr().out == f"{out}: 1 targets, 10 labeled boxes and absences\n"
        (target,) = read_labels(out, format=name, video=video).targets
        box = target.boxes[4].box
        assert box is not None
        assert box == pytest.approx((8, 10, 8, 6), abs=1.0 if row.keyframes else 1e-3), name


def test_few_keyframes_to_the_stated_tolerance(project: Path, tmp_path: Path) -> None:
    assert main(["labels", str(project), "--out", str(tmp_path / "a.xml"), "--tolerance", "0.05"]) == 0
    text = (tmp_path / "a.xml").read_text()
    assert text.count('<box frame="') == 2
    assert main(["labels", str(project), "--out", str(tmp_path / "a.xml"), "--tolerance", "0"]) == 2


def test_from_one_format_to_another(project: Path, clip: Path, tmp_path: Path) -> None:
    table, cvat = tmp_path / "a.csv", tmp_path / "a.xml"
    assert main(["labels", str(project), "--out", str(table)]) == 0
    assert main(["labels", str(table), "--out", str(cvat)]) == 2  # a table does not say the size of the video
    assert main(["labels", str(table), "--video", str(clip), "--out", str(cvat), "--tolerance", "0.05"]) == 0
    assert main(["labels", str(cvat), "--format", "coco", "--out", str(tmp_path / "a.json")]) == 0
    boxes = [each["bbox"] for each in json.loads((tmp_path / "a.json").read_text())["annotations"]]
    np.testing.assert_allclose(boxes, [[2 * frame, 10, 8, 6] for frame in range(10)], atol=0.1)


def test_result_files_are_labels_too(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("frame,time,x,y,width,height,score,lost\n3,0.1,1.0,2.0,8.0,6.0,0.5,0\n")
    (tmp_path / "boxes.jsonl").write_text(
        '{"frame": 3, "time": 0.1, "id": 4, "box": [1, 2, 8, 6], "score": 0.5, "lost": true}\n'
    )
    (tmp_path / "boxes.txt").write_text("4,2,1.0,2.0,8.0,6.0,0.5,-1,-1,-1\n")
    for ending in ("csv", "jsonl", "txt"):
        out = tmp_path / f"{ending}.parquet.jsonl"
        assert main(["labels", str(tmp_path / f"boxes.{ending}"), "--video", str(clip), "--out", str(out)]) == 0
        row = json.loads(out.read_text())
        assert (row["frame"], row["box"], row["score"]) == (3, [1, 2, 8, 6], 0.5)


def test_frames_come_from_the_project(project: Path, clip: Path, tmp_path: Path) -> None:
    assert main(["labels", str(project), "--format", "otb", "--out", str(tmp_path / "otb"), "--save-frames"]) == 0
    (folder,) = (tmp_path / "otb").iterdir()
    assert sorted(path.name for path in (folder / "img").iterdir()) == [f"{n:04d}.png" for n in range(1, 11)]
    assert (folder / "img" / "0003.png").read_bytes() == (clip / "002.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "--out", "a.xml"], "got nothing of this name"),
        (["{project}", "--out", "a.json"], "give the format with --format, in Python format=: one of mot, coco"),
        (["{project}", "--out", "a.xml", "--save-frames"], "pictures are written with mot, coco"),
        (["{project}", "--out", "a.csv", "--tolerance", "2"], "tolerance is for cvat and label-studio"),
    ],
)
def test_what_cannot_be_converted(
    arguments: list[str], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", *(each.format(project=project) for each in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_help_lists_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in FORMATS)


@pytest.mark.parametrize("target", ["project", "video", "table"])
def test_what_is_read_is_not_replaced(
    target: str, project: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, video = tmp_path / "a.csv", tmp_path / "clip.mp4"
    with open_video(clip) as frames, VideoWriter(video, fps=30) as writer:
        for frame in frames:
            writer.write(frame)
    assert main(["labels", str(project), "--out", str(table)]) == 0
    out, source = {"project": (project, project), "video": (video, table), "table": (table, table)}[target]
    before = out.read_bytes()
    arguments = ["labels", str(source), "--format", "csv", "--out", str(out), "--overwrite"]
    assert main([*arguments, "--video", str(clip if target == "project" else video)]) == 2
    assert "would overwrite another file" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_file_that_is_there_is_replaced_only_if_asked(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("precious")
    assert main(["labels", str(project), "--out", str(tmp_path / "a.csv")]) == 2
    assert (tmp_path / "a.csv").read_text() == "precious"
    assert main(["labels", str(project), "--out", str(tmp_path / "a.csv"), "--overwrite"]) == 0
    assert (tmp_path / "a.csv").read_text() != "precious"
