"""One tracked frame of a source, with the results of all targets in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class TrackStep:
    """One tracked frame.

    Attributes:
        index: index of the frame in its source, from 0.
        time: seconds since the first frame of the source.
        frame: (H, W, 3) uint8 RGB.
        results: results by target id. A target that starts in this frame has the given box.
        seconds: time that the tracker took, without reading and drawing.
        dropped: frames of a camera or stream that were passed over since the step before; None for other sources.
    """

    index: int
    time: float
    frame: Frame
    results: Mapping[int, Result]
    seconds: float
    dropped: int | None = None

    @property
    def result(self) -> Result:
        """The result of the only target."""
        (result,) = self.results.values()
        return result

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frame in pixels."""
        return self.frame.shape[1], self.frame.shape[0]
