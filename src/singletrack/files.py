"""Write files safely: check a place before anything is touched, write atomically, and give one error for failures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from singletrack.errors import InputError, SingletrackError


def check_file(path: Path, endings: Collection[str], *, make_folders: bool = False) -> None:
    """Check that a file can be written, without changing it or leaving an empty one.

    Args:
        path: the file.
        endings: allowed endings in lowercase, such as ".mp4".
        make_folders: create missing parent folders.

    Raises:
        InputError: another ending.
        SingletrackError: the file cannot be written.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"output file must end in {', '.join(endings)}; got {path}; change its name")
    with writing(path):
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()


def make_folder(path: Path) -> None:
    """Create a folder if needed and check that it is writable; raises SingletrackError if not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context manager that gives a temporary path next to ``path`` and replaces ``path`` with it at the end.

    The temporary file has a separate name for each process, keeps the ending of ``path``, and is removed on failure.
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
    """Context manager that converts an OSError to the error of ``unwritable``."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> SingletrackError:
    """Build the error for a file or folder that cannot be written, with the reason from the system or FFmpeg."""
    reason = getattr(error, "strerror", None) or error
    return SingletrackError(
        f"cannot write {path} ({reason}); check that its folder exists, is writable and has free space"
    )
