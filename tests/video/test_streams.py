"""Streams from real servers: killed, frozen and started again, with lost packets, in every kind that is read."""

from __future__ import annotations

import functools
import http.server
import itertools
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.servers.streams import Process, free_port, need, need_program, need_rtsp, start_ffmpeg, start_rtsp

import singletrack
from singletrack.api import follow_frames
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import VideoError
from singletrack.geometry.boxes import iou
from singletrack.video import LiveOptions, VideoReader, VideoWriter, open_video
from singletrack.video.streams import hide_password

PATIENCE = 60.0  # seconds in which a server must answer on a busy machine


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 20 frames a second, with a key frame every second."""
    path = tmp_path_factory.mktemp("streams") / "clip.mp4"
    with VideoWriter(path, 20.0) as video:
        for frame, _ in generate_clip(frames=60, size_wh=(160, 96)):
            video.write(frame)
    return path


@pytest.fixture
def rtsp(clip: Path) -> Iterator[tuple[Process, str]]:
    need_rtsp()
    port = free_port()
    server = start_rtsp(clip, port)
    yield server, f"rtsp://127.0.0.1:{port}/clip"
    server.thaw()
    server.kill()


def open_patiently(address: str, **options: float) -> VideoReader:
    """Open a stream whose server may need a moment to start."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return open_video(address, live=LiveOptions(**options))
        except VideoError:  # noqa: PERF203
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_gives_the_newest_frame(rtsp: tuple[Process, str], transport: str) -> None:
    with open_video(rtsp[1], live=LiveOptions(transport=transport)) as video:
        assert (video.size_wh, video.frame_count) == ((160, 96), None)
        frames = video.timed_frames()
        times = [next(frames)[0]]
        while video.live.dropped < 5:  # a slow reader
            time.sleep(0.2)
            times.append(next(frames)[0])
    assert times == sorted(set(times))


def test_a_server_that_is_killed_and_started_five_times(
    rtsp: tuple[Process, str], caplog: pytest.LogCaptureFixture
) -> None:
    server, address = rtsp
    with open_video(address, live=LiveOptions(timeout=10, reconnect=PATIENCE)) as video:
        frames = video.timed_frames()
        next(frames)
        for _ in range(5):
            server.kill()
            server.start()
            while not video.live.resumed:
                next(frames)
            next(frames)
        assert video.live.interruptions == 5
        assert video.live.resumed is False
    assert sum("is back after" in record.getMessage() for record in caplog.records) == 5


def test_a_server_that_freezes_is_noticed(rtsp: tuple[Process, str], caplog: pytest.LogCaptureFixture) -> None:
    server, address = rtsp
    with open_video(address, live=LiveOptions(timeout=2, reconnect=PATIENCE)) as video:
        frames = video.timed_frames()
        next(frames)
        server.freeze()
        thawing = threading.Timer(3, server.thaw)
        thawing.start()
        while not video.live.resumed:
            next(frames)
        thawing.join()
    first = caplog.records[0].getMessage()
    assert "gave no frame for 2 s; opening it again" in first or "broke off (no answer in time)" in first


def test_a_server_that_does_not_come_back(rtsp: tuple[Process, str]) -> None:
    server, address = rtsp
    with open_video(address, live=LiveOptions(reconnect=1)) as video:
        frames = video.timed_frames()
        next(frames)
        server.kill()
        with pytest.raises(VideoError, match=r"tried 1 times again.*check the camera, its cable and the network"):
            list(frames)


@pytest.mark.parametrize("kind", ["mpegts", "mpjpeg"])
def test_http(clip: Path, kind: str) -> None:
    port = free_port()
    output = ["-f", kind, "-listen", "1", f"http://127.0.0.1:{port}/live"]
    server = start_ffmpeg(clip, *output, copy=kind == "mpegts")
    try:
        with open_patiently(f"http://127.0.0.1:{port}/live") as video:
            assert video.live is not None
            assert video.size_wh == (160, 96)
            assert len(list(itertools.islice(video, 25))) == 25
    finally:
        server.kill()


