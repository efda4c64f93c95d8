"""The cache folder: exports made on the fly, and what engines compiled."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from singletrack.errors import SingletrackError
from singletrack.files import make_folder, remove_unfinished


def cache_folder() -> Path:
    """Return the cache folder: SINGLETRACK_CACHE, else singletrack in XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("SINGLETRACK_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "singletrack"


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


def compiled_folder() -> Path | None:
    """Return the folder for compiled networks; None if it cannot be written."""
    folder = cache_folder() / "compiled"
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
