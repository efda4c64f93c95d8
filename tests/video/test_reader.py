from __future__ import annotations

import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, VideoError
from singletrack.video import LiveOptions, VideoReader, VideoWriter, containers, open_video
from singletrack.video.images import natural_key
from singletrack.video.limits import announced_size

MakeVideo = Callable[..., Path]
QUARTERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


def name_corners(frame: NDArray[np.uint8]) -> list[str]:
    """The colors of the corners: top left, top right, bottom left, bottom right."""
    corners = [frame[y, x].astype(int) for y in (4, -5) for x in (4, -5)]
    return [min(QUARTERS, key=lambda name: abs(corner - QUARTERS[name]).sum()) for corner in corners]


def draw_quarters() -> NDArray[np.uint8]:
    """Red and green above blue and black."""
    frame = np.zeros((48, 64, 3), np.uint8)
    halves = [(rows, columns) for rows in (0, 24) for columns in (0, 32)]
    for (top, left), color in zip(halves, QUARTERS.values(), strict=True):
        frame[top:, left:] = color
    return frame


def read_until_damaged(source: str | Path) -> tuple[list[NDArray[np.uint8]], str]:
    """The frames delivered before DamagedVideoError, and its message. Cameras are not opened again."""
    frames: list[NDArray[np.uint8]] = []
    with (
        open_video(source, live=LiveOptions(every_frame=True, reconnect=0)) as video,
        pytest.raises(DamagedVideoError) as caught,
    ):
        frames.extend(video)
    return frames, str(caught.value)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx")]
)
def test_whole_file_gives_every_frame_and_its_time(make_video: MakeVideo, name: str, codec: str) -> None:
    with open_video(make_video(name, codec=codec)) as video:
        assert (video.fps, video.size_wh) == (30.0, (64, 48))
        assert video.frame_count in (30, None)
        timed = list(video.timed_frames())
    assert len(timed) == 30
    assert [time for time, _ in timed] == pytest.approx([i / 30 for i in range(30)], abs=1e-3)
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for _, frame in timed)


def test_frames_are_rgb_and_contiguous(make_video: MakeVideo) -> None:
    with open_video(make_video(frame=draw_quarters(), count=2)) as video:
        frame = next(iter(video))
    assert name_corners(frame) == ["red", "green", "blue", "black"]
    assert frame.flags.c_contiguous
    assert frame.flags.writeable


@pytest.mark.parametrize(
    ("degrees", "mirrored", "corners"),  # degrees count against the clock, mirroring comes after turning
    [
        (90, False, ["green", "black", "red", "blue"]),
        (180, False, ["black", "blue", "green", "red"]),
        (270, False, ["blue", "red", "black", "green"]),
        (0, True, ["green", "red", "black", "blue"]),
        (270, True, ["red", "blue", "green", "black"]),
    ],
)
def test_rotation_and_mirroring_are_carried_out(
    make_video: MakeVideo, degrees: int, mirrored: bool, corners: list[str]
) -> None:
    path = make_video(frame=draw_quarters(), count=2, degrees=degrees, mirrored=mirrored)
    with open_video(path) as video:
        frames = list(video)
    assert video.size_wh == ((48, 64) if degrees in (90, 270) else (64, 48))
    assert [name_corners(frame) for frame in frames] == [corners, corners]
    assert all(frame.flags.c_contiguous for frame in frames)


@pytest.mark.parametrize(
    ("name", "codec", "share"),
    [
        ("a.mp4", "libx264", 0.4),
        ("a.mp4", "libx264", 0.6),
        ("a.mp4", "libx264", 0.98),
        ("a.mkv", "libx264", 0.6),
        ("a.avi", "mpeg4", 0.6),
    ],
)
def test_truncated_file_is_delivered_as_far_as_it_decodes(
    make_video: MakeVideo, name: str, codec: str, share: float
) -> None:
    frames, message = read_until_damaged(cut(make_video(name, codec=codec, count=60), share))
    assert 60 * share - 8 <= len(frames) < 60
    assert f"{len(frames)} frames were decoded" in message


