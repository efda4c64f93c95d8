"""Made clips: smooth, inside the frame, gone when told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from singletrack.datasets.photos import Found, Procedural
from singletrack.datasets.synthetic import clips
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import InputError


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


def test_the_target_is_alone_among_others_or_with_its_double() -> None:
    firsts = [
        next(iter(generate_clip(2, (320, 180), 3, distractors=count, double=double)))[0]
        for count, double in ((0, True), (0, False), (1, False), (1, True))
    ]
    assert np.array_equal(firsts[0], firsts[1])
    assert not np.array_equal(firsts[1], firsts[2])
    assert not np.array_equal(firsts[2], firsts[3])


def edges_touched(box: np.ndarray, size_wh: tuple[int, int]) -> set[str]:
    x, y, width, height = box
    near = {"left": x, "top": y, "right": size_wh[0] - x - width, "bottom": size_wh[1] - y - height}
    return {edge for edge, distance in near.items() if distance < 1e-6}


def test_an_outing_leads_out_over_one_edge_and_in_over_another() -> None:
    size_wh, outing = (320, 180), range(25, 31)
    for seed in range(2):
        boxes = np.array([box for _, box in generate_clip(56, size_wh, seed, distractors=0, outings=[outing])])
        away = np.flatnonzero(np.isnan(boxes[:, 0]))
        assert set(outing) <= set(away)
        assert len(away) < len(outing) + 10  # and no longer than the last step out and the first in take
        assert (np.diff(away) == 1).all()
        last, first = boxes[away[0] - 1], boxes[away[-1] + 1]
        assert edges_touched(last, size_wh)
        assert edges_touched(first, size_wh)
        assert edges_touched(last, size_wh) != edges_touched(first, size_wh)
        seen = boxes[~np.isnan(boxes[:, 0])]
        assert (seen[:, :2] >= 0).all()
        assert (seen[:, :2] + seen[:, 2:] <= size_wh).all()


def test_without_an_outing_the_clip_is_the_same() -> None:
    calm, walking = (
        list(generate_clip(6, (160, 90), seed=1, distractors=1, outings=outings)) for outings in ([], [range(4, 5)])
    )
    assert np.array_equal(calm[0][0], walking[0][0])


def test_posts_stand_before_the_target_but_not_at_first() -> None:
    plain, hidden = (list(generate_clip(60, (320, 180), seed=4, posts=posts)) for posts in (0, 5))
    assert [box for _, box in plain] == [box for _, box in hidden]

    def covered(index: int) -> float:
        """Share of the target's box in which the two clips differ."""
        (before, box), (after, _) = plain[index], hidden[index]
        left, top, right, bottom = (round(v) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
        rows, columns = slice(max(0, top), bottom), slice(max(0, left), right)
        return float((before[rows, columns] != after[rows, columns]).any(2).mean())

    assert covered(0) == 0
    assert (plain[0][0] != hidden[0][0]).any()
    assert max(covered(index) for index in range(60)) > 0.3


class OneObject(Procedural):
    """A white disc before dark clouds."""

    def draw_object(self, random: np.random.Generator, beside: Found | None = None) -> Found:
        picture = (self.draw(random) * 0.4).astype(np.uint8)
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.circle(mask, (160, 150), 50, 255, -1)
        picture[mask > 0] = 255
        return Found(picture, mask)


def test_a_living_photo_moves_its_object_in_exact_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips._Film, "shot", lambda film, frame, index: frame)
    seen = list(clips.living_clip(50, (320, 180), 3, OneObject()))
    assert len(seen) == 50
    for frame, box in seen[::7]:
        ys, xs = np.nonzero((frame > 200).all(2))
        drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        x, y, w, h = box
        inside = np.array([x, y, x + w, y + h]).clip(0, [320, 180, 320, 180])
        np.testing.assert_allclose(drawn, inside, atol=3)
    boxes = np.array([box for _, box in seen])
    assert np.ptp(boxes[:, 0]) > 20
    assert boxes[:, 2].max() / boxes[:, 2].min() > 1.1


def test_without_objects_no_photo_comes_to_life() -> None:
    with pytest.raises(InputError, match="no object found in"):
        next(clips.living_clip(2, (160, 90), 0, Procedural(64)))


def test_turning_changes_looks_but_not_places() -> None:
    calm, turning = (list(generate_clip(30, (320, 180), 5, distractors=0, turning=angle)) for angle in (0.0, 0.8))
    assert [box for _, box in calm] == [box for _, box in turning]
    changed = [np.abs(one[0].astype(int) - two[0]).mean() for one, two in zip(calm, turning, strict=True)]
    assert changed[0] < 0.2 * changed[29]
