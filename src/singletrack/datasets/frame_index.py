"""An index of a data set for training: boxes and file names of every sequence in a few flat arrays on disk.

Reading the annotations of a large data set takes minutes, and its sequences as objects take gigabytes. The data set
is therefore read once, with the readers of ``registry``, and saved as arrays that all processes map into memory as
one copy.

    folder/
    ├── facts.json       data set, split, location of the sequences, and the fingerprint
    ├── names.npy        (n,) names of the sequences, bytes
    ├── categories.npy   (n,) what their targets are, bytes; empty if unknown
    ├── places.npy       (n,) index of the folder in facts.json that holds the frames of each sequence
    ├── starts.npy       (n + 1,) start of each sequence in the arrays below
    ├── files.npy        (frames,) file names, bytes
    ├── boxes.npy        (frames, 4) float32 xywh, pixels
    └── visible.npy      (frames,) True if there is a box and the target is not marked as absent or hidden
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.base import Image, VideoSequence
from singletrack.datasets.layouts import has_size
from singletrack.datasets.registry import Choice, choose, raise_problems, try_open
from singletrack.datasets.storage import Place, StoredFrames
from singletrack.errors import InputError

ARRAYS = ("names", "categories", "places", "starts", "files", "boxes", "visible")


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameIndex:
    """The sequences of one split, from ``open_frame_index``. Can be pickled; other processes map the same files.

    Attributes:
        folder: folder of its arrays, with the layout above.
        fingerprint: SHA-256 of the arrays without categories (names, boxes and flags, not pixels), 64 hexadecimal
            digits.
    """

    folder: Path
    dataset: str
    split: str
    fingerprint: str
    where: tuple[Place, ...]
    names: NDArray[np.bytes_]
    categories: NDArray[np.bytes_]
    places: NDArray[np.int32]
    starts: NDArray[np.int64]
    files: NDArray[np.bytes_]
    boxes: NDArray[np.float32]
    visible: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.names)

    def __reduce__(self) -> tuple[Callable[[Path], FrameIndex], tuple[Path]]:
        return load_footage, (self.folder,)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) number of frames of each sequence."""
        return np.diff(self.starts)

    @cached_property
    def seen(self) -> NDArray[np.int64]:
        """(n,) number of frames of each sequence in which the target is visible."""
        return np.add.reduceat(self.visible, self.starts[:-1], dtype=np.int64)

    @property
    def of_pictures(self) -> bool:
        """Check whether every sequence is a single image, as in COCO."""
        return bool((self.lengths == 1).all())

    def frames(self, sequence: int) -> slice:
        """Return the slice of a sequence in ``files``, ``boxes`` and ``visible``."""
        return slice(int(self.starts[sequence]), int(self.starts[sequence + 1]))

    def box(self, sequence: int, frame: int) -> NDArray[np.float32]:
        """Return the box of a frame, (4,) xywh in pixels."""
        return np.array(self.boxes[self.starts[sequence] + frame])

    def picture(self, sequence: int, frame: int, shrunk: int = 1) -> Image:
        """Read a frame, (H, W, 3) uint8 RGB, at 1 / ``shrunk`` of its size; raises VideoError if that fails."""
        name = bytes(self.files[self.starts[sequence] + frame]).decode()
        return StoredFrames(self.where[self.places[sequence]], [name]).picture(0, shrunk)


def open_frame_index(
    name: str,
    root: str | Path,
    folder: str | Path,
    *,
    split: str = "",
    split_file: str | Path | None = None,
    exclude_file: str | Path | None = None,
    incomplete: bool = False,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> FrameIndex:
    """Open the index of a split; it is read from ``root`` once, and from ``folder`` later.

    Args:
        folder: cache folder, with one subfolder per choice of data set, root, split and files. Delete it to read a
            changed copy again.
        progress: wraps the iteration over sequence names, such as a tqdm bar.

    For the other arguments, and the InputError for a missing or incomplete copy, see ``registry.open_dataset``.
    """
    lists = [None if file is None else Path(file).read_bytes().hex() for file in (split_file, exclude_file)]
    asked = json.dumps([name, str(Path(root).resolve()), split, *lists, incomplete])
    kept = Path(folder) / f"{name}-{split or 'default'}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    if not all(
        (kept / file).is_file() for file in ("facts.json", "categories.npy")
    ):  # an older index has no categories
        chosen = choose(name, root, split=split, split_file=split_file, exclude_file=exclude_file)
        _write(_gathered(name, root, chosen, incomplete, progress), kept)
    return load_footage(kept)


