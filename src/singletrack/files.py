"""Write files safely: check a place before anything is touched, write atomically, and give one error for failures."""

from __future__ import annotations

import errno
import glob
import itertools
import json
import os
import platform
import re
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from singletrack.errors import CheckpointError, InputError, SingletrackError, reason_of

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


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise InputError if an output file is also an input or another output, by whatever name. Links are followed.

    Args:
        outputs: files to write; None is ignored.
        inputs: files to read; None is ignored. A folder or glob means the files in it.
    """
    taken: dict[object, str] = {}
    for given in inputs:
        for path in [] if given is None else _files_of(given):
            if (identity := _identity(path)) is not None:
                taken.setdefault(identity, f"{path} is to be read as well")
    for output in filter(None, outputs):
        name = _identity(output) or os.path.abspath(output)
        if name in taken:
            raise InputError(f"output file {output} would overwrite another file: {taken[name]}; choose another name")
        if not output.exists() or output.is_file():
            taken[name] = f"{output} is to be written already"


def check_output_folder(folder: Path, inputs: Iterable[str | Path | None], *, outputs: Collection[str] = ()) -> None:
    """Raise InputError if an output folder is an input folder or lies in one, or if a file in it would be overwritten.

    Args:
        folder: folder to write to.
        inputs: files and folders to read; None is ignored.
        outputs: names of the files to write in the folder. One that is also an input is an error.
    """
    given = [Path(each) for each in inputs if each is not None]
    for other in given:
        if other.is_dir() and folder.resolve().is_relative_to(other.resolve()):
            raise InputError(
                f"the output folder must be outside the input folder; got {folder} in {other}, where the output would "
                "be read as input; choose another --out"
            )
    check_outputs([folder / name for name in outputs], [each for each in given if not each.is_dir()])


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
    """Create a folder if needed and check that it is writable; raises SingletrackError if not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """As ``make_folder``, as a context manager: if it fails inside, a folder that is new and still empty is removed."""
    existed = path.exists()
    make_folder(path)
    try:
        yield
    except BaseException:
        if not existed:
            with suppress(OSError):
                path.rmdir()
        raise


def check_weights_kind(path: Path) -> None:
    """Raise CheckpointError, saying what to do, for a file that stands where weights should be but holds none."""
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        kind = "an empty file; the download or copy did not finish: get it again"
    elif start.startswith(b"version https://git-lfs.github.com/spec/"):
        kind = "a git-lfs pointer instead of the file; run `git lfs pull` in its folder, or download the file"
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
    metadata = safetensors_header(path)[0].get("__metadata__")
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a .safetensors file, and where its tensors begin; an empty header for any other file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 2 <= length <= LONGEST_HEADER else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = {}
    return header if isinstance(header, dict) else {}, 8 + length


_COUNTER = itertools.count()
# .NAME.MACHINE-PROCESS-NUMBER.part.ending; versions before this one wrote .NAME.PROCESS.ending
_UNFINISHED = re.compile(
    r"\..+\.(?:(?P<machine>[\w-]*)-(?P<process>\d+)-\d+\.part(\.\w+)?|(?P<older>\d+)(\.part)?\.(onnx|xml|bin|blake2b))"
)


def unfinished_name(path: Path) -> Path:
    """Return a hidden name next to ``path`` with its ending, unique to this process."""
    stem = path.stem.encode("utf-8", "replace")[:100].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{_machine()}-{os.getpid()}-{next(_COUNTER)}.part{path.suffix}")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context manager that gives a temporary path next to ``path`` and replaces ``path`` with it at the end.

    The temporary file has a separate name for each process and thread, keeps the ending of ``path``, and is removed
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
    """Context manager that converts an OSError to the error of ``unwritable``."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> SingletrackError:
    """Build the error for a file or folder that cannot be written, with the reason from the system or FFmpeg.

    An InputError where a file stands in place of a folder, or a folder in place of a file.
    """
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)
        if file is not None:
            where = f", to write {path} into" if file != path else ""
            return InputError(f"expected a folder{where}; {file} is a file; choose another name, or move it")
    if path.is_dir() and isinstance(error, IsADirectoryError | PermissionError | FileExistsError):
        return InputError(f"expected the name of a file to write; {path} is a folder; add the name of a file to it")
    reason = reason_of(error)
    return SingletrackError(
        f"cannot write {path} ({reason}); check that its folder exists, is writable and has free space"
    )
