#!/usr/bin/env python3
"""How long encode, locate and a whole update take, model by model and engine by engine, in one run.

    python benchmarks/speed.py                                            # the bundled model on every engine
    python benchmarks/speed.py ostrack-tiny tiny.onnx --engines openvino,onnx
    python benchmarks/speed.py ostrack-256=OSTrack_ep0300.pth.tar --engines torch --frames 10
    taskset -c 0 python benchmarks/speed.py                               # on one core

A model is a name of the zoo, NAME=WEIGHTS, or an exported .onnx file. Prints a Markdown table of medians in
milliseconds; ratio is the whole update's to that of the first row. Between machines, compare ratios only. Nothing
else may run meanwhile: a busy neighbor slows two threads by several times.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack import load
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines import installed_engines
from singletrack.engines.cpu import processor_name
from singletrack.tracking.base import Network
from singletrack.tracking.ostrack import OSTrackTracker

WARM_UP = 5  # frames


class Timed:
    """A network that notes how many milliseconds each of its calls takes."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.milliseconds: dict[str, list[float]] = defaultdict(list)

    def encode(self, template: NDArray[np.float32]) -> Any:
        start = time.perf_counter()
        features = self.network.encode(template)
        self.note("encode", start)
        return features

    def locate(self, features: Any, search: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        start = time.perf_counter()
        maps = self.network.locate(features, search)
        self.note("locate", start)
        return maps

    def note(self, call: str, start: float) -> None:
        self.milliseconds[call].append(1000 * (time.perf_counter() - start))


def measure(tracker: OSTrackTracker, frames: int) -> dict[str, float]:
    """Median milliseconds of encode, locate and update (crop, network and box), following a made clip of 640 x 360."""
    timed = Timed(tracker.network)
    tracker.network = timed  # type: ignore[assignment]
    clip = list(generate_clip(frames=1 + WARM_UP + frames))
    for _ in range(WARM_UP):
        tracker.init(*clip[0])
    timed.milliseconds["locate"].clear()
    for index, (frame, _) in enumerate(clip[1:]):
        if index == WARM_UP:
            timed.milliseconds["locate"].clear()
            timed.milliseconds["update"].clear()
        start = time.perf_counter()
        tracker.update(frame)
        timed.note("update", start)
    return {call: median(values) for call, values in timed.milliseconds.items()}


def machine() -> str:
    """The processor, the cores this process may use, and how busy the machine is already."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    features = [each for each in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if each in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor_name()} ({', '.join(features)}), {cores} cores, load {os.getloadavg()[0]:.1f} before the run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["ostrack-tiny"])
    parser.add_argument("--engines", default=",".join(installed_engines()), help="comma-separated")
    parser.add_argument("--frames", type=int, default=60, help="timed frames for each row")
    arguments = parser.parse_args()

    print(f"{machine()}\n")
    print("| model | engine | precision | encode ms | locate ms | update ms | frames/s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    baseline = None
    for model in arguments.models:
        name, _, weights = model.partition("=")
        for engine in arguments.engines.split(","):
            tracker = load(name, weights=weights or None, engine=engine, device="cpu", long_term=False)
            precision = getattr(tracker.network, "precision", "fp32")
            took = measure(tracker, arguments.frames)
            baseline = baseline or took["update"]
            print(
                f"| {Path(name).name} | {engine} | {precision} | {took['encode']:.1f} | {took['locate']:.1f} "
                f"| {took['update']:.1f} | {1000 / took['update']:.0f} | {took['update'] / baseline:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
