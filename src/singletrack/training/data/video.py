"""Training samples from tracking data sets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from singletrack.datasets import base
from singletrack.datasets.augmentations import Augmentation
from singletrack.datasets.frame_index import FrameIndex, open_frame_index
from singletrack.datasets.frame_pairs import PairDrawing, SharedLight, draw_frame_pair
from singletrack.datasets.registry import choose, open_dataset
from singletrack.datasets.sampling import FramePairs, FrameRules
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError
from singletrack.training.base import Batch, DataPaths, DataSource, Stage


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split of a data set, and how often it is drawn from beside the others."""

    dataset: str
    split: str
    share: float = 1.0


class FramePairStream(Dataset[Batch]):
    """Pairs by index, drawn from footage."""

    def __init__(self, pairs: FramePairs, drawing: PairDrawing, seed: Sequence[int]) -> None:
        self.pairs, self.drawing, self.seed = pairs, drawing, list(seed)

    def __getitem__(self, index: int) -> Batch:
        pair = draw_frame_pair(self.pairs, self.drawing, self.seed, index)
        return {
            "template": torch.from_numpy(pair.template).movedim(-1, -3),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box).float(),
            "present": torch.tensor(True),
        }


@dataclass(frozen=True, kw_only=True)
class DatasetPairs(DataSource):
    """Two frames of a video, or one picture twice, of the data sets that the user has.

    parts: what is trained on. held: what is validated on. followed: so many sequences of the first of ``held`` are
    tracked for it, evenly spread. incomplete: train on what is there of a copy that is not whole.
    For the others see ``PairDrawing``.
    """

    parts: tuple[Part, ...]
    held: tuple[Part, ...]
    rules: FrameRules = field(default_factory=FrameRules)
    augmentation: Augmentation = field(default_factory=Augmentation)
    unreadable: Literal["raise", "redraw"] = "raise"
    shared_light: SharedLight | None = None
    followed: int = 50
    incomplete: bool = False

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._stream(self.parts, self._drawing(stage, self.augmentation), data, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Neither gray nor mirrored nor brighter, as published; the crops are off the target as in training."""
        plain = self.augmentation.for_validation()
        return self._stream(self.held, replace(self._drawing(stage, plain), shared_light=None), data, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        part = self.held[0]
        root = root_of(part.dataset, data, self._datasets())
        names = list(choose(part.dataset, root, split=part.split).openers)
        spread = dict.fromkeys(place * len(names) // self.followed for place in range(self.followed))
        chosen = [names[place] for place in spread]
        return open_dataset(part.dataset, root, split=part.split, names=chosen, incomplete=self.incomplete)

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        parts = dict.fromkeys((*self.parts, *self.held))
        return {f"{part.dataset} {part.split}": self._footage(part, data).fingerprint for part in parts}

    def _datasets(self) -> list[str]:
        return list(dict.fromkeys(part.dataset for part in (*self.parts, *self.held)))

    def _drawing(self, stage: Stage, augmentation: Augmentation) -> PairDrawing:
        return PairDrawing(
            template_size=stage.template_size,
            search_size=stage.search_size,
            augmentation=augmentation,
            unreadable=self.unreadable,
            shared_light=self.shared_light,
        )

    def _footage(self, part: Part, data: DataPaths) -> FrameIndex:
        root = root_of(part.dataset, data, self._datasets())
        folder = data.cache / "footage" if data.cache else Path(_temporary().name)
        try:
            return open_frame_index(
                part.dataset,
                root,
                folder,
                split=part.split,
                incomplete=self.incomplete,
                progress=partial(tqdm, desc=f"reading {part.dataset} {part.split}", unit=" sequences", disable=None),
            )
        except InputError as error:
            raise InputError(f"{error}. {layouts([part.dataset])}") from error

    def _stream(
        self, parts: Sequence[Part], drawing: PairDrawing, data: DataPaths, seed: Sequence[int]
    ) -> FramePairStream:
        footage = [self._footage(part, data) for part in parts]
        return FramePairStream(FramePairs(footage, [part.share for part in parts], self.rules), drawing, seed)


def root_of(dataset: str, data: DataPaths, wanted: Sequence[str]) -> Path:
    """The folder of a data set. Raises InputError, naming all that are missing and how they lie, where it is not given.

    wanted: all data sets of the recipe.
    """
    if dataset in data.folders:
        return data.folders[dataset]
    missing = [name for name in wanted if name not in data.folders]
    flags = " ".join(f"--data {name}=DIR" for name in wanted)
    raise InputError(f"expected {flags}; got none for {', '.join(missing)}; add what is missing. {layouts(missing)}")


def layouts(names: Iterable[str]) -> str:
    """How data sets should lie below their folders, in a sentence for errors."""
    told = "; ".join(f"{name}: {BENCHMARKS[name].layout}" for name in names if BENCHMARKS[name].layout)
    return f"Expected below the folder of {told} (docs/datasets.md has all layouts)"


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Where arrays lie for as long as this process lives, when nothing is to be kept."""
    return tempfile.TemporaryDirectory(prefix="singletrack-")
