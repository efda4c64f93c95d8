from __future__ import annotations

import numpy as np
import pytest

from singletrack.tracking.base import Result
from singletrack.tracking.resizing import FrameResizer


def test_boxes_go_to_the_first_size_and_back() -> None:
    resizer = FrameResizer()
    first = np.zeros((180, 320, 3), np.uint8)
    assert resizer.fit(first) is first
    result = Result(box=(32.0, 18.0, 64.0, 36.0), score=0.5, lost=False)
    assert resizer.to_own(result) is result
    fitted = resizer.fit(np.full((90, 80, 3), 7, np.uint8))
    assert fitted.shape == (180, 320, 3)
    assert (fitted == 7).all()
    assert resizer.to_own(result) == Result(box=(8.0, 9.0, 16.0, 18.0), score=0.5, lost=False)
    assert resizer.to_first((8, 9, 16, 18)) == (32.0, 18.0, 64.0, 36.0)
    resizer.fit(first)
    assert resizer.to_own(result) is result


def test_shrunk_frames_are_averaged() -> None:
    resizer = FrameResizer()
    resizer.fit(np.zeros((1, 1), np.uint8))
    assert resizer.fit(np.array([[0, 100], [100, 200]], np.uint8)).tolist() == [[100]]


@pytest.mark.parametrize("frame", [None, np.zeros(3, np.uint8), np.zeros((0, 2, 3), np.uint8)])
def test_what_is_no_frame_is_left_to_the_tracker(frame: object) -> None:
    assert FrameResizer().fit(frame) is frame  # type: ignore[arg-type]
