"""Synthetic pairs for training and generated clips for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import torch
from torch.utils.data import Dataset

from singletrack.datasets import base
from singletrack.datasets.photos import Photos, Pictures, Procedural
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.datasets.synthetic.pairs import draw_pair
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.training.base import Batch, DataPaths, DataSource, Stage


class PairStream(Dataset[Batch]):
    """Pairs by index, generated from images."""

    def __init__(self, pictures: Pictures, stage: Stage, settings: PairSettings, seed: Sequence[int]) -> None:
        self.pictures, self.stage, self.settings, self.seed = pictures, stage, settings, list(seed)

    def __getitem__(self, index: int) -> Batch:
        stage = self.stage
        random = np.random.default_rng([*self.seed, index])
        pair = draw_pair(random, self.pictures, stage.template_size, stage.search_size, self.settings)
        return {
            "template": torch.from_numpy(pair.template).movedim(-1, -3),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box / stage.search_size).float(),
            "present": torch.tensor(pair.present),
            "template_box": torch.from_numpy(pair.template_box / stage.template_size).float(),
        }


@dataclass(frozen=True, kw_only=True)
class SyntheticPairs(DataSource):
    """Pairs generated from the user's photos, or from generated images.

    Attributes:
        picture_size: side of a generated image in pixels.
        clips: number of validation clips.
        clip_frames: frames per validation clip.
        clip_size_wh: size of the validation clips.
        clip_posts: number of posts in front of the target in every other clip.
    """

    pairs: PairSettings = field(default_factory=PairSettings)
    picture_size: int = 320
    clips: int = 6
    clip_frames: int = 40
    clip_size_wh: tuple[int, int] = (480, 270)
    clip_posts: int = 4

    def pictures(self, data: DataPaths) -> tuple[Pictures, Pictures]:
        """Return the images for training, and those held out."""
        if data.photos is None:
            return Procedural(self.picture_size), Procedural(self.picture_size)
        return Photos(data.photos, objects=data.cache / "objects" if data.cache else None).split()

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        """Return the number of photos, and a digest of their names and sizes."""
        if data.photos is None:
            return {}
        paths = Photos(data.photos).paths
        listing = "\n".join(f"{path.relative_to(data.photos).as_posix()} {path.stat().st_size}" for path in paths)
        return {"photos": f"{len(paths)} files, {hashlib.sha256(listing.encode()).hexdigest()[:16]}"}

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return PairStream(self.pictures(data)[0], stage, self.pairs, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Targets are present and anywhere, so that a network that predicts the center scores badly."""
        settings = replace(self.pairs, anywhere=1.0, absent=0.0)
        return PairStream(self.pictures(data)[1], stage, settings, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        return Clips(self, self.pictures(data)[1])


class Clips(Sequence[base.VideoSequence]):
    """Clips of held-out images, generated on access, always the same."""

    def __init__(self, source: SyntheticPairs, pictures: Pictures) -> None:
        self.source, self.pictures = source, pictures

    def __len__(self) -> int:
        return self.source.clips

    @overload
    def __getitem__(self, index: int) -> base.VideoSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[base.VideoSequence]: ...
    def __getitem__(self, index: int | slice) -> base.VideoSequence | list[base.VideoSequence]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        seed = range(len(self))[index]
        size_wh, posts = self.source.clip_size_wh, self.source.clip_posts * (seed % 2)
        clip = generate_clip(self.source.clip_frames, size_wh, seed, self.pictures, posts=posts)
        frames, boxes = zip(*clip, strict=True)
        return base.VideoSequence(name=f"clip-{seed:02d}", frames=frames, boxes_xywh=np.array(boxes), dataset="clips")
