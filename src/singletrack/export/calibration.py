"""Real crops to check and calibrate with: those that a model's own tracker takes, of photos and of a made clip.

A look is one template and one search crop with it, as the network is given them, each with a batch of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from singletrack.datasets.photos import Photos
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.tracking.base import CropArray, FloatArray, Network, Tracker

CropPair = tuple[CropArray, CropArray]


class RecordingNetwork:
    """A network that notes what it is asked; a tracker cannot tell it from the one behind it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.looks: list[CropPair] = []

    def encode(self, template: CropArray) -> tuple[CropArray, Any]:
        """As the network's; the template goes with its features."""
        return template, self.network.encode(template)

    def locate(self, features: tuple[CropArray, Any], search: CropArray) -> Mapping[str, FloatArray]:
        """As the network's."""
        self.looks.append((features[0], search))
        return self.network.locate(features[1], search)


def clip_looks(tracker: Tracker, listener: RecordingNetwork, frames: int = 60) -> list[CropPair]:
    """What a tracker with this listener as its network looks at while it follows the made clip."""
    before = len(listener.looks)
    for index, (frame, box) in enumerate(generate_clip(frames=frames)):
        if index == 0:
            tracker.init(frame, box)
        else:
            tracker.update(frame)
    return listener.looks[before:]


def photo_looks(
    tracker: Tracker, listener: RecordingNetwork, folder: str | Path, count: int, seed: int = 0
) -> list[CropPair]:
    """What it looks at round boxes drawn at random in photos below a folder, one to each photo that is drawn.

    Raises InputError where there are no photos.
    """
    draw = np.random.default_rng(seed)
    photos = Photos(folder)
    before = len(listener.looks)
    for _ in range(count):
        photo = photos.draw(draw)
        height, width = photo.shape[:2]
        side_wh = np.exp(draw.uniform(np.log(0.1), np.log(0.5), 2)) * min(height, width)
        left, top = draw.uniform(0, [width - side_wh[0], height - side_wh[1]])
        tracker.init(photo, (float(left), float(top), float(side_wh[0]), float(side_wh[1])))
        tracker.update(photo)
    return listener.looks[before:]
