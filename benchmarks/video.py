#!/usr/bin/env python3
"""How fast a video file is followed end to end, decoding included, with and without decoding ahead.

    python benchmarks/video.py                             # 720p, 1080p and 4K, the bundled model
    python benchmarks/video.py --sizes 1280x720 --frames 60 --repeats 5

Makes H.264 files of a moving picture, then follows each with nothing decoded ahead and with it, in turn. Prints a
Markdown table of medians over the repeats, and what decoding alone and the tracker alone take. Nothing else may run
meanwhile.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from singletrack import load
from singletrack.api import follow_frames
from singletrack.engines.cpu import processor_name, usable_cores
from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Tracker
from singletrack.video import VideoWriter, open_video, reader

DEPTH = reader.READ_AHEAD


def make_video(path: Path, size_wh: tuple[int, int], frames: int) -> Box:
    """A textured picture that slides, at 30 frames a second; gives the box of a piece of it."""
    width, height = size_wh
    coarse = np.random.default_rng(0).integers(0, 255, (height // 40 + 8, width // 40 + 8, 3), np.uint8)
    large = cv2.resize(coarse, (width + 240, height + 240), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(path, 30.0) as video:
        for index in range(frames):
            left, top = 2 * index % 240, index % 240
            video.write(np.ascontiguousarray(large[top : top + height, left : left + width], np.uint8))
    return width / 2, height / 2, height / 8, height / 8


def follow_once(path: Path, box: Box, tracker: Tracker, ahead: int) -> tuple[float, float]:
    """Seconds a frame for all of it, and for the tracker alone; the first frame is not counted."""
    reader.READ_AHEAD = ahead
    with open_video(path) as video:
        steps = follow_frames(video, {0: [box]}, tracker)
        next(steps)
        began = time.perf_counter()
        seconds = [step.seconds for step in steps]
        return (time.perf_counter() - began) / len(seconds), sum(seconds) / len(seconds)


def decode_once(path: Path) -> float:
    """Seconds a frame to decode it."""
    reader.READ_AHEAD = 0
    with open_video(path) as video:
        frames = iter(video)
        next(frames)
        began = time.perf_counter()
        count = sum(1 for _ in frames)
        return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="ostrack-tiny")
    parser.add_argument("--weights")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sizes", default="1280x720,1920x1080,3840x2160")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    tracker = load(arguments.model, weights=arguments.weights, engine=arguments.engine, threads=arguments.threads)
    load_now = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{processor_name()}, {usable_cores()} cores{load_now}; {arguments.model}\n")
    print("| frames | decode ms | tracker ms | one after the other, frames/s | decoded ahead, frames/s | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes.split(","):
            width, height = (int(side) for side in size.split("x"))
            path = Path(folder) / f"{size}.mp4"
            box = make_video(path, (width, height), arguments.frames)
            took: dict[int, list[float]] = {0: [], DEPTH: []}
            tracking: list[float] = []
            decoding: list[float] = []
            for _ in range(arguments.repeats):
                decoding.append(decode_once(path))
                for ahead, times in took.items():
                    seconds, alone = follow_once(path, box, tracker, ahead)
                    times.append(seconds)
                    if not ahead:
                        tracking.append(alone)
            plain, ahead_of = median(took[0]), median(took[DEPTH])
            print(
                f"| {size} | {1000 * median(decoding):.1f} | {1000 * median(tracking):.1f} | {1 / plain:.1f} "
                f"| {1 / ahead_of:.1f} | {plain / ahead_of:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
