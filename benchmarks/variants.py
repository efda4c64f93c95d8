#!/usr/bin/env python3
"""What smaller numbers cost and gain: speed, boxes and overlap of a model's files and precisions, in one run.

    singletrack export ostrack-tiny --out tiny.onnx
    singletrack export ostrack-tiny --half --out half.onnx
    singletrack export ostrack-tiny --int8 --photos photos --out int8.onnx        # pip install '.[int8]'
    python benchmarks/variants.py tiny.onnx:fp32 tiny.onnx:bf16 half.onnx:fp32 int8.onnx:fp32 int8.onnx:bf16 \\
        --dataset got10k --root GOT-10k --split val

A variant is FILE:PRECISION, on OpenVINO; the first is the one that the others are compared with. Speed: the shortest
and the median update of interleaved runs on a made clip, and the ratio of the medians. Boxes: the largest and the
median difference, in pixels of the search crop, when each variant looks at the very crops that the first one took.
AO: mean overlap, over the frames and then over the sequences of a data set with known boxes; with the difference to
the first, of which 0.005 is the most that a default may lose. Without --root only speed and boxes. The project's own
sequences are scored by `python ../shared/tools/score.py int8.onnx --load precision=fp32`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from singletrack import load
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.cpu import processor_name
from singletrack.evaluation.metrics import overlap
from singletrack.evaluation.ope import Failure, follow_sequences
from singletrack.export.calibration import RecordingNetwork, clip_looks
from singletrack.export.verify import read_boxes

WARM_UP = 5  # frames


def open_variant(text: str, threads: int | None) -> Any:
    path, _, precision = text.partition(":")
    return load(path, engine="openvino", precision=precision or "auto", threads=threads)


def updates(trackers: dict[str, Any], frames: int) -> dict[str, list[float]]:
    """Milliseconds of each update, the variants in turns, frame by frame."""
    took: dict[str, list[float]] = {name: [] for name in trackers}
    for index, (frame, box) in enumerate(generate_clip(frames=WARM_UP + frames)):
        for name, tracker in trackers.items():
            if index == 0:
                tracker.init(frame, box)
                continue
            start = time.perf_counter()
            tracker.update(frame)
            if index >= WARM_UP:
                took[name].append(1000 * (time.perf_counter() - start))
    return took


def box_differences(trackers: dict[str, Any], frames: int) -> dict[str, np.ndarray[Any, Any]]:
    """By variant, how far its box is from the first variant's on each of the same crops, in pixels of the crop."""
    first, *_ = trackers.values()
    network = first.network
    listener = first.network = RecordingNetwork(network)
    looks = clip_looks(first, listener, frames)
    first.network = network
    size = first.settings.search_size
    found: dict[str, list[float]] = {name: [] for name in trackers}
    for template, search in looks:
        expected = network.locate(network.encode(template), search)
        for name, tracker in trackers.items():
            got = tracker.network.locate(tracker.network.encode(template), search)
            found[name].append(
                float((read_boxes(got, expected, size) - read_boxes(expected, expected, size)).abs().max())
            )
    return {name: np.array(values) for name, values in found.items()}


def mean_overlap(tracker: Any, sequences: list[Any]) -> float:
    """Mean overlap over the frames after the first that have a box, then over sequences."""
    means = []
    for sequence, (name, result) in zip(sequences, follow_sequences(tracker, sequences), strict=True):
        if isinstance(result, Failure):
            raise SystemExit(f"{name} failed: {result.error}")
        count = min(len(sequence.boxes_xywh), len(result.boxes_xywh))
        means.append(float(np.nanmean(overlap(result.boxes_xywh[1:count], sequence.boxes_xywh[1:count]))))
    return float(np.mean(means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="FILE:PRECISION")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dataset", default="got10k")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()

    trackers = {text: open_variant(text, arguments.threads) for text in arguments.variants}
    took = updates(trackers, arguments.frames)
    apart = box_differences(trackers, arguments.frames)
    overlaps = {}
    if arguments.root:
        sequences = list(open_dataset(arguments.dataset, arguments.root, split=arguments.split))
        overlaps = {name: mean_overlap(tracker, sequences) for name, tracker in trackers.items()}
    first = arguments.variants[0]
    print(f"{processor_name()}, {arguments.frames} frames\n")
    print(
        "| variant | MB | fastest ms | median ms | ratio | largest box difference px | median px | AO | against first |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in trackers:
        file = Path(name.partition(":")[0])
        size = sum(each.stat().st_size for each in {file, file.with_suffix(".bin")} if each.is_file()) / 1e6
        ao = f"{overlaps[name]:.4f} | {overlaps[name] - overlaps[first]:+.4f}" if overlaps else "- | -"
        print(
            f"| {name} | {size:.1f} | {min(took[name]):.1f} | {median(took[name]):.1f} "
            f"| {median(took[name]) / median(took[first]):.2f} | {apart[name].max():.3f} "
            f"| {np.median(apart[name]):.3f} | {ao} |"
        )


if __name__ == "__main__":
    main()
