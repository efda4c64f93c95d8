"""A small folder of frames to label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singletrack.opencv import cv2

FRAMES, WIDTH, HEIGHT = 20, 64, 48


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        frame[10:20, 2 * number : 2 * number + 12] = 200
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame)
    return folder
