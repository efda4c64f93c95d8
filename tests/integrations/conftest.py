"""A clip of two patterned squares that move over noise, and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box
from singletrack.video import VideoWriter

FRAMES = 16


class Moving:
    """Frames of 320 x 240, and the boxes of both squares in each of them."""

    def __init__(self) -> None:
        draws = np.random.default_rng(3)
        self.boxes: list[tuple[Box, Box]] = []
        self.frames: list[NDArray[np.uint8]] = []
        ground = draws.integers(90, 120, (240, 320, 3), np.uint8)
        patterns = [draws.integers(0, 255, (5, 4, 3), np.uint8).repeat(8, 0).repeat(10, 1) for _ in range(2)]
        for number in range(FRAMES):
            corners = (30 + 5 * number, 40 + 2 * number), (230 - 4 * number, 150 - number)
            frame = ground.copy()
            for (x, y), pattern in zip(corners, patterns, strict=True):
                frame[y : y + 40, x : x + 40] = pattern
            self.frames.append(frame)
            (x1, y1), (x2, y2) = corners
            self.boxes.append(((x1, y1, 40.0, 40.0), (x2, y2, 40.0, 40.0)))

    def write(self, path: Path) -> Path:
        with VideoWriter(path, 25.0) as writer:
            for number, frame in enumerate(self.frames):
                writer.write(frame, number / 25)
        return path


@pytest.fixture(scope="session")
def moving() -> Moving:
    return Moving()


@pytest.fixture(scope="session")
def tracker() -> Any:
    """The bundled model."""
    import singletrack

    return singletrack.load("ostrack-tiny", precision="fp32")
