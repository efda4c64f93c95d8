"""Runs a tracker over the sequences of a data set into a run folder, in parallel and resumable."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from singletrack.datasets.base import VideoSequence
from singletrack.evaluation.ope import Failure, OnFrames, Outcome, follow_sequences
from singletrack.evaluation.run_store import RunFolder
from singletrack.evaluation.workers import MakeTracker, follow_in_processes, follow_on_ray


def run_sequences(
    sequences: Iterable[VideoSequence],
    make_tracker: MakeTracker,
    folder: RunFolder,
    *,
    jobs: int = 1,
    batch: int = 1,
    threads: int = 1,
    cluster: str | None = None,
    gpus: float = 0.0,
    on_frames: OnFrames = lambda count: None,
    on_outcome: Callable[[str, Failure | None], None] = lambda name, failure: None,
) -> dict[str, Failure]:
    """Track every sequence that is not yet done, and save the results to the run folder.

    The folder is consistent at any time, and the next call resumes. Boxes do not depend on ``jobs`` or ``cluster``, to
    the byte.

    Args:
        sequences: the sequences.
        make_tracker: creates a tracker. It is pickled for several processes, and the calling program must be importable
            (``if __name__ == "__main__"``).
        folder: the run folder.
        jobs: number of processes on this machine.
        batch: number of sequences that each process runs in one batch; the tracker must then be a ``BatchTracker``.
        threads: CPU threads of each process, as in ``make_tracker``.
        cluster: address of a Ray cluster to use instead of ``jobs``.
        gpus: GPUs that each Ray task needs.
        on_frames: called with the number of newly tracked frames.
        on_outcome: called with each finished sequence, and its failure if it failed.

    Returns:
        Failures by sequence name. They are not saved, and the next call tries them again.
    """
    longest_first = sorted((each for each in sequences if not folder.is_done(each.name)), key=len, reverse=True)
    failures: dict[str, Failure] = {}
    with closing(_outcomes(longest_first, make_tracker, jobs, batch, threads, cluster, gpus, on_frames)) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures[name] = outcome
            else:
                folder.write(name, outcome)
            on_outcome(name, failures.get(name))
    return failures


def _outcomes(
    sequences: list[VideoSequence],
    make_tracker: MakeTracker,
    jobs: int,
    batch: int,
    threads: int,
    cluster: str | None,
    gpus: float,
    on_frames: OnFrames,
) -> Generator[Outcome, None, None]:
    if not sequences:
        return
    if cluster is not None:
        yield from follow_on_ray(
            sequences,
            make_tracker,
            address=cluster,
            batch=batch,
            threads=threads,
            gpus=gpus,
            on_frames=on_frames,
        )
    elif jobs > 1:
        yield from follow_in_processes(
            sequences, make_tracker, jobs=jobs, batch=batch, threads=threads, on_frames=on_frames
        )
    else:
        yield from follow_sequences(make_tracker(), sequences, batch=batch, on_frames=on_frames)
