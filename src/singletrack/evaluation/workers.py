"""Following the sequences of a data set in several processes: of this machine, or of a cluster through Ray.

Each process makes its own tracker and follows sequences as ``following`` does; what comes of them goes back to the
one that asked. Knows nothing of files.
"""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from singletrack.datasets.base import VideoSequence
from singletrack.errors import SingletrackError
from singletrack.evaluation.ope import Failure, OnFrames, Outcome, follow_sequences
from singletrack.opencv import cv2
from singletrack.telemetry import without_telemetry
from singletrack.tracking.base import Tracker

MakeTracker = Callable[[], Tracker]


# --- processes of this machine -----------------------------------------------------------------------------------


@dataclass
class _Worker:
    """A process that follows sequences.

    asked: whether it has asked for one, and so has its tracker. in_hand: those that it has and has not given back.
    """

    process: BaseProcess
    asked: bool = False
    in_hand: list[VideoSequence] = field(default_factory=list)


def follow_in_processes(
    sequences: Iterable[VideoSequence],
    make_tracker: MakeTracker,
    *,
    jobs: int,
    batch: int,
    threads: int,
    on_frames: OnFrames,
) -> Iterator[Outcome]:
    """Follow the sequences in so many processes; outcomes come in the order in which they end.

    make_tracker: called once in each process; it and the sequences are pickled, for each process starts afresh.

    The sequences that a process had in hand when it died become failures, and another takes its place. Raises
    SingletrackError where a process cannot make its tracker. However this ends, no process is left over.
    """
    waiting = deque(sequences)
    workers: dict[Any, _Worker] = {}  # by the connection to it
    try:
        for _ in range(min(jobs, len(waiting))):
            _start_worker(workers, make_tracker, batch, threads)
        while workers:
            ready: list[Any] = wait(list(workers))
            for connection in ready:
                worker = workers[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    yield from _bury(worker)
                    if waiting:
                        _start_worker(workers, make_tracker, batch, threads)
                    continue
                if isinstance(message, int):
                    on_frames(message)
                elif message is None:
                    worker.asked = True
                    _hand_out(waiting, connection, worker)
                else:
                    worker.in_hand = [each for each in worker.in_hand if each.name != message[0]]
                    yield message
    finally:
        for worker in workers.values():
            worker.process.kill()
            worker.process.join()


def _start_worker(workers: dict[Any, _Worker], make_tracker: MakeTracker, batch: int, threads: int) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks without the threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_tracker, batch, threads), daemon=True)
    process.start()
    theirs.close()  # so that `ours` ends when the process does
    workers[ours] = _Worker(process)


def _hand_out(waiting: deque[VideoSequence], connection: Any, worker: _Worker) -> None:
    """Answer a process that asks for a sequence; None if there is no more."""
    sequence = waiting.popleft() if waiting else None
    try:
        connection.send(sequence)
    except OSError:  # it died since it asked
        if sequence is not None:
            waiting.appendleft(sequence)
    else:
        if sequence is not None:
            worker.in_hand.append(sequence)


def _bury(worker: _Worker) -> Iterator[Outcome]:
    """What a process that has ended leaves behind. Raises SingletrackError if it never got to work."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if not worker.asked:
        raise SingletrackError(
            f"expected a process that loads the model and follows sequences; it {how} before it had the model; "
            "see above for its own words; with one process (--jobs 1) there are more of them"
        )
    for sequence in worker.in_hand:
        advice = "is there enough memory for so many?" if code == -signal.SIGKILL else "evaluate it again alone"
        yield sequence.name, Failure(error=f"its process {how}; {advice}")


def _work(connection: Connection, make_tracker: MakeTracker, batch: int, threads: int) -> None:
    """The life of a process: asks for sequences (None), and gives back numbers of frames (int) and outcomes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asked, which then ends this one
    cv2.setNumThreads(threads)
    tracker = make_tracker()

    def ask() -> Iterator[VideoSequence]:
        while True:
            connection.send(None)
            sequence = connection.recv()
            if sequence is None:
                return
            yield sequence

    with suppress(EOFError, OSError):  # the one that asked is gone
        for outcome in follow_sequences(tracker, ask(), batch=batch, on_frames=connection.send):
            connection.send(outcome)


# --- a cluster ---------------------------------------------------------------------------------------------------


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
    """Follow the sequences on a Ray cluster, one task for each `batch` of them, which a killed worker does not lose.

    make_tracker: called once in each worker; it and the sequences are pickled. Every machine needs this package, and
        the frames and weights at the same paths.
    address: of the cluster, as ``ray.init`` takes it; "auto" for the one that this machine belongs to.
    threads: how many processor cores a task asks for. gpus: how many graphics processors, or which part of one.

    Raises SingletrackError where no cluster answers.
    """
    with without_telemetry():
        ray: Any = import_module("ray")
    waiting = list(sequences)
    groups = [waiting[start : start + batch] for start in range(0, len(waiting), batch)]
    try:
        ray.init(address=address, logging_level="warning")
    except (OSError, RuntimeError, ValueError) as error:
        raise SingletrackError(
            f"expected a Ray cluster at {address}; got none ({error}); start one with `ray start --head`"
        ) from error
    try:
        task = ray.remote(_follow_group).options(num_cpus=threads, num_gpus=gpus, max_retries=3)
        recipe = pickle.dumps(make_tracker)
        running = {task.remote(recipe, group, batch, threads): group for group in groups}
        while running:
            (ended, *_), _ = ray.wait(list(running))
            group = running.pop(ended)
            try:
                outcomes = ray.get(ended)
            except ray.exceptions.RayError as error:
                failure = Failure.of(getattr(error, "cause", None) or error)
                outcomes = [(sequence.name, failure) for sequence in group]
            on_frames(sum(map(len, group)))
            yield from outcomes
    finally:
        ray.shutdown()  # leaves the cluster, and ends what still runs there for us


def _follow_group(recipe: bytes, group: list[VideoSequence], batch: int, threads: int) -> list[Outcome]:
    cv2.setNumThreads(threads)
    return list(follow_sequences(_make_once(recipe), group, batch=batch))


@functools.lru_cache(maxsize=1)
def _make_once(recipe: bytes) -> Tracker:
    """The tracker of this process, which many tasks may need."""
    tracker: Tracker = pickle.loads(recipe)()
    return tracker
