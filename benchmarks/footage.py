"""Weights and settings of our own tracker on labeled clips of real video that are not trained on, side by side.

    python benchmarks/footage.py --footage ../shared/footage --weights A.safetensors --weights B.safetensors
    python benchmarks/footage.py --footage ../shared/footage --set size_momentum=0,0.4,0.8 --every 2 --json out.json

Every variant follows the same objects, each from its first labeled frame. By default these are the objects whose
license class is not "free": the recipes train on the others. The first variant is the one that the others are compared
with, object by object. A lost target is not searched for in the whole frame without --long-term.

    AO      mean overlap with the label, over the frames after the first that show the object, then over objects
    SR50    share of those frames with an overlap above 0.5, then over objects
    lost    share of the frames labeled as absent that the tracker calls lost, and of the frames that show the object
    below   share of absent frames whose score is below the threshold that 1, 3 and 5 % of the present frames fall under
    ECE     expected calibration error: mean distance between score and overlap (0 where absent) in ten bins of score

``--calibrate`` fits a rising curve from score to overlap to every other object, prints it as the setting
``score_curve``, and says what the ECE of the remaining objects is before and after it. The present curve is left out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack.datasets.labeled_clips import LabeledClip, LabeledTrack, read_labeled_clips
from singletrack.geometry.boxes import iou
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker, rescale
from singletrack.video import open_video

Numbers = NDArray[np.float64]
FALSE_ALARMS = (0.01, 0.03, 0.05)
BINS = 10
PRIOR_FRAMES = 5
RISE = 0.002  # least rise of the calibration curve from point to point


@dataclass
class Followed:
    """What one variant did on one object: a value per labeled frame. overlap: NaN where the object is absent."""

    name: str
    overlap: Numbers
    score: Numbers
    lost: NDArray[np.bool_]

    @property
    def ao(self) -> float:
        return float(np.nanmean(self.overlap))

    @property
    def sr50(self) -> float:
        return float((self.overlap[np.isfinite(self.overlap)] > 0.5).mean())


@dataclass
class Variant:
    """A tracker and what it did."""

    name: str
    tracker: OSTrackTracker | LongTermTracker
    objects: list[Followed] = field(default_factory=list)


def follow(
    tracker: OSTrackTracker | LongTermTracker, frames: list[Any], track: LabeledTrack, count: int
) -> Followed | None:
    """Follow an object for ``count`` frames from its first box on; None where no later frame shows it."""
    first = int(np.flatnonzero(track.present)[0])
    last = min(len(frames), first + count)
    x, y, width, height = track.boxes_xywh[first].tolist()
    tracker.init(frames[first], (x, y, width, height))
    results = [tracker.update(frame) for frame in frames[first + 1 : last]]
    places = np.flatnonzero(track.labeled[first + 1 : last])
    truth = track.boxes_xywh[first + 1 : last][places]
    there = np.isfinite(truth).all(1)
    if not there.any():
        return None
    boxes = np.array([results[place].box for place in places])
    overlap = np.full(len(places), np.nan)
    overlap[there] = iou(boxes[there], truth[there])
    score = np.array([results[place].score for place in places], float)
    lost = np.array([bool(results[place].lost) for place in places])
    return Followed(track.name, overlap, score, lost)


def summary(objects: list[Followed]) -> dict[str, Any]:
    """Every number of one variant, see the head of this file."""
    overlap = np.concatenate([each.overlap for each in objects])
    score = np.concatenate([each.score for each in objects])
    lost = np.concatenate([each.lost for each in objects])
    there = np.isfinite(overlap)
    numbers: dict[str, Any] = {
        "ao": float(np.mean([each.ao for each in objects])),
        "sr50": float(np.mean([each.sr50 for each in objects])),
        "present": int(there.sum()),
        "absent": int((~there).sum()),
        "lost_of_absent": float(lost[~there].mean()) if not there.all() else None,
        "lost_of_present": float(lost[there].mean()),
        "lost_of_followed": float(lost[there & (np.nan_to_num(overlap) > 0.5)].mean()),
        "ece": calibration_error(score, np.nan_to_num(overlap))[0],
    }
    for share in FALSE_ALARMS:
        threshold = float(np.quantile(score[there], share))
        below = float((score[~there] < threshold).mean()) if not there.all() else None
        numbers[f"below_{share:g}"] = {"threshold": threshold, "of_absent": below}
    return numbers


def calibration_error(score: Numbers, overlap: Numbers) -> tuple[float, list[tuple[float, float, int]]]:
    """The expected calibration error, and of each bin the mean score, the mean overlap and the number of frames."""
    places = np.clip((score * BINS).astype(int), 0, BINS - 1)
    bins = [
        (float(score[places == place].mean()), float(overlap[places == place].mean()), int((places == place).sum()))
        for place in range(BINS)
        if (places == place).any()
    ]
    return sum(abs(said - true) * count for said, true, count in bins) / len(score), bins


def calibration_curve(score: Numbers, overlap: Numbers, steps: int = BINS) -> tuple[float, ...]:
    """The overlap at scores of 0, 1/steps, ..., 1: a rising curve, see ``OSTrackSettings.score_curve``.

    Each value is the mean over the frames with about this score, those nearer to it counting more, and over some
    frames whose overlap is their score, which matter only where there are hardly any others.
    """
    values = []
    for at in np.linspace(0, 1, steps + 1):
        near = np.clip(1 - np.abs(score - at) * steps, 0, None)
        values.append((float(near @ overlap) + PRIOR_FRAMES * at) / (float(near.sum()) + PRIOR_FRAMES))
    rising = np.maximum.accumulate(values) + RISE * np.arange(steps + 1)
    return tuple(np.round(np.minimum(rising, 1 - RISE * np.arange(steps, -1, -1)), 3).tolist())


def without_curve(settings: OSTrackSettings) -> dict[str, Any]:
    """The settings that make the score the network's own, with thresholds at the same network scores."""
    curve = settings.score_curve
    if not curve:
        return {}
    thresholds = ("lost_below", "found_above", "update_above")
    grid = np.linspace(0, 1, len(curve))
    return {name: float(np.interp(getattr(settings, name), curve, grid)) for name in thresholds} | {"score_curve": ()}


