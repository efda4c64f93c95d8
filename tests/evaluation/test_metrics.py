from __future__ import annotations

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.evaluation import metrics

NAN = float("nan")


# --- frames ---


def test_overlap() -> None:
    truth = [[0, 0, 10, 10]] * 5
    boxes = [[0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 5, 5], [0, 0, 0, 10], [NAN] * 4]
    np.testing.assert_allclose(metrics.overlap(boxes, truth), [1, 50 / 150, 0, 0, 0])


def test_center_errors() -> None:
    truth = [[10.0, 20.0, 5.0, 10.0]]
    moved = [[13.0, 24.0, 5.0, 10.0]]
    grown = [[10.0, 20.0, 11.0, 26.0]]  # its center lies 3 right and 8 below
    np.testing.assert_allclose(metrics.center(truth), [[12.0, 24.5]])
    np.testing.assert_allclose(metrics.center_error(moved, truth), [5.0])
    np.testing.assert_allclose(metrics.center_error(grown, truth), [np.hypot(3, 8)])
    np.testing.assert_allclose(metrics.normalized_center_error(moved, truth), [np.hypot(3 / 5, 4 / 10)])
    assert not np.isfinite(metrics.normalized_center_error(moved, [[10.0, 20.0, 0.0, 10.0]])).any()


# --- curves ---


def test_success_is_above_its_threshold() -> None:
    np.testing.assert_array_equal(metrics.success_curve([0.5, 1.0, NAN, 0.0], [0, 0.5, 1]), [0.5, 0.25, 0])
    assert metrics.success_rate([0.5, 0.6, 0.75, 0.8], 0.5) == 0.75
    assert metrics.success_rate([0.5, 0.6, 0.75, 0.8], 0.75) == 0.25


def test_precision_is_at_most_its_threshold() -> None:
    np.testing.assert_array_equal(metrics.precision_curve([1.0, 2.0, NAN, np.inf], [0, 1, 2]), [0, 0.25, 0.5])


def test_a_perfect_tracker_has_no_frame_above_an_overlap_of_1() -> None:
    assert metrics.area_under(metrics.success_curve([1.0, 1.0])) == pytest.approx(20 / 21)
    assert metrics.area_under(metrics.precision_curve([0.0])) == 1


def test_a_curve_is_of_as_many_frames_as_are_said() -> None:
    np.testing.assert_array_equal(metrics.success_curve([0.6, 0.4], [0.5], frame_count=4), [0.25])


def test_no_frames_give_no_number() -> None:
    assert np.isnan(metrics.success_curve([])).all()
    assert np.isnan(metrics.precision_curve([])).all()
    assert np.isnan(metrics.average_overlap([]))
    assert metrics.average_overlap([0.5, 1.0]) == 0.75


# --- speed ---


def test_speed() -> None:
    seconds = [0.01, 0.04]
    assert metrics.frames_per_second(seconds) == pytest.approx(40)
    assert metrics.mean_frame_rate(seconds) == pytest.approx(62.5)


def test_times_that_are_not_known_are_left_out() -> None:
    assert metrics.frames_per_second([0.0, NAN, 0.5]) == 2
    assert np.isnan(metrics.frames_per_second([]))
    assert np.isnan(metrics.mean_frame_rate([0.0]))


# --- long-term ---


def test_long_term_by_hand() -> None:
    """Four frames, the target in the first three; believed from 0.9 on: frames 0 and 3; from 0.5 on: all but one."""
    found = metrics.long_term([[1.0, 0.5, 0.6, 0.7]], [[0.9, 0.5, 0.1, 0.9]], [[True, True, True, False]])
    np.testing.assert_array_equal(found.thresholds, [np.inf, 0.9, 0.9, 0.5, 0.1, -np.inf])
    np.testing.assert_allclose(found.precision, [1, 0.5, 0.5, 0.5, 2.1 / 4, 2.1 / 4])
    np.testing.assert_allclose(found.recall, [0, 1 / 3, 1 / 3, 0.5, 0.7, 0.7])
    assert found.best == pytest.approx((2.1 / 4, 0.7, 0.6))
    assert found.f_scores[0] == 0


def test_long_term_is_the_mean_of_sequences_not_of_frames() -> None:
    found = metrics.long_term([[1.0], [0.0, 0.0, 0.0]], [[1.0], [1.0, 1.0, 1.0]], [[True], [True, True, True]])
    assert found.best == (0.5, 0.5, 0.5)


def test_a_tracker_that_knows_when_the_target_is_gone_scores_higher() -> None:
    present = np.arange(100) < 60
    overlaps, certain = [np.full(100, 0.8)], [np.where(present, 0.9, 0.1)]
    knows = metrics.long_term(overlaps, certain, [present]).best
    boasts = metrics.long_term(overlaps, [np.full(100, 0.9)], [present]).best
    assert knows == pytest.approx((0.8, 0.8, 0.8))
    assert boasts == pytest.approx((0.48, 0.8, 0.6))


def test_confidence_that_is_nan_is_never_believed() -> None:
    found = metrics.long_term([[1.0, 1.0]], [[0.5, NAN]], [[True, True]])
    assert (found.precision[-1], found.recall[-1]) == (1, 0.5)


def test_thresholds_part_many_confidences_evenly() -> None:
    thresholds = metrics.confidence_thresholds(np.arange(1000.0))
    assert len(thresholds) == 100
    assert (np.diff(thresholds) < 0).all()
    assert (thresholds[1], thresholds[-2]) == (989, 9)


def test_long_term_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(InputError, match="no sequence has confidences"):
        metrics.long_term([], [], [])
    with pytest.raises(InputError, match="got 2, 1 and 2"):
        metrics.long_term([[1.0, 1.0]], [[0.5]], [[True, True]])
    with pytest.raises(InputError, match="never shows its target"):
        metrics.long_term([[1.0]], [[0.5]], [[False]])


# --- two trackers ---


def test_bootstrap_of_equal_trackers_is_nothing() -> None:
    found = metrics.bootstrap_difference([0.1, 0.9], [0.1, 0.9])
    assert found == metrics.Difference(value=0, low=0, high=0, better=0.5)


def test_bootstrap_holds_the_difference() -> None:
    random = np.random.default_rng(1)
    first = random.uniform(size=200)
    found = metrics.bootstrap_difference(first, first - random.normal(0.02, 0.1, 200))
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.02, abs=0.02)
    # the interval of a mean of 200 draws of deviation 0.1 is about 4 x 0.1 / sqrt(200) wide
    assert found.high - found.low == pytest.approx(0.0277, rel=0.15)


def test_bootstrap_weighs_sequences_and_leaves_out_those_without_a_number() -> None:
    found = metrics.bootstrap_difference([1.0, 0.0, NAN], [0.0, 0.0, 0.0], [3, 1, 5], [3, 1, 5])
    assert found.value == 0.75
    assert (found.low, found.high) == (0, 1)


def test_bootstrap_is_the_same_each_time() -> None:
    first, second = np.random.default_rng(2).uniform(size=(2, 30))
    assert metrics.bootstrap_difference(first, second) == metrics.bootstrap_difference(first, second)
    assert metrics.bootstrap_difference(first, second) != metrics.bootstrap_difference(first, second, seed=1)


def test_bootstrap_needs_the_same_sequences() -> None:
    with pytest.raises(InputError, match="got 1 and 2"):
        metrics.bootstrap_difference([0.1], [0.1, 0.2])
    with pytest.raises(InputError, match="at least one"):
        metrics.bootstrap_difference([], [])
