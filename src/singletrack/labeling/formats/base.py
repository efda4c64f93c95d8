"""What every label format is: a way to read it, a way to write it, and what it can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from singletrack.geometry.boxes import Box
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How labels are written.

    Attributes:
        tolerance: Largest error in pixels of a side, in formats that hold few keyframes; None:
            ``reduction.usual_tolerance``.
        frames: Video or folder of frames to copy pictures from; None writes no pictures.
    """

    tolerance: float | None = None
    frames: Path | None = None


@dataclass(frozen=True, kw_only=True)
class LabelFormat:
    """One row of the table of formats.

    Attributes:
        about: One line for help texts.
        read: Reads a path; the video is given where the format does not describe it, or where it is known better.
        write: Writes a path.
        suffix: Ending of its file; empty where it is a folder of files.
        ids: Whether it says which boxes belong to the same target.
        pictures: Whether pictures can be written with it.
        keyframes: Whether it holds few keyframes, to a tolerance.
        package: Package that writing needs; empty for none.
    """

    about: str
    read: Callable[[Path, VideoInfo | None], LabelSet]
    write: Callable[[LabelSet, Path, WriteOptions], None]
    suffix: str = ""
    ids: bool = True
    pictures: bool = False
    keyframes: bool = False
    package: str = ""

    @property
    def available(self) -> bool:
        """Whether the package that writing needs is installed."""
        return not self.package or find_spec(self.package) is not None

    @property
    def folder(self) -> bool:
        """Whether it is a folder of files."""
        return not self.suffix


def is_visible(entry: LabeledBox) -> bool:
    """Whether a target can be seen: it is neither absent nor lost."""
    return entry.box is not None and not entry.lost


def visible_boxes(entries: Iterable[tuple[int, LabeledBox]]) -> dict[int, Box]:
    """The boxes of a target in the frames where it can be seen, ascending."""
    return {frame: entry.box for frame, entry in entries if entry.box is not None and not entry.lost}


def format_number(value: float, decimals: int = 4) -> str:
    """Round a number to a number of decimals: 12.50004 -> 12.5, -0.00001 -> 0."""
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
