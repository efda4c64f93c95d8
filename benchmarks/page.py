#!/usr/bin/env python3
"""How fast the label page is, in a real browser: opening, stepping, jumping, memory, and tracking.

    python benchmarks/page.py                      # all of it; makes a 4K clip of ten minutes, about 1 GB
    python benchmarks/page.py --minutes 1          # a shorter 4K clip
    python benchmarks/page.py --quick              # every line, on short clips, in about four minutes

Needs `pip install '.[web]' playwright` and Chromium. Prints the processor and a Markdown table, each line when it is
measured, beside its budget and the load of the machine then. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

from singletrack.engines.cpu import processor_name, usable_cores

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
KEY_FRAME_EVERY = 240
PERIOD = 480  # frames after which the picture is where it was: no jump, which would be a scene cut and end the tracking


def make_clip(path: Path, size_wh: tuple[int, int], frames: int) -> None:
    """A textured picture that slides to and fro, in H.264 with B-frames. Long clips repeat 480 frames."""
    width, height = size_wh
    coarse = np.random.default_rng(0).integers(0, 255, (height // 40 + 8, width // 40 + 8, 3), np.uint8)
    large = cv2.resize(coarse, (width + 240, height + 240), interpolation=cv2.INTER_CUBIC)
    packets: list[tuple[int, int, bytes, bool]] = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=30, options={"preset": "veryfast", "bf": "3", "sc_threshold": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = KEY_FRAME_EVERY
        stream.codec_context.flags &= ~av.codec.context.Flags.closed_gop.value
        period = min(frames, PERIOD)
        for index in range(period):
            left, top = 240 - abs(240 - 2 * index % 480), 240 - abs(240 - index % 480)
            frame = np.ascontiguousarray(large[top : top + height, left : left + width])
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 30)
            packets += [(p.pts, p.dts, bytes(p), p.is_keyframe) for p in stream.encode(picture)]
        packets += [(p.pts, p.dts, bytes(p), p.is_keyframe) for p in stream.encode(None)]
        for start in range(0, frames, period):
            for pts, dts, data, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts, packet.time_base = (
                    stream,
                    pts + start,
                    dts + start,
                    Fraction(1, 30),
                )
                packet.is_keyframe = is_key
                container.mux(packet)


@contextmanager
def serve(clip: Path) -> Iterator[tuple[str, int]]:
    """Run `singletrack label`; gives the address and the process id."""
    log = clip.with_suffix(".log")
    command = [sys.executable, "-m", "singletrack", "label", str(clip), "--no-browser", "--port", "0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        while "label page: " not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.01)
        yield log.read_text().split("label page: ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.wait()
        clip.with_suffix(".singletrack").unlink(missing_ok=True)


def peak_memory(pid: int) -> float:
    """MB of memory that a process has held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1000


def see(page: Page, frame: int) -> None:
    page.locator(f'body[data-frame="{frame}"]').wait_for(timeout=120_000)


# From a key press to the frame on the screen, measured in the page itself.
STEP = """([key, frame]) => new Promise((resolve) => {
    const began = performance.now();
    const watch = () => document.body.dataset.frame === String(frame)
        ? requestAnimationFrame(() => resolve(performance.now() - began)) : setTimeout(watch, 1);
    if (key === 'jump') {
        const field = document.getElementById('frame');
        field.value = frame;
        field.dispatchEvent(new Event('change'));
    } else document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    watch();
})"""


def open_clip(page: Page, address: str) -> float:
    """Seconds from the address to the first picture."""
    began = time.perf_counter()
    page.goto(address)
    see(page, 0)
    return time.perf_counter() - began


def step(page: Page, key: str, frame: int) -> float:
    """Milliseconds to show a frame."""
    # the content security policy forbids strings as code, so the function goes in by the debugger
    return float(page.evaluate(STEP, [key, frame]))


def draw(page: Page, box: tuple[float, float, float, float]) -> None:
    left, top, zoom = map(float, (page.locator("#picture").get_attribute("data-view") or "").split())
    bounds = page.locator("#picture").bounding_box()
    assert bounds is not None
    x, y = bounds["x"] + left + box[0] * zoom, bounds["y"] + top + box[1] * zoom
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5, y + 5)
    page.mouse.move(x + box[2] * zoom, y + box[3] * zoom)
    page.mouse.up()


def track_in_page(page: Page, box: tuple[float, float, float, float]) -> float:
    """Seconds to track the clip in the page."""
    draw(page, box)
    page.locator("#frame-state", has_text="Keyframe").wait_for()
    page.wait_for_timeout(3000)  # the model is loaded meanwhile
    began = time.perf_counter()
    page.keyboard.press("t")
    page.locator("#track", has_text="All tracked").wait_for(timeout=600_000)
    return time.perf_counter() - began


