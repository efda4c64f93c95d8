"""Write files safely: check a place before anything is touched, write atomically, and give one error for failures."""

from __future__ import annotations

import glob
import itertools
import os
import platform
import re
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
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


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise InputError where a file to write is one of those to read, or another one to write, by whatever name.

    outputs, inputs: None is passed over. A folder or a glob among the inputs stands for the files in it. Nothing is
    opened; links are followed.
    """
    taken: dict[object, str] = {}
    for given in inputs:
        for path in [] if given is None else _files_of(given):
            if (identity := _identity(path)) is not None:
                taken.setdefault(identity, f"{path} is to be read as well")
    for output in filter(None, outputs):
        name = _identity(output) or os.path.abspath(output)
        if name in taken:
            raise InputError(
                f"expected files to write that are no others; got {output}, but {taken[name]}; choose another name"
            )
        if not output.exists() or output.is_file():
            taken[name] = f"{output} is to be written already"


def _files_of(given: str | Path) -> Iterator[Path]:
    path = Path(given)
    try:
        if path.is_dir():
            yield from path.iterdir()
        elif path.exists():
            yield path
        elif glob.has_magic(str(given)):
            yield from map(Path, glob.iglob(str(given), recursive=True))
    except (OSError, ValueError):  # a name that no file can have; the reader says so
        return


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, by whatever name; None for one that is not there, and for pipes and devices."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there, and see that it can be written to; raises SingletrackError if not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


_COUNTER = itertools.count()
# .NAME.MACHINE-PROCESS-NUMBER.part.ending; versions before this one wrote .NAME.PROCESS.ending
_UNFINISHED = re.compile(
    r"\..+\.(?:(?P<machine>[\w-]*)-(?P<process>\d+)-\d+\.part(\.\w+)?|(?P<older>\d+)(\.part)?\.(onnx|xml|bin|blake2b))"
)


def unfinished_name(path: Path) -> Path:
    """A hidden name beside ``path`` with its ending, for a file that this process writes and nobody else."""
    stem = path.stem.encode("utf-8", "replace")[:100].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{_machine()}-{os.getpid()}-{next(_COUNTER)}.part{path.suffix}")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what is written there replaces ``path`` at the end, all or nothing.

    The temporary file has a name of its own for each process and thread, keeps the ending of ``path``, and is removed
    if the work inside fails; ``remove_unfinished`` removes those of processes that were killed.
    """
    path = Path(path)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes of this machine that are gone, killed perhaps, left unfinished in a folder."""
    machine = _machine()
    with suppress(OSError):
        for path in folder.iterdir():
            match = _UNFINISHED.fullmatch(path.name)
            if match and match["machine"] in (machine, None) and not _is_alive(int(match["process"] or match["older"])):
                with suppress(OSError):
                    path.unlink()


def _machine() -> str:
    return re.sub(r"[^\w-]", "_", platform.node())[:60]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


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
