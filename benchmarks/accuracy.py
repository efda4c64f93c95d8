"""The score table: trackers side by side on a folder of sequences, in one run.

    python benchmarks/accuracy.py ostrack-tiny --root sequences
    python benchmarks/accuracy.py ostrack-tiny --root sequences --opencv kcf --opencv csrt
    python benchmarks/accuracy.py ostrack-tiny --root sequences --opencv nano --nano DIR

A sequence is a folder of frames and groundtruth.txt: ``x,y,w,h`` per line, ``nan`` where the target is absent. Every
tracker sees frame 0 with its box, then every other frame once, in order. OpenCV's trackers need a package with
"contrib" in its name (docs/opencv.md); nano also needs nanotrack_backbone.onnx and nanotrack_head.onnx in DIR.

    AO      mean overlap over the frames after the first in which the target is present, then over sequences
    SR50    fraction of those frames with an overlap above 0.5, then over sequences
    FPS     frames over the seconds in update (crop, network, box); reading frames is not counted
    absent  fraction of the frames without the target that the tracker reports as lost, over sequences
    false   fraction of the frames with the target that the tracker reports as lost, over sequences
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import open_dataset
from singletrack.engines.cpu import processor_name
from singletrack.errors import InputError, MissingDependencyError
from singletrack.geometry.boxes import iou
from singletrack.opencv import cv2

Image = NDArray[np.uint8]
Row = dict[str, float | None]

OPENCV = {
    "kcf": "TrackerKCF_create",
    "csrt": "TrackerCSRT_create",
    "mil": "TrackerMIL_create",
    "nano": "TrackerNano_create",
}
COLUMNS = ("AO", "SR50", "FPS", "absent", "false")


class Follower(Protocol):
    """What is scored. A box is x, y, width, height; lost is None where the tracker does not say."""

    def init(self, frame: Image, box: Sequence[float]) -> None: ...

    def update(self, frame: Image) -> tuple[Sequence[float], bool | None]: ...


class Ours:
    """A tracker of this package."""

    def __init__(self, model: str, weights: Path | None, engine: str) -> None:
        self.tracker = singletrack.load(model, weights=weights, engine=engine)

    def init(self, frame: Image, box: Sequence[float]) -> None:
        self.tracker.init(frame, box)

    def update(self, frame: Image) -> tuple[Sequence[float], bool | None]:
        result = self.tracker.update(frame)
        return result.box, result.lost


class FirstBox:
    """Repeats the first box: the floor that every tracker must clear."""

    def init(self, frame: Image, box: Sequence[float]) -> None:
        self.box = box

    def update(self, frame: Image) -> tuple[Sequence[float], bool | None]:
        return self.box, None


class OpenCVTracker:
    """A tracker of OpenCV, which takes BGR and whole pixels and keeps its last box where it finds none."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self.create = create

    def init(self, frame: Image, box: Sequence[float]) -> None:
        self.tracker, self.box = self.create(), box
        self.tracker.init(np.ascontiguousarray(frame[..., ::-1]), tuple(round(value) for value in box))

    def update(self, frame: Image) -> tuple[Sequence[float], bool | None]:
        found, box = self.tracker.update(np.ascontiguousarray(frame[..., ::-1]))
        if found:
            self.box = box
        return self.box, not found


def open_opencv_tracker(name: str, nano: Path | None) -> OpenCVTracker:
    """Raises MissingDependencyError where the installed OpenCV has no such tracker."""
    create = getattr(cv2, OPENCV[name], None)
    if create is None:
        raise MissingDependencyError(
            f"tracker {name} is not in the installed OpenCV; install a package with trackers, see docs/opencv.md: "
            "pip install opencv-contrib-python-headless"
        )
    if name != "nano":
        return OpenCVTracker(create)
    if nano is None:
        raise InputError("nano needs its two networks; got no folder; give it with --nano")
    parameters: Any = getattr(cv2, "TrackerNano_Params")()  # noqa: B009 - not in the types of a package without contrib
    parameters.backbone, parameters.neckhead = (
        str(next(iter(nano.glob(f"nanotrack*{part}.onnx")), nano / f"nanotrack_{part}.onnx"))
        for part in ("backbone", "head")
    )
    return OpenCVTracker(lambda: create(parameters))


