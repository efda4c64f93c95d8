#!/usr/bin/env python3
"""How long a fresh process takes from its start to the first box: without what was compiled before, and with it.

    python benchmarks/startup.py                       # ostrack-tiny on the engine that load takes
    python benchmarks/startup.py --engine onnx --runs 9

Each run is a process of its own, cold and warm in turns, and imports included; cold ones have an empty cache folder.
Files of Python and of the weights are in the system's own cache after the first run, which is not counted. Prints
medians in milliseconds, stage by stage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from singletrack.engines.cpu import processor_name

CHILD = """
import json, sys, time
start = time.perf_counter()
import numpy as np
frame = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
marks = {"numpy": time.perf_counter()}
import singletrack
import singletrack.loading
marks["singletrack"] = time.perf_counter()
tracker = singletrack.load(sys.argv[1], engine=sys.argv[2])
marks["load"] = time.perf_counter()
tracker.init(frame, (280, 140, 80, 80))
tracker.update(frame)
marks["first box"] = time.perf_counter()
stages, before = {}, start
for name, mark in marks.items():
    stages[name], before = mark - before, mark
stages["all"] = before - start
print(json.dumps(stages))
"""


def run(model: str, engine: str, cache: Path) -> dict[str, float]:
    """Seconds of each stage in one fresh process."""
    environment = {**os.environ, "SINGLETRACK_CACHE": str(cache)}
    command = [sys.executable, "-c", CHILD, model, engine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    stages: dict[str, float] = json.loads(done.stdout)
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="ostrack-tiny")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--runs", type=int, default=7, help="timed processes of each kind")
    arguments = parser.parse_args()

    seconds: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        run(arguments.model, arguments.engine, Path(folder) / "warm")
        for number in range(arguments.runs):
            seconds["cold"].append(run(arguments.model, arguments.engine, Path(folder) / f"cold-{number}"))
            seconds["with cache"].append(run(arguments.model, arguments.engine, Path(folder) / "warm"))

    stages = list(seconds["cold"][0])
    print(f"{processor_name()}, {arguments.model} on {arguments.engine}: medians of {arguments.runs}, ms\n")
    print(f"| start | {' | '.join(stages)} |")
    print(f"|---|{'---|' * len(stages)}")
    for kind, runs in seconds.items():
        print(f"| {kind} | {' | '.join(f'{1000 * median(each[name] for each in runs):.0f}' for name in stages)} |")


if __name__ == "__main__":
    main()