@pytest.mark.parametrize(
    ("name", "codec", "last_duration"), [("a.avi", "mpeg4", 1), ("a.mkv", "libx264", 1), ("a.mkv", "libx264", 90)]
)
def test_dropped_frames_and_a_long_last_one_are_no_damage(
    tmp_path: Path, name: str, codec: str, last_duration: int
) -> None:
    times = [*range(10), *range(15, 25)]  # in thirtieths of a second
    with av.open(str(tmp_path / name), "w") as container:
        stream: Any = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for tick in [*times, None]:
            picture = None if tick is None else av.VideoFrame.from_ndarray(draw_quarters(), format="rgb24")
            if picture is not None:
                picture.pts, picture.time_base = tick, Fraction(1, 30)
            for packet in stream.encode(picture):
                if packet.pts * packet.time_base == Fraction(times[-1], 30):
                    packet.duration = int(last_duration / 30 / packet.time_base)
                container.mux(packet)
    with open_video(tmp_path / name) as video:
        assert [seconds * 30 for seconds, _ in video.timed_frames()] == pytest.approx(times, abs=0.05)


def test_damage_in_the_middle_does_not_lose_the_end(make_video: MakeVideo) -> None:
    path = make_video(count=60)
    data = bytearray(path.read_bytes())
    for index in range(len(data) * 4 // 10, len(data) * 5 // 10):
        data[index] ^= 0x5A
    path.write_bytes(data)
    frames, message = read_until_damaged(path)
    assert 45 <= len(frames) < 60
    assert "damaged pieces" in message


def trim(source: Path, path: Path) -> Path:
    """A copy whose edit list begins 0.75 seconds later, and so lacks frames that are still in it."""
    with (
        av.open(str(source)) as whole,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled", "use_editlist": "1"}) as trimmed,
    ):
        stream = trimmed.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                shift = int(0.75 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                trimmed.mux(packet)
    return path


def test_frames_cut_off_by_an_edit_list_are_no_damage(make_video: MakeVideo, tmp_path: Path) -> None:
    with open_video(trim(make_video(count=60), tmp_path / "trimmed.mp4")) as video:
        assert len(list(video)) == 37  # of 60 that the file announces


def test_mp4_without_its_index_is_refused(make_video: MakeVideo) -> None:
    path = cut(make_video(options={"brand": "mp42"}), 0.6)  # an mp4 keeps its index at the end unless told otherwise
    with pytest.raises(VideoError, match="copied completely"):
        open_video(path)


def test_source_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="source not found") as caught:
        open_video(tmp_path / "missing.mp4")
    assert "give a video file" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"hello\n" * 100, bytes(1000)])
@pytest.mark.parametrize("name", ["notes.txt", "fake.mp4"])
def test_file_that_is_no_video(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VideoError, match="cannot read video"):
        open_video(tmp_path / name)


def test_sound_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(VideoError, match="no video track"):
        open_video(tmp_path / "sound.wav")


# --- passing over frames -----------------------------------------------------------------------------------


