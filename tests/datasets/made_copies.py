"""Small copies of benchmarks, made by the tests: pictures that say their number, and archives."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from singletrack.datasets.base import VideoSequence

WIDTH, HEIGHT = 16, 12


def picture(number: int, ending: str = ".jpg") -> bytes:
    """A small picture of one gray, which is its number (modulo 256); JPEG keeps it exactly."""
    gray = np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8)
    return cv2.imencode(ending, gray, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


class Tree:
    """Writes a made copy of a benchmark, file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.root.mkdir()

    def text(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def frames(self, folder: str, numbers: Iterable[int], pattern: str = "{:08d}.jpg") -> None:
        """Pictures with these numbers, in their names and as their gray."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            name = pattern.format(number)
            (self.root / folder / name).write_bytes(picture(number, Path(name).suffix))


def archive(folder: Path, target: Path, inside: str = "") -> Path:
    """Pack what is in a folder into a .zip or .tar, below a folder `inside` of it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [str(Path(inside) / path.relative_to(folder)) for path in files]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, name in zip(files, names, strict=True):
                packed.write(path, name)
    else:
        with tarfile.open(target, "w") as packed:
            for path, name in zip(files, names, strict=True):
                packed.add(path, name)
    return target


def grays(sequence: VideoSequence) -> list[int]:
    """The numbers of its frames, read from their pixels."""
    return [int(frame[0, 0, 0]) for frame in map(sequence.frames.__getitem__, range(len(sequence.frames)))]
