#!/usr/bin/env python3
"""Frames a second of a network on a graphics processor, and the share of the card's own rate that it uses.

    python benchmarks/gpu.py                                  # OSTrack-256 with elimination, batch 1 and 64, on cuda
    python benchmarks/gpu.py --device cpu --models ostrack-tiny --batches 1 --calls 3     # tries the script out

Rows: eager fp32, eager bf16, compiled bf16, and each of them as a CUDA graph; "end to end" is a tracker's update at
batch 1, crop and box included. Weights are random, which changes nothing about the time. The card's rate is that of
its largest matrix products in the same precision, in this run; a network's operations are two for each multiplication
and addition, counted by PyTorch's own counter. Medians, after warming up; nothing else may use the card.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.torch_engine import TYPES, TorchNetwork, known_precisions
from singletrack.models.build import build_network
from singletrack.registry import MODELS, make_tracker

WARM_UP = 3  # calls


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], Any], device: torch.device, calls: int) -> float:
    """Median seconds of one call, the device's work included."""
    for _ in range(WARM_UP):
        call()
    took = []
    for _ in range(calls):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        took.append(time.perf_counter() - start)
    return median(took)


def peak(precision: str, device: torch.device, side: int, calls: int) -> float:
    """Operations a second of a square matrix product."""
    left, right = (torch.randn(side, side, device=device, dtype=TYPES[precision]) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: left @ right, device, calls)


def operations(name: str) -> int:
    """Of one frame: two for each multiplication with its addition, of ``locate``."""
    network = build_network(MODELS[name].network).eval()
    template, search = (
        torch.zeros(1, *shape) for shape in (network.config.template_shape, network.config.search_shape)
    )
    with torch.inference_mode():
        features = network.encode(template)
        with FlopCounterMode(display=False) as counter:
            network.locate(features, search)
    return int(counter.get_total_flops())


def pixels(batch: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    *several, channels, height, width = shape
    sizes = (batch, *several, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, sizes, dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="ostrack-256", help="comma-separated; their weights are random")
    parser.add_argument("--batches", default="1,64", help="comma-separated")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--calls", type=int, default=50, help="timed calls for each row")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices that show the device's rate")
    arguments = parser.parse_args()

    device = torch.device(arguments.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    side = arguments.side if device.type == "cuda" else min(arguments.side, 1024)
    rates = {each: peak(each, device, side, 5) for each in known_precisions(device) if each != "auto"}
    measured = ", ".join(f"{each} {rate / 1e12:.1f}" for each, rate in rates.items())
    print(f"{card}, PyTorch {torch.__version__}; measured TFLOP/s of {side} x {side} products: {measured}\n")
    print("| model | batch | precision | how | ms a call | frames/s | share of the rate |")
    print("|---|---|---|---|---|---|---|")
    graphs = [False, True] if device.type == "cuda" else [False]
    for name in arguments.models.split(","):
        work = operations(name)
        for precision, compiled in (("fp32", False), ("bf16", False), ("bf16", True)):
            if precision not in rates:
                continue
            for recorded in graphs:
                network = TorchNetwork(
                    build_network(MODELS[name].network),
                    arguments.device,
                    precision=precision,
                    compiled=compiled,
                    graphs=recorded,  # type: ignore[arg-type]
                )
                how = " + ".join(["compiled" if compiled else "eager"] + ["CUDA graph"] * recorded)
                config = network.module.config
                for batch in map(int, arguments.batches.split(",")):
                    features = network.encode(pixels(batch, config.template_shape))
                    search = pixels(batch, config.search_shape)
                    call = functools.partial(network.locate, features, search)
                    took = seconds_of(call, device, arguments.calls)
                    share = work * batch / took / rates[precision]
                    print(
                        f"| {name} | {batch} | {precision} | {how} | {1000 * took:.2f} | {batch / took:.0f} "
                        f"| {100 * share:.0f} % |",
                        flush=True,
                    )
                tracker = make_tracker(network, MODELS[name].tracker_settings)
                frame, box = next(iter(generate_clip(frames=1)))
                tracker.init(frame, box)
                took = seconds_of(functools.partial(tracker.update, frame), device, arguments.calls)
                print(
                    f"| {name} | 1 | {precision} | {how}, end to end | {1000 * took:.2f} | {1 / took:.0f} "
                    f"| {100 * work / took / rates[precision]:.0f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
