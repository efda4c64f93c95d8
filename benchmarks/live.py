"""Latency, drops and memory of live sources.

    python benchmarks/live.py latency --seconds 600 --held 10
    python benchmarks/live.py latency --seconds 30 --held 10 --every-frame
    python benchmarks/live.py day --frames 300000

latency: another process encodes a clip of 30 frames a second that shows its own clock, as H.264 in FLV over TCP.
It is read and tracked at ``--held`` frames a second, and at each result the clock in the frame is compared with ours:
from capture to result, with encoding, network, decoding and the tracker.

day: the loop of many hours without the waiting: targets leave, come back, are added and removed; boxes go to files that
are begun anew. Resident memory, open files and threads are printed as it runs. The network is a stand-in that takes no
time, for 300,000 frames; all else is what tracks.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack.engines.cpu import processor_name
from singletrack.events import EventDetector
from singletrack.outputs import Outputs, Segment
from singletrack.steps import TrackStep
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.video import LiveOptions, open_video

Image = NDArray[np.uint8]
FPS, SIZE_WH = 30, (640, 360)
BITS, CELL = 32, 16  # of the clock: milliseconds in this many bits, each a square with sides of CELL pixels
BOX = (300.0, 160.0, 60.0, 60.0)


@click.group()
def main() -> None:
    """Latency, drops and memory of live sources."""


# --- latency -----------------------------------------------------------------------------------------------


def draw_clock(frame: Image, milliseconds: int) -> None:
    """Draw a time as white and black squares along the upper edge."""
    for bit in range(BITS):
        frame[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if milliseconds >> bit & 1 else 16


def read_clock(frame: Image) -> int:
    """Read the time that ``draw_clock`` drew."""
    bits = frame[CELL // 2, CELL // 2 : BITS * CELL : CELL, 1] > 128
    return int(sum(1 << bit for bit in range(BITS) if bits[bit]))


def now_ms() -> int:
    """Milliseconds of a clock that all processes of this machine share."""
    return int(time.monotonic() * 1000)


@main.command(hidden=True)
@click.argument("port", type=int)
def serve(port: int) -> None:
    """Encode and send until the reader leaves."""
    import av

    random = np.random.default_rng(0)
    ground = np.kron(
        random.integers(60, 190, (SIZE_WH[1] // 8, SIZE_WH[0] // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    target = np.kron(random.integers(0, 255, (6, 6, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    with av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="flv", options={"flush_packets": "1"}) as output:
        stream: Any = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.codec_context.gop_size = FPS
        began = time.monotonic()
        for number in itertools.count():
            time.sleep(max(0.0, began + number / FPS - time.monotonic()))
            frame = ground.copy()
            x, y = (round(a + 40 * f(number / 40)) for a, f in ((300, np.sin), (160, np.cos)))
            frame[y : y + 60, x : x + 60] = target
            draw_clock(frame, now_ms())
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(picture))


class Waits:
    """Stands for a model."""

    def init(self, frame: Image, box: Any) -> None:
        pass

    def update(self, frame: Image) -> singletrack.Result:
        return singletrack.Result(box=BOX, score=0.9, lost=False)


@main.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Length of the run.")
@click.option("--held", type=float, default=10.0, show_default=True, help="Updates per second, at most.")
@click.option("--every-frame", is_flag=True, help="Give every frame, to compare.")
@click.option("--threads", type=int, help="Threads of the tracker.")
@click.option("--waits", is_flag=True, help="A model that only waits, where other work takes the processor.")
def latency(seconds: float, held: float, every_frame: bool, threads: int | None, waits: bool) -> None:
    """From capture to result."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, "serve", str(port)])
    try:
        tracker: Any = Waits() if waits else singletrack.load("ostrack-tiny", threads=threads)
        rows = _follow(port, tracker, seconds, held, every_frame)
    finally:
        server.kill()
        server.wait()
    times, delays, updates, dropped, lost = (np.array(each) for each in zip(*rows, strict=True))
    click.echo(f"{processor_name()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    click.echo(
        f"{len(rows)} results in {times[-1]:.0f} s, {dropped.sum():.0f} frames dropped, lost in {lost.sum():.0f}"
    )
    pieces = np.array_split(np.arange(len(rows)), 5)
    for piece in pieces:
        span, middle = f"{times[piece[0]]:.0f}-{times[piece[-1]]:.0f} s", np.median(delays[piece])
        least = delays[piece].min()
        high, most = np.percentile(delays[piece], 95), delays[piece].max()
        click.echo(
            f"{span}: from capture to result least {least:.0f} ms, median {middle:.0f} ms, "
            f"95 % {high:.0f} ms, most {most:.0f} ms; update "
            f"median {np.median(updates[piece]):.0f} ms"
        )
    limit = 2000 / FPS + updates
    click.echo(f"below two frame intervals plus its own update: {100 * np.mean(delays <= limit):.1f} % of the results")


