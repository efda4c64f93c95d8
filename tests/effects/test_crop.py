from __future__ import annotations

import numpy as np
import pytest

from singletrack.effects.crop import View, ViewPath, ViewSettings
from singletrack.effects.paths import Steps
from singletrack.errors import InputError
from singletrack.tracking.base import Result

SIZE = (320, 180)


def moving(*, lost: tuple[int, ...] = (), frames: int = 40) -> Steps:
    """A target of 20 x 30 that goes from the left edge to beyond the right one."""
    return {
        frame: (frame / 20, {1: Result(box=(frame * 8.0, 70, 20, 30), score=0.9, lost=frame in lost)})
        for frame in range(frames)
    }


def test_the_view_holds_the_target_and_stays_inside() -> None:
    steps = moving()
    path = ViewPath(ViewSettings(aspect=9 / 16, margin=2, smooth=0.5), SIZE, steps)
    width, height = path.size_wh
    assert (width % 2, height % 2) == (0, 0)
    assert width / height == pytest.approx(9 / 16, abs=0.03)
    assert height == pytest.approx(2 * 20 / (9 / 16), abs=2)  # the width of the target decides
    for frame, (seconds, results) in steps.items():
        view = path.view(frame, seconds, results)
        half = view.height * 9 / 16 / 2
        assert half <= view.x <= SIZE[0] - half
        assert view.height / 2 <= view.y <= SIZE[1] - view.height / 2
        x, _, box_width, _ = results[1].box
        if 20 < x < 280:
            assert abs(x + box_width / 2 - view.x) < half


def test_a_lost_target_is_passed_by_on_the_way() -> None:
    steps = moving(lost=tuple(range(10, 20)))
    path = ViewPath(ViewSettings(smooth=0), SIZE, steps)
    assert path.view(15, *steps[15]).x == pytest.approx(130)


def test_a_live_view_waits_where_the_target_was_lost() -> None:
    steps = moving(lost=(10, 11, 12))
    path = ViewPath(ViewSettings(smooth=0), SIZE)
    views = [path.view(frame, *steps[frame]) for frame in range(13)]
    assert views[9].x == pytest.approx(9 * 8 + 10)
    assert views[12].x == views[9].x
    assert path.size_wh == (120, 68)  # 1.5 times the first view, whose height is 1.5 times 30


def test_cutting_is_exact() -> None:
    rows, columns = np.mgrid[0:180, 0:320]
    frame = np.stack([columns % 256, rows, columns // 256], axis=2).astype(np.uint8)
    path = ViewPath(ViewSettings(aspect=1, margin=1, smooth=0), SIZE, moving(frames=1))
    assert path.size_wh == (30, 30)
    picture = path.cut(frame, View(115.0, 85.0, 30.0))
    assert (picture == frame[70:100, 100:130]).all()
    smaller = path.cut(frame, View(115.0, 85.0, 90.0))  # a third
    assert np.abs(smaller[15, 15].astype(int) - frame[86, 116]).max() <= 2


def test_the_view_is_never_larger_than_the_frame() -> None:
    steps: Steps = {0: (0.0, {1: Result(box=(-50, -50, 900, 900), score=0.9, lost=False)})}
    path = ViewPath(ViewSettings(aspect=1), SIZE, steps)
    assert path.view(0, *steps[0]) == View(230, 90, 180)
    assert path.size_wh == (180, 180)


@pytest.mark.parametrize("wrong", [{"aspect": 0}, {"aspect": 11}, {"margin": 0.5}, {"smooth": -1}, {"smooth": 99}])
def test_settings_that_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        ViewSettings(**wrong)
