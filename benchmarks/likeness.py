"""How well the look of a box tells a target from others: the check behind ``confirm_likeness``.

    python benchmarks/likeness.py --footage ../shared/footage

For each labeled object, its boxes at least 45 frames after the first and boxes of the other objects of its clip are
compared with its first box. Prints which share of both reaches a threshold, relative to the mean of the object's own
first 30 frames: for hue and saturation alone, and for the look that the tracker compares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.labeled_clips import LabeledClip, read_labeled_clips
from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import Image
from singletrack.tracking.color_histogram import colors_of, likeness, look_of, similarity
from singletrack.video import open_video

FIRST, LATER, EVERY, LAST = 30, 45, 15, 400  # frames
THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
Look = NDArray[np.float32]
CHECKS: dict[str, tuple[Callable[[Image, Box], Look | None], Callable[[Look, Look], float]]] = {
    "hue and saturation": (colors_of, similarity),
    "look": (look_of, likeness),
}


def looks_of(clip: LabeledClip, look: Callable[[Image, Box], Look | None]) -> list[list[tuple[int, Look]]]:
    """Frame and look of each object of a clip, in its first frames and then in every fifteenth."""
    objects: list[list[tuple[int, Look]]] = [[] for _ in clip.tracks]
    with open_video(clip.video) as reader:
        for index, frame in enumerate(reader):
            if index > LAST:
                break
            if index >= FIRST and index % EVERY:
                continue
            for track, seen in zip(clip.tracks, objects, strict=True):
                if index < len(track.present) and track.present[index]:
                    x, y, width, height = track.boxes_xywh[index].tolist()
                    found = look(frame, (x, y, width, height))
                    if found is not None:
                        seen.append((index, found))
    return [seen for seen in objects if len(seen) > 2]


@click.command()
@click.option("--footage", type=click.Path(path_type=Path), required=True, help="Folder of clips with an index.json.")
def main(footage: Path) -> None:
    """Compare objects with themselves and with others."""
    clips = read_labeled_clips(footage)
    for name, (look, compare) in CHECKS.items():
        same: list[NDArray[np.float64]] = []
        other: list[NDArray[np.float64]] = []
        for clip in clips:
            objects = looks_of(clip, look)
            for place, ((start, first), *rest) in enumerate(objects):
                usual = np.mean([compare(each, first) for index, each in rest if index < start + FIRST] or [1.0])
                later = [compare(each, first) for index, each in rest if index >= start + LATER]
                others = [
                    compare(each, first) for at, seen in enumerate(objects) if at != place for _, each in seen[:3]
                ]
                same += [np.array(later) / usual] if later else []
                other += [np.array(others) / usual] if others else []
        click.echo(f"{name}: {len(same)} objects later, {len(other)} with others about")
        for threshold in THRESHOLDS:
            shares = [np.mean([(each >= threshold).mean() for each in group]) for group in (same, other)]
            click.echo(f"    at least {threshold:.2f} of the usual: same {shares[0]:.2f}, others {shares[1]:.2f}")


if __name__ == "__main__":
    main()
