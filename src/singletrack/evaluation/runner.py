"""Running a tracker over the sequences of a data set, into a run folder: in parallel, and on from where it stopped.

Knows nothing of models, metrics and the command line.
"""

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
    """Follow every sequence that is not yet done in the folder, and keep there what comes of it.

    make_tracker: gives a tracker. For several processes it is pickled, and the program that calls this must be one
        that can be imported (``if __name__ == "__main__"``).
    jobs: processes of this machine. batch: sequences that each takes through the network together, whose tracker must
        then be a ``BatchTracker``. threads: of each, as make_tracker has them too.
    cluster: address of the Ray cluster that takes the place of jobs; gpus: what each of its tasks needs.
    on_frames: told how many more frames were followed. on_outcome: told of each sequence that has ended, and of its
        failure if it has failed.

    Returns the failures by the names of their sequences; nothing of these is written, and the next call tries them
    again. This may be killed at any moment: what the folder then holds is whole, and the next call goes on from there.
    Boxes do not hang on jobs or cluster, to the byte.
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
