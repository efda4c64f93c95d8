"""Labels of many files that come as one zip, as the label page exports them."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from singletrack.errors import InputError
from singletrack.labeling.formats.checks import DAMAGED, Place, words

ZIP_ENDING = ".zip"
UNPACKED_BYTES = 1_000_000_000  # most that a zip may unpack to
UNPACKED_FILES = 200_000
OF_SYSTEMS = {"__MACOSX", ".DS_Store", "Thumbs.db"}  # what packing adds to a zip besides the files
LINK = 0xA  # the kind of a file that is a link, in the attributes of an entry


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The labels in a zip, unpacked for as long as the context lasts: a folder, or the only file.

    Raises:
        InputError: For a file that is no zip, one that unpacks to too much, and one with links or with names that lead
            out of its folder. Errors that are raised inside of the context name the zip instead of the folder.
    """
    with tempfile.TemporaryDirectory(prefix="singletrack-labels-") as temporary:
        folder = Path(temporary) / (path.stem or "labels")
        folder.mkdir()
        _unpack(path, folder)
        entries = [entry for entry in folder.iterdir() if entry.name not in OF_SYSTEMS]
        inside = entries[0] if len(entries) == 1 and not _is_part(entries[0]) else folder
        try:
            yield inside
        except InputError as error:
            raise InputError(str(error).replace(str(folder), str(path))) from error


def _is_part(entry: Path) -> bool:
    """Whether a lone folder in a zip is part of a format, not a folder around it."""
    return entry.name in {"annotations", "Annotations", "gt"}


def _unpack(path: Path, folder: Path) -> None:
    root = folder.resolve()
    place = Place(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > UNPACKED_FILES or sum(entry.file_size for entry in entries) > UNPACKED_BYTES:
                raise place.error(
                    f"a zip of at most {UNPACKED_FILES} files and {UNPACKED_BYTES / 1e9:.0f} GB unpacked",
                    words("a larger one"),
                    "leave the pictures out",
                )
            for entry in entries:
                inside = (root / entry.filename).resolve()
                if not inside.is_relative_to(root) or "\\" in entry.filename or entry.external_attr >> 28 == LINK:
                    raise place.error("a zip of plain files", words(f"the entry {entry.filename!r}"), "pack it anew")
            archive.extractall(root)
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        got = "other content" if isinstance(error, zipfile.BadZipFile) else f"an error ({error})"
        raise place.error("a zip that can be unpacked", words(got), DAMAGED) from error
