from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from singletrack.video.ahead import read_ahead


def test_all_items_in_their_order() -> None:
    assert list(read_ahead(range(10), 3)) == list(range(10))
    assert list(read_ahead([], 3)) == []
    assert list(read_ahead([None, 0, None], 2)) == [None, 0, None]


def test_no_more_than_the_depth_is_fetched_ahead() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            fetched.append(number)
            yield number

    reading = read_ahead(items(), 2)
    assert fetched == []
    assert next(reading) == 0
    time.sleep(0.05)
    assert fetched == [0, 1, 2]
    reading.close()
    assert len(fetched) <= 3


def test_items_are_fetched_while_the_last_one_is_looked_at() -> None:
    """Would wait for ever, were an item fetched only when it is asked for."""
    wanted = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        wanted.set()
        yield 1

    reading = read_ahead(items(), 1)
    assert next(reading) == 0
    assert wanted.wait(timeout=10)
    assert list(reading) == [1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_comes_after_the_items_before_it(error: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise error("trouble")

    taken: list[int] = []
    with pytest.raises(error, match="trouble"):
        taken.extend(iter(read_ahead(items(), 2)))
    reading = read_ahead(items(), 2)
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error, match="trouble"):
        next(reading)
    with pytest.raises(StopIteration):
        next(reading)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    for number in read_ahead(range(100), 2):
        if number == 3:
            break
    reading = read_ahead(range(100), 2)
    next(reading)
    reading.close()
    assert threading.active_count() == before