def parse_value(now: float | None, text: str) -> float | None:
    """A value of a setting, of the type that it has now; "none" for None."""
    return None if text == "none" else type(0.0 if now is None else now)(float(text))


def calibrated(objects: list[Followed]) -> tuple[tuple[float, ...], float, float]:
    """The curve of every other object, and the ECE of the remaining ones before and after it."""

    def frames(of: list[Followed]) -> tuple[Numbers, Numbers]:
        return np.concatenate([each.score for each in of]), np.nan_to_num(np.concatenate([each.overlap for each in of]))

    curve = calibration_curve(*frames(objects[::2]))
    score, overlap = frames(objects[1::2])
    after = calibration_error(np.array([rescale(each, curve) for each in score]), overlap)[0]
    return curve, calibration_error(score, overlap)[0], after


def chosen(
    clips: list[LabeledClip], every: int, absent: bool = False
) -> Iterator[tuple[LabeledClip, list[LabeledTrack]]]:
    """Every so-manyth object, by clip. absent: only those with frames labeled as absent."""
    number = 0
    for clip in clips:
        tracks = []
        for track in clip.tracks:
            if absent and not track.absent.any():
                continue
            if number % every == 0 and track.present.any():
                tracks.append(track)
            number += 1
        if tracks:
            yield clip, tracks


