"""Real servers of streams for tests: GStreamer's RTSP server, FFmpeg and mosquitto, each as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRED = "SINGLETRACK_REQUIRE_SERVERS"
INSTALL = "apt-get install ffmpeg mosquitto python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good"
INSTALL += " gstreamer1.0-plugins-bad"
SYSTEM_PYTHON = "/usr/bin/python3"  # which has Debian's bindings of GStreamer
CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None)"
CHECK += "; assert all(map(Gst.ElementFactory.find, ['qtdemux', 'h264parse', 'rtph264pay']))"


def need(there: bool, name: str) -> None:
    """Skip the test where a server is not installed; fail it in CI."""
    if there:
        return
    if os.environ.get(REQUIRED):
        pytest.fail(f"needs {name}: {INSTALL}")
    pytest.skip(f"needs {name}: {INSTALL}")


def need_program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    need(path is not None, name)
    return str(path)


def need_rtsp() -> None:
    """Skip the test without GStreamer's RTSP server."""
    there = (
        Path(SYSTEM_PYTHON).exists() and subprocess.run([SYSTEM_PYTHON, "-c", CHECK], capture_output=True).returncode
    )
    need(there == 0, "GStreamer's RTSP server")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Process:
    """A server that can be started again, killed and frozen."""

    def __init__(self, command: list[str], *, ready: Callable[[subprocess.Popen[bytes]], None]) -> None:
        self._command, self._ready = command, ready
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._ready(self._process)

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None


def wait_for_line(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout
    assert process.stdout.readline(), "the server did not start"


def start_rtsp(clip: Path, port: int) -> Process:
    """Serve a clip as rtsp://127.0.0.1:PORT/clip."""
    script = Path(__file__).parent / "rtsp_server.py"
    return Process([SYSTEM_PYTHON, str(script), str(port), str(clip)], ready=wait_for_line)


def start_ffmpeg(clip: Path, *output: str, copy: bool = True) -> Process:
    """Play a clip over and over, at its own pace, into an output of FFmpeg."""
    program = need_program("ffmpeg")
    codec = ["-c", "copy"] if copy else []
    loop = [program, "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(clip)]
    return Process([*loop, "-an", *codec, *output], ready=lambda process: None)
