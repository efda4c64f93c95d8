"""Tracks the sequences of a data set in several processes, on this machine or on a Ray cluster.

Each process makes its own tracker and runs sequences as ``ope`` does. The results return to the calling process.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import threading
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


# --- processes on this machine -----------------------------------------------------------------------------------


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        asked: True after its first request, when its tracker is ready.
        in_hand: sequences that it works on.
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
    """Track the sequences in several processes; outcomes are in the order of completion.

    If a process dies, its sequences become failures, and another process takes its place. No process is left at the
    end.

    Args:
        sequences: the sequences.
        make_tracker: called once in each process; it and the sequences are pickled.
        jobs: number of processes.
        batch: number of sequences in one batch.
        threads: CPU threads of each process.

    Raises:
        SingletrackError: a process cannot create its tracker.
    """
    waiting = deque(sequences)
    workers: dict[Any, _Worker] = {}  # by connection
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
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of threads without the threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_tracker, batch, threads), daemon=True)
    process.start()
    theirs.close()  # so that `ours` closes when the process ends
    workers[ours] = _Worker(process)


def _hand_out(waiting: deque[VideoSequence], connection: Any, worker: _Worker) -> None:
    """Send a process its next sequence, or None if there are no more."""
    sequence = waiting.popleft() if waiting else None
    try:
        connection.send(sequence)
    except OSError:  # it has died since its request
        if sequence is not None:
            waiting.appendleft(sequence)
    else:
        if sequence is not None:
            worker.in_hand.append(sequence)


def _bury(worker: _Worker) -> Iterator[Outcome]:
    """Turn the sequences of a dead process into failures; raises SingletrackError if it never started work."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if not worker.asked:
        raise SingletrackError(
            f"a worker process {how} before it had loaded the model; see its output above, or run with one process "
            "(--jobs 1) for the full error"
        )
    for sequence in worker.in_hand:
        advice = "check the available memory" if code == -signal.SIGKILL else "evaluate it again separately"
        yield sequence.name, Failure(error=f"its process {how}; {advice}")


def _work(connection: Connection, make_tracker: MakeTracker, batch: int, threads: int) -> None:
    """Main function of a worker: requests sequences (None), and sends frame counts (int) and outcomes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    _end_with_parent()
    cv2.setNumThreads(threads)
    tracker = make_tracker()

    def ask() -> Iterator[VideoSequence]:
        while True:
            connection.send(None)
            sequence = connection.recv()
            if sequence is None:
                return
            yield sequence

    with suppress(EOFError, OSError):  # the parent has ended
        for outcome in follow_sequences(tracker, ask(), batch=batch, on_frames=connection.send):
            connection.send(outcome)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, killed perhaps: nobody takes its results."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


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
    """Track the sequences on a Ray cluster, in one task for each ``batch`` of them, which survives a killed worker.

    Args:
        sequences: the sequences.
        make_tracker: called once in each worker; it and the sequences are pickled. Every machine needs this package,
            and the frames and weights at the same paths.
        address: address for ``ray.init``; "auto" for the cluster of this machine.
        batch: number of sequences per task.
        threads: CPU cores per task.
        gpus: GPUs per task, possibly a fraction.

    Raises:
        SingletrackError: no cluster answers.
    """
    with without_telemetry():
        ray: Any = import_module("ray")
    waiting = list(sequences)
    groups = [waiting[start : start + batch] for start in range(0, len(waiting), batch)]
    try:
        ray.init(address=address, logging_level="warning")
    except (OSError, RuntimeError, ValueError) as error:
        raise SingletrackError(f"no Ray cluster at {address} ({error}); start one with `ray start --head`") from error
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
        ray.shutdown()  # disconnects and ends our remaining tasks


def _follow_group(recipe: bytes, group: list[VideoSequence], batch: int, threads: int) -> list[Outcome]:
    cv2.setNumThreads(threads)
    return list(follow_sequences(_make_once(recipe), group, batch=batch))


@functools.lru_cache(maxsize=1)
def _make_once(recipe: bytes) -> Tracker:
    """Return the tracker of this process, shared by its tasks."""
    tracker: Tracker = pickle.loads(recipe)()
    return tracker
