"""Made clips with exact boxes, for trying a tracker out. Knows nothing of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from singletrack.datasets.camera import Light
from singletrack.datasets.pictures import Image, Pictures, Procedural
from singletrack.datasets.pieces import cut_piece, paste, place, turn


def generate_clip(
    frames: int = 150,
    size_wh: tuple[int, int] = (640, 360),
    seed: int = 0,
    pictures: Pictures | None = None,
    distractors: int = 3,
    absent: Sequence[range] = (),
) -> Iterator[tuple[Image, tuple[float, float, float, float]]]:
    """A moving, turning, breathing piece over a drifting background: frames and the target's exact boxes, xywh.

    ``absent`` lists ranges of frames in which the target is not drawn; its box there is NaN. Without ``pictures``
    everything is procedural. The path is smooth and stays inside the frame.
    """
    random = np.random.default_rng(seed)
    pictures = pictures or Procedural()
    width, height = size_wh
    photo = pictures.draw(random)
    enlarge = 1.35 * max(width / photo.shape[1], height / photo.shape[0])
    world = cv2.resize(photo, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    slack = np.array([world.shape[1] - width, world.shape[0] - height])
    cast = [cut_piece(random, pictures.draw(random)) for _ in range(distractors + 1)]
    scale = min(size_wh) / 360
    sizes = random.uniform(45, 80, len(cast)) * scale
    waves = [random.uniform(0, 2 * np.pi, 6) for _ in range(len(cast) + 1)]
    paces = [random.uniform(0.012, 0.03, 4) for _ in range(len(cast) + 1)]
    light = Light.draw(np.random.default_rng([seed, 1]))
    gone = {index for span in absent for index in span}
    for index in range(frames):
        drift = 0.5 + 0.5 * np.sin(waves[-1][:2] + paces[-1][:2] * 0.6 * index)
        corner = np.round(drift * slack).astype(int)
        frame = world[corner[1] : corner[1] + height, corner[0] : corner[0] + width].copy()
        box = np.full(4, np.nan)
        for actor in reversed(range(len(cast))):
            if actor == 0 and index in gone:
                continue
            piece, wave, pace = cast[actor], waves[actor], paces[actor]
            side = sizes[actor] * math.exp(0.25 * math.sin(wave[4] + 0.8 * pace[2] * index))
            reach = np.array([width, height]) / 2 - 1.1 * side
            centre = np.array([width, height]) / 2 + reach * np.sin(wave[:2] + pace[:2] * index)
            centre += 0.08 * reach * np.sin(wave[2:4] + 3.1 * pace[:2] * index)
            form = turn(
                0.3 * math.sin(wave[5] + pace[3] * index),
                math.exp(0.12 * math.sin(wave[4] + pace[3] * index)),
            )
            drawn = paste(frame, piece, place(form, piece, centre, side))
            if actor == 0:
                box = drawn
        yield light.shine(frame), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
