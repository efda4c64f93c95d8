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
    """Load one batch for each list of sample indices, independent of the number of ``workers``.

    Args:
        workers: number of loading processes.
        pin: keep batches in pinned memory for faster transfer to a GPU.
    """
    yield from DataLoader(
        samples,
        batch_sampler=map(list, indices),  # lazily, because a run has millions of samples
        num_workers=workers,
        worker_init_fn=_ready_worker if workers else None,
        pin_memory=pin,
        # this process has threads by now (BLAS, TensorBoard), so a fork could deadlock
        multiprocessing_context="forkserver" if workers else None,
    )


def _ready_worker(worker: int) -> None:
    """Use one thread, and ignore Ctrl-C, which the training process handles."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shares(first: int, last: int, batch: int, rank: int, world: int) -> list[range]:
    """Return the sample indices of this process for the steps from ``first`` to before ``last``."""
    share = batch // world
    return [range(step * batch + rank * share, step * batch + (rank + 1) * share) for step in range(first, last)]
