from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
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
    assert "must be below the 6 frames of the source; got 6" in capsys.readouterr().err
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
    assert "--box and --targets cannot be combined" in capsys.readouterr().err


def test_without_a_file_named_a_video_is_written(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(2)), "--box", "4,5,20,16"]) == 0
    assert (tmp_path / "followed.mp4").exists()
    before = (tmp_path / "followed.mp4").read_bytes()
    for _ in range(2):
        assert main(["track", str(make_clip(2)), "--box", "4,5,20,16"]) == 0
    assert (tmp_path / "followed.mp4").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("followed*")) == [
        "followed-2.mp4",
        "followed-3.mp4",
        "followed.mp4",
    ]


@pytest.mark.parametrize("box", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", ""])
def test_box_that_is_none(make_clip: MakeClip, box: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(make_clip(2)), "--box", box]) == 2
    assert "expected four numbers x,y,width,height" in capsys.readouterr().err


def test_box_is_asked_for(
    make_clip: MakeClip, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
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
    assert capsys.readouterr().err.startswith(f"singletrack: cannot write {path} (No such file or directory)")


@pytest.mark.parametrize(
    ("option", "name"), [("--save-boxes", "boxes.md"), ("--out", "followed.gif"), ("--out", "clip.mp4")]
)
def test_files_that_cannot_be_meant(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(2)
    before = clip.read_bytes()
    assert main(["track", str(clip), "--box", "4,5,20,16", option, str(tmp_path / name)]) == 2
    assert f"got {tmp_path / name};" in capsys.readouterr().err or name == "clip.mp4"
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
    assert captured.err.startswith(f"singletrack: {clip} is truncated or damaged")
    assert f"wrote {out}" in captured.out
    count = len(read_results(boxes))
    assert 20 <= count < 40
    with open_video(out) as video:
        assert len(list(video)) == count


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # docker stop and systemd send the second
def test_ctrl_c_keeps_what_was_written(number: signal.Signals, make_clip: MakeClip, tmp_path: Path) -> None:
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
        process.send_signal(number)
        output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "singletrack: interrupted" in errors
    assert "Traceback" not in errors
    assert f"wrote {out}" in output
    count = len(read_results(boxes))
    assert 5 <= count < 2000
    with open_video(out) as video:
        assert len(list(video)) == count


# --- boxes that are questioned, files that are there, pipes ------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "options", "said"),
    [
        ("0.35,0.35,0.2,0.23", [], "add --normalized"),
        ("30,20,60,40", [], "add --box-format xyxy"),
        ("-19.5,5,20,16", [], "only 2.5 %"),
        ("4,5,20,16,3", [], "expected four numbers"),
    ],
)
def test_suspicious_boxes_are_refused_before_the_model_is_loaded(
    make_clip: MakeClip,
    loads: Loads,
    box: str,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(2)), "--box", box, *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert loads == []


@pytest.mark.parametrize(
    ("box", "options"),
    [
        ("0.25,0.5,0.5,0.25", ["--normalized"]),
        ("16,24,48,36", ["--box-format", "xyxy"]),
        ("0.5,0.625,0.5,0.25", ["--normalized", "--box-format", "cxcywh"]),
    ],
)
def test_boxes_in_other_forms(make_clip: MakeClip, loads: Loads, tmp_path: Path, box: str, options: list[str]) -> None:
    boxes = tmp_path / "boxes.txt"
    assert main(["track", str(make_clip(2)), "--box", box, "--save-boxes", str(boxes), *options]) == 0
    assert boxes.read_text().splitlines()[0] == "16.0000,24.0000,32.0000,12.0000"


def test_targets_beyond_the_end_are_refused_at_once(
    make_clip: MakeClip,
    loads: Loads,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets.txt").write_text("4,5,20,16\n4,5,20,16,7\n")
    assert main(["track", str(make_clip(6)), "--targets", str(tmp_path / "targets.txt")]) == 2
    assert "must be below the 6 frames of the source; got 7" in capsys.readouterr().err
    assert loads == []


def test_files_that_are_there_are_replaced_only_when_asked(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("mine")
    arguments = ["track", str(make_clip(2)), "--box", "4,5,20,16", "--save-boxes", str(boxes)]
    assert main(arguments) == 2
    assert f"{boxes} exists already; add --overwrite" in capsys.readouterr().err
    assert boxes.read_text() == "mine"
    assert loads == []
    assert main([*arguments, "--overwrite"]) == 0
    assert len(read_results(boxes)) == 2


def test_on_a_terminal_it_is_a_question(
    make_clip: MakeClip, loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, asked = tmp_path / "boxes.csv", []
    boxes.write_text("mine")
    arguments = ["track", str(make_clip(2)), "--box", "4,5,20,16", "--save-boxes", str(boxes)]
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda text, err: asked.append((text, err)))
    assert main(arguments) == 2
    assert asked == [(f"{boxes} exists already; replace it?", True)]
    monkeypatch.setattr("click.confirm", lambda text, err: True)
    assert main(arguments) == 0


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
@pytest.mark.parametrize("victim", ["targets.txt", "clip.mp4"])
def test_no_input_is_overwritten(make_clip: MakeClip, loads: Loads, tmp_path: Path, victim: str, link: str) -> None:
    clip = make_clip(2)
    (tmp_path / "targets.txt").write_text("4,5,20,16\n")
    before = (tmp_path / victim).read_bytes()
    getattr(tmp_path / "out.txt", link)(tmp_path / victim)
    arguments = ["track", str(clip), "--targets", str(tmp_path / "targets.txt"), "--overwrite", "--save-boxes"]
    assert main([*arguments, str(tmp_path / "out.txt")]) == 2
    assert (tmp_path / victim).read_bytes() == before


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_boxes_on_standard_output(
    make_clip: MakeClip, loads: Loads, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if name != "-" and not Path(name).exists():
        pytest.skip("this system has no /dev/stdout")
    assert main(["track", str(make_clip(3)), "--box", "4,5,20,16", "--save-boxes", name]) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2]
    assert "tracked 3 frames" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("name", ["pipe.csv", "pipe"])
def test_boxes_into_a_named_pipe(make_clip: MakeClip, loads: Loads, tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main(["track", str(make_clip(3)), "--box", "4,5,20,16", "--save-boxes", str(pipe)]) == 0
    reader.join(timeout=60)
    lines = received[0].splitlines()
    assert len(lines) == (4 if name == "pipe.csv" else 3)
    assert lines[-1].startswith("2,0.2" if name == "pipe.csv" else '{"frame": 2')


@pytest.mark.parametrize("moment", ["before main", "while a verb is imported", "while the model is loaded"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_in_the_first_second_is_one_line(make_clip: MakeClip, tmp_path: Path, moment: str) -> None:
    program = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
moment = sys.argv.pop(1)

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {"before main": "click", "while a verb is imported": "singletrack.cli.track",
                    "while the model is loaded": "singletrack.engines.openvino_engine"}[moment]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from singletrack.__main__ import run
sys.exit(run())
"""
    arguments = ["track", str(make_clip(2)), "--box", "4,5,20,16", "--out", str(tmp_path / "a.mp4")]
    done = subprocess.run(
        [sys.executable, "-c", program, moment, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "singletrack: interrupted\n")


# --- labels ------------------------------------------------------------


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
        (["--save-boxes", "{folder}/boxes.json"], "give the format with --format, in Python format=: one of mot, coco"),
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
