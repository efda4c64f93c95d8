"""When does a tracker say that its target is lost, is it right, and does it find the target again?

    python benchmarks/lost.py --photos ../shared/photos --out lost                              # on generated clips
    python benchmarks/lost.py --photos ../shared/photos --out lost --sequences ../shared/sequences

Three parts. Thresholds are chosen on one half of the clips and tried on the other: in a third of the clips the target
is there all along, in a third it vanishes for 30 frames, in a third it walks out of the frame and in again elsewhere;
none to three others, one of them its double in other colors, walk about. Then ten cases each of leaving for 30 frames
and coming back elsewhere, alone, among others, and with its double about, with the long-term search and without. Then,
if asked, a folder of sequences, on which nothing is chosen. Writes curve.csv, curve.png, cases.csv and a strip of
frames for each case; prints the settings that it chose.

A frame is wrongly called lost where the target is present and the box overlaps it: elsewhere the tracker did lose it.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack import registry
from singletrack.cli.options import parse_settings
from singletrack.datasets import base as datasets
from singletrack.datasets.photos import Photos, Pictures, Procedural
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.drawing import draw_result, draw_truth
from singletrack.geometry.boxes import Box, iou
from singletrack.opencv import cv2
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.common import LostSettings, LostState

Array = NDArray[np.float64]
Clip = Iterator[tuple[NDArray[np.uint8], Box]]  # frames and true boxes, xywh, NaN where the target is absent

FRAMES, SIZE_WH = 115, (480, 270)
GONE = range(45, 75)
WRONG = 0.03  # of present frames, at most
ON_TARGET = 0.1  # overlap from which on the box counts as on the target
FOUND = 0.3  # overlap, not lost, from which on it counts as found again

COMPANIES: dict[str, dict[str, Any]] = {
    "alone": {"distractors": 0},
    "among others": {"distractors": 3, "double": False},
    "with its double": {"distractors": 1},
}

LOST_BELOW = [round(float(value), 2) for value in np.arange(0.1, 0.72, 0.02)]
LOST_AFTER = (1, 2, 3, 5)
FOUND_OVER = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)  # found_above, over lost_below


@dataclass(frozen=True)
class Record:
    """What a tracker said of one clip, frame by frame after the first."""

    results: list[Result]
    truth: Array

    @property
    def present(self) -> NDArray[np.bool_]:
        return np.isfinite(self.truth[:, 0])

    @property
    def overlap(self) -> Array:
        """With the true box; 0 where there is none."""
        boxes = np.array([result.box for result in self.results])
        return np.where(self.present, iou(boxes, np.nan_to_num(self.truth)), 0.0)

    @property
    def lost(self) -> NDArray[np.bool_]:
        return np.array([result.lost for result in self.results])

    def replay(self, settings: LostSettings) -> NDArray[np.bool_]:
        """What would have been called lost with other thresholds, had the boxes been the same."""
        lost_state, lost = LostState(), []
        for result in self.results:
            lost_state.update(result.score, settings)
            lost.append(lost_state.lost)
        return np.array(lost)


@dataclass(frozen=True)
class Shares:
    """absent: share of absent frames called lost. wrong: of present frames, with the box on the target. present: of
    present frames, wherever the box."""

    absent: float
    wrong: float
    present: float

    @classmethod
    def of(cls, records: Sequence[Record], flags: Sequence[NDArray[np.bool_]]) -> Shares:
        present = np.concatenate([record.present for record in records])
        overlap = np.concatenate([record.overlap for record in records])
        lost = np.concatenate(flags)
        absent = float(lost[~present].mean()) if (~present).any() else float("nan")
        wrong = float((lost & (overlap >= ON_TARGET))[present].mean())
        return cls(absent, wrong, float(lost[present].mean()))

    def __str__(self) -> str:
        return (
            f"lost in {self.absent:.2f} of absent frames; wrongly in {self.wrong:.3f} of present ones "
            f"({self.present:.3f} with those where the box is elsewhere)"
        )


def follow(trackers: Mapping[str, Tracker], clip: Clip) -> dict[str, Record]:
    """Have each tracker follow a clip from its first box; frames are made once for all, and not kept."""
    frame, box = next(clip)
    for tracker in trackers.values():
        tracker.init(frame, box)
    results: dict[str, list[Result]] = {name: [] for name in trackers}
    truth = []
    for frame, box in clip:
        truth.append(box)
        for name, tracker in trackers.items():
            results[name].append(tracker.update(frame))
    return {name: Record(each, np.array(truth, np.float64)) for name, each in results.items()}


def follow_all(trackers: Mapping[str, Tracker], clips: Iterable[Clip]) -> dict[str, list[Record]]:
    """The records of each tracker, a clip after the other."""
    each = [follow(trackers, clip) for clip in clips]
    return {name: [records[name] for records in each] for name in trackers}


def mean_overlap(records: Sequence[Record]) -> float:
    """AO: over present frames, then over clips."""
    return float(np.mean([record.overlap[record.present].mean() for record in records]))


def generated(seed: int, pictures: Pictures) -> Clip:
    """A clip of one of the three kinds."""
    kinds: list[dict[str, Any]] = [{}, {"absent": [GONE]}, {"outings": [GONE]}]
    return generate_clip(FRAMES, SIZE_WH, seed, pictures, distractors=seed % 4, **kinds[seed % 3])


def thresholds(settings: LostSettings) -> Iterator[LostSettings]:
    """The settings with every choice of thresholds."""
    for below, over, after in itertools.product(LOST_BELOW, FOUND_OVER, LOST_AFTER):
        yield dataclasses.replace(settings, lost_below=below, found_above=round(below + over, 2), lost_after=after)


def choose(records: Sequence[Record], settings: LostSettings) -> LostSettings:
    """The thresholds that call most absent frames lost, with at most `WRONG` of present ones."""
    tried = [(Shares.of(records, [each.replay(one) for each in records]), one) for one in thresholds(settings)]
    allowed = [(shares, one) for shares, one in tried if shares.wrong <= WRONG]
    # among equals the least present frames
    return max(allowed, key=lambda pair: (round(pair[0].absent, 2), -pair[0].present))[1]


def curve(records: Sequence[Record], settings: LostSettings) -> list[tuple[float, Shares]]:
    """Over lost_below, with the other thresholds as far from it as in the settings."""
    over = settings.found_above - settings.lost_below
    rows = []
    for below in LOST_BELOW:
        moved = dataclasses.replace(settings, lost_below=below, found_above=below + over)
        rows.append((below, Shares.of(records, [each.replay(moved) for each in records])))
    return rows


def leaving(seed: int, pictures: Pictures, company: str) -> Clip:
    """A target that leaves for 30 frames and comes back over another edge."""
    return generate_clip(FRAMES + 15, SIZE_WH, seed, pictures, outings=[GONE], **COMPANIES[company])


def found_after(record: Record) -> int | None:
    """How many frames after its return the target is found again, for good; None if it is not."""
    on = ~record.lost & (record.overlap >= FOUND)
    back = int(np.flatnonzero(~record.present)[-1]) + 1
    # the last frames may be spoilt by somebody who walks in front of the target
    for index in range(back, len(on) - 5):
        if on[index : index + 5].all():
            return index - back
    return None


def draw_strip(clip: Sequence[tuple[NDArray[np.uint8], Box]], record: Record, path: Path) -> None:
    """Twelve frames from before the absence on, with the true box dashed, and what the tracker said."""
    cells = []
    for index in np.linspace(GONE.start - 12, len(clip) - 1, 12).astype(int):
        frame, truth = clip[index]
        drawn = draw_result(draw_truth(frame, truth), record.results[index - 1])
        cells.append(cv2.putText(drawn, str(index), (8, 260), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2))
    rows = [np.hstack(cells[start : start + 4]) for start in range(0, 12, 4)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def draw_curves(curves: dict[str, list[tuple[float, Shares]]], path: Path) -> None:
    """Share of absent frames called lost over the share of present ones wrongly called so."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, rows in curves.items():
        axes.plot([100 * s.wrong for _, s in rows], [100 * s.absent for _, s in rows], ".-", label=name)
    axes.axvline(100 * WRONG, color="#888888", linestyle=":")
    axes.axhline(70, color="#888888", linestyle=":")
    axes.set(xlabel="present frames wrongly called lost, %", ylabel="absent frames called lost, %")
    axes.set(xlim=(0, 15), ylim=(0, 100), title="Is the target lost?")
    axes.legend()
    figure.savefig(path, dpi=120)


