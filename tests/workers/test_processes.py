"""The process pool: results, deaths and starts; and the queue of tasks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from singletrack.errors import SingletrackError
from singletrack.workers import Count, Died, Queue, Work
from singletrack.workers.processes import run_in_processes


@dataclass(frozen=True)
class Number:
    """A task: its square, or the death of its process."""

    name: str
    value: int
    deadly: bool = False


def squares(tasks: Iterable[Number], count: Count) -> Iterator[tuple[str, int]]:
    for task in tasks:
        if task.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        count(task.value)
        yield task.name, task.value**2


def make_squares() -> Work:
    return squares


def make_after_deaths(marks: Path, deaths: int) -> Work:
    """Dies while it starts, as often as asked."""
    if len(list(marks.iterdir())) < deaths:
        (marks / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return squares


def numbers(count: int, deadly: int = -1) -> list[Number]:
    return [Number(str(value), value, value == deadly) for value in range(count)]


def test_results_and_counts() -> None:
    counts: list[int] = []
    found = dict(run_in_processes(numbers(9), make_squares, jobs=2, threads=1, on_count=counts.append))
    assert found == {str(value): value**2 for value in range(9)}
    assert sum(counts) == sum(range(9))


def test_tasks_are_taken_on_demand() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Number]:
        for each in numbers(100):
            taken.append(each.value)
            yield each

    coming = run_in_processes(tasks(), make_squares, jobs=1, threads=1)
    next(coming)
    assert len(taken) < 10
    coming.close()


def test_a_task_whose_process_died_is_given_up_or_replaced() -> None:
    found = dict(run_in_processes(numbers(4, deadly=1), make_squares, jobs=1, threads=1))
    assert isinstance(found["1"], Died)
    assert found["1"].reason == "its process was killed by SIGKILL"
    assert {name: value for name, value in found.items() if name != "1"} == {"0": 0, "2": 4, "3": 9}

    def again(died: Died[Any]) -> Number:
        return replace(died.task, deadly=False)

    assert dict(run_in_processes(numbers(3, deadly=2), make_squares, jobs=1, threads=1, again=again))["2"] == 4


def test_processes_that_are_killed_while_they_start_are_replaced_a_few_times(tmp_path: Path) -> None:
    make = partial(make_after_deaths, tmp_path, 2)
    assert dict(run_in_processes(numbers(2), make, jobs=1, threads=1)) == {"0": 0, "1": 1}
    make = partial(make_after_deaths, tmp_path, 99)
    with pytest.raises(SingletrackError, match="was killed by SIGKILL before it had loaded the model"):
        list(run_in_processes(numbers(2), make, jobs=1, threads=1))


def test_the_queue() -> None:
    queue = Queue(iter(numbers(3)))
    assert queue.count(2) == 2
    assert queue.count(9) == 3
    (first,) = queue.take()
    queue.put_back(first)
    assert [each.value for each in queue.take(5)] == [0, 1, 2]
    assert queue.take() == []
    assert queue.count() == 0
