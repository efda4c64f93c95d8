from __future__ import annotations

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, InputError, SingletrackError, VideoError
from singletrack.video import VideoWriter, open_video


def plain(width: int = 64, height: int = 48, color: tuple[int, int, int] = (200, 30, 40)) -> NDArray[np.uint8]:
    return np.full((height, width, 3), color, np.uint8)


def list_boxes(path: Path) -> list[str]:
    """The names of an mp4's outermost boxes."""
    data, names, start = path.read_bytes(), [], 0
    while start < len(data):
        names.append(data[start + 4 : start + 8].decode())
        start += int.from_bytes(data[start : start + 4], "big")
    return names


def test_what_browsers_ask_for(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        for _ in range(50):
            writer.write(plain())
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (Fraction(25), 50)
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.01)
    assert "moof" not in list_boxes(tmp_path / "a.mp4")  # closed properly, it is no longer in fragments
    assert "moov" in list_boxes(tmp_path / "a.mp4")


@pytest.mark.parametrize("color", [(200, 30, 40), (20, 90, 220), (0, 0, 0), (255, 255, 255)])
def test_colors_survive(tmp_path: Path, color: tuple[int, int, int]) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        writer.write(plain(color=color))
    with open_video(tmp_path / "a.mp4") as video:
        assert next(iter(video))[20, 20].tolist() == pytest.approx(list(color), abs=4)


@pytest.mark.parametrize(("width", "height"), [(65, 48), (64, 49), (65, 49), (1, 1)])
def test_odd_sizes_become_even_and_that_is_said(
    tmp_path: Path, width: int, height: int, caplog: pytest.LogCaptureFixture
) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        writer.write(plain(width, height))
        writer.write(plain(width, height))
    said = f"a.mp4 is {width + width % 2} x {height + height % 2}: H.264 needs even sides"
    assert [said in record.getMessage() for record in caplog.records] == [True]
    with open_video(tmp_path / "a.mp4") as video:
        assert video.size_wh == (width + width % 2, height + height % 2)
        assert next(iter(video))[-1, -1].tolist() == pytest.approx([200, 30, 40], abs=4)


def test_times_of_frames_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.5, 0.6, 0.6, 2.0]  # the fourth does not advance; it is shown right after the third
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        for seconds in times:
            writer.write(plain(), seconds)
    with open_video(tmp_path / "a.mp4") as video:
        assert [seconds for seconds, _ in video.timed_frames()] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("fps", [29.97, 12.5, 0.5, 240])
def test_rates(tmp_path: Path, fps: float) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=fps) as writer:
        for _ in range(4):
            writer.write(plain())
    with open_video(tmp_path / "a.mp4") as video:
        assert [seconds for seconds, _ in video.timed_frames()] == pytest.approx(
            [index / fps for index in range(4)], abs=1e-3
        )


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.gif", fps=25)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no colons in names")
@pytest.mark.parametrize("name", ["10:20.mp4", "http:clip.mp4"])
def test_colon_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(name, fps=25) as writer:
        writer.write(plain())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    with open_video(name) as video:
        assert len(list(video)) == 1


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SingletrackError, match="No such file"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4", fps=25)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        writer.write(plain())
        with pytest.raises(InputError, match="frames must have 64 x 48"):
            writer.write(plain(48, 64))


def test_closing_without_frames_and_twice(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", fps=25)
    writer.close()
    writer.close()
    assert not list(tmp_path.iterdir())


def test_an_exception_leaves_a_whole_video(tmp_path: Path) -> None:
    def write_until_interrupted() -> None:
        with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
            for _ in range(7):
                writer.write(plain())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_interrupted()
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 7


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_a_video_that_plays(tmp_path: Path) -> None:
    program = """
import os, signal, sys
import numpy as np
from singletrack.video import VideoWriter
writer = VideoWriter(sys.argv[1], fps=10)
for level in range(35):
    writer.write(np.full((48, 64, 3), level, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.mp4")], check=False, timeout=60)
    assert process.returncode == -signal.SIGKILL
    count = 0
    with open_video(tmp_path / "a.mp4") as video:
        try:
            for _ in video:
                count += 1
        except DamagedVideoError:
            pass
    assert count >= 25  # all but the last second of 3.5


def test_frames_wider_than_the_codec_takes_are_refused(tmp_path: Path) -> None:  # C34
    with (
        VideoWriter(tmp_path / "out.mp4", 30) as writer,
        pytest.raises(VideoError, match="at most 16384 pixels a side"),
    ):
        writer.write(np.zeros((2, 16_386, 3), np.uint8))


REAL_TIME = """
import os, sys
import numpy as np
from singletrack.video.writer import Encoding, VideoWriter

def is_usual(thread):
    return os.sched_getscheduler(thread) == os.SCHED_OTHER

with VideoWriter(sys.argv[1], 30.0, encoding=Encoding(codec="av1")) as writer:
    writer.write(np.zeros((48, 64, 3), np.uint8))
    threads = [int(each) for each in os.listdir("/proc/self/task")]
    assert len(threads) > 1 and all(map(is_usual, threads))
assert is_usual(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="priorities are as on Linux")
def test_av1_takes_no_real_time_priority(tmp_path: Path) -> None:  # by root alone it could
    subprocess.run([sys.executable, "-c", REAL_TIME, str(tmp_path / "a.mp4")], check=True)
