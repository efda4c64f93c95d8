"""A domain that the bundled model is bad at: faint warm things in the noise of a thermal camera, with exact boxes.

    python benchmarks/thermal.py --out data/thermal --photos ../shared/photos
    singletrack finetune ostrack-tiny --data folder=data/thermal/train --photos ../shared/photos --steps 400 \\
        --lr 3e-4 --patience 0 --out runs/thermal
    singletrack evaluate folder --root data/thermal/test --weights runs/thermal/finetuned.safetensors --out runs/seen

Writes OUT/train and OUT/test: a folder a clip, with frames and groundtruth.txt, made from different photos.

With --projects, also a project of `singletrack label` beside each of the first clips, OUT/train/clip-000.singletrack
and so on, as a person would leave it who draws the first box, has the clip tracked, and answers the page's suggestions
with the true box, --answers times:

    python benchmarks/thermal.py --out data/thermal --photos ../shared/photos --projects 16
    singletrack finetune ostrack-tiny --data data/thermal/train/*.singletrack ...
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import cv2
import numpy as np

import singletrack
from singletrack import Tracker
from singletrack.datasets.photos import Image, Photos, Pictures, Procedural, Random
from singletrack.labeling.project import Project
from singletrack.labeling.propagate import track_segments

SIZE_WH = (320, 240)


def warm_thing(random: Random) -> Image:
    """A soft blob or two, (64, 64) 0..255: a body, seen from afar."""
    thing = np.zeros((64, 64), np.uint8)
    axes = random.uniform(9, 24, 2)
    cv2.ellipse(thing, (32, 34), (int(axes[0]), int(axes[1])), float(random.uniform(0, 180)), 0, 360, 255, -1)
    if random.random() < 0.6:
        cv2.circle(thing, (32 + int(random.integers(-8, 9)), 12), int(random.integers(4, 9)), 255, -1)
    heat = random.uniform(0.6, 1.0) + 0.4 * cv2.resize(random.uniform(-1, 1, (3, 3)), (64, 64))
    return np.clip(cv2.GaussianBlur(thing, (7, 7), 0) * heat, 0, 255).astype(np.uint8)


def clip(random: Random, pictures: Pictures, frames: int) -> list[tuple[Image, tuple[float, ...]]]:
    """Frames (H, W, 3) and boxes xywh: a faint warm thing that wanders, alone or among its like."""
    width, height = SIZE_WH
    ground = cv2.cvtColor(pictures.draw(random), cv2.COLOR_RGB2GRAY)
    ground = cv2.GaussianBlur(cv2.resize(ground, (int(1.3 * width), int(1.3 * height))), (0, 0), random.uniform(1, 3))
    ground = random.uniform(40, 110) + (ground - ground.mean()) * random.uniform(0.15, 0.45)
    pattern = random.normal(0, random.uniform(1, 4), (height, width))  # of the sensor: it stays where it is
    cold = random.random() < 0.3
    actors = [
        (warm_thing(random), random.uniform(16, 32), random.uniform(30, 55)) for _ in range(random.integers(1, 4))
    ]
    waves, paces = random.uniform(0, 2 * np.pi, (len(actors) + 1, 4)), random.uniform(0.01, 0.05, (len(actors) + 1, 4))
    made = []
    for index in range(frames):
        drift = (0.5 + 0.5 * np.sin(waves[-1, :2] + 0.4 * paces[-1, :2] * index)) * [0.3 * width, 0.3 * height]
        x, y = drift.astype(int)
        frame = ground[y : y + height, x : x + width] + pattern
        box: tuple[float, ...] = ()
        for (thing, side, heat), wave, pace in zip(reversed(actors), waves, paces, strict=False):
            reach = np.array([width, height]) / 2 - 1.5 * side
            center = np.array([width, height]) / 2 + reach * np.sin(wave[:2] + pace[:2] * index)
            center += 0.1 * reach * np.sin(wave[2:] + 4 * pace[2:] * index)
            size = side * math.exp(0.2 * math.sin(wave[3] + pace[3] * index))
            scale = size / 48
            mapping = np.array([[scale, 0, center[0] - 32 * scale], [0, scale, center[1] - 32 * scale]])
            drawn = cv2.warpAffine(cv2.GaussianBlur(thing, (0, 0), 0.4 / scale), mapping, SIZE_WH).astype(np.float64)
            frame = frame + drawn / 255 * heat
            rows, columns = np.nonzero(drawn > 0.4 * drawn.max())
            left, top = columns.min(), rows.min()
            box = (left, top, columns.max() - left + 1, rows.max() - top + 1)
        frame = frame + random.normal(0, 20, frame.shape)
        gray = np.clip(255 - frame if cold else frame, 0, 255).astype(np.uint8)
        made.append((np.repeat(gray[..., None], 3, 2), tuple(map(float, box))))
    return made


def label(folder: Path, truth: list[tuple[float, ...]], answers: int, tracker: Tracker) -> None:
    """Leave a project of a clip as a person would who answers this many suggestions."""
    with Project.create(folder.with_suffix(".singletrack"), folder) as project:
        target = project.add_target("warm thing")
        frame = 0
        for _ in range(answers + 1):
            x, y, width, height = truth[frame]
            project.set_keyframe(target, frame, (x, y, width, height))
            track_segments(project, tracker=tracker)
            suggestions = project.suggestions(1, least=0.0)
            if not suggestions:
                break
            frame = suggestions[0].frame


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), help="What lies behind.  [default: made pictures]")
@click.option("--train", default=60, show_default=True, help="Clips to train on.")
@click.option("--test", default=16, show_default=True, help="Clips to test on.")
@click.option("--frames", default=60, show_default=True)
@click.option("--projects", default=0, show_default=True, help="Clips to label, of those to train on.")
@click.option("--answers", default=4, show_default=True, help="Suggestions answered in each of them.")
def main(out: Path, photos: Path | None, train: int, test: int, frames: int, projects: int, answers: int) -> None:
    """Write the clips, and label some."""
    tracker = singletrack.load()
    sources = Photos(photos).split() if photos else (Procedural(), Procedural())
    for split, (name, count) in enumerate((("train", train), ("test", test))):
        for number in range(count):
            folder = out / name / f"clip-{number:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng([split, number])
            boxes = []
            made = clip(random, sources[split], frames)
            for index, (frame, box) in enumerate(made):
                cv2.imwrite(str(folder / f"{index:08d}.png"), frame)
                boxes.append(",".join(f"{value:g}" for value in box))
            (folder / "groundtruth.txt").write_text("\n".join(boxes) + "\n")
            if split == 0 and number < projects:
                label(folder, [box for _, box in made], answers, tracker)


if __name__ == "__main__":
    main()
