"""Choose a model by what this machine measures: the model "auto" of ``loading.load``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

import numpy as np

from singletrack.errors import InputError
from singletrack.tracking.base import Tracker

AUTO = "auto"
DEFAULT_RATE = 30.0
UPDATES = 15
FRAME_WH = (640, 360)
BOX_XYWH = (290.0, 150.0, 60.0, 60.0)


def measure_rate(tracker: Tracker) -> float:
    """Return the updates per second of a tracker on a generated frame of 640 x 360, from the median of 15 updates.

    The first updates, which are slower, are left out. Reading of video is not included.
    """
    width, height = FRAME_WH
    cells = np.random.default_rng(0).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    frame = cells.repeat(10, 0).repeat(10, 1)
    tracker.init(frame, BOX_XYWH)
    seconds = []
    for _ in range(3 + UPDATES):
        start = time.perf_counter()
        tracker.update(frame)
        seconds.append(time.perf_counter() - start)
    return 1.0 / median(seconds[3:])


def pick_model(
    models: Iterable[str], open_tracker: Callable[[str], Tracker], min_fps: float
) -> tuple[str, dict[str, float]]:
    """Return the first model that reaches a frame rate on this machine, and the rates measured until then.

    Args:
        models: names, the most accurate first, the fastest last.
        open_tracker: loads one.
        min_fps: updates per second to reach.

    Returns:
        The name, that of the fastest model measured if none reaches the rate, and name -> updates per second.
    """
    rates: dict[str, float] = {}
    for name in models:
        rates[name] = measure_rate(open_tracker(name))
        if rates[name] >= min_fps:
            return name, rates
    return max(rates, key=rates.__getitem__), rates


def check_rate(min_fps: float) -> float:
    """Return a frame rate above 0; raises InputError for anything else."""
    if not 0 < min_fps < float("inf"):
        raise InputError(f"min_fps must be above 0; got {min_fps:g}; give the frames per second to reach, such as 30")
    return float(min_fps)
