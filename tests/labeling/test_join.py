from __future__ import annotations

import numpy as np
import pytest

from singletrack.labeling.join import DRIFT_FRAMES, Run, doubt_of_run, join_runs, share_of_error

COUNT = 21
WAY = np.linspace(0.0, 1.0, COUNT)


def truth(bend: float = 0.0) -> np.ndarray:
    """A box of 40 x 20 that moves by 100 pixels, on a straight line or `bend` pixels below it in the middle."""
    boxes = np.tile([50.0, 60.0, 40.0, 20.0], (COUNT, 1))
    boxes[:, 0] += 100.0 * WAY
    boxes[:, 1] += bend * np.sin(np.pi * WAY)
    return boxes


def run(boxes: np.ndarray, start: int, score: float = 0.8) -> Run:
    scores = np.full(COUNT, score)
    scores[start] = 1.0
    return Run(boxes, scores)


def test_runs_that_agree_are_kept() -> None:
    boxes = truth(30.0)
    joined = join_runs(run(boxes, 0), run(boxes, -1))
    np.testing.assert_allclose(joined.boxes, boxes, atol=1e-9)
    np.testing.assert_allclose(joined.scores[1:-1], 0.8)
    assert joined.doubts.max() < 0.05
    assert joined.doubts[0] == joined.doubts[-1] == 0.0
    assert joined.reasons[0] == joined.reasons[-1] == ""
    assert joined.reasons[10] == "low score"


def test_keyframes_stay_to_the_bit() -> None:
    ahead, back = truth(), truth() + 3.7
    joined = join_runs(run(ahead, 0), run(back, -1))
    assert (joined.boxes[0] == ahead[0]).all()
    assert (joined.boxes[-1] == back[-1]).all()


def test_drift_of_both_runs_is_taken_out() -> None:
    boxes = truth(40.0)
    ahead, back = boxes.copy(), boxes.copy()
    ahead[:, 1] += 8.0 * WAY
    back[:, 1] -= 6.0 * WAY[::-1]
    joined = join_runs(run(ahead, 0), run(back, -1))
    errors = np.abs(joined.boxes - boxes).max(1)
    assert errors.max() < 2.0
    assert errors[-2] < 0.5 < 7.0 < np.abs(ahead - boxes).max(1)[-2]


def test_a_run_that_lost_its_target_is_not_averaged_in() -> None:
    boxes = truth(40.0)
    lost = boxes.copy()
    lost[:-3] += [0.0, 150.0, 0.0, 0.0]  # the backward run slips to something else at once
    joined = join_runs(run(boxes, 0), run(lost, -1))
    assert np.abs(joined.boxes - boxes).max() < 4.0  # a mean would be off by up to 150
    mirrored = join_runs(run(lost[::-1].copy(), 0), run(boxes[::-1].copy(), -1))
    np.testing.assert_allclose(mirrored.boxes, joined.boxes[::-1], atol=1e-9)  # neither direction is favored
    assert joined.doubts[10] > 5 * join_runs(run(boxes, 0), run(boxes, -1)).doubts[10]
    assert joined.reasons[10] == "runs disagree"


def test_sides_on_which_runs_disagree_follow_the_straight_line() -> None:
    boxes = truth()
    ahead, back = boxes.copy(), boxes.copy()
    wave = 6.0 * np.sin(np.pi * WAY)
    ahead[:, 2] += wave
    back[:, 2] -= wave
    joined = join_runs(run(ahead, 0), run(back, -1))
    np.testing.assert_allclose(joined.boxes, boxes, atol=1.0)


def test_a_run_that_ended_leaves_the_rest_to_the_other() -> None:
    boxes = truth(20.0)
    ahead = run(boxes.copy(), 0)
    ahead.boxes[8:], ahead.scores[8:] = np.nan, 0.0
    joined = join_runs(ahead, run(boxes, -1))
    np.testing.assert_allclose(joined.boxes, boxes, atol=2.0)
    back = run(boxes.copy(), -1)
    back.boxes[:15], back.scores[:15] = np.nan, 0.0
    joined = join_runs(ahead, back)
    assert np.isnan(joined.boxes[8:15]).all()
    assert np.isfinite(joined.boxes[:8]).all()
    assert (joined.doubts[8:13] > 0.6).all()


def test_two_neighboring_keyframes() -> None:
    boxes = truth()[:2]
    joined = join_runs(Run(boxes, np.ones(2)), Run(boxes, np.ones(2)))
    assert (joined.boxes == boxes).all()
    assert (joined.doubts == 0).all()


def test_share_of_error() -> None:
    shares = share_of_error(101)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares[-13] == pytest.approx(np.exp(-12 / DRIFT_FRAMES), rel=1e-4)
    np.testing.assert_allclose(share_of_error(5), np.linspace(0, 1, 5), atol=0.01)  # a short way: nearly linear


def chance(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))


def test_doubt_of_a_single_run() -> None:
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (90, 1))
    scores, lost = np.full(90, 0.8), np.zeros(90, bool)
    scores[20:30], scores[40:50] = 0.4, 0.0
    lost[40:50] = True
    boxes[70:, 2] = 30.0
    doubts, reasons = doubt_of_run(boxes, scores, lost, np.arange(1.0, 91.0))
    assert doubts[5] == pytest.approx(chance(-4.5 + 9.5 * 0.2 + 0.25 * np.log(7)))
    assert doubts[24] == pytest.approx(chance(-4.5 + 9.5 * 0.6 + 0.25 * np.log(26)))
    assert doubts[45] == pytest.approx(chance(-4.5 + 9.5 + 2.5 + 0.25 * np.log(47)))
    assert doubts[70] > doubts[65]  # the size jumps
    assert [reasons[place] for place in (0, 24, 45)] == ["low score", "low score", "lost"]
    certain, why = doubt_of_run(boxes[:30], np.ones(30), lost[:30], np.arange(30.0))
    assert certain[0] == 0.0
    assert 0.0 < certain[1] < certain[-1] < 0.05
    assert why[:2] == ["", "far from a keyframe"]
    assert doubt_of_run(boxes[:0], scores[:0], lost[:0], np.zeros(0)) == (pytest.approx(np.zeros(0)), [])


def test_doubt_between_keyframes_is_most_in_the_middle_of_what_disagrees() -> None:
    boxes = truth(40.0)
    lost = boxes.copy()
    lost[:-1] += [0.0, 150.0, 0.0, 0.0]
    lost[-1] = boxes[-1]
    joined = join_runs(run(boxes, 0), run(lost, -1))
    assert 8 <= int(joined.doubts.argmax()) <= 12
