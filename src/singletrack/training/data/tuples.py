"""Training samples from data sets with one search frame and the templates that STARK takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.utils.data import Dataset

from singletrack.datasets.frame_pairs import PairDrawing
from singletrack.datasets.frame_tuples import FrameTuples, TupleRules, draw_frame_tuple
from singletrack.datasets.sampling import FramePairs
from singletrack.training.base import Batch, DataPaths, Stage
from singletrack.training.data.video import DatasetPairs, Part


class FrameTupleStream(Dataset[Batch]):
    """Samples by index, with "template_padding" (K, T, T) and "search_padding" (S, S), bool."""

    def __init__(self, sets: FrameTuples, drawing: PairDrawing, seed: Sequence[int]) -> None:
        self.sets, self.drawing, self.seed = sets, drawing, list(seed)

    def __getitem__(self, index: int) -> Batch:
        sample = draw_frame_tuple(self.sets, self.drawing, self.seed, index)
        return {
            "template": torch.from_numpy(sample.templates).permute(0, 3, 1, 2),
            "search": torch.from_numpy(sample.search).permute(2, 0, 1),
            "template_padding": torch.from_numpy(sample.template_padding),
            "search_padding": torch.from_numpy(sample.search_padding),
            "box": torch.from_numpy(sample.box).float(),
            "present": torch.tensor(sample.present),
        }


@dataclass(frozen=True, kw_only=True)
class DatasetTuples(DatasetPairs):
    """One search frame and the templates of STARK from the given data sets. ``frames``: how they are chosen."""

    frames: TupleRules = field(default_factory=TupleRules)

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._sets(self.parts, self.frames, self._drawing(stage, self.augmentation), data, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """As for pairs, with the target always present."""
        plain = self.augmentation.for_validation()
        return self._sets(self.held, replace(self.frames, negatives=0.0), self._drawing(stage, plain), data, seed)

    def _sets(
        self, parts: Sequence[Part], frames: TupleRules, drawing: PairDrawing, data: DataPaths, seed: Sequence[int]
    ) -> FrameTupleStream:
        footage = [self._footage(part, data) for part in parts]
        pairs = FramePairs(footage, [part.share for part in parts], self.rules)
        return FrameTupleStream(FrameTuples(pairs, frames), drawing, seed)
