#!/usr/bin/env python3
"""How fast many targets are followed in one made 720p video, together and one by one.

    python benchmarks/targets.py                                    # 1 to 64 targets, the bundled model
    python benchmarks/targets.py --targets 1,8 --engine onnx --frames 40 --repeats 5
    python benchmarks/targets.py --batch-sizes 1                    # what batches gain: none, in comparison

Prints a Markdown table of medians over interleaved repeats; decoding is not counted, crops and boxes are. Ratio: time
of as many single trackers on the same network, by the time together. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from statistics import median

import numpy as np
from numpy.typing import NDArray

from singletrack import MultiTracker, load
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.cpu import processor_name, usable_cores
from singletrack.geometry.boxes import Box
from singletrack.tracking.multi import BATCH_SIZES

SIZE_WH = (1280, 720)
WARM_UP = 2  # frames


def spread(count: int) -> list[Box]:
    """Boxes of 48 to 96 pixels all over the frame."""
    random = np.random.default_rng(0)
    sides = random.uniform(48, 96, (count, 2))
    corners = random.uniform(0, 1, (count, 2)) * (np.array(SIZE_WH) - sides)
    return [(float(x), float(y), float(w), float(h)) for (x, y), (w, h) in zip(corners, sides, strict=True)]


def together(tracker: MultiTracker, frames: list[NDArray[np.uint8]]) -> list[float]:
    times = []
    for frame in frames:
        start = time.perf_counter()
        tracker.update(frame)
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="ostrack-tiny")
    parser.add_argument("--weights")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--targets", default="1,2,4,8,16,64")
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)))
    parser.add_argument("--frames", type=int, default=20, help="timed frames in each repeat")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    counts = [int(count) for count in arguments.targets.split(",")]
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    tracker = load(
        arguments.model,
        weights=arguments.weights,
        engine=arguments.engine,
        device=arguments.device,
        threads=arguments.threads,
        long_term=False,  # bits of background are soon lost, and a search takes passes of its own
    )
    frames = [frame for frame, _ in generate_clip(1 + WARM_UP + arguments.frames, SIZE_WH)]
    crews: dict[int, MultiTracker] = {}
    for count in counts:
        crews[count] = MultiTracker(tracker, batch_sizes=sizes)
        for box in spread(count):
            crews[count].add(frames[0], box)
    alone = [copy.copy(tracker) for _ in range(max(counts))]
    for single, box in zip(alone, spread(max(counts)), strict=True):
        single.init(frames[0], box)
    taken: dict[int, list[float]] = {count: [] for count in counts}
    singly: list[float] = []
    for _ in range(arguments.repeats):
        for count in counts:
            taken[count] += together(crews[count], frames[1:])
        for frame in frames[1:]:
            start = time.perf_counter()
            for single in alone[: min(8, len(alone))]:
                single.update(frame)
            singly.append((time.perf_counter() - start) / min(8, len(alone)))

    precision = getattr(tracker.network, "precision", "fp32")
    load_now = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{processor_name()}, {usable_cores()} cores{load_now}; {arguments.model}, {precision}, batches of {sizes}\n")
    print("| targets | ms a frame | frames/s | target-frames/s | ratio to one by one |")
    print("|---|---|---|---|---|")
    for count in counts:
        took = median(taken[count])
        ratio = count * median(singly) / took
        print(f"| {count} | {1000 * took:.1f} | {1 / took:.1f} | {count / took:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
