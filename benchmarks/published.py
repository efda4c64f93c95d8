#!/usr/bin/env python3
"""How much faster than the published implementations each model runs here, with random weights, in one run.

    python benchmarks/published.py                          # the STARKs, OSTrack-256 and its aligned rivals
    python benchmarks/published.py stark-s50 stark-st50 --frames 60
    python benchmarks/published.py stark-st50 --engines torch,openvino --frames 3       # a try

The published codes run the same operations in eager PyTorch, as our engine `torch` does, and all but one to three
milliseconds of a frame are the network's. So `torch` in the same run stands in for them, and `times as fast` is to it.
Their own milliseconds stand beside: taken once, on another machine (2 cores of a Zen 5; PyTorch 2.13). OpenVINO
computes in bf16 where the processor does; the table names the precision. Prints a Markdown table of medians. Nothing
else may run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from speed import machine, measure

from singletrack import load
from singletrack.models.flops import write_untrained
from singletrack.registry import find_model

# milliseconds a frame of the published codes' whole tracker loop: see above
PUBLISHED = {
    "ostrack-256": 228,
    "ostrack-384": 578,
    "stark-s50": 125,
    "stark-st50": 160,
    "stark-st101": 184,
}
MODELS = ["stark-s50", "stark-st50", "stark-st101", "ostrack-256", "stark-aligned", "swintrack-aligned"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="of the zoo")
    parser.add_argument("--engines", default="torch,openvino,onnx", help="comma-separated; torch comes first")
    parser.add_argument("--frames", type=int, default=30, help="timed frames for each row")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    if engines[0] != "torch":
        parser.error("expected torch as the first engine, which the others are compared with")

    print(f"{machine()}\n")
    print("| model | engine | precision | update ms | frames/s | times as fast | published, elsewhere, ms |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="singletrack-") as folder:
        os.environ["SINGLETRACK_CACHE"] = folder
        for name in arguments.models:
            weights = Path(folder) / f"{name}.safetensors"
            write_untrained(find_model(name).network, weights)
            eager = 0.0
            for engine in engines:
                tracker = load(name, weights=weights, engine=engine, device="cpu")
                precision = getattr(tracker.network, "precision", "fp32")
                took = measure(tracker, arguments.frames)["update"]
                eager = eager or took
                print(
                    f"| {name} | {engine} | {precision} | {took:.1f} | {1000 / took:.1f} | {eager / took:.2f} "
                    f"| {PUBLISHED.get(name, '-')} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
