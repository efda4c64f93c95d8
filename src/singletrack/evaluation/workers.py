"""Tracks the sequences of a data set in several processes, on this machine or on a Ray cluster.

Each process makes its own tracker and runs sequences as ``ope`` does. The results return to the calling process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from singletrack.datasets.base import VideoSequence
from singletrack.evaluation.ope import Failure, OnFrames, Outcome, follow_sequences
from singletrack.tracking.base import Tracker
from singletrack.workers import Count, Died, Work
from singletrack.workers.cluster import run_on_ray
from singletrack.workers.processes import run_in_processes

MakeTracker = Callable[[], Tracker]
LOST_WORKERS = 3  # that a sequence may lose on a cluster, where machines come and go


def follow_in_processes(
    sequences: Iterable[VideoSequence],
    make_tracker: MakeTracker,
    *,
    jobs: int,
    batch: int,
    threads: int,
    on_frames: OnFrames,
) -> Iterator[Outcome]:
    """Track the sequences in several processes; outcomes are in the order of completion.

    If a process dies, its sequences become failures, and another process takes its place. No process is left at the
    end.

    Args:
        sequences: the sequences.
        make_tracker: called once in each process; it and the sequences are pickled.
        jobs: number of processes.
        batch: number of sequences in one batch.
        threads: CPU threads of each process.
        on_frames: called with the number of newly tracked frames.

    Raises:
        SingletrackError: a process cannot create its tracker.
    """
    work = _FollowSequences(make_tracker, batch)
    return map(_as_outcome, run_in_processes(sequences, work, jobs=jobs, threads=threads, on_count=on_frames))


def follow_on_ray(
    sequences: Iterable[VideoSequence],
    make_tracker: MakeTracker,
    *,
    address: str,
    batch: int,
    threads: int,
    gpus: float,
    on_frames: OnFrames,
) -> Iterator[Outcome]:
    """Track the sequences on a Ray cluster, ``batch`` of them at a time. Lost workers are replaced.

    Args:
        sequences: the sequences.
        make_tracker: called once in each worker; it and the sequences are pickled. Every machine needs this package,
            and the frames and weights at the same paths.
        address: address for ``ray.init``; "auto" for the cluster of this machine.
        batch: number of sequences in one batch.
        threads: CPU cores per worker.
        gpus: GPUs per worker, possibly a fraction.
        on_frames: called with the number of newly tracked frames.

    Raises:
        SingletrackError: no cluster answers, or a worker cannot create its tracker.
    """
    lost: dict[str, int] = {}

    def again(died: Died[VideoSequence]) -> VideoSequence | None:
        lost[died.task.name] = lost.get(died.task.name, 0) + died.killed
        return died.task if died.killed and lost[died.task.name] <= LOST_WORKERS else None

    return map(
        _as_outcome,
        run_on_ray(
            sequences,
            _FollowSequences(make_tracker, batch),
            address=address,
            batch=batch,
            threads=threads,
            gpus=gpus,
            again=again,
            on_count=on_frames,
        ),
    )


@dataclass(frozen=True)
class _FollowSequences:
    """The work of a process: one tracker, and sequences tracked with it."""

    make_tracker: MakeTracker
    batch: int

    def __call__(self) -> Work:
        tracker = self.make_tracker()

        def work(sequences: Iterable[VideoSequence], count: Count) -> Iterator[tuple[str, Any]]:
            return follow_sequences(tracker, sequences, batch=self.batch, on_frames=count)

        return work


def _as_outcome(ended: tuple[str, Any]) -> Outcome:
    name, result = ended
    if not isinstance(result, Died):
        return name, result
    advice = "check the available memory" if result.killed else "evaluate it again separately"
    return name, Failure(error=f"{result.reason}; {advice}")
