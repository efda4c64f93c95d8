"""Pairs by index: each follows from seed and index, shows its target where its box says, and fails as it should."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from singletrack.datasets.augmentations import Augmentation, Jitter
from singletrack.datasets.frame_index import FrameIndex, open_frame_index
from singletrack.datasets.frame_pairs import FramePair, PairDrawing, SharedLight, draw_frame_pair, newest_frame
from singletrack.datasets.sampling import Drawn, FramePairs, FrameRules
from singletrack.errors import InputError, VideoError

TARGET = (250, 40, 30)  # RGB
DRAWING = PairDrawing(template_size=64, search_size=128, augmentation=Augmentation())
PLAIN = replace(DRAWING, augmentation=Augmentation(gray=0, flip=0, flip_one=0, brightness=0, search_jitter=Jitter()))


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> FrameIndex:
    """One sequence of 24 frames of 320 x 240, a red box of 40 x 30 going right."""
    root = tmp_path_factory.mktemp("data") / "walk"
    root.mkdir()
    boxes = [(60 + 4 * index, 90, 40, 30) for index in range(24)]
    for index, (x, y, width, height) in enumerate(boxes):
        frame = np.full((240, 320, 3), 90, np.uint8)
        frame[y : y + height, x : x + width] = TARGET[::-1]
        cv2.imwrite(str(root / f"{index:04d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 98])
    (root / "groundtruth.txt").write_text("\n".join(",".join(map(str, box)) for box in boxes))
    return open_frame_index("folder", root, root.parent / "kept")


@pytest.fixture(scope="module")
def pairs(footage: FrameIndex) -> FramePairs:
    return FramePairs([footage], [1.0], FrameRules())


def same(one: FramePair, two: FramePair) -> bool:
    return all(np.array_equal(getattr(one, part), getattr(two, part)) for part in ("template", "search", "box"))


def red_part(crop: np.ndarray) -> tuple[int, int, int, int]:
    """Where the target shows, xyxy."""
    red = (crop[..., 0] > 180) & (crop[..., 2] < 80)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_pair_follows_from_seed_and_index(pairs: FramePairs) -> None:
    first = draw_frame_pair(pairs, DRAWING, [1, 2], 7)
    assert same(first, draw_frame_pair(pairs, DRAWING, [1, 2], 7))
    assert not same(first, draw_frame_pair(pairs, DRAWING, [1, 2], 8))
    assert not same(first, draw_frame_pair(pairs, DRAWING, [1, 3], 7))


def test_the_box_is_drawn_round_the_target_of_the_template_alone(pairs: FramePairs) -> None:
    marked = replace(PLAIN, augmentation=replace(PLAIN.augmentation, mark_template=True))
    one, two = (draw_frame_pair(pairs, drawing, [1], 4) for drawing in (PLAIN, marked))
    assert np.array_equal(one.search, two.search)
    rows, columns = (np.flatnonzero((one.template != two.template).any((2, 1 - axis))) for axis in (0, 1))
    left, top, right, bottom = red_part(one.template)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((top, bottom, left, right), abs=2)
    assert np.array_equal(
        one.template[top + 1 : bottom - 1, left + 1 : right - 1],
        two.template[top + 1 : bottom - 1, left + 1 : right - 1],
    )


@pytest.mark.parametrize("decode", ["whole", "reduced"])
def test_the_target_is_where_the_box_says(decode: str, pairs: FramePairs) -> None:
    augmentation = replace(DRAWING.augmentation, gray=0.0, brightness=0.0, search_jitter=Jitter(scale=0.3, center=1.5))
    drawing = replace(DRAWING, augmentation=replace(augmentation, decode=decode))  # type: ignore[arg-type]
    seen = 0
    for index in range(12):
        pair = draw_frame_pair(pairs, drawing, [0], index)
        left, top, right, bottom = red_part(pair.template)
        assert (left + right, top + bottom) == pytest.approx((64, 64), abs=2)
        x, y, width, height = pair.box * 128
        if x > 0 and y > 0 and x + width < 128 and y + height < 128:
            seen += 1
            assert red_part(pair.search) == pytest.approx((x, y, x + width, y + height), abs=1.5)
    assert seen > 3


def test_reduced_decoding_changes_pixels_little_and_labels_hardly(pairs: FramePairs) -> None:
    small = replace(PLAIN, template_size=16, search_size=32)  # a crop of 139 pixels at 32: a quarter is enough
    reduced = replace(small, augmentation=replace(small.augmentation, decode="reduced"))
    for index in range(4):
        whole, less = (draw_frame_pair(pairs, drawing, [3], index) for drawing in (small, reduced))
        np.testing.assert_allclose(less.box, whole.box, atol=0.02)
        assert np.abs(less.search.astype(float) - whole.search).mean() < 4


def test_an_unreadable_picture_ends_the_run_or_is_passed_over(
    pairs: FramePairs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = FrameIndex.picture

    def damaged(self: FrameIndex, sequence: int, frame: int, shrunk: int = 1) -> np.ndarray:
        if frame < 18:
            raise VideoError(f"expected a picture; frame {frame} is none")
        return read(self, sequence, frame, shrunk)

    monkeypatch.setattr(FrameIndex, "picture", damaged)
    with pytest.raises(VideoError, match="is none"):
        draw_frame_pair(pairs, DRAWING, [0], 0)
    with caplog.at_level(logging.WARNING):
        pair = draw_frame_pair(pairs, replace(DRAWING, unreadable="redraw"), [0], 0)
    assert pair.search.shape == (128, 128, 3)
    assert "is none" in caplog.text


def test_boxes_that_never_show_anything_are_told(footage: FrameIndex) -> None:
    far = replace(footage, boxes=np.array(footage.boxes) + np.float32([9000, 0, 0, 0]))
    with pytest.raises(InputError, match="200 pairs in a row"):
        draw_frame_pair(FramePairs([far], [1.0], FrameRules()), DRAWING, [0], 0)


def test_the_published_light_repeats_between_workers_and_epochs(pairs: FramePairs) -> None:
    light = SharedLight(workers=2, share=2, batch=4, steps=5)
    # steps 0 and 1 go to two workers that draw the same; then 2 and 3; 4 is the first of its worker's third batch
    assert [light.place(index) for index in (0, 1, 2, 3, 4, 5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0), (0, 1)]
    assert light.place(2 * 4) == (0, 2)
    assert light.place(5 * 4 + 1) == (0, 1)  # the next epoch begins as the first did
    flat = replace(PLAIN, augmentation=replace(PLAIN.augmentation, brightness=0.2), shared_light=light)
    own = replace(flat, shared_light=None)

    def shades(drawing: PairDrawing) -> list[float]:
        return [float(draw_frame_pair(pairs, drawing, [0], index).template[2, 2, 0]) for index in (0, 4, 20)]

    assert len(set(shades(flat))) == 1
    assert len(set(shades(own))) > 1


def test_the_newest_look_is_of_a_frame_between_and_cut_round_a_box_that_was_followed(pairs: FramePairs) -> None:
    two = replace(PLAIN, augmentation=replace(PLAIN.augmentation, num_templates=2))
    marked = replace(two, augmentation=replace(two.augmentation, mark_template=True))
    for index in range(8):
        pair, drawn, alone = (draw_frame_pair(pairs, each, [1], index) for each in (two, marked, PLAIN))
        assert pair.template.shape == (2, 64, 64, 3)
        assert np.array_equal(pair.search, alone.search)
        left, top, right, bottom = red_part(pair.template[1])
        # 40 x 30 of 69 pixels a side are 37 x 28 of 64; the box about which it is cut is off by a tenth or so
        assert (right - left, bottom - top) == pytest.approx((37, 28), rel=0.3)
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((32, 32), abs=5)
        outline = (pair.template[1] != drawn.template[1]).any(2)
        rows, columns = np.flatnonzero(outline.any(1)), np.flatnonzero(outline.any(0))
        assert (rows[0] + rows[-1], columns[0] + columns[-1]) == pytest.approx((63, 63), abs=2)
        assert np.ptp(rows) * np.ptp(columns) == pytest.approx(34**2, rel=0.12)  # with its soft edges


def test_a_newest_look_is_visible_and_mostly_late(footage: FrameIndex) -> None:
    hidden = replace(footage, visible=np.arange(24) % 2 == 0)
    random = np.random.default_rng(0)
    places = [newest_frame(random, hidden, Drawn(0, 0, 4, 21)) for _ in range(300)]
    assert set(places) == set(range(4, 21, 2))
    assert np.mean(places) > 13
    assert newest_frame(random, footage, Drawn(0, 0, 3, 3)) == 3
