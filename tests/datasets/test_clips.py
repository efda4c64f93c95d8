"""Made clips: smooth, inside the frame, gone when told."""

from __future__ import annotations

import numpy as np

from singletrack.datasets.clips import generate_clip


def test_a_clip_moves_smoothly_inside_the_frame_and_leaves_when_told() -> None:
    clip = list(generate_clip(40, (320, 180), seed=2, absent=[range(10, 15)]))
    assert len(clip) == 40
    boxes = np.array([box for _, box in clip])
    assert clip[0][0].shape == (180, 320, 3)
    assert np.isnan(boxes[10:15]).all()
    seen = np.delete(boxes, range(10, 15), 0)
    assert (seen[:, :2] > -8).all()
    assert (seen[:, 0] + seen[:, 2] < 328).all()
    assert (seen[:, 1] + seen[:, 3] < 188).all()
    assert np.abs(np.diff(boxes[15:, :2], axis=0)).max() < 20
    again = next(iter(generate_clip(40, (320, 180), seed=2)))
    assert np.array_equal(clip[0][0], again[0])