def track_on_command_line(clip: Path, box: tuple[float, float, float, float]) -> float:
    """Seconds to track the clip with `singletrack track`, less the start of the process and the model."""
    from singletrack import load, track

    tracker = load("ostrack-tiny")
    began = time.perf_counter()
    for _ in track(str(clip), box, tracker=tracker):
        pass
    return time.perf_counter() - began


def measure_uhd(page: Page, clip: Path, frames: int, minutes: float, repeats: int) -> None:
    """Opening a 4K clip, and the memory of its server."""
    seconds, memory = [], 0.0
    places = [*range(min(5000, frames - 1), 100, -379), *range(1, 40)]
    for _ in range(repeats):
        with serve(clip) as (address, pid):
            seconds.append(open_clip(page, address))
            for frame in places:
                step(page, "jump", frame)
            memory = max(memory, peak_memory(pid))
    show(f"4K, {minutes:g} minutes: from the address to the first picture", f"{median(seconds):.2f} s", "1.5 s")
    show(f"the server's memory at most, after {len(places)} jumps and steps in it", f"{memory:.0f} MB", "600 MB")


def measure_steps(page: Page, clip: Path, frames: int) -> None:
    """Going through a 1080p clip."""
    with serve(clip) as (address, _):
        open_clip(page, address)
        steps = [step(page, ".", frame) for frame in range(1, 60)]
        show("1080p: next frame, median", f"{median(steps):.0f} ms", "50 ms")
        show("1080p: next frame, slowest of 59", f"{max(steps):.0f} ms")
        step(page, "jump", frames - 100)
        back = [step(page, ",", frame) for frame in range(frames - 101, frames - 140, -1)]
        show("1080p: previous frame, median", f"{median(back):.0f} ms")
        random = np.random.default_rng(0).permutation(frames)[:40].tolist()
        jumps = [step(page, "jump", int(frame)) for frame in random]
        name = f"1080p, key frame every {KEY_FRAME_EVERY}"
        show(f"{name}: jump anywhere, median", f"{median(jumps):.0f} ms")
        show(f"{name}: slowest of 40 jumps", f"{max(jumps):.0f} ms", "400 ms")


def measure_tracking(page: Page, clip: Path, frames: int, repeats: int) -> None:
    """Tracking in the page beside ``singletrack.track``."""
    box = (800.0, 400.0, 160.0, 120.0)
    pairs = []
    for _ in range(repeats):
        with serve(clip) as (address, _):
            open_clip(page, address)
            pairs.append((track_in_page(page, box), track_on_command_line(clip, box)))
    shares = [there / alone - 1 for there, alone in pairs]
    show(f"1080p, {frames} frames: tracking in the page", f"{median(pair[0] for pair in pairs):.1f} s")
    show("the same with `singletrack.track`", f"{median(pair[1] for pair in pairs):.1f} s")
    show("the page takes longer by", f"{100 * median(shares):.0f} %", "15 %")


def show(what: str, measured: str, budget: str = "") -> None:
    print(f"| {what} | {measured} | {budget} | {os.getloadavg()[0]:.1f} |", flush=True)


def say(text: str) -> None:
    """Say what takes long, beside the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the 4K clip [default: 10]")
    parser.add_argument("--repeats", type=int, default=3, help="of opening and of tracking [default: 3]")
    parser.add_argument("--quick", action="store_true", help="open each clip once, and make short ones")
    arguments = parser.parse_args()
    minutes, repeats, hd_frames = arguments.minutes, arguments.repeats, 1000
    if arguments.quick:
        minutes, repeats, hd_frames = 0.2, 1, 300
    uhd_frames = round(minutes * 1800)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        uhd, hd = folder / "uhd.mp4", folder / "hd.mp4"
        say(f"making a 4K clip of {uhd_frames} frames")
        make_clip(uhd, (3840, 2160), uhd_frames)
        say(f"making a 1080p clip of {hd_frames} frames")
        make_clip(hd, (1920, 1080), hd_frames)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        cores = usable_cores()
        print(f"{processor_name()}, {cores} core{'s' if cores != 1 else ''}\n")
        print("| | measured | budget | load |\n|---|---|---|---|", flush=True)
        measure_uhd(page, uhd, uhd_frames, minutes, repeats)
        measure_steps(page, hd, hd_frames)
        measure_tracking(page, hd, hd_frames, arguments.repeats)
        browser.close()


if __name__ == "__main__":
    main()
