from __future__ import annotations

import numpy as np
import pytest

from singletrack.drawing import (
    FOLLOWED,
    LOST,
    TRUTH,
    draw_box,
    draw_result,
    draw_results,
    draw_truth,
    place_label,
    target_color,
)
from singletrack.tracking.base import Result

GRAY = np.full((100, 200, 3), 128, np.uint8)


def share_painted(line: np.ndarray) -> float:
    return float((line != 128).any(axis=-1).mean())


def test_box_lies_where_it_should() -> None:
    drawn = draw_box(GRAY, (50, 30, 40, 20), color=(255, 0, 0))
    for y, x in [(30, 70), (50, 70), (40, 50), (40, 90)]:  # the middles of the four sides
        assert drawn[y, x].tolist() == [255, 0, 0]
    assert drawn[40, 70].tolist() == [128, 128, 128]
    assert drawn[40, 30].tolist() == [128, 128, 128]


def test_the_frame_is_not_changed() -> None:
    frame = GRAY.copy()
    draw_result(frame, Result(box=(50, 30, 40, 20), score=0.5, lost=False))
    draw_truth(frame, (50, 30, 40, 20))
    assert (frame == GRAY).all()


def test_dashed_line_has_gaps_and_reaches_its_ends() -> None:
    solid = draw_box(GRAY, (20, 30, 150, 40))[30, 20:171]
    dashed = draw_box(GRAY, (20, 30, 150, 40), dashed=True)[30, 20:171]
    assert share_painted(solid) == 1.0
    assert 0.4 < share_painted(dashed) < 0.7
    assert share_painted(dashed[[0, -1]]) == 1.0


def test_result_shows_score_and_lost_in_their_colors() -> None:
    followed = draw_result(GRAY, Result(box=(50, 40, 40, 20), score=0.87, lost=False))
    lost = draw_result(GRAY, Result(box=(50, 40, 40, 20), score=0.07, lost=True))
    truth = draw_truth(GRAY, (50, 40, 40, 20))
    assert followed[59:61, 60:80].tolist() == draw_box(GRAY, (50, 40, 40, 20), label="0.87")[59:61, 60:80].tolist()
    for drawn, color in [(followed, FOLLOWED), (lost, LOST), (truth, TRUTH)]:
        assert (drawn == color).all(axis=-1).any()
    # the plate with the word LOST is wider than the one with the score; the true box has none
    plates = [share_painted(drawn[35]) for drawn in (truth, followed, lost)]
    assert plates[0] == 0 < plates[1] < plates[2]


@pytest.mark.parametrize(
    "box", [(-50, -50, 20, 20), (190, 90, 500, 500), (0, 0, 200, 100), (-1e9, -1e9, 2e9, 2e9), (50, 50, 0, 0)]
)
def test_boxes_at_and_beyond_the_edge(box: tuple[float, float, float, float]) -> None:
    for dashed in (False, True):
        assert draw_box(GRAY, box, label="0.5", dashed=dashed).shape == GRAY.shape


def test_no_target_draws_nothing() -> None:
    assert (draw_truth(GRAY, (np.nan,) * 4) == GRAY).all()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (2160, 3840)])
def test_tiny_and_large_frames(size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    assert draw_box(frame, (0, 0, size[1], size[0]), label="LOST 0.01").shape == frame.shape


def test_many_targets_are_told_apart() -> None:
    results = {
        1: Result(box=(10, 30, 30, 20), score=0.8, lost=False),
        2: Result(box=(60, 30, 30, 20), score=0.8, lost=True),
        9: Result(box=(float("nan"),) * 4, score=0.0, lost=False),
    }
    frame = GRAY.copy()
    drawn = draw_results(frame, results)
    assert (frame == GRAY).all()
    lower = [drawn[49:51, 10:40].reshape(-1, 3), drawn[49:51, 60:90].reshape(-1, 3)]
    shares = [(line == target_color(id)).all(axis=1).mean() for id, line in zip((1, 2), lower, strict=True)]
    assert shares[0] > 0.4
    assert 0.1 < shares[1] < 0.8 * shares[0]  # dashed


def test_colors_of_targets_differ() -> None:
    colors = np.array([target_color(id) for id in range(1, 17)], float)
    apart = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert apart[~np.eye(16, dtype=bool)].min() > 20
    assert np.diagonal(apart, 1).min() > 200  # of neighbors


def test_no_color_of_a_target_is_that_of_a_lost_one() -> None:
    for id in range(1, 200):
        red, green, blue = target_color(id)
        assert red < 2.2 * max(green, blue), id  # red alone means lost


def test_labels_do_not_cover_each_other() -> None:
    frame_wh, plate = (200, 100), (40, 10)
    corners = (50, 40, 90, 60)
    first = place_label(corners, plate, frame_wh, [])
    assert first == (50, 30)  # above
    second = place_label(corners, plate, frame_wh, [(*first, *plate)])
    assert second == (50, 60)  # below
    third = place_label(corners, plate, frame_wh, [(*first, *plate), (*second, *plate)])
    assert third == (90, 40)  # beside
    assert place_label((50, 5, 90, 25), plate, frame_wh, []) == (50, 5)  # inside, where there is no room above
    assert place_label((180, 40, 199, 60), plate, frame_wh, []) == (160, 30)  # inside the frame


def test_a_crowd_of_labels_stays_legible() -> None:
    frame = np.full((480, 640, 3), 128, np.uint8)
    results = {
        id: Result(box=(200 + 30 * (id % 4), 200 + 40 * (id // 4), 28, 36), score=0.8, lost=False) for id in range(8)
    }
    drawn = draw_results(frame, results)
    for id in results:  # of each plate much is left
        assert (drawn == target_color(id)).all(axis=-1).sum() > 150


@pytest.mark.parametrize("side", [20, 30])
def test_a_label_is_smaller_than_its_target_in_small_frames(side: int) -> None:
    frame = np.full((120, 160, 3), 128, np.uint8)
    drawn = draw_result(frame, Result(box=(60, 60, side, side), score=0.87, lost=False))
    plate = (drawn[:60] != 128).any(axis=-1)
    assert plate.sum() < 0.75 * side * side
    assert plate.any(axis=0).sum() <= max(side, 28) + 2