def score(follower: Follower, sequences: Iterable[VideoSequence], limit: int | None) -> dict[str, Row]:
    """Sequence -> its row; FPS of each is that of its own updates."""
    rows: dict[str, Row] = {}
    for sequence in sequences:
        truth = sequence.boxes_xywh[:limit]
        follower.init(sequence.frames[0], truth[0].tolist())
        boxes, lost, seconds = [], [], 0.0
        for index in range(1, len(truth)):
            frame = sequence.frames[index]
            start = time.perf_counter()
            box, is_lost = follower.update(frame)
            seconds += time.perf_counter() - start
            boxes.append(box)
            lost.append(is_lost)
        present = np.isfinite(truth[1:]).all(axis=1)
        overlaps = iou(np.asarray(boxes, float)[present], truth[1:][present])
        says = np.array([flag is not None for flag in lost], bool)
        flags = np.array([bool(flag) for flag in lost], bool)
        rows[sequence.name] = {
            "AO": float(overlaps.mean()),
            "SR50": float((overlaps > 0.5).mean()),
            "FPS": len(boxes) / seconds if seconds else None,
            "absent": float(flags[~present].mean()) if says[~present].any() else None,
            "false": float(flags[present].mean()) if says[present].any() else None,
        }
    return rows


def mean_row(rows: Iterable[Row]) -> Row:
    """The mean over sequences of each column, without those that have no value in it; FPS is the harmonic mean."""
    rows, mean = list(rows), Row()
    for column in COLUMNS:
        values = np.array([row[column] for row in rows if row[column] is not None], float)
        if not values.size:
            mean[column] = None
        else:
            mean[column] = float(1 / (1 / values).mean()) if column == "FPS" else float(values.mean())
    return mean


def format_table(results: dict[str, dict[str, Row]]) -> str:
    """Markdown: a line for each tracker, then AO of each sequence."""

    def cell(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    lines = [f"| tracker | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, rows in results.items():
        mean = mean_row(rows.values())
        cells = [cell(mean[column], 1 if column == "FPS" else 3) for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"| AO of each sequence | {' | '.join(results)} |", "|---" * (len(results) + 1) + "|"]
    for sequence in next(iter(results.values())):
        cells = [cell(rows[sequence]["AO"], 3) for rows in results.values()]
        lines.append(f"| {sequence} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.argument("models", nargs=-1)
@click.option("--root", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of sequences.")
@click.option("--opencv", "peers", type=click.Choice(list(OPENCV)), multiple=True, help="OpenCV's trackers to add.")
@click.option("--nano", type=click.Path(path_type=Path, exists=True), help="Folder of NanoTrack's two networks.")
@click.option("--first-box", is_flag=True, help="Add the tracker that repeats the first box.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file of the models. [default: bundled]")
@click.option("--engine", default="auto", show_default=True)
@click.option("--frames", type=click.IntRange(min=2), help="Use at most this many frames of each sequence.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write all rows here.")
def main(
    models: tuple[str, ...],
    root: Path,
    peers: tuple[str, ...],
    nano: Path | None,
    first_box: bool,
    weights: Path | None,
    engine: str,
    frames: int | None,
    json_path: Path | None,
) -> None:
    """Score MODELS on a folder of sequences."""
    sequences = list(open_dataset("folder", root))
    followers: dict[str, Follower] = {"first box": FirstBox()} if first_box else {}
    followers |= {name: open_opencv_tracker(name, nano) for name in peers}
    followers |= {name: Ours(name, weights, engine) for name in models}
    if not followers:
        raise click.UsageError("give a model, --opencv or --first-box")
    results: dict[str, dict[str, Row]] = {}
    for name, follower in followers.items():
        click.echo(f"{name} ...", err=True)
        results[name] = score(follower, sequences, frames)
    click.echo(f"{len(sequences)} sequences, {processor_name()}\n\n{format_table(results)}")
    if json_path:
        json_path.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