def _follow(port: int, tracker: Any, seconds: float, held: float, every_frame: bool) -> list[tuple[float, ...]]:
    options = LiveOptions(every_frame=every_frame, reconnect=0)
    for _ in range(100):
        try:
            video = open_video(f"tcp://127.0.0.1:{port}", live=options)
            break
        except singletrack.VideoError:
            time.sleep(0.1)
    rows: list[tuple[float, ...]] = []
    with video:
        began = time.monotonic()
        due = began
        for _, frame in video.timed_frames():
            started = time.monotonic()
            if not rows:
                tracker.init(frame, BOX)
                lost = False
            else:
                lost = tracker.update(frame).lost
            time.sleep(max(0.0, 1 / held - (time.monotonic() - started)))  # a model that takes this long
            done = now_ms()
            rows.append(
                (
                    time.monotonic() - began,
                    float(done - read_clock(frame)),
                    1000 * (time.monotonic() - started),
                    float(video.live.passed_over if video.live else 0),
                    float(lost),
                )
            )
            due += 1 / held
            if time.monotonic() - began > seconds:
                break
    return rows[3:]  # the first ones prepare the engine


# --- a day -------------------------------------------------------------------------------------------------


class Network:
    """Stands for a network: its maps have one peak, whose height is that of the brightest place."""

    def encode(self, template: Any) -> Any:
        return template.copy()  # features that are the template itself would keep it for ever

    def locate(self, features: Any, search: Any) -> Mapping[str, Any]:
        count = len(search)
        cells = search[:, 8::16, 8::16, 0].astype(np.float32) / 255
        size = np.full((count, 2, *cells.shape[1:]), 0.25, np.float32)
        offset = np.full_like(size, 0.5)
        return {"score": cells * 0.99 + 0.001, "size": size, "offset": offset}


@main.command()
@click.option("--frames", type=int, default=300_000, show_default=True)
def day(frames: int) -> None:
    """Resident memory, open files and threads over many frames."""
    settings = OSTrackSettings(search_size=128, template_size=64, hold_when_lost=True, long_term=True)
    many = MultiTracker(LongTermTracker(OSTrackTracker(Network(), settings)))
    detector, random = EventDetector({"middle": (40, 20, 60, 60)}), np.random.default_rng(0)
    grounds = random.integers(0, 40, (16, 96, 160, 3), np.uint8)
    counts = {"events": 0, "added": 0, "lost frames": 0}
    click.echo(processor_name())
    with tempfile.TemporaryDirectory() as folder:
        boxes = Path(folder) / "boxes.jsonl"
        with Outputs([], boxes, many=True, segment=Segment(seconds=3600)) as outputs:
            for index in range(frames):
                frame = grounds[index % len(grounds)].copy()
                if index % 1000 < 800:  # it leaves, and comes back
                    x, y = 60 + round(30 * np.sin(index / 50)), 30 + round(15 * np.cos(index / 70))
                    frame[y : y + 20, x : x + 20] = 255
                results = many.update(frame) if many.ids else {}
                if index % 500 == 0 and index % 1000 < 800:
                    many.add(frame, (x, y, 20, 20))
                    counts["added"] += 1
                    for old in many.ids[:-2]:
                        many.remove(old)
                        detector.forget(old)
                counts["events"] += len(detector.update(index, index / FPS, results, (160, 96)))
                counts["lost frames"] += sum(result.lost for result in results.values())
                step = TrackStep(index=index, time=index / FPS, frame=frame, results=results, seconds=0.0)
                outputs.write(step)
                if index % max(1, frames // 10) == 0 or index == frames - 1:
                    _report(index, folder, counts)


def _report(index: int, folder: str, counts: Mapping[str, int]) -> None:
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    listed = ", ".join(f"{value} {name}" for name, value in counts.items())
    click.echo(
        f"frame {index:7}: {resident:6.1f} MB resident, {files} open files, {threads} threads, "
        f"{len(os.listdir(folder))} files written; {listed}"
    )


if __name__ == "__main__":
    main()
