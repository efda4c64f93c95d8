"""Made pairs and clips: their boxes are exact, their black is black, and the same seed draws the same picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.datasets.synthetic import (
    PairSettings,
    Photos,
    Piece,
    Procedural,
    blacken_outside,
    cut_piece,
    deform,
    degrade,
    draw_pair,
    generate_clip,
    near_edge,
    outline_of,
    paste,
    place,
    random_mask,
    turn,
)
from singletrack.errors import InputError


def square_piece(width: int, height: int) -> Piece:
    alpha = np.full((height, width), 255, np.uint8)
    return Piece(np.full((height, width, 3), 200, np.uint8), alpha, outline_of(alpha))


def test_outline_of_a_full_mask_is_its_border() -> None:
    points = outline_of(np.full((10, 20), 255, np.uint8))
    assert points.min(0).tolist() == [0, 0]
    assert points.max(0).tolist() == [20, 10]


def test_a_pasted_piece_fills_exactly_its_box() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    piece = square_piece(20, 10)
    box = paste(canvas, piece, place(turn(0), piece, np.array([50.0, 40.0]), np.sqrt(40 * 20)))
    assert box == pytest.approx([30, 30, 40, 20])
    assert (canvas[31:49, 31:69] == 200).all()
    # the outermost pixels fade: the edge lies between two of them
    drawn = canvas[..., 0] > 100
    assert drawn[30:50, 30:70].all()
    assert drawn.sum() == 20 * 40


@pytest.mark.parametrize("seed", range(20))
def test_the_box_fits_the_pixels_of_a_turned_and_bent_piece(seed: int) -> None:
    random = np.random.default_rng(seed)
    piece = deform(random, cut_piece(random, Procedural(128)), 0.06)
    white = Piece(np.full_like(piece.pixels, 255), piece.alpha, piece.outline)
    canvas = np.zeros((200, 200, 3), np.uint8)
    form = turn(random.normal(0, 0.5), 1.2, 0.1)
    box = paste(canvas, white, place(form, white, np.array([100.0, 90.0]), 60.0))
    assert box[:2] + box[2:] / 2 == pytest.approx([100, 90])
    ys, xs = np.nonzero(canvas[..., 0] > 127)
    drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    expected = np.concatenate([box[:2], box[:2] + box[2:]])
    assert np.abs(drawn - expected).max() < 2.5


def test_masks_span_their_size() -> None:
    for seed in range(30):
        mask = random_mask(np.random.default_rng(seed), 60, 40)
        ys, xs = np.nonzero(mask > 127)
        assert np.ptp(xs) >= 54
        assert np.ptp(ys) >= 34


@pytest.mark.parametrize("in_place", [0.0, 1.0])
def test_the_same_seed_draws_the_same_pair(in_place: float) -> None:
    settings = PairSettings(in_place=in_place)
    one, two = (draw_pair(np.random.default_rng(3), Procedural(), 64, 128, settings) for _ in range(2))
    assert np.array_equal(one.template, two.template)
    assert np.array_equal(one.search, two.search)
    assert np.array_equal(one.box, two.box)
    assert one.template.shape == (64, 64, 3)
    assert one.search.shape == (128, 128, 3)
    assert one.search.dtype == np.uint8


def test_boxes_have_the_size_and_place_that_tracking_meets() -> None:
    pairs = [draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings()) for s in range(60)]
    for pair in pairs:
        assert (pair.box[2:] >= 1).all()
        centre = pair.box[:2] + pair.box[2:] / 2
        assert ((centre > -16) & (centre < 144)).all()
    sides = [np.sqrt(p.box[2] * p.box[3]) for p in pairs if p.present]
    assert 25 < np.median(sides) < 38
    assert any(
        not p.present
        for p in [
            draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings(absent=0.9, in_place=0))
            for s in range(5)
        ]
    )


def test_outside_the_frame_is_black_and_cuts_at_most_a_third() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        box = np.array([40.0, 50.0, 30.0, 20.0])
        frame = near_edge(random, 128, box, np.array([-np.inf, -np.inf, np.inf, np.inf]))
        left = np.minimum(box[:2] + box[2:], frame[2:]) - np.maximum(box[:2], frame[:2])
        assert (left >= 0.65 * box[2:]).all()
    crop = np.full((10, 10, 3), 9, np.uint8)
    blacken_outside(crop, np.array([2, -np.inf, np.inf, 7]))
    assert crop[:7, 2:].all()
    assert crop.sum() == 9 * 7 * 8 * 3


def test_noise_is_faint_and_drawn_from_the_generator() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    noisy = 0
    for seed in range(40):
        one, two = (degrade(np.random.default_rng(seed), gray).astype(int) for _ in range(2))
        assert np.array_equal(one, two)
        assert np.abs(one - 128).max() < 80
        noisy += one.std() > 0.3
    assert 4 < noisy < 25


def test_photos_come_from_files_and_are_held_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        Photos(tmp_path)
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 1000, 3), index * 20, np.uint8))
    photos = Photos(tmp_path, longest=480)
    assert len(photos) == 10
    assert min(photos.draw(np.random.default_rng(0)).shape[:2]) >= 72
    train, held = photos.split(5)
    assert (len(train), len(held)) == (8, 2)
    assert not set(train.paths) & set(held.paths)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    bad = Photos(tmp_path)
    bad.paths = [tmp_path / "bad.jpg"]
    with pytest.raises(InputError, match="readable picture"):
        bad.draw(np.random.default_rng(0))


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
