"""Fine-tunes a tracker on a user's own videos.

Every fifth sequence is held out, and the weights that track these best are kept if they are better than the initial
ones. Pairs like those of the original training can be mixed in to limit forgetting.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from singletrack.datasets import base
from singletrack.datasets.augmentations import Augmentation, Jitter
from singletrack.datasets.frame_index import write_frame_index
from singletrack.datasets.frame_pairs import PairDrawing
from singletrack.datasets.layouts import has_size
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.sampling import FramePairs, FrameRules
from singletrack.datasets.storage import Place, StoredFrames
from singletrack.datasets.video_frames import VideoFrames, unpack_video
from singletrack.errors import InputError
from singletrack.models.checkpoints import convert, load_weights
from singletrack.models.configs import OSTrackConfig, stored_config
from singletrack.models.ostrack import OSTrack
from singletrack.registry import find_model, network_config
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training.base import Batch, DataPaths, DataSource, Recipe, Stage
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.data.video import FramePairStream
from singletrack.training.distributed import Distributed
from singletrack.training.losses import LossWeights
from singletrack.training.recipes.ostrack_tiny import TINY_PAIRS
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.trainer import RunSettings, train
from singletrack.training.validation import tracking_overlap

Trainable = Literal["all", "head", "light"]
HELD_OUT_EVERY = 5
LONGEST_FOLLOWED = 150  # frames of a held-out sequence that are tracked


@dataclass(frozen=True, kw_only=True)
class FineTuning(OSTrackTask):
    """The task of OSTrack with part of the network frozen.

    Attributes:
        trainable: "all"; "head" for the head only; or "light" for the head and the biases and normalizations of the
            backbone, which are few parameters to store per domain.
    """

    trainable: Trainable = "all"

    def groups(self, model: OSTrack, stage: Stage) -> list[dict[str, Any]]:
        backbone, head = super().groups(model, stage)
        if self.trainable == "head":
            return [head]
        if self.trainable == "light":
            backbone["params"] = [value for value in backbone["params"] if value.dim() == 1]
        return [backbone, head]


class Mixture(Dataset[Batch]):
    """Samples of one data set, with a share of the indices from another."""

    def __init__(self, own: Dataset[Batch], other: Dataset[Batch], share: float, seed: Sequence[int]) -> None:
        self.own, self.other, self.share, self.seed = own, other, share, list(seed)

    def __getitem__(self, index: int) -> Batch:
        chance = np.random.default_rng([*self.seed, 1 << 61, index]).random()
        return self.other[index] if chance < self.share else self.own[index]


@dataclass(frozen=True, kw_only=True)
class CustomPairs(DataSource):
    """Pairs of frames from a user's own videos, without every fifth sequence.

    Attributes:
        datasets: names in the registry; their folders are in ``DataPaths.folders``.
        rehearsed: share of pairs from ``made`` instead, like those of the original training.
    """

    datasets: tuple[str, ...]
    replay_share: float = 0.0
    made: SyntheticPairs = field(default_factory=SyntheticPairs)
    rules: FrameRules = field(default_factory=lambda: FrameRules(longest_gap=100, shortest=2, fewest_visible=2))
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(search_jitter=Jitter(scale=0.2, center=2.0), flip_one=0.0)
    )

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        own = self._stream(0, self.augmentation, stage, data, seed)
        if not self.replay_share:
            return own
        return Mixture(own, self.made.samples(stage, data, seed), self.replay_share, seed)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        plain = self.augmentation.for_validation()
        return self._stream(1, plain, stage, data, seed)

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        """Return the held-out sequences from their first box on, without single images."""
        held = [sequence for name in self.datasets for sequence in split_sequences(name, data)[1]]
        return [from_first_box(sequence) for sequence in held if len(sequence) > 1]

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        """Return a fingerprint of the sequence names and boxes of each data set."""
        prints = {}
        for name in self.datasets:
            digest = hashlib.sha256()
            for sequence in (*split_sequences(name, data)[0], *split_sequences(name, data)[1]):
                digest.update(sequence.name.encode() + np.ascontiguousarray(sequence.boxes_xywh).tobytes())
            prints[name] = digest.hexdigest()[:16]
        return prints

    def _stream(
        self, part: int, augmentation: Augmentation, stage: Stage, data: DataPaths, seed: Sequence[int]
    ) -> FramePairStream:
        footage = [
            write_frame_index(
                name, split_sequences(name, data)[part], Path(tempfile.mkdtemp(dir=_scratch().name)) / name
            )
            for name in self.datasets
        ]
        drawing = PairDrawing(
            template_size=stage.template_size, search_size=stage.search_size, augmentation=augmentation
        )
        return FramePairStream(FramePairs(footage, [1.0] * len(footage), self.rules), drawing, seed)


@lru_cache(maxsize=1)
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder that lives as long as this process."""
    return tempfile.TemporaryDirectory(prefix="singletrack-")


