"""Training pairs with distractors (DaSiamRPN, arXiv 1808.06048, Section 3.2).

In addition to pairs of video frames, there are images of detection data sets, used twice, for more categories; and
negative pairs, whose search crop shows another target of the same or another category in place of the right one.
Crops are those of ``tracking.dasiamrpn``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from singletrack.datasets.augmentations import brightened, to_gray
from singletrack.datasets.base import Image
from singletrack.datasets.categories import Categories, Target
from singletrack.datasets.photos import Random
from singletrack.datasets.sampling import FramePairs
from singletrack.geometry.padded_crops import mean_color, padded_crop
from singletrack.opencv import cv2
from singletrack.tracking.anchors import padded_side
from singletrack.tracking.dasiamrpn import square_about
from singletrack.training.base import Batch, DataPaths, Stage
from singletrack.training.data.video import DatasetPairs, Part


@dataclass(frozen=True, kw_only=True)
class PairChanges:
    """Changes of crops. The numbers are those of pysot where the paper has none. Shares are probabilities.

    Attributes:
        negatives: share of pairs whose search crop shows another target.
        same_category: share of these whose other target has the same category, if categories are known.
        shift: largest shift of the target from the middle, in crop pixels in x and y; uniform.
        scale: the size is changed by a factor of up to 1 + scale or down to 1 - scale.
        blurred: share of search crops with motion blur.
        gray: share of gray pairs.
        mirrored: share of mirrored pairs.
        brightness: largest relative change of brightness per crop.
    """

    negatives: float = 0.2
    same_category: float = 0.5
    shift: float = 64.0
    scale: float = 0.18
    blurred: float = 0.2
    gray: float = 0.05
    mirrored: float = 0.5
    brightness: float = 0.2


class DistractorAwareStream(Dataset[Batch]):
    """Pairs by index."""

    def __init__(
        self,
        pairs: FramePairs,
        categories: Categories,
        changes: PairChanges,
        sizes: tuple[int, int],
        seed: Sequence[int],
    ) -> None:
        self.pairs, self.categories, self.changes = pairs, categories, changes
        self.template_size, self.search_size = sizes
        self.seed = list(seed)

    def __getitem__(self, index: int) -> Batch:
        random, changes = np.random.default_rng([*self.seed, index]), self.changes
        drawn = self.pairs.draw(random)
        found, present = (drawn.footage, drawn.sequence, drawn.search), True
        if random.random() < changes.negatives:
            target = Target(drawn.footage, drawn.sequence)
            other = self.categories.other(random, target, changes.same_category, lambda: self._any(random))
            found, present = (*other, self._shown(random, other)), False
        gray, mirrored = (bool(random.random() < share) for share in (changes.gray, changes.mirrored))
        template, _ = self._crop(
            random, (drawn.footage, drawn.sequence, drawn.template), self.template_size, gray, mirrored, still=True
        )
        search, box = self._crop(random, found, self.search_size, gray, mirrored, still=False)
        if random.random() < changes.blurred:
            search = blurred(random, search)
        return {
            "template": torch.from_numpy(template).permute(2, 0, 1),
            "search": torch.from_numpy(search).permute(2, 0, 1),
            "box": torch.from_numpy(box).float(),
            "present": torch.tensor(present),
        }

    def _any(self, random: Random) -> Target:
        drawn = self.pairs.draw(random)
        return Target(drawn.footage, drawn.sequence)

    def _shown(self, random: Random, other: Target) -> int:
        """Draw a frame in which another target is visible."""
        footage = self.pairs.footage[other.dataset]
        places = np.flatnonzero(footage.visible[footage.frames(other.number)])
        return int(places[random.integers(len(places))])

    def _crop(
        self, random: Random, frame: tuple[int, int, int], size: int, gray: bool, mirrored: bool, *, still: bool
    ) -> tuple[Image, NDArray[np.float64]]:
        """Crop a frame, and return the box in it, xywh as fractions. ``still``: target in the middle, as a template."""
        changes, (footage, sequence, number) = self.changes, frame
        image = self.pairs.footage[footage].picture(sequence, number)
        x, y, width, height = (float(value) for value in self.pairs.footage[footage].box(sequence, number))
        if gray:
            image = to_gray(image)
        if mirrored:
            image, x = np.ascontiguousarray(image[:, ::-1]), image.shape[1] - x - width
        scale = self.template_size / float(padded_side(width, height))
        shift = np.zeros(2)
        if not still:
            scale *= random.uniform(1 - changes.scale, 1 + changes.scale)
            shift = random.uniform(-changes.shift, changes.shift, 2)
        center_x, center_y = x + width / 2 - shift[0] / scale, y + height / 2 - shift[1] / scale
        square = square_about((center_x, center_y), size / scale)
        crop = padded_crop(image, square, size, mean_color(image))
        light = random.uniform(1 - changes.brightness, 1 + changes.brightness)
        sides = np.array([width, height]) * scale / size
        box = np.concatenate([0.5 + shift / size - sides / 2, sides])
        return np.asarray(brightened(crop, light), np.uint8), box


def blurred(random: Random, crop: Image) -> Image:
    """Apply motion blur of 3 to 9 pixels in a random direction."""
    length, angle = random.uniform(3, 9), random.uniform(0, math.pi)
    kernel = np.zeros((11, 11), np.float32)
    for place in np.linspace(-length / 2, length / 2, 21):
        kernel[round(5 + place * math.sin(angle)), round(5 + place * math.cos(angle))] += 1 / 21
    return np.asarray(cv2.filter2D(crop, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


@dataclass(frozen=True, kw_only=True)
class DistractorAwarePairs(DatasetPairs):
    """Pairs from the given data sets, with a share of negative pairs. ``augmentation`` is not used."""

    changes: PairChanges = PairChanges()

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._distractors(self.parts, self.changes, stage, data, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """All targets are present, and pixels are unchanged."""
        plain = replace(self.changes, negatives=0.0, blurred=0.0, gray=0.0, mirrored=0.0, brightness=0.0)
        return self._distractors(self.held, plain, stage, data, seed)

    def _distractors(
        self, parts: Sequence[Part], changes: PairChanges, stage: Stage, data: DataPaths, seed: Sequence[int]
    ) -> DistractorAwareStream:
        footage = [self._footage(part, data) for part in parts]
        pairs = FramePairs(footage, [part.share for part in parts], self.rules)
        # a target that is never visible is not drawn
        names = [np.where(part.seen > 0, part.categories, b"") for part in footage]
        return DistractorAwareStream(pairs, Categories(names), changes, (stage.template_size, stage.search_size), seed)
