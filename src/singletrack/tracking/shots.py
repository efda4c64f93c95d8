"""Cuts between shots, seen in the frames themselves: the next frame shows another scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.crops import Image
from singletrack.opencv import cv2

SAMPLES, CELLS, LEVELS = 128, 16, 4  # pixels of a side that are read, cells of a side, levels of each color
# Both must hold for a cut. Over 9,799 pairs of consecutive frames of 110 real videos they never do (a change above 20
# keeps at least 0.89 of the colors there); of 23,980 pairs of frames from different videos they hold for 0.935. Higher
# shares find more cuts (0.75: 0.980), but a false cut makes the tracker doubt its target. See benchmarks/cuts.py.
LEAST_CHANGE = 20.0  # mean difference of the cells, 0 to 255
MOST_IN_COMMON = 0.65  # share of the pixels whose colors both frames have


@dataclass(frozen=True, eq=False)
class Shot:
    """What a frame looks like from afar: cells (16, 16, 3) and the shares of its colors (64,)."""

    cells: NDArray[np.float32]
    colors: NDArray[np.float64]


def shot_of(frame: Image) -> Shot:
    """Summarize a frame, (H, W, 3) uint8 RGB."""
    rows, columns = (max(1, side // SAMPLES) for side in frame.shape[:2])
    pixels = np.ascontiguousarray(frame[::rows, ::columns])
    cells = cv2.resize(pixels, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([pixels], [0, 1, 2], None, [LEVELS] * 3, [0, 256] * 3).ravel().astype(np.float64)
    return Shot(np.asarray(cells, np.float32), counts / counts.sum())


def is_cut(before: Shot, now: Shot) -> bool:
    """Check whether two consecutive frames belong to different shots."""
    change = np.abs(now.cells - before.cells).mean()
    in_common = np.minimum(now.colors, before.colors).sum()
    return bool(change > LEAST_CHANGE and in_common < MOST_IN_COMMON)
