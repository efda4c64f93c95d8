"""Samples from labeled clips, alone or mixed with those of another source."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from singletrack.datasets import base
from singletrack.datasets.clip_pairs import ClipPairs, ClipPairSettings
from singletrack.datasets.labeled_clips import (
    LabeledClip,
    UnpackedFrames,
    fingerprint,
    read_labeled_clips,
    unpack_clip,
)
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.errors import InputError
from singletrack.training.base import Batch, DataPaths, DataSource, Stage

# Separates the choice of a mixed sample's source from the draws of the source for the same index.
CHOICE = 1 << 61


class ClipPairStream(Dataset[Batch]):
    """Pairs by index, drawn from clips."""

    def __init__(self, pairs: ClipPairs, stage: Stage, seed: Sequence[int]) -> None:
        self.pairs, self.stage, self.seed = pairs, stage, list(seed)

    def __getitem__(self, index: int) -> Batch:
        random = np.random.default_rng([*self.seed, index])
        size = self.stage.search_size
        pair = self.pairs.draw(random, self.stage.template_size, size)
        return {
            "template": torch.from_numpy(pair.template).movedim(-1, -3),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box / size).float(),
            "present": torch.tensor(pair.present),
            "template_box": torch.from_numpy(pair.template_box / self.stage.template_size).float(),
        }


@dataclass(frozen=True, kw_only=True)
class VideoPairs(DataSource):
    """Two or three frames of one labeled clip; other objects of the clip are distractors.

    Attributes:
        folder: name of the data set in ``--data NAME=DIR``.
        license_classes: license classes of the objects used for training; all others are for validation.
        followed: number of held-out objects that are tracked per validation, evenly spaced.
        followed_frames: number of their first labeled frames that are tracked.
    """

    settings: ClipPairSettings = field(default_factory=lambda: ClipPairSettings(pairs=PairSettings()))
    folder: str = "footage"
    license_classes: tuple[str, ...] = ("free",)
    followed: int = 10
    followed_frames: int = 40

    def clips(self, data: DataPaths, *, train: bool) -> list[LabeledClip]:
        """Return the clips for training, or those held out; raises InputError if the folder is not given."""
        if self.folder not in data.folders:
            raise InputError(f"missing --data {self.folder}=DIR, a folder of labeled clips with an index.json; add it")
        return read_labeled_clips(
            data.folders[self.folder], lambda license_class: (license_class in self.license_classes) == train
        )

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._stream(self.clips(data, train=True), self.settings, stage, data, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Without augmentation, and with the target in each."""
        settings = replace(self.settings, absent=0.0, lit=0.0)
        return self._stream(self.clips(data, train=False), settings, stage, data, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        held = [(clip, track) for clip in self.clips(data, train=False) for track in clip.tracks if track.present.any()]
        chosen = sorted({place * len(held) // self.followed for place in range(self.followed)})
        sequences = []
        for clip, track in (held[place] for place in chosen):
            first = int(np.flatnonzero(track.present)[0])
            count = min(clip.frames - first, self.followed_frames)
            frames = UnpackedFrames(unpack_clip(clip, cache_of(data)), count, first)
            boxes = track.boxes_xywh[first : first + count]
            sequences.append(base.VideoSequence(name=track.name, frames=frames, boxes_xywh=boxes, dataset=self.folder))
        return sequences

    def needs(self) -> list[str]:
        return [self.folder]

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        return {
            f"{self.folder} {part}": fingerprint(self.clips(data, train=part == "training"))
            for part in ("training", "validation")
        }

    def _stream(
        self, clips: list[LabeledClip], settings: ClipPairSettings, stage: Stage, data: DataPaths, seed: Sequence[int]
    ) -> ClipPairStream:
        unpacking = partial(tqdm, desc=f"reading {self.folder}", unit=" clips", disable=None)
        folders = [unpack_clip(clip, cache_of(data)) for clip in unpacking(clips)]
        return ClipPairStream(ClipPairs(clips, folders, settings), stage, seed)


class MixedStream(Dataset[Batch]):
    """Samples by index, each from one of several streams."""

    def __init__(self, streams: Sequence[Dataset[Batch]], shares: Sequence[float], seed: Sequence[int]) -> None:
        self.streams, self.seed = list(streams), list(seed)
        self.edges = np.cumsum(np.asarray(shares, float) / np.sum(shares))

    def __getitem__(self, index: int) -> Batch:
        drawn = np.random.default_rng([*self.seed, CHOICE, index]).random()
        which = min(int(np.searchsorted(self.edges, drawn, side="right")), len(self.streams) - 1)
        return self.streams[which][index]


@dataclass(frozen=True, kw_only=True)
class MixedPairs(DataSource):
    """Samples of several sources by weight; the first one validates."""

    sources: tuple[DataSource, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.sources) or not self.shares or min(self.shares) < 0 or not sum(self.shares):
            raise InputError(f"each of the {len(self.sources)} sources needs a share; got {self.shares}")

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return MixedStream([source.samples(stage, data, seed) for source in self.sources], self.shares, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self.sources[0].held_out(stage, data, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        return self.sources[0].sequences(data)

    def needs(self) -> list[str]:
        return list(dict.fromkeys(name for source in self.sources for name in source.needs()))

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        prints: dict[str, str] = {}
        for source in self.sources:
            prints |= source.fingerprints(data)
        return prints


def cache_of(data: DataPaths) -> Path:
    """Return the folder for decoded clips: the cache, or a temporary folder for this process."""
    return data.cache / "clips" if data.cache else Path(_temporary().name)


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="singletrack-")