def test_hls(clip: Path, tmp_path: Path) -> None:
    handler = functools.partial(Quiet, directory=str(tmp_path))
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    flags = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments"]
    server = start_ffmpeg(clip, *flags, str(tmp_path / "live.m3u8"))
    try:
        with open_patiently(f"http://127.0.0.1:{web.server_port}/live.m3u8") as video:
            assert video.live is not None
            assert len(list(itertools.islice(video, 25))) == 25
    finally:
        server.kill()
        web.shutdown()
        web.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_stream_that_changes_its_size_keeps_its_target(tmp_path: Path) -> None:
    """The same scene, small, then large, then upright: boxes are in pixels of each frame, after a new search."""
    frames = list(generate_clip(frames=60, size_wh=(320, 192)))
    sizes = [(320, 192), (640, 384), (192, 320)]
    for number, size_wh in enumerate(sizes):
        with VideoWriter(tmp_path / f"{number}.mp4", 20.0) as video:
            for frame, _ in frames:
                video.write(np.asarray(cv2.resize(frame, size_wh), np.uint8))
        arguments = ["-i", str(tmp_path / f"{number}.mp4"), "-c", "copy", str(tmp_path / f"{number}.ts")]
        subprocess.run([need_program("ffmpeg"), "-nostdin", "-loglevel", "error", *arguments], check=True)
    port = free_port()
    pieces = "concat:" + "|".join(str(tmp_path / f"{number}.ts") for number in range(len(sizes)))
    command = [need_program("ffmpeg"), "-nostdin", "-loglevel", "error", "-re", "-i", pieces, "-c", "copy"]
    output = ["-f", "mpegts", "-listen", "1", f"http://127.0.0.1:{port}/live"]
    server = Process([*command, *output], ready=lambda process: None)
    tracker = singletrack.load("ostrack-tiny", threads=1)
    followed: dict[tuple[int, int], list[tuple[bool, float]]] = {}
    try:
        with open_patiently(f"http://127.0.0.1:{port}/live", every_frame=True, reconnect=0) as video:
            for step in itertools.islice(follow_frames(video, {0: [frames[0][1]]}, tracker), 180):
                box = np.array(frames[step.index % 60][1]) * np.tile(np.divide(step.size_wh, sizes[0]), 2)
                overlap = float(iou(np.array([step.result.box]), box[None])[0])
                followed.setdefault(step.size_wh, []).append((step.result.lost, overlap))
            assert video.live is not None
            assert video.live.interruptions == 0
    finally:
        server.kill()
    assert list(followed) == sizes
    for size_wh in sizes[1:]:
        lost, overlaps = zip(*followed[size_wh], strict=True)
        assert lost[0]  # until it is found at the other end of the frame, where the scene begins anew
        assert not any(lost[30:])
        assert np.mean(overlaps[30:]) > 0.6


def test_lost_packets(clip: Path) -> None:
    """One packet in twenty is lost between the sender and us; frames go on coming."""
    sent_to, read_from = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), free_port()
    sent_to.bind(("127.0.0.1", 0))
    sent_to.settimeout(0.2)
    server = start_ffmpeg(clip, "-f", "mpegts", f"udp://127.0.0.1:{sent_to.getsockname()[1]}?pkt_size=564")
    stopped, lost = threading.Event(), []

    def relay() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
            for number in itertools.count():
                if stopped.is_set():
                    return
                try:
                    packet = sent_to.recv(2000)
                except TimeoutError:
                    continue
                if number % 20 == 19:
                    lost.append(number)
                else:
                    onward.sendto(packet, ("127.0.0.1", read_from))

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        with open_patiently(f"udp://127.0.0.1:{read_from}") as video:
            assert len(list(itertools.islice(video, 60))) == 60
            assert video.live.interruptions == 0
        assert len(lost) > 5
    finally:
        stopped.set()
        thread.join()
        server.kill()
        sent_to.close()


def test_srt_is_not_in_pyav_and_that_is_said() -> None:
    import av

    try:
        av.open("srt://127.0.0.1:9", timeout=0.1)
    except av.error.ProtocolNotFoundError:
        pass
    except av.FFmpegError:
        pytest.skip("this PyAV has SRT")
    with pytest.raises(VideoError, match="the FFmpeg inside PyAV has no srt; convert it, for example with ffmpeg -i"):
        open_video("srt://user:secret@127.0.0.1:9")


def test_srt_is_read_by_the_command_of_the_message(clip: Path) -> None:
    ffmpeg, port, srt = need_program("ffmpeg"), free_port(), free_port()
    protocols = subprocess.run([ffmpeg, "-hide_banner", "-protocols"], capture_output=True, text=True, check=True)
    need("srt" in protocols.stdout.split(), "an ffmpeg with SRT")
    address = f"srt://127.0.0.1:{srt}"
    with pytest.raises(VideoError, match="has no srt") as refused:
        open_video(address)
    advice = re.search(r"(ffmpeg -i .*'), and read (udp://\S+)", str(refused.value))
    assert advice
    command, read = (text.replace("5000", str(port)) for text in advice.groups())
    server = start_ffmpeg(clip, "-f", "mpegts", f"{address}?mode=listener")
    converter = Process([ffmpeg, "-nostdin", *shlex.split(command)[1:]], ready=lambda process: None)
    try:
        with open_patiently(read) as video:
            assert video.size_wh == (160, 96)
            assert len(list(itertools.islice(video, 25))) == 25
    finally:
        converter.kill()
        server.kill()


def test_nothing_listens() -> None:
    with pytest.raises(VideoError, match="Connection refused; check that the camera or server is on, its address"):
        open_video(f"rtsp://user:secret@127.0.0.1:{free_port()}/x")


def test_passwords_stay_out_of_messages() -> None:
    assert hide_password("rtsp://me:secret@host/stream") == "rtsp://***@host/stream"
    assert hide_password("rtsp://host/stream") == "rtsp://host/stream"


def test_the_programs_of_these_tests_are_there() -> None:
    need_rtsp()
    need_program("ffmpeg")
    need_program("mosquitto")
