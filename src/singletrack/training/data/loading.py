"""Loads the batches of a run from a data source, in any number of worker processes.

Each sample depends only on its own random numbers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

from torch.utils.data import DataLoader, Dataset

from singletrack.opencv import cv2
from singletrack.training.base import Batch


def batches(samples: Dataset[Batch], indices: Sequence[range], workers: int = 0, pin: bool = False) -> Iterator[Batch]:
    """One batch for each list of samples: the same whatever ``workers``, the processes that draw them.

    pin: keep batches where a graphics processor can fetch them while it computes.
    """
    yield from DataLoader(
        samples,
        batch_sampler=map(list, indices),  # one by one: a run has millions of samples
        num_workers=workers,
        worker_init_fn=_ready_worker if workers else None,
        pin_memory=pin,
        # this process has threads by now (BLAS, TensorBoard): a fork of it could wait for a lock for ever
        multiprocessing_context="forkserver" if workers else None,
    )


def _ready_worker(worker: int) -> None:
    """One thread; and Ctrl-C, which a terminal sends to all, is the training process's to obey."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shares(first: int, last: int, batch: int, rank: int, world: int) -> list[range]:
    """The samples of the steps ``first`` to ``last`` (without it) that fall to this process of ``world``."""
    share = batch // world
    return [range(step * batch + rank * share, step * batch + (rank + 1) * share) for step in range(first, last)]
