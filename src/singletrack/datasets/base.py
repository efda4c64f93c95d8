"""Sequences: frames and annotations of one target in a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError

Image = NDArray[np.uint8]
Array = NDArray[np.float64]


class Frames(Protocol):
    """The frames of one sequence, each read when it is asked for; can be pickled and sent to another process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image:
        """Frame `index`, counted from 0, (H, W, 3) uint8 RGB. Raises IndexError past the last one.

        Raises VideoError where it cannot be read or decoded.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoSequence:
    """One target in one video (in a single picture, for a data set of pictures).

    name: as the benchmark writes it; unique in its data set.
    boxes_xywh: (N, 4) pixels, a row a frame, top-left corner first, as the benchmark writes them: NaN or 0,0,0,0 where
        there is no box, and in some of them (``benchmarks`` says which) the first pixel is 1. (1, 4) where only the
        first box is given.
    visible: (N,) False where the benchmark says that the target is absent or wholly hidden, so that a protocol may
        leave the frame out; None where it does not say.
    cover: (N,) 0 to 1, the part of the target that can be seen; None where the benchmark does not say.
    attributes: names of the challenges in it, as the benchmark writes them.
    language: the sentence that describes the target, where there is one.
    dataset: name of the data set, as ``catalog`` has it; empty for a sequence made by hand.
    fps: frames per second, where the benchmark tells.
    told_size_wh: width and height of its frames, where the benchmark tells.

    Raises InputError for boxes, visible or cover that are not one row a frame.
    """

    name: str
    frames: Frames
    boxes_xywh: Array
    visible: NDArray[np.bool_] | None = None
    cover: Array | None = None
    attributes: tuple[str, ...] = ()
    language: str = ""
    dataset: str = ""
    fps: float | None = None
    told_size_wh: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.boxes_xywh.shape not in {(count, 4), (1, 4)}:
            rows = " x ".join(map(str, self.boxes_xywh.shape))
            raise InputError(
                f"expected a box for each of the {count} frames of {self.name}, or the first box alone; got {rows}; "
                "get a whole copy of this sequence"
            )
        for what, values in (("visible", self.visible), ("cover", self.cover)):
            if values is not None and values.shape != (count,):
                raise InputError(
                    f"expected {what} for each of the {count} frames of {self.name}; got {len(values)} values; "
                    "get a whole copy of this sequence"
                )

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of its frames: as told, else of the first frame, which is read for it."""
        if self.told_size_wh is not None:
            return self.told_size_wh
        height, width = self.frames[0].shape[:2]
        return width, height
