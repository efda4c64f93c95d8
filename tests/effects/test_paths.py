from __future__ import annotations

import numpy as np
import pytest

from singletrack.effects.paths import Follower, Steps, fill_gaps, smooth, tracks_of, union
from singletrack.tracking.base import Result


def steps_of(*boxes: tuple[float, bool]) -> Steps:
    """One target whose left side and whether it is lost are given, at ten frames a second from frame 5 on."""
    return {
        5 + index: (index / 10, {1: Result(box=(left, 10, 20, 20), score=0.9, lost=lost)})
        for index, (left, lost) in enumerate(boxes)
    }


def test_gaps_are_filled_between_two_sightings_only() -> None:
    (track,) = tracks_of(steps_of((9, True), (10, False), (99, True), (99, True), (40, False), (77, True))).values()
    assert track.frames.tolist() == [5, 6, 7, 8, 9, 10]
    assert fill_gaps(track)[:, 0].tolist() == pytest.approx([10, 10, 20, 30, 40, 40])


def test_a_target_that_is_never_seen_keeps_its_boxes() -> None:
    (track,) = tracks_of(steps_of((1, True), (2, True))).values()
    assert fill_gaps(track)[:, 0].tolist() == [1, 2]


def test_smoothing_does_not_lag() -> None:
    times = np.arange(60) / 30
    steady = np.stack([times * 100, np.full(60, 7.0)], axis=1)  # moves evenly
    assert smooth(times, steady, 0.5) == pytest.approx(steady)
    shaky = steady + np.random.default_rng(0).normal(0, 5, steady.shape)
    calm = smooth(times, shaky, 0.5)
    assert np.abs(np.diff(calm[:, 1])).mean() < 0.2 * np.abs(np.diff(shaky[:, 1])).mean()
    assert smooth(times, shaky, 0) is shaky


def test_a_follower_arrives() -> None:
    follower = Follower(0.5)
    assert follower.add(0.0, [10.0]).tolist() == [10]
    assert follower.add(0.5, [20.0]) == pytest.approx([10 + 10 * (1 - np.exp(-1))])
    assert follower.add(10.0, [20.0]) == pytest.approx([20], abs=1e-3)
    assert Follower(0).add(0.0, [3.0]).tolist() == [3]


def test_union() -> None:
    assert union([(10, 10, 5, 5), (0, 12, 2, 20)]) == (0, 10, 15, 22)
