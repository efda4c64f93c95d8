"""Runs tasks in several processes: on this machine (``processes``) or on a Ray cluster (``cluster``).

The work itself is a callable that takes tasks one by one and yields their results. Each process creates its own, once,
and keeps it: a loaded model stays warm.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar


class Task(Protocol):
    """A unit of work. It is pickled and sent to a process."""

    @property
    def name(self) -> str:
        """Name, unique among the tasks."""


AnyTask = TypeVar("AnyTask", bound=Task)

Count = Callable[[int], None]  # called with the number of newly finished units, such as frames
# takes tasks and a function that counts progress; yields the name and result of each task, in any order
Work = Callable[[Iterable[Any], Count], Iterator[tuple[str, Any]]]
MakeWork = Callable[[], Work]  # pickled; called once in each process

# A process that is killed while it starts, by a full machine or a lost node perhaps, is replaced this many times in a
# row before the run ends with an error.
START_ATTEMPTS = 3


@dataclass(frozen=True)
class Died(Generic[AnyTask]):
    """A task whose process died.

    Attributes:
        task: the task.
        reason: one line, such as "its process was killed by SIGKILL".
        killed: True if a signal killed the process, which a lack of memory does.
    """

    task: AnyTask
    reason: str
    killed: bool = False


# called with a task whose process died: returns the task to run instead, or None to give it up
Again = Callable[[Died[Any]], Any]


def give_up(died: Died[Any]) -> None:
    """The default of ``Again``: a task whose process died is not tried again."""


class Queue(Generic[AnyTask]):
    """The tasks that wait. They are taken from an iterable on demand, after those that were put back."""

    def __init__(self, tasks: Iterable[AnyTask]) -> None:
        self._put_back: deque[AnyTask] = deque()
        self._coming = iter(tasks)

    def take(self, count: int = 1) -> list[AnyTask]:
        """Take up to ``count`` tasks; an empty list if none are left."""
        taken = [self._put_back.popleft() for _ in range(min(count, len(self._put_back)))]
        return taken + list(itertools.islice(self._coming, count - len(taken)))

    def put_back(self, task: AnyTask) -> None:
        """Put a task in front of the others."""
        self._put_back.appendleft(task)

    def count(self, limit: int = 1) -> int:
        """Count the tasks that wait, up to ``limit``."""
        self._put_back.extend(itertools.islice(self._coming, max(0, limit - len(self._put_back))))
        return min(limit, len(self._put_back))
