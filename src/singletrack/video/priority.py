"""Keeps threads at their usual priority where a library raises it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def usual_priority() -> Iterator[None]:
    """Take back the real-time priority that code inside gives to threads of this process.

    SVT-AV1, run as root, gives it to the thread that opens it, to its own threads, and so to every thread and process
    that is started later: nothing else on the machine gets its turn. Does nothing on other systems than Linux.
    """
    if sys.platform != "linux":
        yield
        return
    before = _real_time_threads()
    try:
        yield
    finally:
        for thread in _real_time_threads() - before:
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time_threads() -> set[int]:
    """Ids of the threads of this process that have real-time priority."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            if os.sched_getscheduler(int(task.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(int(task.name))
    return found
