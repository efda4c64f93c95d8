"""Labels to a file that the browser keeps, and from one that it sends."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

from singletrack.errors import InputError
from singletrack.labeling import Project
from singletrack.labeling.formats import FORMATS, LabelFormat, read_labels, write_labels

UNPACKED_BYTES = 1_000_000_000  # most that a zip may unpack to
UNPACKED_FILES = 200_000


def list_formats() -> list[dict[str, Any]]:
    """What the export dialog shows of each format."""
    return [
        {"name": name, "about": each.about, "keyframes": each.keyframes, "pictures": each.pictures}
        for name, each in FORMATS.items()
        if each.available
    ]


def export_labels(
    project: Project,
    clip_name: str,
    format: str,
    folder: Path,
    *,
    tolerance: float | None = None,
    pictures: bool = False,
) -> Path:
    """Write the labels into an empty `folder`; returns the file, a zip where the format has several.

    Args:
        project: The project.
        clip_name: The file is named after it.
        format: Name of the format.
        folder: Where to write.
        tolerance: As for ``write_labels``.
        pictures: Whether to write the labeled frames too.

    Raises:
        InputError: If there is no such format, or it cannot hold these labels.
    """
    row = _find_format(format)
    stem = re.sub(r"[^\w.-]+", "-", Path(clip_name).stem, flags=re.ASCII).strip("-.") or "labels"
    inside = folder / "labels"
    if row.suffix:
        inside.mkdir()
    path = inside / f"{stem}{row.suffix}" if row.suffix else inside
    write_labels(
        project.labels(), path, format=format, tolerance=tolerance, frames=project.source if pictures else None
    )
    if row.suffix and list(inside.iterdir()) == [path]:
        return path
    return Path(shutil.make_archive(str(folder / f"{stem}-{format}"), "zip", inside))


def import_labels(project: Project, path: Path, name: str, format: str | None) -> list[int]:
    """Add the labels of a file to a project; returns the new ids.

    Args:
        project: The project.
        path: The file, or a zip of a folder.
        name: What the file is called where it comes from: for its ending, and for messages.
        format: Name of the format. [default: by the ending or content]

    Raises:
        InputError: If it cannot be read as labels of this clip.
    """
    if format is not None:
        _find_format(format)
    suffix = "".join(re.findall(r"\.\w+$", Path(name.replace("\\", "/")).name, flags=re.ASCII)).lower()
    if zipfile.is_zipfile(path):
        target = path.with_name("labels")
        _unpack(path, target)
        entries = list(target.iterdir())
        path = entries[0] if len(entries) == 1 else target  # a zip of one file, or of one folder
    else:
        path = path.rename(path.with_name(f"labels{suffix}"))
    try:
        return project.import_labels(read_labels(path, format=format, video=project.video))
    except InputError as error:  # the person knows the file by its own name
        raise InputError(str(error).replace(str(path), name)) from error


def _find_format(name: str) -> LabelFormat:
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}; got {name!r}")
    return FORMATS[name]


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a zip; refuses names that leave the folder, links, and more than a sensible size."""
    folder.mkdir()
    root = folder.resolve()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > UNPACKED_FILES or sum(entry.file_size for entry in entries) > UNPACKED_BYTES:
                raise InputError(
                    f"expected a zip of at most {UNPACKED_BYTES / 1e9:.0f} GB unpacked; this one is larger"
                )
            for entry in entries:
                inside = (root / entry.filename).resolve()
                if not inside.is_relative_to(root) or "\\" in entry.filename or entry.external_attr >> 28 == 0xA:
                    raise InputError(f"expected a zip of plain files; got the entry {entry.filename!r}; pack it anew")
            archive.extractall(root)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"expected a zip that can be unpacked; got an error ({error}); pack it anew") from error
