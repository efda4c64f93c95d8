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
    """Frames of one sequence, read on access. Can be pickled and sent to another process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image:
        """Read a frame.

        Args:
            index: index of the frame, from 0.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            IndexError: the index is past the last frame.
            VideoError: the frame cannot be read or decoded.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoSequence:
    """One target in one video (or in a single image, for image data sets).

    Attributes:
        name: name in the data set; unique.
        frames: the frames, read on access.
        boxes_xywh: (N, 4) pixels, one row per frame, top-left corner first, as written by the benchmark: NaN or 0,0,0,0
            without a box; some benchmarks count pixels from 1 (see ``tracking_datasets``). (1, 4) if only the first box
            is public.
        visible: (N,) bool, False where the target is marked as absent or completely hidden; None if unknown.
        cover: (N,) visible part of the target, 0 to 1; None if unknown.
        attributes: names of its challenge attributes.
        category: what the target is, in lowercase, such as "car"; empty if the data set does not say.
        language: a sentence that describes the target; empty if the data set gives no sentence.
        dataset: name of the data set in ``registry``; empty for other sequences.
        fps: frames per second; None if unknown.
        told_size_wh: width and height of the frames from the annotations; None if unknown.

    Raises:
        InputError: boxes, visible or cover do not have one row per frame.
    """

    name: str
    frames: Frames
    boxes_xywh: Array
    visible: NDArray[np.bool_] | None = None
    cover: Array | None = None
    attributes: tuple[str, ...] = ()
    category: str = ""
    language: str = ""
    dataset: str = ""
    fps: float | None = None
    told_size_wh: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.boxes_xywh.shape not in {(count, 4), (1, 4)}:
            rows = " x ".join(map(str, self.boxes_xywh.shape))
            raise InputError(
                f"{self.name} needs a box for each of its {count} frames, or only the first box; got {rows}; "
                "get a complete copy of this sequence"
            )
        for what, values in (("visible", self.visible), ("cover", self.cover)):
            if values is not None and values.shape != (count,):
                raise InputError(
                    f"{self.name} needs {what} for each of its {count} frames; got {len(values)} values; "
                    "get a complete copy of this sequence"
                )

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frames, from the annotations or else from the first frame."""
        if self.told_size_wh is not None:
            return self.told_size_wh
        height, width = self.frames[0].shape[:2]
        return width, height