def write_frame_index(dataset: str, sequences: Iterable[VideoSequence], folder: Path) -> FrameIndex:
    """Write an index of open sequences to a folder. Their frames must be image files or in an archive.

    Raises:
        InputError: a sequence without all of its boxes.
    """
    gathering = _Gathering(dataset=dataset, split="")
    for sequence in sequences:
        gathering.add(sequence)
    _write(gathering, folder)
    return load_footage(folder)


def load_footage(folder: Path) -> FrameIndex:
    """Load an index; raises InputError for missing or damaged files."""
    try:
        facts = json.loads((folder / "facts.json").read_text())
        arrays: dict[str, Any] = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read the index in {folder} ({error}); delete it to create it again") from error
    where = tuple(Place(Path(path), inside) for path, inside in facts.pop("where"))
    return FrameIndex(folder=folder, where=where, **facts, **arrays)


@dataclass(kw_only=True)
class _Gathering:
    """Collects sequences one by one."""

    dataset: str
    split: str
    where: dict[Place, int] = field(default_factory=dict)
    names: list[bytes] = field(default_factory=list)
    categories: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    files: list[NDArray[np.bytes_]] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    visible: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, sequence: VideoSequence) -> None:
        """Add a sequence; raises InputError if it does not have a box for every frame."""
        frames = sequence.frames
        if len(sequence.boxes_xywh) != len(sequence):
            raise InputError(
                f"it has {len(sequence.boxes_xywh)} boxes for {len(sequence)} frames; train on another split"
            )
        assert isinstance(frames, StoredFrames)
        self.names.append(sequence.name.encode())
        self.categories.append(sequence.category.encode())
        self.places.append(self.where.setdefault(frames.folder, len(self.where)))
        self.starts.append(self.starts[-1] + len(sequence))
        self.files.append(np.array([name.encode() for name in frames.names]))
        self.boxes.append(sequence.boxes_xywh.astype(np.float32))
        there = has_size(sequence.boxes_xywh)
        self.visible.append(there if sequence.visible is None else there & sequence.visible)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "names": np.array(self.names),
            "categories": np.array(self.categories),
            "places": np.array(self.places, np.int32),
            "starts": np.array(self.starts, np.int64),
            "files": np.concatenate(self.files),
            "boxes": np.concatenate(self.boxes),
            "visible": np.concatenate(self.visible),
        }


def _gathered(
    name: str,
    root: str | Path,
    chosen: Choice,
    incomplete: bool,
    progress: Callable[[Iterable[str]], Iterable[str]],
) -> _Gathering:
    gathering = _Gathering(dataset=name, split=chosen.split)
    problems = dict(chosen.problems)
    for sequence_name in progress(chosen.openers):
        sequence = try_open(chosen.openers[sequence_name])
        if isinstance(sequence, str):
            problems[sequence_name] = sequence
            continue
        try:
            gathering.add(sequence)
        except InputError as error:
            problems[sequence_name] = str(error)
    raise_problems(name, chosen.split, root, {} if incomplete else problems, found=len(gathering.names))
    return gathering


def _write(gathering: _Gathering, folder: Path) -> None:
    """Write the arrays and then facts.json, atomically."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    total = hashlib.sha256()
    for name, array in gathering.arrays().items():
        np.save(unfinished / f"{name}.npy", array)
        if name == "categories":
            continue
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).data.cast("B"))
    facts = {
        "dataset": gathering.dataset,
        "split": gathering.split,
        "fingerprint": total.hexdigest(),
        "where": [(str(place.path), place.inside) for place in gathering.where],
    }
    (unfinished / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)  # a damaged folder
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / "facts.json").is_file():  # otherwise another process has written the same
            raise
        shutil.rmtree(unfinished)
