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
from singletrack.install import docs_page
from singletrack.training.base import Batch, DataPaths, DataSource, Stage


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split of a data set, with its sampling weight."""

    dataset: str
    split: str
    share: float = 1.0


class FramePairStream(Dataset[Batch]):
    """Pairs by index, drawn from data sets."""

    def __init__(self, pairs: FramePairs, drawing: PairDrawing, seed: Sequence[int]) -> None:
        self.pairs, self.drawing, self.seed = pairs, drawing, list(seed)

    def __getitem__(self, index: int) -> Batch:
        pair = draw_frame_pair(self.pairs, self.drawing, self.seed, index)
        return {
            "template": torch.from_numpy(pair.template).movedim(-1, -3),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box).float(),
            "present": torch.tensor(True),
            "template_box": torch.from_numpy(pair.template_box).float(),
        }


@dataclass(frozen=True, kw_only=True)
class DatasetPairs(DataSource):
    """Two frames of a video, or one image twice, from the given data sets. See ``PairDrawing`` for the other fields.

    Attributes:
        parts: data for training.
        held: data for validation.
        followed: number of sequences of the first of ``held`` that are tracked per validation, evenly spaced.
        incomplete: train on incomplete copies.
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
        """Without gray, mirroring and brightness, as published; crops are jittered as in training."""
        plain = self.augmentation.for_validation()
        return self._stream(self.held, replace(self._drawing(stage, plain), shared_light=None), data, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        part = self.held[0]
        root = root_of(part.dataset, data, self.needs())
        names = list(choose(part.dataset, root, split=part.split).openers)
        spread = dict.fromkeys(place * len(names) // self.followed for place in range(self.followed))
        chosen = [names[place] for place in spread]
        return open_dataset(part.dataset, root, split=part.split, names=chosen, incomplete=self.incomplete)

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        parts = dict.fromkeys((*self.parts, *self.held))
        return {f"{part.dataset} {part.split}": self._footage(part, data).fingerprint for part in parts}

    def needs(self) -> list[str]:
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
        root = root_of(part.dataset, data, self.needs())
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
    """Return the folder of a data set.

    Args:
        dataset: its name.
        data: locations of the data.
        wanted: all data sets of the recipe.

    Raises:
        InputError: it is not given; the message names all missing data sets and their layouts.
    """
    if dataset in data.folders:
        return data.folders[dataset]
    missing = [name for name in wanted if name not in data.folders]
    flags = " ".join(f"--data {name}=DIR" for name in wanted)
    raise InputError(
        f"the recipe needs {flags}; got none for {', '.join(missing)}; add the missing ones. {layouts(missing)}"
    )


def layouts(names: Iterable[str]) -> str:
    """Describe the layouts of data sets in a sentence for error messages."""
    parts = "; ".join(f"{name}: {BENCHMARKS[name].layout}" for name in names if BENCHMARKS[name].layout)
    return f"Layout below the folder of {parts} ({docs_page('datasets')} has all layouts)"


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder for this process, used without a cache."""
    return tempfile.TemporaryDirectory(prefix="singletrack-")