@click.command()
@click.option("--footage", type=click.Path(path_type=Path), required=True, help="Folder of clips with an index.json.")
@click.option("--model", default="ostrack-tiny", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="Once per file. [default: bundled]")
@click.option("--engine", default="auto", show_default=True)
@click.option("--classes", multiple=True, help="License classes to score. [default: all but free]")
@click.option("--every", default=1, show_default=True, help="Score every Nth object only.")
@click.option("--absent", is_flag=True, help="Only objects with frames labeled as absent.")
@click.option("--long-term", is_flag=True, help="Search the whole frame for a lost target, as `track` does.")
@click.option("--frames", default=1000, show_default=True, help="Frames of each object, at most.")
@click.option("--set", "choice", help="NAME=VALUE,VALUE,... of a setting of the tracker.")
@click.option("--bins", is_flag=True, help="Print score and overlap in each bin of score.")
@click.option("--calibrate", is_flag=True, help="Fit a curve from score to overlap, on every other object.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all numbers, frame by frame, to this file.")
def main(
    footage: Path,
    model: str,
    weights: tuple[Path, ...],
    engine: str,
    classes: tuple[str, ...],
    every: int,
    absent: bool,
    long_term: bool,
    frames: int,
    choice: str | None,
    bins: bool,
    calibrate: bool,
    out: Path | None,
) -> None:
    """Follow held-out objects of real clips with each variant."""
    clips = read_labeled_clips(footage, lambda name: name in classes if classes else name != "free")
    variants = []
    for path in weights or (None,):
        loaded = singletrack.load(model, weights=path, engine=engine)
        name, values = choice.split("=") if choice else ("", "")
        for value in values.split(","):
            settings = loaded.settings
            if calibrate:
                settings = dataclasses.replace(settings, **without_curve(settings))
            if name:
                settings = dataclasses.replace(settings, **{name: parse_value(getattr(settings, name), value)})
            title = " ".join(filter(None, [str(path) if path else model, f"{name}={value}" if name else ""]))
            inner = OSTrackTracker(loaded.network, settings)
            variants.append(Variant(title, LongTermTracker(inner) if long_term else inner))
    for clip, tracks in chosen(clips, every, absent):
        with open_video(clip.video) as reader:
            pictures = list(reader)
        for track in tracks:
            for variant in variants:
                followed = follow(variant.tracker, pictures, track, frames)
                if followed is not None:
                    variant.objects.append(followed)
    before = np.array([each.ao for each in variants[0].objects])
    report = {}
    for variant in variants:
        numbers = summary(variant.objects)
        more = np.array([each.ao for each in variant.objects]) - before
        error = float(more.std() / len(more) ** 0.5)
        numbers |= {"objects": len(more), "difference": float(more.mean()), "standard_error": error}
        click.echo(
            f"{variant.name}: {len(more)} objects, AO {numbers['ao']:.3f} ({more.mean():+.3f}, standard error "
            f"{error:.3f}), SR50 {numbers['sr50']:.3f}, ECE {numbers['ece']:.3f}"
        )
        if numbers["absent"]:
            click.echo(
                f"    lost in {numbers['lost_of_absent']:.2f} of {numbers['absent']} absent frames, in "
                f"{numbers['lost_of_present']:.3f} of {numbers['present']} present ones, in "
                f"{numbers['lost_of_followed']:.3f} of those with an overlap above 0.5"
            )
            for share in FALSE_ALARMS:
                point = numbers[f"below_{share:g}"]
                click.echo(
                    f"    score below {point['threshold']:.3f}: {share:.0%} of present, "
                    f"{point['of_absent']:.2f} of absent frames"
                )
        if bins:
            score = np.concatenate([each.score for each in variant.objects])
            overlap = np.nan_to_num(np.concatenate([each.overlap for each in variant.objects]))
            for said, true, count in calibration_error(score, overlap)[1]:
                click.echo(f"    score {said:.2f}: overlap {true:.2f} ({count} frames)")
        if calibrate and len(variant.objects) > 1:
            curve, error_before, error_after = calibrated(variant.objects)
            click.echo(f"    ECE of the other objects {error_before:.3f} -> {error_after:.3f}; score_curve={curve}")
        objects = [
            {"name": each.name, "ao": each.ao, "overlap": each.overlap.tolist(), "score": each.score.tolist(),
             "lost": each.lost.tolist()}
            for each in variant.objects
        ]  # fmt: skip
        report[variant.name] = numbers | {"tracks": objects}
    if out:
        out.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
