"""Realistic crops for verification and calibration, taken by the model's own tracker from photos and a generated clip.

A look is one template crop with one search crop, as network inputs with a batch of 1.
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
    """Wraps a network and records all template and search crops."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.looks: list[CropPair] = []

    def encode(self, template: CropArray) -> tuple[CropArray, Any]:
        """Encode a template, and return it with its features."""
        return template, self.network.encode(template)

    def locate(self, features: tuple[CropArray, Any], search: CropArray) -> Mapping[str, FloatArray]:
        """Record the crops and run the network."""
        self.looks.append((features[0], search))
        return self.network.locate(features[1], search)


def clip_looks(tracker: Tracker, listener: RecordingNetwork, frames: int = 60) -> list[CropPair]:
    """Record the crops of a tracker on the generated clip.

    Args:
        tracker: a tracker whose network is ``listener``.
        listener: the recording network.
        frames: number of frames to track.
    """
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
    """Record the crops of a tracker around random boxes in photos, one box per photo.

    Args:
        tracker: a tracker whose network is ``listener``.
        listener: the recording network.
        folder: folder of photos, searched recursively.
        count: number of crops.
        seed: seed of the random choice.

    Raises:
        InputError: there are no photos.
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
