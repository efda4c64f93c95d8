"""Write files safely: check a place before anything is touched, write atomically, and give one error for failures."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from singletrack.errors import CheckpointError, InputError, SingletrackError

LONGEST_HEADER = 100_000_000  # bytes of a safetensors file that describe its tensors; the format allows no more


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
    check_writable(path, make_folders=make_folders)


def check_writable(path: Path, *, make_folders: bool = False) -> None:
    """As ``check_file``, for any ending. Pipes and devices are not opened: whoever reads them would see them end."""
    with writing(path):
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(path):
            if path != STDOUT and not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()


STDOUT = Path("-")


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, such as /dev/stdout, which cannot be rewound, replaced or removed."""
    if path == STDOUT or str(path).startswith(
        "/dev/"
    ):  # where standard output may be a file, it is not ours to replace
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def is_stdout(path: Path) -> bool:
    """Whether a path to write to is standard output: "-", or a device or pipe that is the same."""
    try:
        return path == STDOUT or (is_stream(path) and os.path.samestat(path.stat(), os.fstat(1)))
    except OSError:  # there is no such path, or no standard output
        return False


def make_folder(path: Path) -> None:
    """Create a folder if needed and check that it is writable; raises SingletrackError if not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


def check_weights_kind(path: Path) -> None:
    """Raise CheckpointError, saying what to do, for a file that stands where weights should be but holds none."""
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        kind = "an empty file; the download or copy did not finish: get it again"
    elif start.startswith(b"version https://git-lfs.github.com/spec/"):
        kind = (
            "a git-lfs pointer, which stands for the real file; run `git lfs pull` in its folder, or download the file"
        )
    elif text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")) and path.suffix.lower() != ".xml":
        kind = "a web page, often the one that asks for a login or a confirmation; download the file that it links to"
    elif text.startswith((b"<!doctype html", b"<html")):
        kind = "a web page; download the file that it links to"
    elif text.startswith((b'{"error', b'{"message', b"entry not found", b"invalid username", b"access to")):
        kind = "an error message of a server; check the address, and whether the download needs a login"
    else:
        return
    raise CheckpointError(f"expected weights; {path} is {kind}")


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, such as its model; empty for any other file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 2 <= length <= LONGEST_HEADER else b""
    try:
        metadata = json.loads(header)["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}


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
