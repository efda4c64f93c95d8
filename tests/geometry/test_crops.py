from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from singletrack.errors import InputError
from singletrack.geometry import crops
from singletrack.geometry.boxes import clip_box
from singletrack.geometry.crops import (
    MARK,
    box_from_crop,
    box_to_crop,
    check_frame,
    mark_box,
    normalize,
    square_crop,
    square_crop_unrounded,
    square_padding,
)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_square_by_hand() -> None:
    square = crops.Square.around((10, 20, 9, 4), 2.0)  # side = ceil(6 * 2)
    assert square == crops.Square(left=8, top=16, side=12)  # 8.5 rounds to the even 8


def test_the_last_column_and_row_turn_to_padding_when_reached() -> None:
    frame = np.full((8, 8, 3), 255, np.uint8)
    crop, scale = square_crop(frame, (2, 2, 6, 6), factor=1.0, size=6)
    assert scale == 1.0
    assert crop[:5, :5].min() == 255
    assert crop[5].max() == crop[:, 5].max() == 0


def test_square_that_stops_one_pixel_short_is_untouched() -> None:
    frame = noise(8, 8)
    crop, _ = square_crop(frame, (1, 1, 6, 6), factor=1.0, size=6)
    np.testing.assert_array_equal(crop, frame[1:7, 1:7])


@pytest.mark.parametrize("box", [(-40, 5, 10, 10), (500, 5, 10, 10), (5, 500, 10, 10), (5, -40, 10, 10)])
def test_squares_wholly_outside_are_black(box: tuple[float, ...]) -> None:
    crop, _ = square_crop(noise(100, 120), box, factor=2.0, size=16)
    assert crop.shape == (16, 16, 3)
    assert not crop.any()


def test_crop_keeps_a_single_channel() -> None:
    crop, _ = square_crop(noise(50, 60, 1), (10, 10, 10, 10), factor=2.0, size=16)
    assert crop.shape == (16, 16, 1)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (0, 0, 1e-300, 1e-300)])
def test_box_without_area_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="finite positive area"):
        square_crop(noise(20, 20), box, factor=2.0, size=16)


@pytest.mark.parametrize("size", [64, 128, 256, 384])
def test_gathered_pixels_equal_the_padded_and_resized_image(size: int) -> None:
    rng = np.random.default_rng(size)
    frame = noise(900, 1400)
    for _ in range(12):
        side = int(rng.integers(4 * size + 1, 5000))
        left, top = (int(value) for value in rng.integers(-side, 1400, 2))
        square = crops.Square(left, top, side)
        dense, sparse = crops._resize(crops._cut(frame, square), size), crops._crop_sparse(frame, square, size)
        np.testing.assert_array_equal(sparse, dense)