@click.command()
@click.option("--model", default="ostrack-tiny", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path))
@click.option("--engine", default="auto", show_default=True)
@click.option("--threads", type=int)
@click.option("--photos", type=click.Path(path_type=Path), help="Where pieces and backgrounds come from.")
@click.option("--clips", default=24, show_default=True, help="Half of them to choose on, half to report; 0 for none.")
@click.option("--cases", default=10, show_default=True, help="Of leaving and coming back, in each company.")
@click.option("--sequences", type=click.Path(path_type=Path), help="A folder of sequences, to report on as well.")
@click.option("--keep", is_flag=True, help="Keep the model's thresholds, and only report.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", callback=parse_settings)
@click.option("--out", default=Path("lost"), show_default=True, type=click.Path(path_type=Path))
def main(
    model: str,
    weights: Path | None,
    engine: str,
    threads: int | None,
    photos: Path | None,
    clips: int,
    cases: int,
    sequences: Path | None,
    keep: bool,
    settings: dict[str, Any],
    out: Path,
) -> None:
    """Choose when a target counts as lost, draw the curve, and try the search for it."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = Photos(photos).split()[1] if photos else Procedural()
    loaded = singletrack.load(
        model, weights=weights, engine=engine, threads=threads, long_term=False, settings=settings
    )
    start: Any = loaded.settings

    def tracker(settings: Any, long_term: bool) -> Tracker:
        return registry.make_tracker(loaded.network, dataclasses.replace(settings, long_term=long_term))

    half = clips // 2
    bare = {"as it was": tracker(start, False)}
    chosen = start
    if half:
        fit = follow_all(bare, (generated(2000 + seed, pictures) for seed in range(half)))["as it was"]
        chosen = start if keep else choose(fit, start)
        names = ("lost_below", "found_above", "lost_after")
        words = ", ".join(f"{name}={getattr(chosen, name)}" for name in names)
        click.echo(f"{'kept' if keep else f'chosen on {half} clips'}: {words}")
        click.echo(f"there: {Shares.of(fit, [record.replay(chosen) for record in fit])}")

    ways = {**bare, "chosen": tracker(chosen, False), "long-term": tracker(chosen, True)}
    curves = {}

    def report(what: str, clips: Iterable[Clip]) -> None:
        records = follow_all(ways, clips)
        curves[what] = curve(records["as it was"], chosen)
        for name, each in records.items():
            shares = Shares.of(each, [record.lost for record in each])
            click.echo(f"{what}, {name}: AO {mean_overlap(each):.4f}, {shares}")

    if half:
        report(f"{clips - half} other clips", (generated(2000 + seed, pictures) for seed in range(half, clips)))
    if cases:
        report_cases(ways, cases, pictures, out)
    if sequences:
        report("sequences", map(clip_of, open_dataset("folder", sequences)))

    with (out / "curve.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["on", "lost_below", "absent", "wrong", "present"])
        for name, rows in curves.items():
            table.writerows([name, below, *(f"{v:.4f}" for v in dataclasses.astuple(s))] for below, s in rows)
    draw_curves(curves, out / "curve.png")


def clip_of(sequence: datasets.VideoSequence) -> Clip:
    """Frames and boxes of a sequence."""
    for index, (x, y, width, height) in enumerate(sequence.boxes_xywh.tolist()):
        yield sequence.frames[index], (x, y, width, height)


def report_cases(ways: Mapping[str, Tracker], cases: int, pictures: Pictures, out: Path) -> None:
    """Leave and come back, with each tracker; cases.csv and a strip of each."""
    with (out / "cases.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["company", "seed", "tracker", "absent frames called lost", "found after frames"])
        for company in COMPANIES:
            waits: dict[str, list[int | None]] = {name: [] for name in ways}
            for seed in range(3000, 3000 + cases):
                clip = list(leaving(seed, pictures, company))
                records = follow(ways, iter(clip))
                for name, record in records.items():
                    waits[name].append(found_after(record))
                    lost = f"{record.lost[~record.present].mean():.2f}"
                    table.writerow([company, seed, name, lost, waits[name][-1]])
                stream.flush()  # so that it can be watched
                draw_strip(clip, records["long-term"], out / f"case-{company.replace(' ', '-')}-{seed}.png")
            for name, each in waits.items():
                found = [wait for wait in each if wait is not None]
                after = f", after {np.median(found):.0f} frames in the middle, {max(found)} at most" if found else ""
                click.echo(f"{company}, left for 30 frames, {name}: found {len(found)} of {cases}{after}")


if __name__ == "__main__":
    main()
