"""Pairs from labeled clips: exact boxes, gaps in both directions, absent targets, weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_clips import FRAMES, TARGET, made_clip, picture, target_box

from singletrack.datasets.clip_pairs import ClipPairs, ClipPairSettings, cut_view, draw_partner, slivers
from singletrack.datasets.labeled_clips import LabeledTrack
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.errors import InputError
from singletrack.geometry.crops import MARK

PLAIN = ClipPairSettings(pairs=PairSettings(search_factor=3.5, fit=0.0), absent=0.0, lit=0.0, beside=0.0)
T, S = 112, 224


def bright(crop: np.ndarray) -> np.ndarray:
    """Left, top, width and height of the target in a crop, to the pixel."""
    rows, columns = np.nonzero(np.abs(crop.astype(int) - TARGET).max(-1) < 100)
    return np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], float)


def of_target(folder: Path, settings: ClipPairSettings, **clip: tuple[int, ...]) -> ClipPairs:
    """Pairs of the target alone; the other object is there to be taken for it."""
    pairs = ClipPairs([made_clip(folder, **clip)], [folder], settings)
    pairs.places, pairs.usable, pairs.edges = pairs.places[:1], pairs.usable[:1], np.ones(1)
    return pairs


def test_a_view_is_cut_on_whole_pixels() -> None:
    frame = picture(0)
    view = cut_view(frame, np.array([30.3, 50.2]), 55.5, S)
    assert view.corner.tolist() == [2, 22]  # a square of 56 pixels
    assert view.scale == S / 56
    x, y, w, h = target_box(0)
    assert view.box(np.array([x, y, w, h], float)).tolist() == [18 * 4, 18 * 4, 80, 80]
    assert bright(view.pixels) == pytest.approx([72, 72, 80, 80], abs=1)
    assert cut_view(frame, np.array([10.0, 50.0]), 56, S).visible_xyxy.tolist() == [72, 0, 224, 224]


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_exact(tmp_path: Path, seed: int) -> None:
    pairs = of_target(tmp_path / "clip", PLAIN)
    random = np.random.default_rng(seed)
    for _ in range(5):
        pair = pairs.draw(random, T, S)
        assert pair.present
        assert pair.template.shape == (T, T, 3)
        assert bright(pair.template) == pytest.approx([T / 4, T / 4, T / 2, T / 2], abs=2.5)
        low, high = np.clip(pair.box[:2], 0, S), np.clip(pair.box[:2] + pair.box[2:], 0, S)
        assert bright(pair.search) == pytest.approx([*low, *(high - low)], abs=2.5)
        ratio = math.sqrt(pair.box[2] * pair.box[3]) / (S / 3.5)
        assert math.exp(-0.45) < ratio < math.exp(0.45)


def test_two_templates_with_their_boxes_drawn_in(tmp_path: Path) -> None:
    settings = replace(PLAIN, pairs=replace(PLAIN.pairs, num_templates=2, mark_template=True))
    pairs, random = of_target(tmp_path / "clip", settings), np.random.default_rng(0)
    for _ in range(10):
        pair = pairs.draw(random, T, S)
        assert pair.template.shape == (2, T, T, 3)
        marked = (pair.template == MARK).all(-1)
        assert marked.sum((1, 2)).min() > T / 2
        rows, columns = np.nonzero(marked[0])  # lines of two pixels round the box
        assert [columns.min(), columns.max()] == pytest.approx([T / 4 - 2, 3 * T / 4 + 1], abs=2.5)
        assert [rows.min(), rows.max()] == pytest.approx([T / 4 - 2, 3 * T / 4 + 1], abs=2.5)


def test_newest_looks_that_show_another_object(tmp_path: Path) -> None:
    settings = replace(PLAIN, pairs=replace(PLAIN.pairs, num_templates=2), misled=1.0)
    pairs, random = of_target(tmp_path / "clip", settings), np.random.default_rng(0)
    newest = [pairs.draw(random, T, S).template[1] for _ in range(20)]
    others = sum(bool((look[T // 2, T // 2] == (0, 0, 250)).all()) for look in newest)
    assert others > 10  # the rest are still the first look, too far off, or of a time between without another frame


def test_light_leaves_the_padding_black(tmp_path: Path) -> None:
    settings = replace(PLAIN, lit=1.0, pairs=replace(PLAIN.pairs, scale=0.0, anywhere=0.0))
    pairs, random = of_target(tmp_path / "clip", settings), np.random.default_rng(1)
    padded = 0
    for _ in range(20):
        pair = pairs.draw(random, T, S)
        # 55 to 70 frame pixels to the top of a square of at least 70 leave nothing; the sides do
        padded += (pair.search[:, 0] == 0).all() or (pair.search[:, -1] == 0).all()
    assert padded > 2


def test_partners_lie_on_both_sides_near_and_far() -> None:
    places, random = np.arange(100), np.random.default_rng(0)
    near = np.array([draw_partner(random, places, 50, replace(PLAIN, near=1.0)) for _ in range(300)]) - 50
    assert (np.abs(near).min(), near.min(), near.max()) == (1, -15, 15)
    far = np.array([draw_partner(random, places, 50, replace(PLAIN, near=0.0)) for _ in range(2000)])
    assert (far.min(), far.max()) == (0, 99)
    assert 50 not in far
    assert draw_partner(random, np.array([3]), 3, PLAIN) == 3


def test_absent_targets_are_not_in_the_crop(tmp_path: Path) -> None:
    pairs = of_target(tmp_path / "clip", replace(PLAIN, absent=1.0), absent=(4, 5, 6), unlabeled=(8,))
    random = np.random.default_rng(0)
    others = 0
    for _ in range(40):
        pair = pairs.draw(random, T, S)
        assert not pair.present
        assert not (np.abs(pair.search.astype(int) - TARGET).max(-1) < 60).any()
        others += bool((pair.search[..., 2] > 200).any())
    assert others > 5  # the other object is there to be told from it


def test_another_object_in_the_middle(tmp_path: Path) -> None:
    settings = replace(PLAIN, beside=1.0, near=0.0, pairs=replace(PLAIN.pairs, scale=0.0))
    pairs, random = of_target(tmp_path / "clip", settings), np.random.default_rng(0)
    middles = []
    for _ in range(40):
        pair = pairs.draw(random, T, S)
        low, high = np.clip(pair.box[:2], 0, S), np.clip(pair.box[:2] + pair.box[2:], 0, S)
        assert bright(pair.search) == pytest.approx([*low, *(high - low)], abs=2.5)
        middles.append(bool((pair.search[S // 2, S // 2] == (0, 0, 250)).all()))
    assert sum(middles) > 8


def test_only_good_labels_where_fair_ones_weigh_nothing(tmp_path: Path) -> None:
    clip = made_clip(tmp_path / "clip")
    fair = replace(clip.tracks[1], quality="fair")
    clip = replace(clip, tracks=(clip.tracks[0], fair))
    edges = [ClipPairs([clip], [tmp_path], replace(PLAIN, fair=value)).edges.tolist() for value in (1.0, 0.25, 0.0)]
    assert edges == [[0.5, 1.0], [0.8, 1.0], [1.0, 1.0]]
    with pytest.raises(InputError, match="expected objects that are visible"):
        ClipPairs([replace(clip, tracks=(fair,))], [tmp_path], replace(PLAIN, fair=0.0))


def test_slivers_at_the_edge_are_known() -> None:
    boxes = np.array([[50, 50, 20, 20], [50, 50, 20, 20], [0, 50, 5, 20], [0, 50, 15, 20], [50, 50, 4, 30], [0] * 4])
    boxes = boxes.astype(float)
    boxes[5] = np.nan
    boxes[4, 2] = 3
    track = LabeledTrack(name="a", boxes_xywh=boxes, labeled=np.ones(6, bool))
    assert slivers(track, (160, 120)).tolist() == [False, False, True, False, True, False]


def test_settings_out_of_range() -> None:
    for change in ({"near_gap": 0}, {"newest_age": 0}, {"fair": -1.0}):
        with pytest.raises(InputError, match="near_gap and newest_age of 1 or more"):
            replace(PLAIN, **change)


def test_frames_of_the_made_clip_are_as_many_as_told(tmp_path: Path) -> None:
    assert len(made_clip(tmp_path / "clip")) == FRAMES
