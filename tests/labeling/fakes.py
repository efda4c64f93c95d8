"""Trackers that need no network: one boxes the bright pixels of a frame, one moves on from its last box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.tracking.base import FloatArray, Inputs, Result
from singletrack.tracking.state import KeepsState


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


@dataclass
class MovingSettings:
    """Settings of ``MovingTracker``. `speed`: pixels to the right in a frame."""

    speed: float = 2.0


class MovingTracker(KeepsState):
    """Moves on from its last box, so that its boxes depend on its state; that state can be kept."""

    network = None

    def __init__(self, speed: float = 2.0) -> None:
        self.settings = MovingSettings(speed)
        self.frames: list[int] = []
        self._box: Box = (0.0, 0.0, 1.0, 1.0)
        self._steps = 0

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        self._box, self._steps = box, 0

    def update(self, frame: NDArray[np.uint8]) -> Result:
        self.frames.append(int(frame[0, 0, 0]))
        self._steps += 1
        x, y, width, height = self._box
        self._box = x + self.settings.speed, y + 0.01 * self._steps, width, height
        return Result(box=self._box, score=0.75, lost=False)

    def get_state(self) -> dict[str, Any]:
        return {"box": self._box, "steps": self._steps}

    def set_state(self, state: Mapping[str, Any]) -> None:
        x, y, width, height = state["box"]
        self._box, self._steps = (x, y, width, height), state["steps"]


class StatefulBrightTracker(MovingTracker):
    """Boxes what is bright, as ``BrightTracker`` does, and keeps the last box as its state."""

    def update(self, frame: NDArray[np.uint8]) -> Result:
        self.frames.append(int(frame[0, 0, 0]))
        bright = BrightTracker()
        bright.init(frame, self._box)
        found = bright.update(frame)
        self._box = found.box
        return found
