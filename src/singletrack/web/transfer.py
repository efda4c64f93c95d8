"""Labels to a file that the browser keeps, and from one that it sends."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from singletrack.errors import InputError
from singletrack.labeling import Project
from singletrack.labeling.formats import FORMATS, LabelFormat, read_labels, write_labels


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
    several = row.folder or pictures  # files
    alike = [each for each in FORMATS.values() if each.suffix == row.suffix]
    if len(alike) > 1 or several:  # else the ending says it
        stem = f"{stem}-{format}"
    path = folder / (stem if several else f"{stem}{row.suffix}")
    write_labels(
        project.labels(), path, format=format, tolerance=tolerance, frames=project.source if pictures else None
    )
    return Path(shutil.make_archive(str(path), "zip", path)) if several else path


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
    path = path.rename(path.with_name(f"labels{suffix}"))
    try:
        return project.import_labels(read_labels(path, format=format, video=project.video))
    except InputError as error:  # the person knows the file by its own name
        raise InputError(str(error).replace(str(path), name)) from error


def _find_format(name: str) -> LabelFormat:
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}; got {name!r}")
    return FORMATS[name]
