"""Mean overlap on generated clips: where weights and settings of our own tracker are chosen, on no real sequence.

    python benchmarks/clips.py --photos ../shared/photos --set size_momentum=0,0.3,0.6
    python benchmarks/clips.py --photos ../shared/photos --kind living --weights A.safetensors --weights B.safetensors

Each file of weights with each value of the setting follows the same clips. They move, turn, breathe and pass
look-alikes; in every third plain one the target is gone for 25 frames, which gives the shares of absent and of present
frames called lost. The first variant is the one that the others are compared with, clip by clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

import singletrack
from singletrack.datasets.photos import Image, Photos, Pictures, Procedural
from singletrack.datasets.synthetic.clips import generate_clip, living_clip
from singletrack.geometry.boxes import iou
from singletrack.tracking.ostrack import OSTrackTracker

Clip = Iterator[tuple[Image, tuple[float, float, float, float]]]
SIZE_WH = (480, 270)
GONE = 25  # frames

KINDS = ("plain", "posts", "turning", "living")


def made(kind: str, frames: int, seed: int, pictures: Pictures) -> Clip:
    """A clip: plain, with posts that the target walks behind, with all turning out of the plane, or a living photo."""
    if kind == "living":
        return living_clip(frames, SIZE_WH, seed, pictures)
    absent = [range(frames // 2, frames // 2 + GONE)] if kind == "plain" and seed % 3 == 2 else []
    posts, turning = 4 * (kind == "posts"), 0.7 * (kind == "turning")
    return generate_clip(frames, SIZE_WH, seed, pictures, absent=absent, posts=posts, turning=turning)


@click.command()
@click.option("--model", default="ostrack-tiny", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="Once for each. [default: bundled]")
@click.option("--engine", default="auto", show_default=True)
@click.option("--photos", type=click.Path(path_type=Path), help="Where pieces and backgrounds come from.")
@click.option("--clips", default=20, show_default=True)
@click.option("--frames", default=100, show_default=True)
@click.option("--first", default=0, show_default=True, help="Seed of the first clip.")
@click.option("--kind", type=click.Choice(KINDS), default="plain", show_default=True)
@click.option("--set", "choice", help="NAME=VALUE,VALUE,... of a setting of the tracker.")
def main(
    model: str,
    weights: tuple[Path, ...],
    engine: str,
    photos: Path | None,
    clips: int,
    frames: int,
    first: int,
    kind: str,
    choice: str | None,
) -> None:
    """Follow generated clips with each variant."""
    pictures = Photos(photos).split()[1] if photos else Procedural()
    trackers: dict[str, OSTrackTracker] = {}
    for path in weights or (None,):
        loaded = singletrack.load(model, weights=path, engine=engine)
        name, values = choice.split("=") if choice else ("", "")
        for value in values.split(","):
            settings = loaded.settings
            if name:
                settings = dataclasses.replace(settings, **{name: type(getattr(settings, name))(float(value))})
            variant = " ".join(filter(None, [str(path) if path else model, f"{name}={value}" if name else ""]))
            trackers[variant] = OSTrackTracker(loaded.network, settings)
    overlaps: dict[str, list[float]] = {variant: [] for variant in trackers}
    said: dict[str, tuple[list[bool], list[bool]]] = {variant: ([], []) for variant in trackers}
    for seed in range(first, first + clips):
        clip = list(made(kind, frames, seed, pictures))
        for variant, tracker in trackers.items():
            tracker.init(*clip[0])
            results = [tracker.update(frame) for frame, _ in clip[1:]]
            truth = np.array([box for _, box in clip[1:]])
            there = np.isfinite(truth[:, 0])
            boxes = np.array([result.box for result in results])
            overlaps[variant].append(float(iou(boxes[there], truth[there]).mean()))
            lost = np.array([result.lost for result in results])
            said[variant][0].extend(lost[~there].tolist())
            said[variant][1].extend(lost[there].tolist())
    before = np.array(next(iter(overlaps.values())))
    for variant, each in overlaps.items():
        gone, present = (float(np.mean(flags)) if flags else float("nan") for flags in said[variant])
        more = np.array(each) - before
        click.echo(
            f"{variant}: AO {np.mean(each):.3f} ({more.mean():+.3f}, standard error {more.std() / clips**0.5:.3f}), "
            f"lost in {gone:.2f} of absent and {present:.3f} of present frames"
        )


if __name__ == "__main__":
    main()
