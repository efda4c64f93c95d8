"""Types and helpers that the readers of all layouts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
]  # sequence name -> reader; raises InputError for an incomplete sequence


LONGEST_NUMBER = 18  # digits of a frame's number in the name of its file


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader stumble over into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        said = "no" if isinstance(error, KeyError) else type(error).__name__
        raise InputError(f"expected a file of its kind; {path} has {said} {error}; get a complete copy") from error


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One row of the table of data sets.

    Attributes:
        about: a short description.
        splits: split name -> number of sequences; None if it varies. The first split is the default.
        find: (storage, split, text of a split file or None) -> the sequences of a split in the benchmark's order. It
            needs the text only if the copy has no list, and raises InputError if neither has one.
        needs_file: splits that need a split file -> its usual name, which is also found in the root.
        attributes: names of the challenge attributes in its flag files, in order, separated by spaces.
        layout: layout below the root, for error messages, of data sets used for training; docs/datasets.md has all
            layouts.
    """

    about: str
    splits: dict[str, int | None]
    find: Callable[[Storage, str, str | None], SequenceReaders]
    needs_file: dict[str, str] = field(default_factory=dict)
    attributes: str = ""
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class SequencePaths:
    """Paths of one sequence.

    Attributes:
        name: name of the sequence.
        folder: its folder.
        frames: folders of which one holds its frames.
        boxes: file with its boxes.
        numbers: first and last file number of its frames; None for all in the folder.
        first_box_only: the file may have only the first box.
    """

    name: str
    folder: str
    frames: tuple[str, ...]
    boxes: str
    numbers: tuple[int, int] | None = None
    first_box_only: bool = False


def in_folder(name: str, folder: str, images: tuple[str, ...], boxes: str = "groundtruth.txt") -> SequencePaths:
    """Build the paths of a sequence with boxes in its own folder, and frames in that folder or one below."""
    frames = tuple(f"{folder}/{image}" for image in images)
    return SequencePaths(name=name, folder=folder, frames=frames, boxes=f"{folder}/{boxes}")


def first_existing(storage: Storage, places: Iterable[str]) -> str:
    """Return the first folder that exists and is not empty; "", the root, if none does."""
    return next((place for place in places if any(storage.place(place).contents())), "")


def by_class(name: str) -> str:
    """Convert airplane-9 to airplane/airplane-9."""
    return f"{name.rpartition('-')[0]}/{name}"


def names_by_class(storage: Storage, base: str) -> list[str]:
    """List the names of folders with the layout of ``by_class``."""
    groups = storage.folders(base)
    return [name for group in groups for name in storage.folders(f"{base}/{group}") if name.startswith(f"{group}-")]


def number_of(name: str) -> int:
    """Return the number in a file name, frame_0012.jpg -> 12; -1 without a number."""
    digits = re.findall(r"\d+", name.rpartition(".")[0])
    return int(digits[-1]) if digits and len(digits[-1]) <= LONGEST_NUMBER else -1


def frames_of(storage: Storage, target: SequencePaths) -> StoredFrames:
    """Return the frames of a sequence in order; raises InputError if there are none."""
    for folder in target.frames:
        names = storage.pictures(folder)
        if target.numbers is not None:
            first, last = target.numbers
            names = [name for name in names if first <= number_of(name) <= last]
        if names:
            return storage.frames(folder, names)
    raise InputError(f"no frames in {storage.place(target.frames[0])}; get a complete copy")


def read(storage: Storage, path: str, how: Callable[[str], Any]) -> Any:
    """Read a file with a function of ``annotations``; adds the file name to its errors."""
    text = storage.text(path)
    try:
        with reading(path):
            return how(text)
    except InputError as error:
        raise InputError(f"{path}: {error}; get a complete copy") from error


def read_flags(storage: Storage, path: str) -> NDArray[np.bool_]:
    """Read a file of 0 and 1, in one or more lines: (N,)."""
    return np.asarray(read(storage, path, read_values) > 0)


def has_size(boxes_xywh: Array) -> NDArray[np.bool_]:
    """Check which rows are boxes, neither NaN nor empty: (N, 4) -> (N,)."""
    return np.asarray((boxes_xywh[:, 2:] > 0).all(1))


def read_language(storage: Storage, target: SequencePaths, *files: str) -> str:
    """Read the sentence in the first existing file; "" if no file exists."""
    there = (f"{target.folder}/{file}" for file in files if storage.has(f"{target.folder}/{file}"))
    return next((" ".join(storage.text(path).split()) for path in there), "")


def sequence(storage: Storage, target: SequencePaths, boxes_xywh: Array, **facts: Any) -> VideoSequence:
    """Build a sequence; raises InputError if boxes and frames do not match."""
    frames = frames_of(storage, target)
    if len(boxes_xywh) != len(frames) and not (target.first_box_only and len(boxes_xywh) == 1):
        raise InputError(
            f"each frame needs a box; got {len(boxes_xywh)} boxes in {target.boxes} and {len(frames)} frames "
            f"in {frames.folder}; get a complete copy"
        )
    return VideoSequence(name=target.name, frames=frames, boxes_xywh=boxes_xywh, **facts)


def read_plain(storage: Storage, target: SequencePaths, **facts: Any) -> VideoSequence:
    """Read a sequence that has only boxes."""
    return sequence(storage, target, read(storage, target.boxes, read_boxes), **facts)


def read_hidden_without_box(storage: Storage, target: SequencePaths, **facts: Any) -> VideoSequence:
    """Read a sequence whose boxes are NaN or 0,0,0,0 where the target is not visible."""
    boxes = read(storage, target.boxes, read_boxes)
    return sequence(storage, target, boxes, visible=has_size(boxes), **facts)
