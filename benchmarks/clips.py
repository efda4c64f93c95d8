"""Mean overlap on generated clips: where the settings of our own tracker are chosen, so that no real sequence is.

    python benchmarks/clips.py --photos ../shared/photos --set size_momentum=0,0.3,0.6

Each value of the setting follows the same clips with one network. The clips move, turn, breathe and pass look-alikes;
in every third one the target is gone for 25 frames, which gives the shares of absent and of present frames called lost.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import numpy as np

import singletrack
from singletrack.datasets.clips import generate_clip
from singletrack.datasets.pictures import Photos, Procedural
from singletrack.geometry.boxes import iou
from singletrack.tracking.ostrack import OSTrackTracker


@click.command()
@click.option("--model", default="ostrack-tiny", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path))
@click.option("--engine", default="auto", show_default=True)
@click.option("--photos", type=click.Path(path_type=Path), help="Where pieces and backgrounds come from.")
@click.option("--clips", default=20, show_default=True)
@click.option("--frames", default=100, show_default=True)
@click.option("--posts", default=0, show_default=True, help="That the target walks behind, at most.")
@click.option(
    "--set", "choice", default="size_momentum=0", show_default=True, help="NAME=VALUE,VALUE,... of a setting."
)
def main(
    model: str,
    weights: Path | None,
    engine: str,
    photos: Path | None,
    clips: int,
    frames: int,
    posts: int,
    choice: str,
) -> None:
    """Follow generated clips with each value of one setting."""
    loaded = singletrack.load(model, weights=weights, engine=engine)
    name, values = choice.split("=")
    kind = type(getattr(loaded.settings, name))
    pictures = Photos(photos).split()[1] if photos else Procedural()
    trackers = {
        value: OSTrackTracker(loaded.network, dataclasses.replace(loaded.settings, **{name: kind(float(value))}))
        for value in values.split(",")
    }
    overlaps: dict[str, list[float]] = {value: [] for value in trackers}
    said: dict[str, tuple[list[bool], list[bool]]] = {value: ([], []) for value in trackers}
    for seed in range(clips):
        absent = [range(frames // 2, frames // 2 + 25)] if seed % 3 == 2 else []
        clip = list(generate_clip(frames, (480, 270), seed, pictures, absent=absent, posts=posts))
        for value, tracker in trackers.items():
            tracker.init(*clip[0])
            results = [tracker.update(frame) for frame, _ in clip[1:]]
            truth = np.array([box for _, box in clip[1:]])
            there = np.isfinite(truth[:, 0])
            boxes = np.array([result.box for result in results])
            overlaps[value].append(float(iou(boxes[there], truth[there]).mean()))
            lost = np.array([result.lost for result in results])
            said[value][0].extend(lost[~there].tolist())
            said[value][1].extend(lost[there].tolist())
    for value in trackers:
        gone, present = (float(np.mean(flags)) if flags else float("nan") for flags in said[value])
        click.echo(
            f"{name}={value}: AO {np.mean(overlaps[value]):.3f}, "
            f"lost in {gone:.2f} of absent and {present:.3f} of present frames"
        )


if __name__ == "__main__":
    main()
