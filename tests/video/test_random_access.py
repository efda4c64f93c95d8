from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.errors import InputError, VideoError
from singletrack.video import open_frames, open_video, random_access

MakeVideo = Callable[..., Path]
ORDER = [7, 6, 5, 29, 0, 1, 14, 28, 3, 3, 19, 20, 21, 9, 10, 11, 2, 25, 24, 29]  # steps and jumps, both ways


def read_through(source: Path | str) -> list[NDArray[np.uint8]]:
    with open_video(source) as video:
        return list(video)


def write(path: Path, *, times: list[int], options: dict[str, str], codec: str = "libx264", gop: int = 10) -> Path:
    """Noise of 64 x 48 that is shown at `times`, in thirtieths of a second."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = gop
        for time in times:
            picture = av.VideoFrame.from_ndarray(random.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("order", [ORDER, range(30), range(29, -1, -1)], ids=["mixed", "forwards", "backwards"])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "0"}),
        ("a.mp4", "libx264", {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0"}),
        ("a.mp4", "libx264", {"bf": "3", "x264-params": "open-gop=1:b-adapt=0"}),
        ("a.mkv", "libx264", {"bf": "2", "x264-params": "b-adapt=0"}),
        ("a.mp4", "libx265", {"x265-params": "log-level=none:bframes=3"}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.webm", "libvpx", {}),  # from here on, frames are counted by decoding
        ("a.avi", "mpeg4", {}),
        ("a.ts", "libx264", {"bf": "2"}),
    ],
)
def test_a_frame_is_the_same_however_it_is_reached(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], order: list[int]
) -> None:
    path = write(tmp_path / name, times=list(range(30)), options=options, codec=codec)
    expected = read_through(path)
    with open_frames(path) as frames:
        assert (frames.frame_count, frames.size_wh, frames.fps) == (30, (64, 48), pytest.approx(30, abs=0.1))
        for number in order:
            np.testing.assert_array_equal(frames.frame(number), expected[number], f"frame {number}")


def test_a_variable_rate_changes_no_number(tmp_path: Path) -> None:
    times = [0, 1, 2, 9, 10, 11, 40, 41, 42, 43, 100, 101, 250, 251, 252, 253]
    path = write(tmp_path / "a.mp4", times=times, options={"bf": "2", "x264-params": "b-adapt=0"}, gop=5)
    expected = read_through(path)
    with open_frames(path) as frames:
        assert frames.frame_count == 16
        for number in [12, 3, 15, 6, 7, 0, 10]:
            np.testing.assert_array_equal(frames.frame(number), expected[number])


def test_turned_frames_stand_upright(make_video: MakeVideo) -> None:
    path = make_video(degrees=90)
    expected = read_through(path)
    with open_frames(path) as frames:
        assert frames.size_wh == (48, 64)
        np.testing.assert_array_equal(frames.frame(17), expected[17])


def test_jumps_decode_no_more_than_they_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", times=list(range(60)), options={"sc_threshold": "0"})  # a key frame every 10
    with open_frames(path) as frames:
        assert frames.frame_count == 60
        seeks: list[int] = []
        original = random_access._Indexed._seek

        def seek(self: random_access._Indexed, key_pts: int, key_dts: int) -> None:
            seeks.append(round(key_pts * float(self._stream.time_base or 0) * 30))
            original(self, key_pts, key_dts)

        monkeypatch.setattr(random_access._Indexed, "_seek", seek)
        for number in [1, 2, 3, 8, 35, 36, 35, 59]:
            frames.frame(number)
    assert seeks == [0, 30, 30, 50]


def test_folder_of_frames_and_glob(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 6, 3), number, np.uint8))
    for source in (tmp_path, str(tmp_path / "*.png")):
        with open_frames(source) as frames:
            assert (frames.frame_count, frames.size_wh) == (3, (6, 4))
            assert [int(frames.frame(number)[0, 0, 0]) for number in (2, 0, 1)] == [10, 1, 2]


@pytest.mark.parametrize("number", [-1, 30])
def test_a_frame_that_is_not_there(make_video: MakeVideo, number: int) -> None:
    with open_frames(make_video()) as frames, pytest.raises(InputError, match=f"from 0 to 29; got {number}"):
        frames.frame(number)


def test_frames_of_a_damaged_file_are_counted_as_they_decode(make_video: MakeVideo) -> None:
    path = make_video(count=60)
    data = bytearray(path.read_bytes())
    for index in range(len(data) * 4 // 10, len(data) * 5 // 10):
        data[index] ^= 0x5A
    path.write_bytes(bytes(data))
    expected: list[Any] = []
    with open_video(path) as video, pytest.raises(VideoError):
        expected.extend(video)
    with open_frames(path) as frames:
        for number in (0, len(expected) - 1, 10):
            assert frames.frame(number).shape == (48, 64, 3)


def test_file_cut_short(make_video: MakeVideo) -> None:
    path = make_video(count=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    expected: list[Any] = []
    with open_video(path) as video, pytest.raises(VideoError):
        expected.extend(video)
    with open_frames(path) as frames:
        last = len(expected) - 1
        np.testing.assert_array_equal(frames.frame(last), expected[last])


@pytest.mark.parametrize("source", ["0", "rtsp://127.0.0.1/stream"])
def test_cameras_and_streams_are_refused(source: str) -> None:
    with pytest.raises(VideoError, match="record it first"):
        open_frames(source)


def test_nothing_is_read_after_closing(make_video: MakeVideo) -> None:
    frames = open_frames(make_video())
    frames.frame(3)
    frames.close()
    frames.close()
    with pytest.raises(VideoError, match="closed"):
        frames.frame(0)
