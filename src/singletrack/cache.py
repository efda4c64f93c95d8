"""The cache folder: exports made on the fly, and what engines compiled."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: SINGLETRACK_CACHE, else singletrack in XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("SINGLETRACK_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "singletrack"


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
