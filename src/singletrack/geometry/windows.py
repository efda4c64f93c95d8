"""Windows that weight a score map toward the last position of the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hann_window(cells: int) -> NDArray[np.float32]:
    """Build a symmetric 2-D Hann window of shape (cells, cells) with positive ends.

    Each axis is 0.5 (1 - cos(2 pi k / (cells + 1))) for k = 1 ... cells, as in the published code of OSTrack. For 16
    cells this is 0.034 at the ends and 0.991 at the two middle cells.
    """
    k = np.arange(1, cells + 1)
    axis = 0.5 * (1.0 - np.cos(2.0 * np.pi * k / (cells + 1)))
    return np.outer(axis, axis).astype(np.float32)
