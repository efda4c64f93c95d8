"""One writer at a time: a lock on a file, which ends with the process that holds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from singletrack.files import writing


def lock_file(path: Path) -> Callable[[], None]:
    """Lock `path` and return the function that unlocks it. The lock is a file of its name with ".lock" added.

    Raises BlockingIOError if another process, or this one, holds the lock already, and SingletrackError if it
    cannot be written.
    """
    lock = path.with_name(f"{path.name}.lock")
    while True:
        with writing(lock):
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            raise BlockingIOError(f"{path} is locked by another process") from error
        try:  # whoever held it before may have deleted this very file after it was opened here
            current = os.stat(lock).st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            current = False
        if current:
            break
        os.close(handle)

    def unlock() -> None:
        with suppress(OSError):  # Windows deletes no open file; an empty one that stays does no harm
            lock.unlink()
        os.close(handle)

    return unlock


def _lock(handle: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
