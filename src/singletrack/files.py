"""Write files safely: check a place before anything is touched, write atomically, and give one error for failures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from singletrack.errors import InputError, SingletrackError


def check_file(path: Path, endings: Collection[str], *, make_folders: bool = False) -> None:
    """See that a file can be written, without changing it or leaving an empty one.

    make_folders: make the folders above it, where they are not there.

    Raises InputError for a name with none of these endings (such as ".mp4", small letters), SingletrackError where
    nothing can be written.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"expected a file that ends in {', '.join(endings)}; got {path}; change its name")
    with writing(path):
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there, and see that it can be written to; raises SingletrackError if not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what is written there replaces ``path`` at the end, all or nothing.

    The temporary file has a name of its own for each process, keeps the ending of ``path``, and is removed if the work
    inside fails.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError from the work inside into the error of ``unwritable``."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> SingletrackError:
    """The error for a file or folder that cannot be written, as the system's or FFmpeg's error has it."""
    reason = getattr(error, "strerror", None) or error
    return SingletrackError(
        f"expected a place to write to; cannot write {path} ({reason}); "
        "check that its folder exists, may be written to and has room"
    )
