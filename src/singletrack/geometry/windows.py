"""Windows laid over a score map: a mild belief that the target stays near where it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hann_window(cells: int) -> NDArray[np.float32]:
    """A square Hann window, (cells, cells), symmetric, its ends above zero.

    One axis is 0.5 (1 - cos(2 pi k / (cells + 1))) for k = 1 ... cells, as published with OSTrack: for 16
    cells 0.034 at the ends and 0.991 at the two in the middle.
    """
    k = np.arange(1, cells + 1)
    axis = 0.5 * (1.0 - np.cos(2.0 * np.pi * k / (cells + 1)))
    return np.outer(axis, axis).astype(np.float32)
