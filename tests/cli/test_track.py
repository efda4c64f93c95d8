from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from singletrack.cli.main import main
from singletrack.labeling.formats import read_labels
from singletrack.labeling.labels import VideoInfo
from singletrack.loading import LoadOptions
from singletrack.results import read_results
from singletrack.video import open_video

Loads = list[tuple[str, LoadOptions]]
MakeClip = Callable[[int], Path]


def test_video_and_boxes(make_clip: MakeClip, loads: Loads, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, boxes = tmp_path / "followed.mp4", tmp_path / "boxes.csv"
    clip = str(make_clip(6))
    assert main(["track", clip, "--box", "4,5,20,16", "--out", str(out), "--save-boxes", str(boxes)]) == 0
    assert len(read_results(boxes)) == 6
    with open_video(out) as video:
        assert len(list(video)) == 6
    assert loads == [("ostrack-tiny", LoadOptions(settings={}))]
    assert capsys.readouterr().out.splitlines()[1:] == [f"wrote {out}", f"wrote {boxes}"]


@pytest.mark.parametrize("text", ["lost_after", "lost_after=", "lost_after=soon", "lost_after=1.2.3"])
def test_settings_that_cannot_be_read(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "clip.mp4", "--box", "4,5,20,16", "--set", text]) == 2
    assert f"expected NAME=VALUE with a number, true, false or none as VALUE; got '{text}'" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_options_reach_the_loader(make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    options = ["--model", "ostrack-256", "--weights", "w.safetensors", "--engine", "torch", "--device", "cuda"]
    options += ["--keep-ratio", "0.5", "--short-term"]
    options += ["--threads", "2", "--set", "lost_after=3", "--set", "lost_below=0.3", "--set", "hold_when_lost=True"]
    boxes = tmp_path / "boxes.txt"
    assert main(["track", str(make_clip(2)), "--box", "4,5,20,16", "--save-boxes", str(boxes), *options]) == 0
    settings = {"lost_after": 3, "lost_below": 0.3, "hold_when_lost": True}
    weights = Path("w.safetensors")
    expected = LoadOptions(
        weights=weights, engine="torch", device="cuda", threads=2, keep_ratio=0.5, long_term=False, settings=settings
    )
    assert loads == [("ostrack-256", expected)]
    assert boxes.read_text().splitlines() == ["4.0000,5.0000,20.0000,16.0000"] * 2
    assert not (tmp_path / "followed.mp4").exists()


def test_start(make_clip: MakeClip, loads: Loads, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, boxes = str(make_clip(6)), tmp_path / "boxes.csv"
    arguments = ["track", clip, "--box", "4,5,20,16", "--save-boxes", str(boxes), "--start"]
    assert main([*arguments, "6"]) == 2
    assert "got 6 in a source of 6 frames" in capsys.readouterr().err
    assert not boxes.exists()
    assert main([*arguments, "4"]) == 0
    assert [record.frame for record in read_results(boxes)] == [4, 5]
    assert capsys.readouterr().out.startswith("tracked 2 frames")


def test_many_boxes(make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    clip, boxes = str(make_clip(4)), tmp_path / "boxes.csv"
    arguments = ["--save-boxes", str(boxes), "--out", str(tmp_path / "a.mp4")]
    assert main(["track", clip, "--box", "4,5,20,16", "--box", "30,5,12,12", *arguments]) == 0
    assert [(record.frame, record.id) for record in read_results(boxes)] == [(f, i) for f in range(4) for i in (1, 2)]
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 4


def test_file_of_targets(make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    clip, boxes, targets = str(make_clip(6)), tmp_path / "boxes.txt", tmp_path / "targets.txt"
    targets.write_text("4,5,20,16\n\n30, 5, 12, 12, 4\n")
    assert main(["track", clip, "--targets", str(targets), "--start", "2", "--save-boxes", str(boxes)]) == 0
    assert [(record.frame, record.id) for record in read_results(boxes)] == [
        (2, 1),
        (3, 1),
        (4, 1),
        (4, 2),
        (5, 1),
        (5, 2),
    ]
    assert boxes.read_text().splitlines()[2] == "5,1,4.0000,5.0000,20.0000,16.0000,0.5000,-1,-1,-1"


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,4,x", "1,2,3,4,5,6", "a,b,c,d"])
def test_file_of_targets_that_cannot_be_read(
    make_clip: MakeClip, tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = tmp_path / "targets.txt"
    targets.write_text(f"4,5,20,16\n{line}\n")
    assert main(["track", str(make_clip(2)), "--targets", str(targets)]) == 2
    assert f"line 2 of {targets} is {line!r}" in capsys.readouterr().err
    assert main(["track", str(make_clip(2)), "--targets", str(tmp_path / "none.txt")]) == 2
    assert main(["track", str(make_clip(2)), "--targets", str(targets), "--box", "1,2,3,4"]) == 2
    assert "expected --box or --targets; got both" in capsys.readouterr().err


def test_without_a_file_named_a_video_is_written(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(2)), "--box", "4,5,20,16"]) == 0
    assert (tmp_path / "followed.mp4").exists()


@pytest.mark.parametrize("box", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", ""])
def test_box_that_is_none(make_clip: MakeClip, box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(make_clip(2)), "--box", box]) == 2
    assert "expected four numbers x,y,width,height" in capsys.readouterr().err


def test_box_is_asked_for(make_clip: MakeClip, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(make_clip(2))]) == 2
    assert "Missing option '--box'" in capsys.readouterr().err


def test_refused_boxes_leave_the_older_video(make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    (tmp_path / "keep.mp4").write_text("older")
    out, boxes = str(tmp_path / "keep.mp4"), str(tmp_path / "o.json")
    assert main(["track", str(make_clip(2)), "--box", "4,5,20,16", "--out", out, "--save-boxes", boxes]) == 2
    assert (tmp_path / "keep.mp4").read_text() == "older"


@pytest.mark.parametrize("option", ["--save-boxes", "--out"])
def test_folder_that_is_not_there(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nowhere" / {"--save-boxes": "a.csv", "--out": "a.mp4"}[option]
    assert main(["track", str(make_clip(2)), "--box", "4,5,20,16", option, str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"singletrack: expected a place to write to; cannot write {path}")


@pytest.mark.parametrize(
    ("option", "name"), [("--save-boxes", "boxes.md"), ("--out", "followed.gif"), ("--out", "clip.mp4")]
)
def test_files_that_cannot_be_meant(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(2)
    before = clip.read_bytes()
    assert main(["track", str(clip), "--box", "4,5,20,16", option, str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith("singletrack: expected ")
    assert clip.read_bytes() == before


def test_damaged_video_fails_and_keeps_the_output(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(40)
    data = bytearray(clip.read_bytes())
    for index in range(len(data) // 2, len(data) * 6 // 10):
        data[index] ^= 0x5A
    clip.write_bytes(data)
    out, boxes = tmp_path / "followed.mp4", tmp_path / "boxes.jsonl"
    arguments = ["track", str(clip), "--box", "4,5,20,16", "--out", str(out), "--save-boxes", str(boxes)]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"singletrack: expected a whole video; {clip} is cut short or damaged")
    assert f"wrote {out}" in captured.out
    count = len(read_results(boxes))
    assert 20 <= count < 40
    with open_video(out) as video:
        assert len(list(video)) == count


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_keeps_what_was_written(make_clip: MakeClip, tmp_path: Path) -> None:
    program = """
import signal, sys, time
from singletrack import cache, loading, registry
from singletrack.cli.main import main
from singletrack.labeling.formats import read_labels
from singletrack.labeling.labels import VideoInfo
from singletrack.tracking.base import Result

class Slow:
    def init(self, frame, box):
        self.box = box
    def update(self, frame):
        time.sleep(0.02)
        return Result(box=self.box, score=0.5, lost=False)

loading.load_with = lambda name, options: Slow()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
sys.exit(main(sys.argv[1:]))
"""
    out, boxes = tmp_path / "followed.mp4", tmp_path / "boxes.csv"
    options = ["--box", "4,5,20,16", "--out", str(out), "--save-boxes", str(boxes)]
    with subprocess.Popen(
        [sys.executable, "-c", program, "track", str(make_clip(2000)), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not boxes.exists() or boxes.stat().st_size < 500:  # some ten frames
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "singletrack: interrupted" in errors
    assert "Traceback" not in errors
    assert f"wrote {out}" in output
    count = len(read_results(boxes))
    assert 5 <= count < 2000
    with open_video(out) as video:
        assert len(list(video)) in (count, count - 1)


@pytest.mark.parametrize(
    ("name", "format"),
    [("boxes.xml", None), ("boxes.json", "coco-video"), ("boxes", "mot"), ("boxes.csv", "csv"), ("boxes", "otb")],
)
def test_boxes_as_labels(name: str, format: str | None, make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir()
    asked = ["track", str(make_clip(5)), "--box", "10,12,8,6", "--box", "20,22,9,7", "--start", "1"]
    assert main([*asked, "--save-boxes", str(path), *(["--format", format] if format else [])]) == 0
    video = VideoInfo(name="clip.mp4", width=64, height=48, frame_count=5, fps=10)
    labels = read_labels(path, video=video if format == "csv" else None)
    assert (labels.video.name, labels.video.frame_count) == ("clip.mp4", 5)
    assert [list(target.boxes) for target in labels.targets] == [[1, 2, 3, 4]] * 2
    assert labels.targets[1].boxes[4].box == pytest.approx((20, 22, 9, 7))
    if format == "csv":
        assert [entry.source for entry in labels.targets[0].boxes.values()] == ["person"] + ["tracker"] * 3
        assert labels.targets[0].boxes[2].score == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "coco"], "--save-boxes PATH with --format"),
        (["--save-boxes", "{folder}/boxes.json"], "give one of mot, coco"),
        (["--save-boxes", "{folder}", "--format", "voc"], "must be a new or empty folder"),
        (["--save-boxes", "{folder}/none/a.xml"], "cannot write"),
    ],
)
def test_labels_that_cannot_be_written_are_refused_first(
    arguments: list[str],
    said: str,
    make_clip: MakeClip,
    loads: Loads,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["track", str(make_clip(2)), "--box", "1,1,9,9", "--out", str(tmp_path / "new.mp4")]
    assert main([*asked, *(each.format(folder=tmp_path) for each in arguments)]) != 0
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_labels_of_a_damaged_video_are_kept(make_clip: MakeClip, loads: Loads, tmp_path: Path) -> None:
    clip = make_clip(40)
    data = bytearray(clip.read_bytes())
    for index in range(len(data) // 2, len(data) * 6 // 10):
        data[index] ^= 0x5A
    clip.write_bytes(data)
    path = tmp_path / "a.jsonl"
    assert main(["track", str(clip), "--box", "1,1,9,9", "--save-boxes", str(path), "--format", "jsonl"]) == 1
    assert 20 <= len(path.read_text().splitlines()) < 40
