"""The labels of projects as sequences with pictures, for fine-tuning and evaluation."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from singletrack.errors import InputError
from singletrack.files import writing
from singletrack.labeling.formats import write_labels
from singletrack.labeling.formats.output import new_folder, unique_names
from singletrack.labeling.labels import LabeledBox, LabeledTarget
from singletrack.labeling.project import Project


def write_lessons(projects: Iterable[str | Path], folder: str | Path) -> list[str]:
    """Write the targets of projects as sequences, for data set "folder" of ``singletrack finetune`` and ``evaluate``.

    Keyframes and tracked boxes are written. Frames where the tracker lost the target, and those between keyframes that
    are not tracked yet, get no box: what nobody has seen is no lesson.

    Args:
        projects: Project files. They are only read, also while another process writes.
        folder: A new or empty folder.

    Returns:
        The names of the sequences.

    Raises:
        InputError: If no project has a box, or the folder is not empty.
        ProjectError: As ``Project.open``.
        VideoError: If the video of a project cannot be read.
    """
    folder, paths = Path(folder), [Path(path) for path in projects]
    new_folder(folder)
    part = folder / ".part"
    found: list[Path] = []
    with writing(folder):
        try:
            for number, path in enumerate(paths):
                with Project.open(path, read_only=True) as project:
                    labels = project.labels()
                    seen = tuple(_seen(target) for target in labels.targets)
                    inside = part / str(number)
                    write_labels(replace(labels, targets=seen), inside, format="got10k", frames=project.source)
                found += sorted(each for each in inside.iterdir() if each.is_dir())
            if not found:
                raise InputError(
                    f"expected boxes in {', '.join(map(str, paths))}; got none; draw boxes with `singletrack label`"
                )
            names = unique_names(each.name for each in found)  # two projects may have clips of one name
            for each, name in zip(found, names, strict=True):
                each.rename(folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return names


def _seen(target: LabeledTarget) -> LabeledTarget:
    boxes = {frame: each for frame, each in target.boxes.items() if _is_seen(each)}
    return replace(target, boxes=boxes)


def _is_seen(each: LabeledBox) -> bool:
    return each.keyframe or not (each.lost or each.source == "interpolation")
