"""Sources of foregrounds and backgrounds: photos of a folder, or generated images.

All randomness comes from a ``numpy.random.Generator`` argument: the same generator state gives the same image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.object_masks import cached_object, find_object
from singletrack.errors import InputError
from singletrack.opencv import cv2
from singletrack.video.images import PICTURE_ENDINGS

Image = NDArray[np.uint8]
Array = NDArray[np.float64]
Random = np.random.Generator


# Photos with neighboring names often show similar objects: the number of neighbors on either side.
KIN = 6


@dataclass(frozen=True)
class Found:
    """An image (H, W, 3) RGB with its object.

    Attributes:
        mask: (h, w) of 0 or 255, possibly smaller than the image; None if no object was found.
        place: index of the image.
    """

    picture: Image
    mask: Image | None
    place: int = 0


class Pictures(Protocol):
    """Source of foregrounds and backgrounds."""

    def draw(self, random: Random) -> Image:
        """Draw an image, (H, W, 3) RGB, at least 64 pixels on each side."""

    def draw_object(self, random: Random, beside: Found | None = None) -> Found:
        """Draw an image with its object; ``beside`` another one to get a similar object."""


class Photos:
    """Images from the files below a folder, read on access."""

    def __init__(self, folder: str | Path, longest: int = 480, objects: Path | None = None) -> None:
        """Find the photos.

        Args:
            folder: folder of photos, searched recursively.
            longest: larger photos are scaled to this longer side in pixels.
            objects: cache folder for object masks; None disables the cache.

        Raises:
            InputError: there are no photos.
        """
        self.paths = sorted(p for p in Path(folder).rglob("[!.]*") if p.suffix.lower() in PICTURE_ENDINGS)
        self.longest, self.objects = longest, objects
        if not self.paths:
            raise InputError(f"no photos ({', '.join(PICTURE_ENDINGS)}) below {folder}; give another folder")

    def __len__(self) -> int:
        return len(self.paths)

    def split(self, every: int = 50) -> tuple[Photos, Photos]:
        """Split into photos for training and every ``every``-th photo, held out for validation."""
        train, held = copy.copy(self), copy.copy(self)
        held.paths = self.paths[::every]
        train.paths = [path for index, path in enumerate(self.paths) if index % every] or self.paths
        return train, held

    def draw(self, random: Random) -> Image:
        return self.read(self.paths[random.integers(len(self.paths))])

    def draw_object(self, random: Random, beside: Found | None = None) -> Found:
        if beside is None:
            place = int(random.integers(len(self.paths)))
        else:
            away = int(random.integers(1, KIN + 1)) * (1 if random.random() < 0.5 else -1)
            place = (beside.place + away) % len(self.paths)
        path = self.paths[place]
        picture = self.read(path)
        mask = cached_object(path, picture, self.objects) if self.objects else find_object(picture)
        return Found(picture, mask, place)

    def read(self, path: Path) -> Image:
        """Read a photo, scaled; raises InputError if it cannot be read."""
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"cannot read photo {path}; remove it from the folder or replace it")
        shrink = max(self.longest / max(picture.shape[:2]), 72 / min(picture.shape[:2]))
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        elif min(picture.shape[:2]) < 72:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class Procedural:
    """Generated images: noise at several scales under a few filled shapes."""

    def __init__(self, size: int = 320) -> None:
        self.size = size

    def draw_object(self, random: Random, beside: Found | None = None) -> Found:
        return Found(self.draw(random), None)

    def draw(self, random: Random) -> Image:
        size = self.size
        picture = np.zeros((size, size, 3), np.float32)
        strength = random.uniform(0.3, 1.0)
        for cells in (3, 8, 24, 80):
            noise = random.standard_normal((cells, cells, 3)).astype(np.float32)
            noise = noise.mean(2, keepdims=True) + 0.5 * noise
            picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) * strength
            strength *= random.uniform(0.4, 0.8)
        out = np.clip(picture * 40 + random.uniform(40, 210, 3), 0, 255).astype(np.uint8)
        for _ in range(random.integers(3, 14)):
            color = tuple(int(c) for c in random.integers(0, 256, 3))
            points = random.uniform(0, size, 2) + random.normal(0, size * random.uniform(0.03, 0.2), (5, 2))
            if random.random() < 0.5:
                cv2.fillConvexPoly(out, cv2.convexHull(points.astype(np.int32)), color, cv2.LINE_AA)
            else:
                axes = [int(a) for a in random.uniform(3, size / 6, 2)]
                center = [int(c) for c in points[0]]
                cv2.ellipse(out, center, axes, float(random.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        return out
