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
"""Samples side by side, by name. Every source gives

    template, search   uint8 (B, 3, T, T) and (B, 3, S, S) RGB, or (B, K, 3, T, T) where a model takes several
    box                (B, 4) xywh in [0, 1] of the search crop, float32; it may reach beyond the crop
    present            (B,) bool: whether the target is there at all

and whatever else its objective wants.
"""


@dataclass(frozen=True, kw_only=True)
class DataPaths:
    """What a user has on disk, as the command line says it.

    photos: a folder of photos; None makes pictures from nothing. folders: data set -> its folder. cache: a folder
    where what is found out about the data may be kept; None keeps nothing.
    """

    photos: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None


class DataSource(Protocol):
    """Where the samples of a stage come from. Implementations subclass it as frozen dataclasses."""

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """Samples to train on, one by one (without the batch's dimension), of any index from 0 on.

        What stands at an index follows from (seed, index) alone, in whichever process: so a run goes on exactly where
        it was cut off. It is sent to other processes. Raises InputError where the data are missing.
        """
        raise NotImplementedError

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        """The same, of data that are never trained on."""
        raise NotImplementedError

    def sequences(self, data: DataPaths) -> Sequence[base.VideoSequence]:
        """Held-out sequences for validation by tracking, always the same, each read or made when it is asked for."""
        return ()

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        """Name of each part of the data -> what tells whether it is the same on another machine."""
        return {}


class Task(Protocol):
    """What a model is trained for. Implementations subclass it as frozen dataclasses; most methods have a default."""

    def build(self, stage: Stage) -> nn.Module:
        """A fresh network at the stage's size, initialized for training."""
        raise NotImplementedError

    def groups(self, model: Any, stage: Stage) -> list[dict[str, Any]]:
        """Groups of parameters for the optimizer: {"params": [...], "lr": peak, "peak": peak}, and what else it takes.

        A parameter in no group is frozen, and so are the statistics of a normalization whose parameters are.
        """
        raise NotImplementedError

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """What the loss divides by, other than the number of samples, as counted in a batch from its labels alone.

        The loop hands ``loss`` their mean over all parts of the step's batch (processes, accumulated parts), at least
        1 in the whole batch, in the batch (``counts_of`` reads them): so the loss of a step does not depend on its
        parts.
        """
        return {}

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and, detached, its parts for the log.

        network: called as the model is; it may be a wrapper that shares gradients between processes or computes in
        16 bits, but gives float32. progress: how much of the stage is done, 0 to below 1.
        """
        raise NotImplementedError

    def boxes(self, model: Any, batch: Batch) -> Tensor:
        """(B, 4) xyxy in [0, 1] of the search crop: what the model would say, for validation."""
        raise NotImplementedError

    def fitted(self, weights: Mapping[str, Tensor], model: Any) -> Mapping[str, Tensor]:
        """Weights of another stage, as ``model`` takes them. Raises where they are another network's."""
        return weights

    def start(self, model: Any, path: Path, name: str) -> None:
        """Fill a network with the weights of a file to start from. Raises CheckpointError for other networks' files."""
        load_weights(model, path, name)

    def tracker(self, model: Any, stage: Stage) -> Tracker | None:
        """A tracker round the model, for validation by tracking; None where there is none."""
        return None

    def looks(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Maps (B, h, w) in [0, 1] over the search crop, by name, each to be shown beside the pair as light on it."""
        return {}

    def repeatable(self, model: Any) -> Iterable[nn.Module]:
        """Parts whose insides may be computed again in the backward pass, to save memory."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of a run at one size, towards one objective.

    template_size, search_size: pixels. batch: samples a step, over all processes. lr, head_lr: peak learning rates of
    the backbone and of the rest. warmup: steps from ``warmup_from`` of the peak to the peak. schedule: "cosine" down
    to ``last_lr`` of the peak, "exponential" down to it, each step by one factor, or "step": a tenth of the peak after
    ``drop_at`` of the steps. check_every, check_samples: steps between two validations, and the number of held-out
    samples in one; what the source has of sequences is followed as well.
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
    """All that a run depends on.

    model: the name that its weights have in the zoo. optimizer: "adamw", or "sgd" with momentum 0.9. clip: largest
    norm of the whole gradient; 0 for any. ema: decay of the averaged weights, which are the result; 0 for none.
    whole_batch: batch normalization takes its statistics, and losses their counts, over all processes, so that their
        number changes nothing; False: each process has its own, as in the published codes.
    patience: leave a stage after so many validations without a better AO; 0 never does.
    starts_from: the file of weights that must be given, in words, for a recipe that does not start from nothing.
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
    seed: int = 42


def normalize(pixels: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """(..., 3, H, W) uint8 -> float32, with the mean and deviation of RGB in 0 to 1."""
    statistics = torch.tensor(np.array([mean, std]), dtype=torch.float32, device=pixels.device).view(2, 3, 1, 1)
    return (pixels.float() / 255 - statistics[0]) / statistics[1]


def counts_of(batch: Batch) -> dict[str, Tensor] | None:
    """What the loop says that the loss should divide by; None where it leaves that to the batch itself."""
    return {name.removeprefix("counts."): value for name, value in batch.items() if name.startswith("counts.")} or None


def epoch_at(progress: float, epochs: int) -> int:
    """The epoch, counted from 1, of a stage that is divided into so many equal ones."""
    return min(epochs, int(progress * epochs + 1e-6) + 1)
