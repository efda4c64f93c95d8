#!/usr/bin/env python3
"""How many training pairs a second come from JPEG folders and from archives, and where the time goes.

    python benchmarks/loader.py                                   # a made data set of 1280 x 720 frames
    python benchmarks/loader.py --data got10k=DIR --split train   # a copy of your own; folders, .zip or .tar
    python benchmarks/loader.py --cores 52 --pairs 256            # and what so many cores would feed

Prints a table of pairs a second with none, one and two workers, from a folder, a .zip and a .tar, with frames decoded
whole and at reduced size; then the milliseconds of one pair, step by step, in one process. The first are what a clock
on the wall says, so nothing else may run meanwhile; the second are the processor's time, which a busy machine changes
less. Needs the extra [train].
"""

from __future__ import annotations

import argparse
import os
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from singletrack.datasets import frame_pairs
from singletrack.datasets.frame_index import FrameIndex, open_frame_index
from singletrack.datasets.photos import Procedural
from singletrack.datasets.sampling import FramePairs
from singletrack.datasets.storage import Place
from singletrack.engines.cpu import processor_name
from singletrack.training.base import Stage
from singletrack.training.data.loading import batches, shares
from singletrack.training.data.video import DatasetPairs, FramePairStream
from singletrack.training.recipes.ostrack import OSTRACK

# Functions whose time is told, by the step that they are: (owner, name).
STEPS: dict[str, tuple[Any, str]] = {
    "read": (Place, "read"),
    "decode": (FrameIndex, "picture"),  # and read, which is taken off again
    "jitter": (frame_pairs, "jittered"),
    "gray": (frame_pairs, "to_gray"),
    "crop": (frame_pairs, "cut"),
    "brightness and flip": (frame_pairs, "finished"),
}


def make_data(folder: Path, sequences: int, frames: int, size_wh: tuple[int, int]) -> Path:
    """A folder data set of pictures with as much in them as a video has; targets of a tenth to half its height."""
    width, height = size_wh
    random = np.random.default_rng(0)
    for number in range(sequences):
        place = folder / "data" / f"sequence-{number}"
        place.mkdir(parents=True)
        picture = cv2.resize(Procedural(640).draw(random), (width + 8 * frames, height), interpolation=cv2.INTER_CUBIC)
        noise = random.integers(0, 12, (height, width, 3), dtype=np.uint8)
        side = height * (0.1 + 0.4 * number / max(1, sequences - 1))
        boxes = []
        for frame in range(frames):
            view = cv2.add(picture[:, 8 * frame : 8 * frame + width], noise)
            cv2.imwrite(str(place / f"{frame:08d}.jpg"), view, [cv2.IMWRITE_JPEG_QUALITY, 92])
            boxes.append((width / 6 + 4 * frame, height / 3, side * 1.5, side))
        (place / "groundtruth.txt").write_text("\n".join(",".join(map(str, box)) for box in boxes))
    return folder / "data"


def packed(folder: Path, ending: str) -> Path:
    """The data set in one archive beside its folder."""
    target = folder.with_name(f"packed{ending}")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if ending == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in files:
                archive.write(path, str(path.relative_to(folder.parent)))
    else:
        with tarfile.open(target, "w") as tar:
            for path in files:
                tar.add(path, str(path.relative_to(folder.parent)))
    return target


