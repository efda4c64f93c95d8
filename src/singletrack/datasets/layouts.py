"""Types and helpers that the readers of all layouts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.annotations import read_boxes, read_values
from singletrack.datasets.base import Array, VideoSequence
from singletrack.datasets.storage import Storage, StoredFrames
from singletrack.errors import InputError

SequenceReaders = dict[
    str, Callable[[], VideoSequence]
]  # name of a sequence -> reads it; raises InputError where it is not whole


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One row of the table.

    splits: name of a split -> how many sequences it has; None where that differs. The first one is the default.
    find: (storage, split, text of a split file or None) -> the sequences of a split, in the benchmark's order; it
        needs the text only where the copy does not tell. Raises InputError where neither does.
    needs_file: splits that a split file alone tells -> its usual name; it is also found in the root.
    attributes: the challenges that its files of flags (0 or 1 each) name, in their order, parted by spaces.
    layout: what lies below its root, for errors, of those that one trains on; docs/datasets.md has all of it.
    """

    about: str
    splits: dict[str, int | None]
    find: Callable[[Storage, str, str | None], SequenceReaders]
    needs_file: dict[str, str] = field(default_factory=dict)
    attributes: str = ""
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class SequencePaths:
    """Where one sequence lies: its folder, folders of which one holds its frames, and the file with its boxes.

    numbers: first and last of the frames that belong to it, as the files are numbered; None: all in the folder.
    first_box_only: the file may hold the first box alone.
    """

    name: str
    folder: str
    frames: tuple[str, ...]
    boxes: str
    numbers: tuple[int, int] | None = None
    first_box_only: bool = False


def in_folder(name: str, folder: str, images: tuple[str, ...], boxes: str = "groundtruth.txt") -> SequencePaths:
    """A target whose boxes lie in its own folder, and its frames in that or in one below it."""
    frames = tuple(f"{folder}/{image}" for image in images)
    return SequencePaths(name=name, folder=folder, frames=frames, boxes=f"{folder}/{boxes}")


def first_existing(storage: Storage, places: Iterable[str]) -> str:
    """The first of these folders that is there and not empty; "", the root, where none is."""
    return next((place for place in places if any(storage.place(place).contents())), "")


def by_class(name: str) -> str:
    """airplane-9 -> airplane/airplane-9"""
    return f"{name.rpartition('-')[0]}/{name}"


def names_by_class(storage: Storage, base: str) -> list[str]:
    """Names of the folders that lie as ``by_class`` has it."""
    groups = storage.folders(base)
    return [name for group in groups for name in storage.folders(f"{base}/{group}") if name.startswith(f"{group}-")]


def number_of(name: str) -> int:
    """frame_0012.jpg -> 12; -1 where there is no number."""
    digits = re.findall(r"\d+", name.rpartition(".")[0])
    return int(digits[-1]) if digits else -1


def frames_of(storage: Storage, target: SequencePaths) -> StoredFrames:
    """The frames of a target, in their order. Raises InputError where there are none."""
    for folder in target.frames:
        names = storage.pictures(folder)
        if target.numbers is not None:
            first, last = target.numbers
            names = [name for name in names if first <= number_of(name) <= last]
        if names:
            return storage.frames(folder, names)
    raise InputError(f"expected frames in {storage.place(target.frames[0])}; found none; get a whole copy")


def read(storage: Storage, path: str, how: Callable[[str], Any]) -> Any:
    """A file as one of the functions of ``annotations`` reads it; its errors are told with the file's name."""
    text = storage.text(path)
    try:
        return how(text)
    except InputError as error:
        raise InputError(f"{path}: {error}; get a whole copy") from error


def read_flags(storage: Storage, path: str) -> NDArray[np.bool_]:
    """A file of 0 and 1, in one line or in many: (N,)."""
    return np.asarray(read(storage, path, read_values) > 0)


def has_size(boxes_xywh: Array) -> NDArray[np.bool_]:
    """Which rows are boxes: neither NaN nor empty. (N, 4) -> (N,)."""
    return np.asarray((boxes_xywh[:, 2:] > 0).all(1))


def read_language(storage: Storage, target: SequencePaths, *files: str) -> str:
    """The sentence in the first of these files that is there; "" where none is."""
    there = (f"{target.folder}/{file}" for file in files if storage.has(f"{target.folder}/{file}"))
    return next((" ".join(storage.text(path).split()) for path in there), "")


def sequence(storage: Storage, target: SequencePaths, boxes_xywh: Array, **facts: Any) -> VideoSequence:
    """The sequence of a target. Raises InputError where its boxes and frames do not fit each other."""
    frames = frames_of(storage, target)
    if len(boxes_xywh) != len(frames) and not (target.first_box_only and len(boxes_xywh) == 1):
        raise InputError(
            f"expected a box for each frame; got {len(boxes_xywh)} boxes in {target.boxes} and {len(frames)} frames "
            f"in {frames.folder}; get a whole copy"
        )
    return VideoSequence(name=target.name, frames=frames, boxes_xywh=boxes_xywh, **facts)


def read_plain(storage: Storage, target: SequencePaths, **facts: Any) -> VideoSequence:
    """A sequence of which the benchmark tells the boxes and no more."""
    return sequence(storage, target, read(storage, target.boxes, read_boxes), **facts)


def read_hidden_without_box(storage: Storage, target: SequencePaths, **facts: Any) -> VideoSequence:
    """A sequence that has no box (NaN or 0,0,0,0) where its target cannot be seen."""
    boxes = read(storage, target.boxes, read_boxes)
    return sequence(storage, target, boxes, visible=has_size(boxes), **facts)
