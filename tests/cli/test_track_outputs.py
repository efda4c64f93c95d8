"""Options of `track` about which frames are tracked, what is written, and where the box comes from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.test_publish import Receiver, receiver  # noqa: F401

from singletrack import loading
from singletrack.cli.main import main
from singletrack.results import read_results
from singletrack.tracking.base import Result
from singletrack.video import open_video

MakeClip = Callable[[int], Path]
BOX = ["--box", "4,5,20,16"]


def frames_of(path: Path) -> list[int]:
    return [record.frame for record in read_results(path)]


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--end", "3"], [0, 1, 2, 3]),
        (["--start", "2", "--end", "4"], [2, 3, 4]),
        (["--stride", "3"], [0, 3, 6, 9]),
        (["--start", "1", "--stride", "4", "--end", "8"], [1, 5]),
        (["--reverse", "--start", "4"], [0, 1, 2, 3, 4]),
        (["--reverse", "--start", "4", "--end", "2"], [2, 3, 4]),
        (["--reverse", "--start", "7", "--stride", "3"], [1, 4, 7]),
        (["--both-ways", "--start", "4"], list(range(10))),
        (["--both-ways", "--start", "4", "--end", "6"], [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_which_frames(make_clip: MakeClip, loads: Any, tmp_path: Path, options: list[str], frames: list[int]) -> None:
    boxes, out = tmp_path / "boxes.csv", tmp_path / "out.mp4"
    assert main(["track", str(make_clip(10)), *BOX, *options, "--save-boxes", str(boxes), "--out", str(out)]) == 0
    assert frames_of(boxes) == frames
    times = [record.time for record in read_results(boxes)]
    assert times == pytest.approx([frame / 10 for frame in frames])
    with open_video(out) as video:
        written = [seconds for seconds, _ in video.timed_frames()]
    assert written == pytest.approx([(frame - frames[0]) / 10 for frame in frames], abs=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--start", "4", "--end", "2"], "end must not be before the start frame 4; got 2"),
        (["--reverse", "--start", "4", "--end", "6"], "end must not be after the start frame 4; got 6"),
        (["--reverse", "--segment", "10s"], "--segment goes with tracking forward"),
        (["--pan-tilt", "--save-boxes", "{folder}/a.csv"], "--pan-tilt goes with JSON lines"),
        (["--segment", "soon"], "such as 10min or 500MB"),
        (["--aspect", "wide"], "expected WIDTH:HEIGHT"),
        (["--zone", "door"], "expected NAME=X,Y,W,H"),
        (["--size", "large"], "expected WIDTHxHEIGHT"),
        (["--webhook", "host"], "webhook must be an http"),
    ],
)
def test_what_does_not_go_together(
    make_clip: MakeClip,
    loads: Any,
    tmp_path: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(10)), *BOX, *(each.format(folder=tmp_path) for each in options)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


class Loses:
    """Loses its target in frames 4 to 6; it stands still otherwise."""

    def init(self, frame: Any, box: Any) -> None:
        self.box, self.count = box, 0

    def update(self, frame: Any) -> Result:
        self.count += 1
        return Result(box=self.box, score=0.9, lost=4 <= self.count <= 6)


@pytest.fixture
def loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_with", lambda name, options: Loses())


def test_stop_when_lost(make_clip: MakeClip, loses: None, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    assert main(["track", str(make_clip(10)), *BOX, "--stop-when", "lost", "--save-boxes", str(boxes)]) == 0
    assert frames_of(boxes) == [0, 1, 2, 3, 4]


def test_stop_when_still(make_clip: MakeClip, loses: None, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    assert main(["track", str(make_clip(60)), *BOX, "--stop-when", "still", "--save-boxes", str(boxes)]) == 0
    assert frames_of(boxes)[-1] == 36  # three seconds after it was seen again


def test_crop_and_cover_together(make_clip: MakeClip, loses: None, tmp_path: Path) -> None:
    out, crop, boxes = tmp_path / "out.mp4", tmp_path / "crop.mp4", tmp_path / "boxes.csv"
    command = ["track", str(make_clip(10)), *BOX, "--fill", "--out", str(out), "--crop", str(crop), "--aspect", "1:1"]
    assert main([*command, "--save-boxes", str(boxes)]) == 0
    assert len(frames_of(boxes)) == 10
    with open_video(crop) as video:
        assert video.size_wh == (30, 30)
        assert len(list(video)) == 10
    with open_video(out) as video:
        frames = list(video)
    assert len(frames) == 10
    for frame in frames:  # covered in all of them, those where it was lost included
        assert frame[6:20, 5:22].max() < 80


def test_a_cover_needs_no_name_for_its_video(
    make_clip: MakeClip, loads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(2)), *BOX, "--blur", "--save-boxes", "boxes.csv"]) == 0
    assert (tmp_path / "followed.mp4").exists()


def test_segments(make_clip: MakeClip, loads: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.csv"
    command = ["track", str(make_clip(25)), *BOX, "--segment", "1s", "--out", str(out), "--save-boxes", str(boxes)]
    assert main(command) == 0
    pieces = [tmp_path / f"boxes-{number:04}.csv" for number in (1, 2, 3)]
    assert [frames_of(piece) for piece in pieces] == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    with open_video(tmp_path / "out-0003.mp4") as video:
        assert len(list(video)) == 5
    assert not out.exists()
    assert f"wrote {pieces[2]}" in capsys.readouterr().out
    before = pieces[0].read_bytes()
    assert main(command) == 2  # pieces of an earlier run are not replaced
    assert "exist already" in capsys.readouterr().err
    assert pieces[0].read_bytes() == before


def test_labels_of_both_directions_are_in_order(make_clip: MakeClip, loads: Any, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    command = ["track", str(make_clip(9)), *BOX, "--both-ways", "--start", "4", "--format", "jsonl"]
    assert main([*command, "--save-boxes", str(labels)]) == 0
    assert [json.loads(line)["frame"] for line in labels.read_text().splitlines()] == list(range(9))


def test_pan_and_tilt(make_clip: MakeClip, loads: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(make_clip(2)), *BOX, "--save-boxes", "-", "--pan-tilt"]) == 0
    line = json.loads(capfd.readouterr().out.splitlines()[0])
    assert (line["pan"], line["tilt"]) == pytest.approx((14 / 32 - 1, 1 - 13 / 24), abs=1e-3)


def test_events_reach_a_webhook(make_clip: MakeClip, loses: None, tmp_path: Path, receiver: Receiver) -> None:  # noqa: F811
    boxes = str(tmp_path / "boxes.csv")
    zone = ["--zone", "all=0,0,64,48"]
    assert main(["track", str(make_clip(10)), *BOX, "--webhook", receiver.url, *zone, "--save-boxes", boxes]) == 0
    events = [receiver.received.get_nowait()[2] for _ in range(receiver.received.qsize())]
    assert [(event["event"], event["frame"]) for event in events] == [
        ("found", 0),
        ("entered_zone", 0),
        ("lost", 4),
        ("found_again", 7),
    ]


# --- where the box comes from ------------------------------------------------------------------------------


def test_without_a_box_the_first_frame_is_written_with_a_grid(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GUI: NONE")
    assert main(["track", str(make_clip(2))]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Missing option '--box': read the box from first-frame.png" in said
    assert f"singletrack label {tmp_path / 'clip.mp4'}" in said
    picture = cv2.imread(str(tmp_path / "first-frame.png"))
    assert picture.shape == (48, 64, 3)
    assert picture[30, 33].tolist() == [60, 220, 255]  # a line of the grid
    assert main(["track", str(make_clip(2))]) == 2
    assert (tmp_path / "first-frame-2.png").exists()


@pytest.mark.parametrize(
    ("option", "gui", "display", "said"),
    [
        ("--select", "NONE", ":0", "this OpenCV has no windows"),
        ("--show", "GTK3", "", "there is no display"),
    ],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_windows_the_page_is_named(
    option: str, gui: str, display: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: f"  GUI:   {gui}")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    given = [] if option == "--select" else BOX
    assert main(["track", "rtsp://127.0.0.1:9/x", *given, option]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "singletrack live rtsp://127.0.0.1:9/x" in error


class Screen:
    """Stands for the windows of OpenCV: the mouse draws these boxes, and these keys are pressed at each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, boxes: list[Any], keys: list[str]) -> None:
        self.shown: list[np.ndarray] = []
        coming = iter(keys)
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "GUI: GTK3")
        monkeypatch.setattr(cv2, "selectROI", lambda *given, **options: boxes.pop(0))
        monkeypatch.setattr(cv2, "imshow", lambda title, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", lambda delay: ord(next(coming, "x")))
        for name in ("destroyWindow", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, lambda *given: None)


def test_the_mouse_draws_and_keys_pause_draw_anew_and_end(
    make_clip: MakeClip, loads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(monkeypatch, [(4, 5, 20, 16), (30, 20, 10, 10)], ["x", " ", " ", "s", "x", "q"])
    boxes = tmp_path / "boxes.csv"
    assert main(["track", str(make_clip(20)), "--select", "--show", "--save-boxes", str(boxes)]) == 130
    records = read_results(boxes)
    assert [record.box[0] for record in records] == [4, 4, 4, 30, 30]
    assert len(screen.shown) == 5


def test_nothing_is_drawn_with_the_mouse(
    make_clip: MakeClip, loads: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Screen(monkeypatch, [(0, 0, 0, 0)], [])
    assert main(["track", str(make_clip(2)), "--select"]) == 2
    assert "expected a box; none was drawn" in capsys.readouterr().err


def test_start_beyond_the_end_without_a_box(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(make_clip(2)), "--start", "2"]) == 2
    assert "start frame 2 is beyond the end" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
@pytest.mark.slow
def test_ctrl_c_before_the_second_reading_writes_what_was_tracked(make_clip: MakeClip, tmp_path: Path) -> None:
    program = """
import signal, sys, time
from singletrack import loading
from singletrack.cli.main import main
from singletrack.tracking.base import Result

class Slow:
    def init(self, frame, box):
        self.box, self.count = box, 0
    def update(self, frame):
        self.count += 1
        if self.count == 5:
            print("now", flush=True)
        time.sleep(0.02)
        return Result(box=self.box, score=0.5, lost=False)

loading.load_with = lambda name, options: Slow()
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.csv"
    options = [*BOX, "--blur", "--out", str(out), "--save-boxes", str(boxes)]
    with subprocess.Popen(
        [sys.executable, "-c", program, "track", str(make_clip(2000)), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "now\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    count = len(read_results(boxes))
    assert 5 <= count < 2000
    with open_video(out) as video:
        assert len(list(video)) == count


def test_the_sound_is_kept_by_track(loads: Any, tmp_path: Path) -> None:
    import av
    from tests.test_outputs import make_source

    source, out = make_source(tmp_path / "a.mp4", "aac"), tmp_path / "out.mp4"
    assert main(["track", str(source), *BOX, "--start", "10", "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        (sound,) = container.streams.audio
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("option", [["--aspect", "9:16"], ["--margin", "3"], ["--smooth", "1"]])
def test_options_of_the_view_need_it(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["track", "clip.mp4", "--box", "4,5,20,16", "--out", str(tmp_path / "a.mp4"), *option]
    assert main(arguments) == 2
    assert "go with --crop" in capsys.readouterr().err


def test_covers_and_views_where_frames_change_their_size(loads: Any, tmp_path: Path) -> None:
    """From the third frame on all is twice as large; the target, white, stays covered and in the middle of the view."""
    frames, out, view = tmp_path / "frames", tmp_path / "out.mp4", tmp_path / "view.mp4"
    frames.mkdir()
    for index in range(6):
        picture = np.full((96, 128, 3), 40, np.uint8)
        picture[30:50, 70:90] = 255
        size_wh = (64, 48) if index < 2 else (128, 96)
        cv2.imwrite(str(frames / f"{index}.png"), cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA))
    arguments = ["track", str(frames), "--box", "35,15,10,10"]
    assert main([*arguments, "--fill", "--out", str(out), "--crop", str(tmp_path / "hidden.mp4")]) == 0
    assert main([*arguments, "--crop", str(view), "--margin", "2"]) == 0
    with open_video(out) as video:
        brightest = [frame.max() for frame in video]
    assert len(brightest) == 6
    assert max(brightest) < 180
    with open_video(view) as video:
        middles = [frame[frame.shape[0] // 2, frame.shape[1] // 2].mean() for frame in video]
    assert len(middles) == 6
    assert min(middles) > 200