@contextmanager
def timed(milliseconds: dict[str, float]) -> Iterator[None]:
    """Inside, the processor's time for each of ``STEPS`` is added up."""

    def wrapped(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                milliseconds[step] += 1000 * (time.thread_time() - start)

        return call

    before = {step: getattr(owner, name) for step, (owner, name) in STEPS.items()}
    try:
        for step, (owner, name) in STEPS.items():
            setattr(owner, name, wrapped(step, before[step]))
        yield
    finally:
        for step, (owner, name) in STEPS.items():
            setattr(owner, name, before[step])


def rate(samples: FramePairStream, stage: Stage, pairs: int, workers: int) -> float:
    """Pairs a second over ``pairs`` of them, after two batches that start the workers."""
    batch = 32
    indices = shares(0, 2 + pairs // batch, batch, 0, 1)
    arriving = batches(samples, indices, workers)
    for _ in range(2):
        next(arriving)
    start = time.perf_counter()
    counted = sum(len(each["box"]) for each in arriving)
    return counted / (time.perf_counter() - start)


def shares_of_a_pair(samples: FramePairStream, pairs: int) -> dict[str, float]:
    """Milliseconds of processor time of one pair, by step; "collate" is what making batches adds."""
    spent: dict[str, float] = defaultdict(float)
    with timed(spent):
        start = time.thread_time()
        items = [samples[index] for index in range(pairs)]
        whole = 1000 * (time.thread_time() - start)
    spent["decode"] -= spent["read"]
    spent["sampling and the rest"] = whole - sum(spent.values())
    start = time.thread_time()
    torch.utils.data.default_collate(items)
    spent["collate"] = 1000 * (time.thread_time() - start)
    return {step: value / pairs for step, value in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="ostrack_256", choices=[n for n in OSTRACK if n.count("_") < 2])
    parser.add_argument("--data", help="NAME=DIR of a data set; without it, one is made.")
    parser.add_argument("--split", default="", help="Of that data set.")
    parser.add_argument("--size", default="1280x720", help="Of the made frames.")
    parser.add_argument("--sequences", type=int, default=4, help="Of the made data set, 40 frames each.")
    parser.add_argument("--pairs", type=int, default=256, help="Pairs for each figure.")
    parser.add_argument("--workers", default="0,1,2", help="Numbers of workers, parted by commas; empty for no rates.")
    parser.add_argument("--decode", default="whole,reduced")
    parser.add_argument("--cores", type=int, help="Say what so many cores would feed.")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    (stage,) = OSTRACK[options.recipe]().stages
    source = stage.source
    assert isinstance(source, DatasetPairs)
    with tempfile.TemporaryDirectory() as temporary:
        if options.data:
            name, _, place = options.data.partition("=")
            roots = {Path(place).suffix or "folder": Path(place)}
        else:
            width, height = map(int, options.size.split("x"))
            name, folder = "folder", make_data(Path(temporary), options.sequences, 40, (width, height))
            roots = {"folder": folder, ".zip": packed(folder, ".zip"), ".tar": packed(folder, ".tar")}
        print(f"{options.recipe}, {processor_name()}, {os.cpu_count()} cores\n")
        workers = [int(number) for number in options.workers.split(",") if number]
        print("| data | decoded | " + " | ".join(f"{n} workers, pairs/s" for n in workers) + " |")
        print("|---" * (2 + len(workers)) + "|")
        drawn = {}
        for kind, root in roots.items():
            footage = open_frame_index(name, root, Path(temporary) / "kept", split=options.split, incomplete=True)
            for decode in options.decode.split(","):
                augmentation = replace(source.augmentation, decode=decode)
                drawing = frame_pairs.PairDrawing(
                    template_size=stage.template_size, search_size=stage.search_size, augmentation=augmentation
                )
                samples = FramePairStream(FramePairs([footage], [1.0], source.rules), drawing, [0])
                rates = [rate(samples, stage, options.pairs, number) for number in workers]
                print(f"| {kind} | {decode} | " + " | ".join(f"{each:.0f}" for each in rates) + " |", flush=True)
                drawn[kind, decode] = samples
        print(
            "\n| processor milliseconds of a pair | " + " | ".join(f"{kind}, {decode}" for kind, decode in drawn) + " |"
        )
        print("|---" * (1 + len(drawn)) + "|")
        parts = [shares_of_a_pair(samples, options.pairs) for samples in drawn.values()]
        for step in parts[0]:
            print(f"| {step} | " + " | ".join(f"{part.get(step, 0.0):.2f}" for part in parts) + " |")
        print("| all | " + " | ".join(f"{sum(part.values()):.2f}" for part in parts) + " |")
        if options.cores:
            print()
            for what, part in zip(drawn, parts, strict=True):
                each = 1000 / sum(part.values())
                total = options.cores * each
                print(f"{', '.join(what)}: {options.cores} cores at {each:.0f} pairs a second: {total:.0f} a second")


if __name__ == "__main__":
    main()