@pytest.fixture
def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each picture that is decoded."""
    decoded: list[int] = []
    decode = containers._decode

    def counting(*arguments: Any, **options: Any) -> Any:
        for each in decode(*arguments, **options):
            decoded.append(1)
            yield each

    monkeypatch.setattr(containers, "_decode", counting)
    return decoded


@pytest.mark.parametrize(
    ("name", "codec", "seeks"),
    [
        ("a.mp4", "libx264", True),
        ("a.mkv", "libx264", True),
        ("a.mp4", "libx265", True),
        ("a.webm", "libvpx-vp9", True),
        ("a.webm", "libvpx", False),
        ("a.avi", "mpeg4", False),
    ],
)
def test_frames_after_a_start_are_those_of_the_whole(
    make_video: MakeVideo, count_decoded: list[int], name: str, codec: str, seeks: bool
) -> None:
    path = make_video(name, codec=codec, count=30)
    with open_video(path) as video:
        whole = list(video.timed_frames())
    for start in (0, 1, 9, 10, 17, 29):
        count_decoded.clear()
        with open_video(path) as video:
            assert video.skip(start) == start
            rest = list(video.timed_frames())
        assert [seconds for seconds, _ in rest] == [seconds for seconds, _ in whole[start:]]
        assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(rest, whole[start:], strict=True))
        if seeks:  # the first frame of the file, and at most a group of 10 before the place
            assert sum(count_decoded) <= len(rest) + min(start, 10) + 1
        else:
            assert sum(count_decoded) == 30


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_frames_passed_over_are_counted(make_video: MakeVideo, name: str) -> None:
    path = make_video(name, codec="mpeg4" if name == "a.avi" else "libx264", count=12)
    for asked in (12, 70):
        with open_video(path) as video:
            assert video.skip(asked) == 12
            assert list(video) == []
    with open_video(path) as video:
        next(iter(video))
        assert video.skip(4) == 4
        assert len(list(video)) == 7


def test_passing_over_frames_of_a_damaged_file(make_video: MakeVideo) -> None:
    path = cut(make_video(count=60), 0.6)
    whole, _ = read_until_damaged(path)
    with open_video(path) as video:
        assert video.skip(20) == 20
        rest: list[NDArray[np.uint8]] = []
        with pytest.raises(DamagedVideoError):
            rest.extend(video)
    assert len(rest) == len(whole) - 20
    assert np.array_equal(rest[0], whole[20])


def test_a_file_cut_by_an_edit_list_is_passed_over_exactly(make_video: MakeVideo, tmp_path: Path) -> None:
    path = trim(make_video(count=60), tmp_path / "trimmed.mp4")
    with open_video(path) as video:
        whole = list(video)
    with open_video(path) as video:
        video.skip(25)
        rest = list(video)
    assert len(rest) == len(whole) - 25
    assert np.array_equal(rest[0], whole[25])


# --- closing -----------------------------------------------------------------------------------------------


def test_closing_while_frames_are_decoded_ahead(make_video: MakeVideo) -> None:
    path = make_video(count=60)
    for taken in (1, 2, 30):
        with open_video(path) as video:
            frames = iter(video)
            for _ in range(taken):
                next(frames)
        with pytest.raises(VideoError, match="closed"):
            next(frames)
        with pytest.raises(VideoError, match="closed"):
            video.skip(1)


def test_reading_after_close_is_refused(make_video: MakeVideo) -> None:
    with open_video(make_video()) as video:
        next(iter(video))
    video.close()
    with pytest.raises(VideoError, match="closed"):
        next(iter(video))


def test_frames_are_read_one_at_a_time() -> None:
    frames_made = []

    def timed_frames() -> Any:
        for index in range(1000):
            frames_made.append(index)
            yield float(index), np.zeros((2, 2, 3), np.uint8)

    frames = iter(VideoReader(timed_frames(), fps=1, size_wh=(2, 2)))
    next(frames)
    next(frames)
    assert len(frames_made) == 2


# --- folders of frames -------------------------------------------------------------------------------------


def write_picture(path: Path, level: int) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((24, 32, 3), (0, 0, level), np.uint8))  # OpenCV's BGR: red


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """frame1.png to frame12.png, ever redder, among files that are no frames."""
    for number in range(1, 13):
        write_picture(tmp_path / "frames" / f"frame{number}.png", 20 * number)
    (tmp_path / "frames" / "boxes.txt").write_text("1,2,3,4")
    (tmp_path / "frames" / ".frame0.png").write_text("hidden")
    return tmp_path / "frames"


def test_folder_is_read_in_natural_order(folder: Path) -> None:
    with open_video(folder) as video:
        assert (video.frame_count, video.size_wh, video.fps) == (12, (32, 24), 30.0)
        timed = list(video.timed_frames())
    assert [frame[0, 0].tolist() for _, frame in timed] == [[20 * number, 0, 0] for number in range(1, 13)]
    assert timed[3][0] == pytest.approx(0.1)


def test_one_picture_is_no_video(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)  # FFmpeg takes small ones for videos
    cv2.imwrite(str(tmp_path / "0001.jpg"), noise)
    with pytest.raises(VideoError, match="is one picture; give the folder of the frames"):
        open_video(tmp_path / "0001.jpg")


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".bmp", ".webp"])
def test_picture_endings(tmp_path: Path, ending: str) -> None:
    write_picture(tmp_path / "frames" / f"1{ending}", 200)
    with open_video(tmp_path / "frames") as video:
        assert next(iter(video))[0, 0].tolist() == pytest.approx([200, 0, 0], abs=6)


def test_glob(folder: Path) -> None:
    with open_video(str(folder / "frame1*.png")) as video:
        assert [int(frame[0, 0, 0]) for frame in video] == [20, 200, 220, 240]


def test_gray_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), np.full((24, 32), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "frames" / "2.png"), np.full((24, 32, 4), 90, np.uint8))
    with open_video(tmp_path / "frames") as video:
        assert [(frame.shape, int(frame.min())) for frame in video] == [((24, 32, 3), 90)] * 2


@pytest.mark.parametrize("source", ["frames", "frames/*.png"])
def test_no_pictures(tmp_path: Path, source: str) -> None:
    (tmp_path / "frames").mkdir()
    with pytest.raises(VideoError, match="no images"):
        open_video(str(tmp_path / source))


def test_unreadable_first_picture_is_refused(folder: Path) -> None:
    (folder / "frame1.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"frame1\.png \(10 bytes\)"):
        open_video(folder)


def test_unreadable_later_picture_ends_the_video(folder: Path) -> None:
    (folder / "frame5.png").write_bytes(b"")
    frames, message = read_until_damaged(folder)
    assert len(frames) == 4
    assert "4 of 12 frames" in message
    assert "frame5.png" in message


# --- cameras and streams -----------------------------------------------------------------------------------


made: list[FakeCamera] = []


class FakeCamera:
    """Stands for cv2.VideoCapture; camera 3 gives two frames and is then unplugged, no other is there."""

    def __init__(self, index: int) -> None:
        self.left = 2 if index == 3 else 0
        self.released = False
        self.requested: list[tuple[int, float]] = []
        made.append(self)

    def set(self, name: int, value: float) -> None:
        self.requested.append((name, value))

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.left -= 1
        return (True, np.full((24, 32, 3), (0, 0, 255), np.uint8)) if self.left >= 0 else (False, None)

    def get(self, _: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("source", [3, "3"])
def test_camera(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with open_video(source) as video:
        assert (video.frame_count, video.size_wh, video.fps) == (None, (32, 24), 30.0)
    frames, message = read_until_damaged(source)
    assert [frame[0, 0].tolist() for frame in frames] == [[255, 0, 0]] * 2
    assert "camera 3" in message


def test_what_is_requested_of_a_camera(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    options = LiveOptions(size_wh=(1280, 720), fps=60, pixel_format="MJPG", reconnect=0)
    with open_video("/dev/video3", live=options) as video:
        assert video.size_wh == (32, 24)
    assert made[-1].requested == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),  # first: sizes and rates depend on it
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 60),
    ]
    assert made[-1].released
    assert "camera 3 gives 32 x 24 instead of 1280 x 720" in caplog.text
    assert "camera 3 announces 30 frames/s instead of 60" in caplog.text


def test_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with pytest.raises(VideoError, match="no camera 0"):
        open_video("0")


def test_number_that_no_camera_can_have() -> None:
    with pytest.raises(VideoError, match="no camera 20241121095600"):
        open_video("20241121095600")


def test_existing_path_of_digits_is_no_camera(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.rename(folder.with_name("3")).parent)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with open_video("3") as video:
        assert video.frame_count == 12
    with open_video(3) as video:
        assert video.frame_count is None


def test_http_stream(make_video: MakeVideo, web_server: str) -> None:
    path = make_video(count=40)
    with open_video(f"{web_server}/{path.name}") as video:
        assert len(list(video)) == 40


def test_http_stream_that_is_not_there(web_server: str) -> None:
    with pytest.raises(VideoError, match=r"missing\.mp4.*404"):
        open_video(f"{web_server}/missing.mp4")


def test_stream_that_stays_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}/live"
        with pytest.raises(VideoError, match="no answer in time") as caught:
            open_video(url, timeout=0.5)
    assert "secret" not in str(caught.value)


# --- hostile files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, -5, 10**30])
def test_numbers_that_are_no_cameras(number: int) -> None:  # C15: -1 ended the process
    with pytest.raises(VideoError, match="no camera"):
        open_video(number)


def test_a_pipe_is_no_picture_and_no_video(tmp_path: Path) -> None:  # C8: it was waited for
    os.mkfifo(tmp_path / "1.jpg")
    for source in (tmp_path, tmp_path / "1.jpg"):
        with pytest.raises(VideoError, match="pipe, socket or device"):
            open_video(source)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n",  # C8: without an end, it was read for ever
        "ffconcat version 1.0\nfile clip.ts\n",
        "v=0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD type="dynamic"></MPD>',
    ],
)
def test_a_playlist_in_a_file_is_refused(content: str, make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("clip.ts", options={})
    (tmp_path / "list.m3u8").write_text(content)
    with pytest.raises(VideoError, match="a playlist"):
        open_video(tmp_path / "list.m3u8")


@pytest.mark.parametrize("side", [40_000, 32_000])
@pytest.mark.parametrize("bits", [1, 8])
def test_a_picture_of_too_many_pixels_is_refused(side: int, bits: int, tmp_path: Path) -> None:  # C9, C20

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    path = tmp_path / "1.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with pytest.raises(VideoError, match=f"at most .* pixels; got one of {side} x {side}"):
        open_video(tmp_path)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
def test_announced_sizes(ending: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for quality in (50, 101):  # above 100 a WebP has no losses, which is another layout
        options = [cv2.IMWRITE_WEBP_QUALITY, quality] if ending == ".webp" else []
        data = cv2.imencode(ending, picture, options)[1].tobytes()
        assert announced_size(data) == (53, 37)
        for length in range(60):
            assert announced_size(data[:length]) in (None, (53, 37))


@pytest.mark.parametrize("name", ["a" * 5000, "b\0c", "frames/" + "a" * 300 + "/*.png"])
def test_names_that_no_file_can_have(name: str) -> None:  # C9
    with pytest.raises(VideoError, match=r"source not found|no images"):
        open_video(name)


@pytest.mark.parametrize("noted", ["..........00", "00:00:1.0.0", "00:00:..........00", "9" * 5000 + ":00:00"])
def test_an_odd_duration_is_passed_over(
    noted: str, make_video: Callable[..., Path]
) -> None:  # C9: after the last frame
    path = make_video("clip.mkv", options={}, count=3)
    content = path.read_bytes()
    place = content.index(b"DURATION")
    with open_video(path) as video:
        assert len(list(video)) == 3
    noted = noted[:18].ljust(18, "0")  # as long as the one in the file
    start = content.index(b"00:00:", place)
    path.write_bytes(content[:start] + noted.encode() + content[start + 18 :])
    with open_video(path) as video:
        assert len(list(video)) == 3


def test_numbers_in_names_may_have_any_length() -> None:  # C10
    names = ["007", "9", "10", "9" * 4999, "1" * 5000]
    assert sorted(["10", "9", "1" * 5000, "9" * 4999, "007"], key=natural_key) == names


def test_frames_that_do_not_decode_are_missed(make_video: Callable[..., Path]) -> None:  # C19: up to 19 of 20, silently
    path = make_video("clip.mkv", options={}, count=20, codec="libx264")
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    noticed = silent = 0
    for _ in range(60):
        changed = content.copy()
        changed[int(random.integers(len(content) // 10, len(content)))] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        frames = 0
        try:
            with open_video(path) as video:
                for _ in video:
                    frames += 1
        except VideoError:
            noticed += 1
        else:
            silent += frames < 20
    assert silent == 0
    assert noticed > 10


def test_a_fragment_that_is_missing_is_noticed(make_video: Callable[..., Path]) -> None:  # C19
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = make_video("clip.mp4", options=options, count=30)
    content = path.read_bytes()
    starts = [place - 4 for place in range(len(content)) if content[place : place + 4] == b"moof"]
    assert len(starts) > 2
    with open_video(path) as video:
        assert len(list(video)) == 30
    path.write_bytes(content[: starts[1]] + content[starts[2] :])
    with open_video(path) as video, pytest.raises(DamagedVideoError, match="damaged pieces"):
        list(video)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", {}),
        ("clip.webm", {}),
        ("clip.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("clip.mov", {"movflags": "+faststart"}),
    ],
)
def test_every_cut_is_noticed(name: str, options: dict[str, str], make_video: Callable[..., Path]) -> None:  # C19
    path = make_video(name, options=options, count=12, codec="libvpx-vp9" if name == "clip.webm" else "libx264")
    content = path.read_bytes()
    with open_video(path) as video:
        assert len(list(video)) == 12
    for end in range(len(content) // 4, len(content), len(content) // 40):
        path.write_bytes(content[:end])
        frames = 0
        with suppress(VideoError), open_video(path) as video:
            for _ in video:
                frames += 1
            assert frames == 12


def replaced(content: bytes, found: bytes, number: int, at: int, new: bytes) -> bytes:
    """The content with `new` at byte `at` after the start of the given occurrence of `found` (from the end if < 0)."""
    places = [place for place in range(len(content)) if content.startswith(found, place)]
    start = places[number] + at
    return content[:start] + new + content[start + len(new) :]


@pytest.mark.parametrize(
    ("found", "number", "at", "new"),
    [
        (b"moof", 0, 0, b"zoof"),  # the first fragment is not described
        (b"moof", 1, 0, b"zoof"),
        (b"moof", -1, 0, b"zoof"),
        (b"moof", 1, -1, b"\0"),  # it lasts to the end
        (b"trun", -1, 11, b"\1"),  # the last fragment has one frame
    ],
)
def test_frames_without_a_description_are_noticed(  # C19
    found: bytes, number: int, at: int, new: bytes, make_video: Callable[..., Path]
) -> None:
    path = make_video("clip.mp4", options={"movflags": "frag_keyframe+empty_moov"}, count=30)
    path.write_bytes(replaced(path.read_bytes(), found, number, at, new))
    with pytest.raises(VideoError), open_video(path) as video:
        list(video)


@pytest.mark.parametrize("track", [0x7F, 0x82, 0])
@pytest.mark.parametrize("block", [5, -1])
def test_a_frame_of_no_track_is_noticed(block: int, track: int, make_video: Callable[..., Path]) -> None:  # C19
    path = make_video("clip.mkv", options={}, count=20)
    content = path.read_bytes()
    # SimpleBlock: a3, its size in one or two bytes, the track (81), the time in two, flags
    blocks = [
        match.end() - 1
        for match in re.finditer(rb"\xa3(?:[\x81-\xfe]|[\x40-\x7f].)\x81(?=..[\x00\x80\x08])", content, re.DOTALL)
    ]
    assert len(blocks) == 20
    place = blocks[block]
    path.write_bytes(content[:place] + bytes([track]) + content[place + 1 :])
    with open_video(path) as video, pytest.raises(DamagedVideoError, match=r"of no track|frames missing|announces"):
        list(video)


def test_a_frame_that_the_demuxer_drops_is_noticed(make_video: Callable[..., Path]) -> None:  # C19
    path = make_video("clip.mkv", options={}, count=20)
    content = path.read_bytes()
    last = [
        match.end()
        for match in re.finditer(rb"\xa3(?:[\x81-\xfe]|[\x40-\x7f].)\x81..[\x00\x80\x08]", content, re.DOTALL)
    ][-1]
    path.write_bytes(content[:last] + b"\x7f\xff\xff\xff" + content[last + 4 :])  # the length of its first unit
    with open_video(path) as video, pytest.raises(DamagedVideoError):
        list(video)


def test_a_frame_shown_outside_of_the_edit_list_is_noticed(make_video: Callable[..., Path]) -> None:  # C19
    path = make_video("clip.mp4", count=20)
    content = path.read_bytes()
    start = content.index(b"ctts")
    entries = int.from_bytes(content[start + 8 : start + 12], "big")
    for entry in (entries // 2, entries - 1):
        place = start + 12 + 8 * entry + 4  # its offset, after the number of frames that have it
        path.write_bytes(content[:place] + (50_000).to_bytes(4, "big") + content[place + 4 :])
        with pytest.raises(VideoError), open_video(path) as video:
            list(video)


@pytest.mark.parametrize(
    ("found", "at", "new"),
    [
        (b"mdhd", 4, b"\xff"),  # a version that there is not
        (b"mdhd", 17, b"\x7f"),  # ticks per second: all but the first frame come after the end
        (b"stts", 17, b"\x08"),  # the duration of each frame
        (b"elst", 19, b"\x7f\xff"),  # the first tick that is shown
    ],
)
def test_frames_hidden_by_damaged_times_are_noticed(  # C19
    found: bytes, at: int, new: bytes, make_video: Callable[..., Path]
) -> None:
    path = make_video("clip.mov", count=20)
    path.write_bytes(replaced(path.read_bytes(), found, 0, at, new))
    frames = 0
    with suppress(VideoError), open_video(path) as video:
        for _ in video:
            frames += 1
        assert frames == 20


@pytest.mark.parametrize(("found", "at", "new"), [(b"tfhd", 26, b"\x0c"), (b"tfdt", -2, b"\x80")])
def test_fragments_with_damaged_times_are_noticed(
    found: bytes, at: int, new: bytes, make_video: Callable[..., Path]
) -> None:  # C19
    path = make_video("clip.mp4", options={"movflags": "frag_keyframe+empty_moov"}, count=30)
    for number in (0, 1, -1):
        path.write_bytes(replaced(path.read_bytes(), found, number, at, new))
        frames = 0
        with suppress(VideoError), open_video(path) as video:
            for _ in video:
                frames += 1
            assert frames == 30


# --- what containers hold beside ordinary frames ----------------------------------------------------------------


def with_cover(path: Path) -> Path:
    """Put a cover picture into an mp4, as music players do: a box `udta` in `moov`, before the tracks."""
    _, cover = cv2.imencode(".jpg", np.zeros((20, 20, 3), np.uint8))

    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    picture = box(b"data", (13).to_bytes(4, "big") + bytes(4) + cover.tobytes())
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", box(b"covr", picture))))
    data = path.read_bytes()
    moov = data.rindex(b"moov") - 4
    track = data.index(b"trak", moov) - 4
    size = int.from_bytes(data[moov : moov + 4], "big") + len(udta)
    path.write_bytes(data[:moov] + size.to_bytes(4, "big") + data[moov + 4 : track] + udta + data[track:])
    return path


@pytest.mark.parametrize("start", [0, 12])
def test_cover_pictures_are_passed_over(make_video: MakeVideo, start: int) -> None:
    path = with_cover(make_video(options={"movflags": "-faststart"}))  # moov at the end, so that no offset changes
    with av.open(str(path)) as container:
        assert container.streams.video[0].disposition.name == "attached_pic"
    with open_video(path) as video:
        assert (video.size_wh, video.frame_count) == ((64, 48), 30)
        assert video.skip(start) == start
        assert len(list(video)) == 30 - start


def test_a_cover_alone_is_no_video(make_video: MakeVideo, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match="it has no video track"):
        open_video(with_cover(tmp_path / "song.mp4"))


def test_times_go_on_where_those_of_the_file_begin_again(make_video: MakeVideo, tmp_path: Path) -> None:
    once = make_video("a.ts", options={}).read_bytes()
    (tmp_path / "twice.ts").write_bytes(once + once)
    with open_video(tmp_path / "twice.ts") as video:
        times = [seconds for seconds, _ in video.timed_frames()]
    assert times == pytest.approx([index / 30 for index in range(60)], abs=1e-3)


@pytest.mark.parametrize(("degrees", "aspect"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_sample_aspect_ratio(tmp_path: Path, degrees: int, aspect: Fraction) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    with open_video(tmp_path / "a.mp4") as video:
        assert video.sample_aspect == aspect
        with VideoWriter(tmp_path / "b.mp4", video.fps, sample_aspect=video.sample_aspect) as writer:
            writer.write(next(iter(video)))
    with open_video(tmp_path / "b.mp4") as video:
        assert video.sample_aspect == aspect
    with av.open(str(tmp_path / "b.mp4")) as container:  # what players go by
        assert container.streams.video[0].sample_aspect_ratio == aspect


def test_square_pixels_without_a_ratio(make_video: MakeVideo) -> None:
    with open_video(make_video(count=2)) as video:
        assert video.sample_aspect == 1


@pytest.mark.parametrize(
    ("options", "transfer", "said"),
    [
        ({"flags": "+ildct+ilme"}, 1, "interlaced video is not deinterlaced"),
        ({}, 16, "HDR (PQ)"),
        ({}, 18, "HDR (HLG)"),
    ],
)
def test_what_frames_do_not_hold_is_said_once(
    tmp_path: Path, options: dict[str, str], transfer: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.color_trc = transfer
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 3
    assert [said in record.getMessage() for record in caplog.records] == [True]
