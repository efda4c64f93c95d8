"""Decodes the next frames in a thread while the current one is processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")

END = object()


def read_ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Iterate over items, fetching up to ``depth`` of them ahead in a thread.

    An error is raised at its position, after the items before it. Closing waits for the current item, so that the
    source of the items can be closed afterwards.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "read ahead") as pool:
        coming = deque(pool.submit(next, source, END) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not END:
                coming.append(pool.submit(next, source, END))
                yield cast(Item, item)
        finally:
            pool.shutdown(cancel_futures=True)
