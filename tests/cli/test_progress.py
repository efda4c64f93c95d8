from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singletrack.api import Step
from singletrack.cli.progress import Progress
from singletrack.tracking.base import Result


def step(index: int, seconds: float) -> Step:
    result = Result(box=(1.0, 2.0, 3.0, 4.0), score=0.5, lost=False)
    return Step(index=index, time=0.0, frame=np.zeros((2, 2, 3), np.uint8), results={1: result}, seconds=seconds)


@pytest.mark.parametrize("start", [0, 7])
def test_speed_is_that_of_the_updates_after_the_first(start: int, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(4, [Path("a.mp4")]) as progress:
        for index, seconds in enumerate([5.0, 3.0, 0.1, 0.3], start):
            progress.show(step(index, seconds))
    assert progress.frames_per_second == pytest.approx(5)
    assert capsys.readouterr().out == "tracked 4 frames at 5.0 frames/s (tracker alone)\nwrote a.mp4\n"


def test_too_few_frames_for_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, []) as progress:
        progress.show(step(0, 5.0))
        progress.show(step(1, 3.0))
    assert capsys.readouterr().out == "tracked 2 frames\n"
