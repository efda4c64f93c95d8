"""The interfaces of training: tasks, data sources and recipes.

The trainer contains no code for a specific model or data set. A model is connected by a ``Task``, samples by a
``DataSource``. Both are frozen dataclasses, so that a recipe, which names them, can be saved and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from singletrack.datasets import base
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD
from singletrack.models.checkpoints import load_weights
from singletrack.tracking.base import Tracker

Batch = dict[str, Tensor]
"""A batch of samples by name. Every data source provides

    template, search   uint8 (B, 3, T, T) and (B, 3, S, S) RGB, or (B, K, 3, T, T) for several templates
    box                (B, 4) xywh as fractions of the search crop, float32; it may extend beyond the crop
    present            (B,) bool: whether the search crop shows the target
    template_box       (B, 4) xywh as fractions of the first template, for networks with ``template_rows`` "box"

and whatever else its task needs.
"""


@dataclass(frozen=True, kw_only=True)
class DataPaths:
    """Locations of the user's data.

    Attributes:
        photos: folder of photos; None to generate images.
        folders: data set name -> its folder.
        cache: folder for cached information about the data; None disables the cache.
    """

    photos: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None


class DataSource(Protocol):
    """Provides the samples of a stage. Implementations subclass it as frozen dataclasses."""

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Return the training samples, one at a time (without a batch dimension), for any index from 0 on.

        The sample at an index depends only on (seed, index), in any process, so that a run resumes exactly. The data
        set is sent to other processes.

        Raises:
            InputError: data are missing.
        """
        raise NotImplementedError

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Return the same for data that are never trained on."""
        raise NotImplementedError

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        """Return held-out sequences for validation by tracking, always the same, each read or generated on access."""
        return ()

    def needs(self) -> Sequence[str]:
        """Return the names of the folders that must be given as data; empty if photos, or nothing, are enough."""
        return ()

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        """Return a fingerprint of each part of the data, equal on any machine with the same data."""
        return {}


class Task(Protocol):
    """What a model is trained for. Implementations subclass it as frozen dataclasses; most methods have a default."""

    def build(self, stage: Stage) -> nn.Module:
        """Build a network at the size of the stage, initialized for training."""
        raise NotImplementedError

    def groups(self, model: Any, stage: Stage) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer: {"params": [...], "lr": peak, "peak": peak}, and other options.

        A parameter in no group is frozen, and so are the statistics of a normalization with frozen parameters.
        """
        raise NotImplementedError

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Count what the loss is divided by, other than the number of samples, from the labels of a batch.

        The trainer adds their mean over all parts of the step (processes, accumulated parts), at least 1 for the
        complete batch, to the batch of ``loss`` (read with ``counts_of``), so that the loss of a step does not depend
        on its parts.
        """
        return {}

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its detached parts for the log.

        Args:
            network: called like the model; possibly a wrapper that shares gradients between processes or computes in 16
                bits, with float32 output.
            batch: the samples.
            progress: finished share of the stage, 0 to below 1.
        """
        raise NotImplementedError

    def boxes(self, model: Any, batch: Batch) -> Tensor:
        """Predict boxes (B, 4), xyxy as fractions of the search crop, for validation."""
        raise NotImplementedError

    def fitted(self, weights: Mapping[str, Tensor], model: Any) -> Mapping[str, Tensor]:
        """Convert weights of another stage for ``model``; raises an error for weights of another network."""
        return weights

    def start(self, model: Any, path: Path, name: str) -> None:
        """Load initial weights from a file; raises CheckpointError for files of other networks."""
        load_weights(model, path, name)

    def tracker(self, model: Any, stage: Stage) -> Tracker | None:
        """Build a tracker for validation by tracking; None if the task has no such validation."""
        return None

    def looks(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Compute maps (B, h, w) in [0, 1] over the search crop, by name, to be shown next to the pair."""
        return {}

    def repeatable(self, model: Any) -> Iterable[nn.Module]:
        """Return the parts whose activations may be recomputed in the backward pass to save memory."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with one size and one task.

    Attributes:
        template_size: pixels.
        search_size: pixels.
        batch: samples per step, over all processes.
        lr: peak learning rate of the backbone.
        head_lr: peak learning rate of everything else.
        warmup: steps from ``warmup_from`` of the peak to the peak.
        schedule: "cosine" down to ``last_lr`` of the peak, "exponential" down to it by a constant factor per step, or
            "step": a tenth of the peak after ``drop_at`` of the steps.
        check_every: steps between two validations. Sequences of the data source are tracked as well.
        check_samples: number of held-out samples per validation.
    """

    name: str
    task: Task
    source: DataSource
    template_size: int
    search_size: int
    steps: int
    batch: int
    lr: float
    head_lr: float
    warmup: int = 0
    warmup_from: float = 0.0
    schedule: Literal["cosine", "exponential", "step"] = "cosine"
    last_lr: float = 0.02
    drop_at: float = 0.8
    check_every: int = 500
    check_samples: int = 256


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a run depends on.

    Attributes:
        model: model name of the weights.
        optimizer: "adamw", or "sgd" with momentum 0.9.
        clip: largest norm of the full gradient; 0 for no limit.
        ema: decay of the averaged weights, which are the result; 0 for no averaging.
        whole_batch: compute batch-norm statistics and loss counts over all processes, so that their number does not
            matter. False: separately in each process, as in the published codes.
        patience: end a stage after this many validations without a better AO; 0 for never.
        starts_from: description of the required initial weights, for recipes that do not start from scratch.
        settings_of: recipe whose settings this one takes, because none are published for its model.
    """

    name: str
    model: str
    stages: tuple[Stage, ...]
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    clip: float = 0.1
    ema: float = 0.0
    whole_batch: bool = True
    patience: int = 0
    starts_from: str = ""
    settings_of: str = ""
    seed: int = 42


def normalize(pixels: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Normalize (..., 3, H, W) uint8 to float32, with mean and standard deviation of RGB in 0 to 1."""
    statistics = torch.tensor(np.array([mean, std]), dtype=torch.float32, device=pixels.device).view(2, 3, 1, 1)
    return (pixels.float() / 255 - statistics[0]) / statistics[1]


def counts_of(batch: Batch) -> dict[str, Tensor] | None:
    """Return the counts that the trainer provides for the loss; None if the loss uses those of the batch."""
    return {name.removeprefix("counts."): value for name, value in batch.items() if name.startswith("counts.")} or None


def epoch_at(progress: float, epochs: int) -> int:
    """Return the epoch, from 1, of a stage that is divided into equal epochs."""
    return min(epochs, int(progress * epochs + 1e-6) + 1)
