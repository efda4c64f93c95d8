"""Runs tasks in several processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic

from singletrack.errors import SingletrackError
from singletrack.opencv import cv2
from singletrack.workers import START_ATTEMPTS, Again, AnyTask, Count, Died, MakeWork, Queue, give_up


@dataclass
class _Worker(Generic[AnyTask]):
    """A worker process.

    Attributes:
        asked: True after its first request, when its work is ready.
        in_hand: tasks that it works on.
    """

    process: BaseProcess
    asked: bool = False
    in_hand: list[AnyTask] = field(default_factory=list)


def run_in_processes(
    tasks: Iterable[AnyTask],
    make_work: MakeWork,
    *,
    jobs: int,
    threads: int,
    again: Again = give_up,
    on_count: Count = lambda count: None,
) -> Generator[tuple[str, Any]]:
    """Run tasks in several processes; results are in the order of completion.

    If a process dies, another one takes its place. No process is left at the end.

    Args:
        tasks: the tasks, taken from the iterable when a process is free.
        make_work: called once in each process.
        jobs: number of processes.
        threads: threads that OpenCV may use in each process.
        again: decides what happens to a task whose process died.
        on_count: called with the progress that the work counts.

    Yields:
        Name and result of each task; the result is a ``Died`` if its process died and it was given up.

    Raises:
        SingletrackError: a process cannot create its work.
    """
    waiting, workers = Queue(tasks), dict[Any, _Worker[AnyTask]]()  # by connection
    killed_early = 0
    try:
        for _ in range(waiting.count(jobs)):
            _start_worker(workers, make_work, threads)
        while workers:
            ready: list[Any] = wait(list(workers))
            for connection in ready:
                worker = workers[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    code = _end(worker.process)
                    if not worker.asked:
                        killed_early += 1
                        _check_start(code, killed_early)
                    for task in worker.in_hand:
                        died = Died(task, f"its process {_how(code)}", killed=code == -signal.SIGKILL)
                        if (replacement := again(died)) is not None:
                            waiting.put_back(replacement)
                        else:
                            yield task.name, died
                    if waiting.count():
                        _start_worker(workers, make_work, threads)
                    continue
                if isinstance(message, int):
                    on_count(message)
                elif message is None:
                    worker.asked, killed_early = True, 0
                    _hand_out(waiting, connection, worker)
                else:
                    worker.in_hand = [each for each in worker.in_hand if each.name != message[0]]
                    yield message
    finally:
        for worker in workers.values():
            worker.process.kill()
            worker.process.join()


def _start_worker(workers: dict[Any, _Worker[AnyTask]], make_work: MakeWork, threads: int) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of threads without the threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_work, threads), daemon=True)
    process.start()
    theirs.close()  # so that `ours` closes when the process ends
    workers[ours] = _Worker(process)


def _hand_out(waiting: Queue[AnyTask], connection: Any, worker: _Worker[AnyTask]) -> None:
    """Send a process its next task, or None if there are no more."""
    task = next(iter(waiting.take()), None)
    try:
        connection.send(task)
    except OSError:  # it has died since its request
        if task is not None:
            waiting.put_back(task)
    else:
        if task is not None:
            worker.in_hand.append(task)


def _end(process: BaseProcess) -> int:
    """Wait for a process that closed its connection; returns its exit code."""
    process.join()
    return process.exitcode or 0


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _check_start(code: int, attempts: int) -> None:
    """Raise SingletrackError for a process that ended before its first request, unless it is worth another attempt."""
    if code >= 0 or attempts >= START_ATTEMPTS:
        raise SingletrackError(
            f"a worker process {_how(code)} before it had loaded the model; see its output above, or run with one "
            "process (--jobs 1) for the full error"
        )


def _work(connection: Connection, make_work: MakeWork, threads: int) -> None:
    """Main function of a worker: requests tasks (None), and sends counts (int) and results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    _end_with_parent()
    cv2.setNumThreads(threads)
    work = make_work()

    def ask() -> Iterator[Any]:
        while True:
            connection.send(None)
            task = connection.recv()
            if task is None:
                return
            yield task

    with suppress(EOFError, OSError):  # the parent has ended
        for result in work(ask(), connection.send):
            connection.send(result)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, killed perhaps: nobody takes its results."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
