"""The cache folder: exports made on the fly, and what engines compiled."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from singletrack.errors import SingletrackError
from singletrack.files import make_folder, remove_unfinished

OWN_FILES = re.compile(r"\.?.+-[0-9a-f]{32}(\.\d+\.part)?\.(onnx|blake2b|alias)")  # exports, also unfinished ones


def cache_folder() -> Path:
    """Return the cache folder: SINGLETRACK_CACHE, else singletrack in XDG_CACHE_HOME, else in ~/.cache.

    A user without a home folder, as in some containers, gets one that lasts as long as the process.
    """
    if own := os.environ.get("SINGLETRACK_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "singletrack"
    try:
        return Path.home() / ".cache" / "singletrack"
    except RuntimeError:
        return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="singletrack-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def clear_cache(folder: Path) -> tuple[int, int]:
    """Remove cached exports and compiled networks; returns how many files and bytes that were.

    Frames and masks that were prepared for training stay, and so does what singletrack did not make.
    """
    exports = [path for path in folder.glob("*") if OWN_FILES.fullmatch(path.name)]
    files = [path for path in (*exports, *(folder / "compiled").rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return len(files), size


def check_cache(size: int) -> None:
    """Make the cache folder and remove what killed processes left in it.

    Raises SingletrackError, naming SINGLETRACK_CACHE, where nothing can be written or ``size`` bytes have no room.
    """
    folder = cache_folder()
    advice = "make room, or set SINGLETRACK_CACHE to another folder"
    try:
        make_folder(folder)
        free = shutil.disk_usage(folder).free
    except (SingletrackError, OSError) as error:
        raise SingletrackError(
            f"expected a cache folder that can be written; got {folder} ({error}); {advice}"
        ) from error
    if free < size:
        raise SingletrackError(f"expected {size} bytes of room in the cache folder {folder}; got {free}; {advice}")
    remove_unfinished(folder)


def compiled_folder(instructions: str) -> Path | None:
    """Return the folder for networks compiled for a set of instructions; None if it cannot be written.

    OpenVINO crashes where it reads what was compiled for other instructions: on another machine with the same home
    folder, or on this one with ONEDNN_MAX_CPU_ISA set.

    Args:
        instructions: names the set, see ``engines.cpu.instructions``.
    """
    folder = cache_folder() / "compiled" / digest(instructions.encode())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def digest(*parts: Path | bytes) -> str:
    """Return a name for the content of files and bytes: 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        one = hashlib.blake2b()
        if isinstance(part, bytes):
            one.update(part)
        else:
            with part.open("rb") as stream:
                while block := stream.read(1 << 20):
                    one.update(block)
        total.update(one.digest())
    return total.hexdigest()