def test_runaway_box_costs_no_memory() -> None:
    frame = noise(480, 640)
    tracemalloc.start()
    crop, scale = square_crop(frame, (-1e4, -1e4, 5e4, 5e4), factor=4.0, size=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crop.shape == (256, 256, 3)
    assert scale == 256 / 200_000
    assert peak < 20_000_000


def test_padding_is_what_resizing_a_mask_leaves_above_zero() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        width, height, size = (int(value) for value in rng.integers(20, 400, 3))
        box = (*rng.uniform(-50, 300, 2), *rng.uniform(3, 200, 2))
        mask = np.ones((height, width), np.uint8)
        square = crops.Square.around(box, 3.0)
        padding = cv2.resize(1.0 - crops._cut(mask, square), (size, size)) != 0
        np.testing.assert_array_equal(square_padding((width, height), box, factor=3.0, size=size), padding)


def test_padding_of_squares_inside_outside_and_beyond_measure() -> None:
    assert not square_padding((100, 100), (40, 40, 10, 10), factor=2.0, size=16).any()
    assert square_padding((100, 100), (400, 40, 10, 10), factor=2.0, size=16).all()
    assert square_padding((100, 100), (0, 40, 10, 10), factor=2.0, size=20).sum() == 5 * 20
    vast = square_padding((640, 480), (-1e6, -1e6, 5e6, 5e6), factor=4.0, size=256)
    assert vast.sum() == 256 * 256


@pytest.mark.parametrize("box", [(10, 20, 80, 60), (200, 200, 30, 30), (-20, -10, 90, 90), (100, 100, 5, 5)])
def test_unrounded_crops_are_those_of_bilinear_interpolation(box: tuple[float, ...]) -> None:
    frame = noise(240, 320)
    crop, scale = square_crop_unrounded(frame, box, factor=2.0, size=128)
    rounded, same_scale = square_crop(frame, box, factor=2.0, size=128)
    assert crop.dtype == np.float32
    assert scale == same_scale
    assert np.abs(crop - rounded).max() < 1.01
    padded = torch.from_numpy(crops._cut(frame, crops.Square.around(box, 2.0))).permute(2, 0, 1)[None].float()
    expected = F.interpolate(padded, (128, 128), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(crop.transpose(2, 0, 1)[None], expected, atol=2e-3)
    unrounded, whole = (normalize(each, crops.IMAGENET_MEAN, crops.IMAGENET_STD) for each in (crop, rounded))
    assert unrounded.shape == whole.shape
    assert unrounded.flags.c_contiguous
    assert np.abs(unrounded - whole).max() < 1.01 / 255 / 0.22


def test_a_vast_unrounded_crop_is_rounded() -> None:
    crop, _ = square_crop_unrounded(noise(480, 640), (-1e4, -1e4, 5e4, 5e4), factor=4.0, size=256)
    assert crop.shape == (256, 256, 3)
    assert crop.dtype == np.float32


@pytest.mark.parametrize("size", [64, 112])
def test_a_marked_box_is_outlined_and_left_as_it_is_inside(size: int) -> None:
    crop = np.full((size, size, 3), 50, np.uint8)
    x, y, width, height = size // 4, size // 8, size // 2, size // 4
    mark_box(crop, (x, y, width, height))
    drawn = (crop != 50).any(2)
    rows, columns = (np.flatnonzero(drawn.any(1 - axis)) for axis in (0, 1))
    outer = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert outer == pytest.approx([x - 2, y - 2, x + width + 2, y + height + 2], abs=2)
    assert not drawn[y + 2 : y + height - 2, x + 2 : x + width - 2].any()
    strongest = crop[:, size // 2].astype(int)[y - 3 : y + 1].max(0)
    np.testing.assert_allclose(strongest, MARK, atol=60)


def test_of_a_marked_box_that_leaves_the_crop_the_rest_is_drawn() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    mark_box(crop, (-20, 24, 104, 16))
    assert (crop[22:25, 1:-1].max(0)[:, 0] > 200).all()
    assert (crop[39:42, 1:-1].max(0)[:, 0] > 200).all()
    assert not crop[26:38].any()


def test_normalize_by_hand() -> None:
    crop = np.zeros((2, 3, 3), np.uint8)
    crop[0, 1] = (255, 51, 0)
    tensor = normalize(crop, (0.5, 0.2, 0.25), (0.5, 0.1, 0.25))
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 0, 1], [1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(tensor[0, :, 1, 2], [-1, -2, -1], atol=1e-6)
    unrounded = normalize(crop.astype(np.float32), (0.5, 0.2, 0.25), (0.5, 0.1, 0.25))
    np.testing.assert_allclose(unrounded, tensor, atol=1e-6)


def test_there_and_back() -> None:
    around = (308.0, 135.0, 115.0, 119.0)
    box = (290.5, 150.25, 90.0, 140.0)
    _, scale = square_crop(noise(360, 480), around, factor=4.0, size=256)
    in_crop = box_to_crop(box, around, scale=scale, size=256, shift=0.0)
    np.testing.assert_allclose(box_from_crop(in_crop, around, scale=scale, size=256), box, atol=1e-9)


def test_published_labels_lie_half_a_crop_pixel_up_left() -> None:
    around = (308.0, 135.0, 115.0, 119.0)
    scale = 256 / 468
    label = box_to_crop(around, around, scale=scale, size=256)
    assert label[0] == label[1] == 127.5 / 256
    back = box_from_crop(label, around, scale=scale, size=256)
    np.testing.assert_allclose(np.subtract(back, around), [-0.5 / scale, -0.5 / scale, 0, 0], atol=1e-9)


def test_crops_equal_the_recorded_ones(shared: Path) -> None:
    recorded = np.load(shared / "fixtures" / "ostrack_crops.npz")
    frame = cv2.imread(str(shared / "fixtures" / "bag" / "00000006.jpg"))[..., ::-1]
    frame = np.ascontiguousarray(frame)
    assert zlib.crc32(frame.tobytes()) == recorded["frame_crc"]
    for index, box in enumerate(recorded["boxes"]):
        for factor, size in ((2, 128), (4, 64), (5, 64)):
            key = f"b{index:02d}_f{factor}_s{size}"
            crop, scale = square_crop(frame, box, factor=factor, size=size)
            if f"{key}_crop" in recorded:
                np.testing.assert_array_equal(crop, recorded[f"{key}_crop"], err_msg=key)
            else:
                np.testing.assert_array_equal(crop[::4, ::4], recorded[f"{key}_crop_sub"], err_msg=key)
                assert zlib.crc32(crop.tobytes()) == recorded[f"{key}_crop_crc"], key
            assert scale == recorded[f"{key}_rf"]
            padding = square_padding((frame.shape[1], frame.shape[0]), box, factor=factor, size=size)
            np.testing.assert_array_equal(np.packbits(padding), recorded[f"{key}_att"], err_msg=key)


def from_center(box_cxcywh: np.ndarray) -> np.ndarray:
    """cxcywh -> xywh."""
    return np.concatenate([box_cxcywh[:2] - box_cxcywh[2:] / 2, box_cxcywh[2:]])


def test_labels_equal_the_recorded_ones(shared: Path) -> None:
    recorded = np.load(shared / "fixtures" / "ostrack_crops.npz")["to_crop_gt_ex_rf_out"]
    for row in recorded:
        box, around, scale, label_xywh = row[:4], row[4:8], row[8], row[9:]
        label = box_to_crop(box, around, scale=scale, size=256)
        np.testing.assert_allclose(from_center(label), label_xywh, atol=1e-6)


def test_clipping_equals_the_recorded_one(shared: Path) -> None:
    recorded = np.load(shared / "fixtures" / "ostrack_losses.npz")["clip_box_H480_W640_margin10"]
    for row in recorded:
        assert clip_box(row[:4], (640, 480)) == tuple(row[4:])


def test_gray_and_rgba_frames_become_rgb() -> None:
    frame = noise(4, 5)
    gray = frame[..., 0]
    assert check_frame(frame) is not None
    np.testing.assert_array_equal(check_frame(gray), np.stack([gray] * 3, -1))
    np.testing.assert_array_equal(check_frame(gray[..., None]), np.stack([gray] * 3, -1))
    np.testing.assert_array_equal(check_frame(noise(4, 5, 4)), noise(4, 5, 4)[..., :3])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "got NoneType"),
        ([[0, 0], [0, 0]], "got list"),
        (np.zeros((4, 5, 3), np.float32), r"got \(4, 5, 3\) float32; scale"),
        (np.zeros((4, 5, 3), np.uint16), "uint16"),
        (np.zeros((4, 5, 3), bool), "bool"),
        (np.zeros((0, 5, 3), np.uint8), "which is empty"),
        (np.zeros((3, 4, 5), np.uint8), "channels last"),
        (np.zeros((1, 4, 5, 3), np.uint8), "channels last"),
        (np.zeros((4, 5, 2), np.uint8), "channels last"),
        (np.zeros((1, 10000, 3), np.uint8), "at least 2 pixels a side"),  # C3
        (np.zeros((10000, 1), np.uint8), "at least 2 pixels a side"),
        (np.ma.array(np.zeros((4, 5, 3), np.uint8), mask=np.ones((4, 5, 3))), "masked pixels"),
    ],
)
def test_frames_that_would_need_a_guess_are_refused(frame: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_frame(frame)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_arrays_become_plain_ones() -> None:  # C1: a matrix brought the process down later
    gray = noise(4, 5)[..., 0]
    for odd in (np.matrix(gray), gray.view(np.recarray), np.ma.array(gray)):
        plain = check_frame(odd)
        assert type(plain) is np.ndarray
        np.testing.assert_array_equal(plain, np.stack([gray] * 3, -1))


def test_jittered_crops_and_labels_equal_the_recorded_ones(shared: Path) -> None:
    recorded = np.load(shared / "fixtures" / "ostrack_jitter_256.npz")
    frame = np.ascontiguousarray(cv2.imread(str(shared / "fixtures" / "bag" / "00000006.jpg"))[..., ::-1])
    for name, factor, size in (("template", 2.0, 128), ("search", 4.0, 256)):
        for row, numbers in enumerate(recorded[f"{name}_gt4_n2_u2_jit4_boxincrop4"]):
            box, jittered, label_xywh = numbers[:4], numbers[8:12], numbers[12:]
            crop, scale = square_crop(frame, jittered, factor=factor, size=size)
            key = f"{name}_{row // 6}_{row % 6}_crop"
            if f"{key}_crc" in recorded:
                np.testing.assert_array_equal(crop[::8, ::8], recorded[f"{key}_sub"])
                assert zlib.crc32(crop.tobytes()) == recorded[f"{key}_crc"], key
            label = box_to_crop(box, jittered, scale=scale, size=size)
            np.testing.assert_allclose(from_center(label), label_xywh, atol=1e-6, err_msg=f"{name} {row}")
