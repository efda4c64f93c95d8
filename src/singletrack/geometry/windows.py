"""Windows that weight a score map toward the last position of the target."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def hann_window(cells: int) -> NDArray[np.float32]:
    """Build a symmetric 2-D Hann window of shape (cells, cells) with positive ends; it cannot be written to.

    Each axis is 0.5 (1 - cos(2 pi k / (cells + 1))) for k = 1 ... cells, as in the published code of OSTrack. For 16
    cells this is 0.034 at the ends and 0.991 at the two middle cells.
    """
    k = np.arange(1, cells + 1)
    axis = 0.5 * (1.0 - np.cos(2.0 * np.pi * k / (cells + 1)))
    window = np.outer(axis, axis).astype(np.float32)
    window.flags.writeable = False  # it is kept for the next call
    return window
