"""A tracker of pixels instead of a network, and what makes it fail, die or be temporary; processes import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from singletrack.bulk.worker import TrackParts
from singletrack.errors import SingletrackError
from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.video import VideoWriter

BOX = (8.0, 6.0, 20.0, 16.0)


class Drifting:
    """Goes where the pixels send it."""

    def init(self, frame: np.ndarray, box: Any) -> None:
        self.box = box

    def update(self, frame: np.ndarray) -> Result:
        x, y, width, height = self.box
        self.box = (x + float(frame[0, 0, 0]) / 255, y, width, height)
        return Result(box=self.box, score=float(frame[5, 5, 1]) / 255, lost=bool(frame[9, 9, 2] > 128))


class Failing(Drifting):
    """Raises an error in the second frame of bright videos, as often as there are files in a folder."""

    def __init__(self, pills: Path) -> None:
        self.pills = pills

    def update(self, frame: np.ndarray) -> Result:
        if frame.mean() > 180 and (pill := next(self.pills.iterdir(), None)) is not None:
            pill.unlink()
            raise RuntimeError("no memory for a moment")
        return super().update(frame)


class Deadly(Drifting):
    """Kills its process in bright videos."""

    def update(self, frame: np.ndarray) -> Result:
        if frame.mean() > 180:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(frame)


class Spots:
    """A network whose maps hang on the pixels; notes its batches. Fails for more than ``most`` crops at once."""

    def __init__(self, most: int = 99) -> None:
        self.most, self.batches = most, list[int]()

    def encode(self, template: np.ndarray) -> np.ndarray:
        return template.reshape(len(template), -1)[:, :3].astype(np.float32)

    def locate(self, features: np.ndarray, search: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(search))
        if len(search) > self.most:
            raise RuntimeError("no memory for so many")
        cells = search.reshape(len(search), 8, 8, 8, 8, 3).mean((2, 4), np.float32) / 256
        score = 0.4 + 0.5 * cells[..., 0] + features[:, :1, None] / 2560
        half = np.full((len(search), 2, 8, 8), 0.5, np.float32)
        return {"score": score, "size": half / 2, "offset": half * cells[:, None, ..., 1]}


def follow_spots(network: Spots) -> OSTrackTracker:
    """A tracker whose targets share the passes of a network."""
    return OSTrackTracker(network, OSTrackSettings(template_size=32, search_size=64))


class Gated(Drifting):
    """Leaves a mark in a folder, and waits until there is a file ``go``."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def update(self, frame: np.ndarray) -> Result:
        (self.gate / f"{os.getpid()}.mark").touch()
        while not (self.gate / "go").exists():
            time.sleep(0.01)
        return super().update(frame)


@dataclass(frozen=True, kw_only=True)
class FakeParts(TrackParts):
    """The work of a process, with one of these trackers."""

    deadly: bool = False
    gate: Path | None = None

    def load(self, model: str) -> Tracker:
        if self.gate is not None:
            return Gated(self.gate)
        return Deadly() if self.deadly else Drifting()


def refuse_to_start() -> Any:
    """The work of a process that cannot load its model."""
    raise SingletrackError("expected weights")


def write_clip(path: Path, count: int = 6, *, seed: int = 0, bright: bool = False) -> Path:
    """Write a clip of noise, 64 x 48 pixels."""
    random = np.random.default_rng(seed)
    low, high = (200, 255) if bright else (0, 120)
    with VideoWriter(path, fps=10) as writer:
        for _ in range(count):
            writer.write(random.integers(low, high, (48, 64, 3), np.uint8))
    return path


def write_manifest(path: Path, rows: Sequence[tuple[str, int, Box]]) -> Path:
    """Write a manifest of video, start and box."""
    lines = ["video,start,x,y,w,h", *(f"{video},{start},{','.join(map(str, box))}" for video, start, box in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