def split_sequences(name: str, data: DataPaths) -> tuple[list[base.VideoSequence], list[base.VideoSequence]]:
    """Split the sequences of a data set into training and held-out ones; of a single sequence, the last fifth is held
    out.

    Raises:
        InputError: nothing can be held out, or boxes are missing.
    """
    return _split_sequences(name, data.folders[name], data.cache)


@lru_cache(maxsize=16)
def _split_sequences(
    name: str, root: Path, cache: Path | None
) -> tuple[list[base.VideoSequence], list[base.VideoSequence]]:
    sequences = [readable(sequence, root, cache) for sequence in open_dataset(name, root)]
    for sequence in sequences:
        if len(sequence.boxes_xywh) != len(sequence):
            raise InputError(
                f"{sequence.name} needs a box for each of its {len(sequence)} frames; got only the first; annotate "
                "it, or "
                "remove it from the folder"
            )
    if len(sequences) == 1:
        (whole,) = sequences
        cut = len(whole) * (HELD_OUT_EVERY - 1) // HELD_OUT_EVERY
        if cut < 2 or len(whole) - cut < 2:
            raise InputError(
                f"{root} needs several sequences, or one of at least 10 frames, because the last fifth is held out; "
                "got "
                f"{len(whole)} frames"
            )
        return [stretch(whole, 0, cut)], [stretch(whole, cut, len(whole))]
    places = range(len(sequences))
    held = [sequences[place] for place in places if place % HELD_OUT_EVERY == HELD_OUT_EVERY // 2] or sequences[-1:]
    return [sequence for sequence in sequences if sequence not in held], held


def readable(sequence: base.VideoSequence, root: Path, cache: Path | None) -> base.VideoSequence:
    """Return the sequence with frames that can be read in any order; a video is decoded once."""
    if not isinstance(sequence.frames, VideoFrames):
        return sequence
    path = sequence.frames.path.resolve()
    facts = f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"
    folder = (cache or Path(_scratch().name)) / "videos" / hashlib.sha256(facts.encode()).hexdigest()[:16]
    names = unpack_video(sequence.frames, folder)
    return replace(sequence, frames=StoredFrames(Place(folder), names))


def stretch(sequence: base.VideoSequence, first: int, last: int) -> base.VideoSequence:
    """Return the frames from ``first`` to before ``last``."""
    frames = sequence.frames
    assert isinstance(frames, StoredFrames)
    return replace(
        sequence,
        frames=StoredFrames(frames.folder, frames.names[first:last]),
        boxes_xywh=sequence.boxes_xywh[first:last],
        visible=None if sequence.visible is None else sequence.visible[first:last],
        cover=None if sequence.cover is None else sequence.cover[first:last],
    )


def from_first_box(sequence: base.VideoSequence) -> base.VideoSequence:
    """Return the sequence from its first box on, at most ``LONGEST_FOLLOWED`` frames."""
    seen = np.flatnonzero(has_size(sequence.boxes_xywh))
    first = int(seen[0]) if len(seen) else 0
    return stretch(sequence, first, min(len(sequence), first + LONGEST_FOLLOWED))


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """AO on the held-out sequences, 0 to 1, of the old weights, the best ones and the result.

    Attributes:
        weights: file of the result; None if the old weights were better.
    """

    before: float
    best: float
    after: float
    weights: Path | None


def finetune_recipe(
    model: str,
    datasets: Sequence[str],
    *,
    steps: int = 1000,
    batch: int = 16,
    lr: float = 1e-4,
    trainable: Trainable = "all",
    replay_share: float = 0.0,
    patience: int = 4,
    settings: OSTrackSettings | None = None,
    weights: Path | None = None,
) -> Recipe:
    """Build the recipe of a fine-tuning; see ``FineTuning``, ``CustomPairs`` and ``Stage`` for the arguments.

    Args:
        settings: settings of the tracker for validation.
        weights: the old weights, whose network may differ from the model's, see ``models.configs.stored_config``.

    Raises:
        InputError: the model cannot be fine-tuned.
    """
    config = network_config(model, OSTrackConfig)
    if weights is not None:
        config = stored_config(config, weights)
    settings = settings or OSTrackSettings()
    dense = config.stem == "convolution"
    stage = Stage(
        name="finetune",
        task=FineTuning(
            config=config,
            trainable=trainable,
            loss_weights=LossWeights(attention=0.5 if config.attention_to_head else 0.0, dense=dense),
            keep_ratio=config.keep_ratio,
            settings=settings,
        ),
        source=CustomPairs(
            datasets=tuple(datasets),
            replay_share=replay_share,
            augmentation=replace(
                CustomPairs(datasets=()).augmentation,
                template_factor=settings.template_factor,
                search_factor=settings.search_factor,
                mark_template=config.mark_template,
                num_templates=config.num_templates,
            ),
            made=SyntheticPairs(
                pairs=replace(
                    TINY_PAIRS,
                    template_factor=settings.template_factor,
                    search_factor=settings.search_factor,
                    mark_template=config.mark_template,
                    num_templates=config.num_templates,
                )
            ),
        ),
        template_size=config.template_size,
        search_size=config.search_size,
        steps=steps,
        batch=batch,
        lr=lr,
        head_lr=lr,
        warmup=min(50, steps // 10),
        check_every=max(1, steps // 10),
        check_samples=64,
    )
    return Recipe(
        name="finetune", model=model, stages=(stage,), weight_decay=0.05, clip=1.0, ema=0.99, patience=patience
    )


def finetune(
    recipe: Recipe,
    weights: Path,
    data: DataPaths,
    out: Path,
    *,
    old_weights: float = 0.5,
    resume_run: bool = False,
    settings: RunSettings | None = None,
) -> FinetuneResult:
    """Run a recipe of ``finetune_recipe`` and save the result as OUT/finetuned.safetensors.

    Args:
        weights: the old weights.
        old_weights: share of the old weights in the result, 0 to below 1. They are averaged with the weights that score
            best on the held-out sequences (``checkpoints.blend``), which keeps most of what both have learned. If the
            average is no better than the old weights, the best weights are the result.

    Raises:
        InputError: no held-out sequence can be tracked; and as ``trainer.train``.
    """
    settings = settings or RunSettings()
    before = overlap_of(recipe, weights, data, settings)
    train(recipe, data, out, resume_run=resume_run, weights=None if resume_run else weights, settings=settings)
    best: dict[str, float] | None = torch.load(out / "last.pt", map_location="cpu", weights_only=True)["best"]
    if best is None or best["ao"] <= before:
        return FinetuneResult(before=before, best=before, after=before, weights=None)
    result = out / "finetuned.safetensors"
    if old_weights:
        mixed = out / "mixed.safetensors"
        network = find_model(recipe.model).network
        convert(out / "best.safetensors", network, mixed, name=recipe.model, other=weights, share=old_weights)
        after = overlap_of(recipe, mixed, data, settings)
        if after > before:
            mixed.replace(result)
            return FinetuneResult(before=before, best=best["ao"], after=after, weights=result)
        mixed.unlink()
    shutil.copyfile(out / "best.safetensors", result)
    return FinetuneResult(before=before, best=best["ao"], after=best["ao"], weights=result)


def overlap_of(recipe: Recipe, weights: Path, data: DataPaths, settings: RunSettings) -> float:
    """Compute the AO of a weights file on the held-out sequences of the recipe."""
    stage = recipe.stages[-1]
    device = torch.device(settings.device)
    model = stage.task.build(stage).to(device).eval()
    load_weights(model, weights, recipe.model)
    overlap = tracking_overlap(model, stage, data, Distributed(0, 1, device))
    if overlap is None:
        raise InputError(
            "the held-out sequences are all single images; add some video, because improvement is measured by tracking"
        )
    return overlap
