"""A tracker that takes minutes for a frame, and leaves a mark with the number of its process when it starts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from singletrack.datasets.base import VideoSequence
from singletrack.tracking.base import Result


class Sleepy:
    def init(self, frame: Any, box: Any) -> None:
        (Path(os.environ["MARKS"]) / str(os.getpid())).touch()

    def update(self, frame: Any) -> Result:
        time.sleep(600)
        return Result(box=(0, 0, 1, 1), score=1.0, lost=False)


class Black:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


def sequences() -> list[VideoSequence]:
    boxes = np.array([[1.0, 1, 3, 3]] * 2)
    return [VideoSequence(name=name, frames=Black(), boxes_xywh=boxes) for name in ("a", "b")]
