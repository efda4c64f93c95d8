"""Anchors, proposals and the choice among them: cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.tracking.anchors import (
    anchor_grid,
    anchor_shapes,
    change_penalty,
    choose_proposal,
    cosine_window,
    decode_proposals,
    padded_side,
    proposal_scores,
    smooth_size,
)


def test_shapes_are_cut_to_whole_strides() -> None:
    assert anchor_shapes().tolist() == [[104, 32], [88, 40], [64, 64], [40, 80], [32, 96]]


@pytest.mark.parametrize(("cells", "origin", "first"), [(19, "python2", -72), (19, "python3", -76)])
@pytest.mark.parametrize("shape", range(5))
def test_grid_goes_shape_by_shape_and_row_by_row(cells: int, origin: str, first: float, shape: int) -> None:
    grid = anchor_grid(cells, origin)  # type: ignore[arg-type]
    assert grid.shape == (5 * cells * cells, 4)
    start = shape * cells * cells
    size = anchor_shapes()[shape].tolist()
    assert grid[start].tolist() == [first, first, *size]
    assert grid[start + 1].tolist() == [first + 8, first, *size]
    assert grid[start + cells].tolist() == [first, first + 8, *size]


@pytest.mark.parametrize("cells", [19, 21, 25, 97])
def test_with_python2_the_middle_cell_is_the_center(cells: int) -> None:
    middle = anchor_grid(cells).reshape(5, cells, cells, 4)[:, cells // 2, cells // 2, :2]
    assert not middle.any()


def test_conventions_agree_on_an_even_number_of_cells() -> None:
    np.testing.assert_array_equal(anchor_grid(20, "python2"), anchor_grid(20, "python3"))


def test_unknown_origin() -> None:
    with pytest.raises(InputError, match="unknown anchor origin 'python4'; choose python2 or python3"):
        anchor_grid(19, "python4")  # type: ignore[arg-type]


def test_window_is_zero_at_the_rim_and_one_in_the_middle() -> None:
    window = cosine_window(5).reshape(5, 5, 5)
    assert window.max() == 1
    np.testing.assert_allclose(window[3], np.outer([0, 0.5, 1, 0.5, 0], [0, 0.5, 1, 0.5, 0]), atol=1e-15)


def test_no_shift_proposes_the_anchors_themselves() -> None:
    anchors = anchor_grid(3)
    np.testing.assert_array_equal(decode_proposals(np.zeros((20, 3, 3), np.float32), anchors), anchors)


def test_shift_counts_in_anchor_sizes() -> None:
    anchors = anchor_grid(3)
    loc = np.zeros((20, 3, 3), np.float32)
    loc[1, 0, 2] = 0.5  # dx of the second shape, 88 x 40, first row, last column
    loc[6, 0, 2] = -0.25  # dy
    loc[11, 0, 2] = math.log(2)
    loc[16, 0, 2] = math.log(0.5)
    np.testing.assert_allclose(decode_proposals(loc, anchors)[9 + 2], [8 + 44, -8 - 10, 176, 20], rtol=1e-6)


def test_score_is_the_softmax_of_the_second_half() -> None:
    cls = np.zeros((10, 1, 1), np.float32)
    cls[0], cls[5] = 1.0, 3.0  # first shape
    cls[1], cls[6] = 200.0, -200.0  # far beyond what exp can hold
    scores = proposal_scores(cls)
    np.testing.assert_allclose(scores, [math.exp(3) / (math.e + math.exp(3)), 0, 0.5, 0.5, 0.5], atol=1e-15)


def test_penalty_counts_scale_and_proportions() -> None:
    sizes = np.array([[20.0, 20.0], [40.0, 40.0], [10.0, 10.0], [40.0, 20.0]])
    penalty = change_penalty(sizes, (20.0, 20.0), 0.1)
    scale = math.sqrt(70 * 50) / 40  # sides of the squares: 40 x 40 and (40 + 30) x (20 + 30)
    np.testing.assert_allclose(penalty, np.exp([0, -0.1, -0.1, -0.1 * (2 * scale - 1)]))


def test_padded_side() -> None:
    assert padded_side(30.0, 10.0) == math.sqrt(50 * 30)
    assert padded_side(30.0, 10.0, 0.0) == math.sqrt(300)


def proposals(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float64)


def test_choice_without_penalty_and_window_is_the_highest_score() -> None:
    boxes = proposals((0, 0, 20, 20), (5, 6, 30, 40))
    chosen = choose_proposal(
        boxes, np.array([0.5, 0.6]), np.array([1.0, 0.0]), before_wh=(20, 20), penalty_strength=0, window_influence=0
    )
    assert chosen == (1, (5, 6, 30, 40), 0.6, 1.0)


def test_choice_with_window_prefers_the_middle_but_tells_the_raw_score() -> None:
    boxes = proposals((0, 0, 20, 20), (5, 6, 20, 20))
    chosen = choose_proposal(
        boxes, np.array([0.5, 0.6]), np.array([1.0, 0.0]), before_wh=(20, 20), penalty_strength=0, window_influence=0.2
    )
    assert chosen is not None
    assert (chosen.number, chosen.score) == (0, 0.5)


def test_choice_with_penalty_prefers_the_old_shape() -> None:
    boxes = proposals((0, 0, 20, 20), (5, 6, 60, 20))
    scores, window = np.array([0.5, 0.6]), np.zeros(2)
    chosen = choose_proposal(boxes, scores, window, before_wh=(20, 20), penalty_strength=0.2, window_influence=0)
    assert chosen is not None
    assert (chosen.number, chosen.penalty) == (0, 1.0)


@pytest.mark.parametrize("width", [math.nan, math.inf, 0.0])
def test_no_choice_where_a_number_cannot_be_used(width: float) -> None:
    boxes = proposals((0, 0, width, 20), (5, 6, width, 20))
    half = np.array([0.5, 0.5])
    assert choose_proposal(boxes, half, half, before_wh=(20, 20), penalty_strength=0.1, window_influence=0.4) is None


@pytest.mark.parametrize("width", [math.inf, 0.0])
def test_a_proposal_without_a_size_is_passed_over(width: float) -> None:
    boxes = proposals((0, 0, width, 20), (5, 6, 30, 40))
    chosen = choose_proposal(
        boxes, np.array([0.9, 0.2]), np.zeros(2), before_wh=(20, 20), penalty_strength=0.1, window_influence=0.4
    )
    assert chosen is not None
    assert chosen.number == 1


def test_size_moves_by_the_rate() -> None:
    assert smooth_size((20.0, 40.0), (40.0, 20.0), 0.25) == (25.0, 35.0)
