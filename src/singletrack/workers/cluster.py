"""Runs tasks on a Ray cluster.

Each worker is an actor: it creates its work once, then runs one batch of tasks after another. Nothing is bound to the
head or to any node. A few actors more than the cluster has room for are requested, so that an autoscaler adds nodes,
and lost ones are replaced.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic

from singletrack.errors import SingletrackError
from singletrack.opencv import cv2
from singletrack.telemetry import without_telemetry
from singletrack.workers import START_ATTEMPTS, Again, AnyTask, Count, Died, MakeWork, Queue, give_up

SPARE = 2  # actors that are requested beyond those that run, or as many as run: a growing cluster doubles each time


@dataclass
class _Call(Generic[AnyTask]):
    """A call to an actor that has not ended.

    Attributes:
        actor: handle of the actor.
        tasks: the tasks that it runs; empty for its start.
    """

    actor: Any
    tasks: list[AnyTask]


def run_on_ray(
    tasks: Iterable[AnyTask],
    make_work: MakeWork,
    *,
    address: str,
    jobs: int | None = None,
    batch: int = 1,
    threads: int = 1,
    gpus: float = 0.0,
    again: Again = give_up,
    on_count: Count = lambda count: None,
) -> Generator[tuple[str, Any]]:
    """Run tasks on a Ray cluster; results are in the order of completion.

    No more tasks are handed out than there are actors. If an actor or its node is lost, another actor takes its place.

    Args:
        tasks: the tasks, taken from the iterable when an actor is free.
        make_work: called once in each actor. Every node needs this package.
        address: address for ``ray.init``; "auto" for the cluster of this machine.
        jobs: maximum number of actors; None for as many as fit on the cluster while it grows.
        batch: number of tasks in one call of the work.
        threads: CPU cores of each actor.
        gpus: GPUs of each actor, possibly a fraction.
        again: decides what happens to a task whose actor died.
        on_count: called with the progress of each call, when it ends.

    Yields:
        Name and result of each task; the result is a ``Died`` if its actor died and it was given up, or if the work
        raised an error.

    Raises:
        SingletrackError: no cluster answers, or an actor cannot create its work.
    """
    ray = _connect(address)
    try:
        yield from _run(ray, Queue(tasks), make_work, jobs, batch, threads, gpus, again, on_count)
    finally:
        ray.shutdown()  # disconnects and ends our actors


def _connect(address: str) -> Any:
    with without_telemetry():
        ray: Any = import_module("ray")
    try:
        ray.init(address=address, logging_level="warning", log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise SingletrackError(f"no Ray cluster at {address} ({error}); start one with `ray start --head`") from error
    return ray


def _run(
    ray: Any,
    waiting: Queue[AnyTask],
    make_work: MakeWork,
    jobs: int | None,
    batch: int,
    threads: int,
    gpus: float,
    again: Again,
    on_count: Count,
) -> Generator[tuple[str, Any]]:
    kind = ray.remote(_Actor).options(num_cpus=threads, num_gpus=gpus, max_restarts=0)
    calls: dict[Any, _Call[AnyTask]] = {}  # by the reference of its result
    running = lost_early = 0

    def request_actors() -> None:
        starting = sum(not call.tasks for call in calls.values())
        most = SPARE + running if jobs is None else jobs - running
        for _ in range(min(most, waiting.count(most)) - starting):
            actor = kind.remote(make_work, threads)
            calls[actor.start.remote()] = _Call(actor, [])

    request_actors()
    while running or waiting.count():
        (ended, *_), _ = ray.wait(list(calls))
        call = calls.pop(ended)
        try:
            results, count = ray.get(ended)
        except ray.exceptions.RayError as error:
            if not call.tasks:
                lost_early += 1
                _check_start(ray, error, lost_early)
            else:
                running -= 1
                ray.kill(call.actor)
            for task in call.tasks:
                died = Died(task, _reason(ray, error), killed=_is_lost(ray, error))
                if (replacement := again(died)) is not None:
                    waiting.put_back(replacement)
                else:
                    yield task.name, died
            request_actors()
            continue
        lost_early = 0
        running += not call.tasks
        if group := waiting.take(batch):
            calls[call.actor.run.remote(group)] = _Call(call.actor, group)
        else:
            running -= 1
            ray.kill(call.actor)
        if not call.tasks:
            request_actors()
        on_count(count)
        yield from results


def _is_lost(ray: Any, error: Exception) -> bool:
    lost = (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnavailableError, ray.exceptions.NodeDiedError)
    return isinstance(error, lost)


def _reason(ray: Any, error: Any) -> str:
    if _is_lost(ray, error):
        return "its worker or the node of its worker died"
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {cause}"


def _check_start(ray: Any, error: Any, attempts: int) -> None:
    """Raise SingletrackError for an actor that did not start, unless it is worth another attempt."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, SingletrackError):
        raise cause
    if cause is not None or attempts >= START_ATTEMPTS:
        reason = str(cause or error).strip().splitlines()[-1]  # the first lines are a traceback
        raise SingletrackError(
            f"a worker on the cluster could not start: {reason}; check that every node has this package, the weights "
            "and enough memory"
        )


class _Actor:
    """A worker of the cluster."""

    def __init__(self, make_work: MakeWork, threads: int) -> None:
        self._make_work, self._threads = make_work, threads

    def start(self) -> tuple[list[Any], int]:
        """Create the work; not in ``__init__``, whose errors reach the head as text only."""
        cv2.setNumThreads(self._threads)
        self._work = self._make_work()
        return [], 0

    def run(self, tasks: list[Any]) -> tuple[list[tuple[str, Any]], int]:
        """Run tasks; returns their names and results, and the progress that the work counted."""
        counts: list[int] = []
        return list(self._work(tasks, counts.append)), sum(counts)
