"""A tracker that needs no network: it boxes the bright pixels of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.tracking.base import FloatArray, Inputs, Result


class BrightTracker:
    """Follows what is brighter than 128; without any it is lost. `drift`: pixels to the right that it errs a frame."""

    network = None

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift
        self.inits: list[Any] = []
        self.frames: list[Any] = []
        self._frame: NDArray[np.uint8] | None = None
        self._steps = 0
        self._box: Box = (0.0, 0.0, 1.0, 1.0)

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        self.inits.append((int(frame[0, 0, 0]), box))
        self._box, self._steps = box, 0

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        self._frame = frame
        self.frames.append(int(frame[0, 0, 0]))
        return None

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        assert self._frame is not None
        self._steps += 1
        rows, columns = np.nonzero(self._frame[..., 0] > 128)
        if not len(rows):
            return Result(box=self._box, score=0.0, lost=True)
        x, y = float(columns.min()), float(rows.min())
        width, height = float(columns.max() + 1 - x), float(rows.max() + 1 - y)
        self._box = x, y, width, height
        return Result(box=(x + self._steps * self.drift, y, width, height), score=0.75, lost=False)

    def update(self, frame: NDArray[np.uint8]) -> Result:
        self.preprocess(frame)
        return self.postprocess(None)
