"""Delays Ctrl-C to a safe moment: not inside an import, and not between two files that belong together."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPED = "singletrack: interrupted\n"


class Interrupts:
    """Context manager in which Ctrl-C raises KeyboardInterrupt as usual, but not inside ``hold``.

    It has no effect outside the main thread, which is the only one that receives signals.
    """

    def __init__(self) -> None:
        self._held = self._came = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        before = signal.getsignal(signal.SIGINT)
        # keeps a handler of the caller, and a process that ignores Ctrl-C
        if threading.current_thread() is threading.main_thread() and before is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Finish what is done inside; a Ctrl-C that comes meanwhile is raised at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._came = True
        else:
            raise KeyboardInterrupt


@contextmanager
def quit_on_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C says that it stopped and ends the process at once, with exit code 130.

    For imports: an exception could be raised anywhere in them, and some are caught or printed there.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _quit)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Inside, SIGTERM is taken for Ctrl-C: what is in hand can be saved, and that it stopped is said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def ignore_interrupts() -> None:
    """From here on Ctrl-C ends the process at once and says nothing more: it was said already."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) not in (
        signal.SIG_IGN,
        None,
    ):
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))


def _quit(number: int, frame: FrameType | None) -> None:
    os.write(2, STOPPED.encode())
    os._exit(130)
