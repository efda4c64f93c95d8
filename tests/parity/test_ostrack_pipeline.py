"""From two frames to a training pair, against what was recorded from the published code."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.conftest import Frames
from tests.parity.deterministic import make_tensor
from tests.parity.records import Recorded, is_recorded

from singletrack.datasets.augmentations import (
    Augmentation,
    Jitter,
    Roll,
    ViewRoll,
    brightened,
    cut,
    finish_view,
    jittered,
    mirrored_box,
    to_gray,
)
from singletrack.datasets.frame_pairs import view_of
from singletrack.models.layers.pos_embed import resize_positions
from singletrack.models.pretrained import positions_on_a_grid
from singletrack.training.base import normalize
from singletrack.training.recipes.ostrack import CROPS

PUBLISHED = Augmentation(levels="float", label_shift=0.5, flip_shift=1.0)
SIZES = [size for size in CROPS if is_recorded(f"ostrack_jitter_{size}")] or [256]


@pytest.fixture(scope="module")
def frame(frames: Frames) -> Callable[[int], np.ndarray]:
    return frames["loop"]


def seen(size: np.ndarray, center: np.ndarray) -> ViewRoll:
    return ViewRoll(size.astype(np.float32), center.astype(np.float32), 1.0, False)


@pytest.mark.parametrize("kind", ["template", "search"])
@pytest.mark.parametrize("search_size", SIZES)
def test_jittered_boxes_crops_and_labels(
    search_size: int, kind: str, recorded: Recorded, frame: Callable[[int], np.ndarray]
) -> None:
    record = recorded(f"ostrack_jitter_{search_size}")
    factor, jitter, size = (*CROPS[search_size], search_size) if kind == "search" else (2.0, Jitter(), search_size // 2)
    image = frame(int(record["frame_index"]))
    for row, numbers in enumerate(record[f"{kind}_gt4_n2_u2_jit4_boxincrop4"]):
        box = numbers[:4].astype(np.float32)
        around = jittered(box, jitter, seen(numbers[4:6], numbers[6:8]))
        np.testing.assert_allclose(around, numbers[8:12], rtol=1e-6)
        crop, label = cut(image, box, around, factor=factor, size=size, shift=0.5)
        np.testing.assert_allclose(label, numbers[12:16], atol=1e-6)
        name = f"{kind}_{row // 6}_{row % 6}"
        if f"{name}_crop_crc" in record:
            np.testing.assert_array_equal(crop[::8, ::8], record[f"{name}_crop_sub"])
            assert zlib.crc32(crop.tobytes()) == record[f"{name}_crop_crc"]


def test_gray_flips_and_brightness(recorded: Recorded, frame: Callable[[int], np.ndarray]) -> None:
    record, image = recorded("ostrack_transforms"), frame(5)
    np.testing.assert_array_equal(to_gray(image)[::8, ::8], record["gray_sub"])
    np.testing.assert_array_equal(image[:, ::-1][::8, ::8], record["joint_flip_img_sub"])
    flipped = mirrored_box(record["joint_flip_box_in"], image.shape[1], shift=1.0)
    np.testing.assert_array_equal(flipped, record["joint_flip_box"])
    _, label = finish_view(
        image, record["norm_flip_box_in"].astype(float), ViewRoll(np.zeros(2), np.zeros(2), 1, True), "float"
    )
    np.testing.assert_allclose(label, record["norm_flip_box"], atol=1e-6)
    for key in ("bright_8000_sub", "bright_10000_sub", "bright_12000_sub", "bright_11737_sub"):
        factor = int(key.split("_")[1]) / 10000
        bright = brightened(image, factor, "float").transpose(2, 0, 1)[:, ::16, ::16] / 255
        np.testing.assert_allclose(bright, record[key], atol=1e-6)
        rounded = brightened(image, factor).transpose(2, 0, 1)[:, ::16, ::16]
        assert np.abs(rounded - 255 * record[key]).max() <= 0.5 + 1e-4
    pixels = torch.from_numpy(brightened(image, 1.1737, "float").transpose(2, 0, 1))
    np.testing.assert_allclose(normalize(pixels)[:, ::16, ::16], record["bright_norm_11737_sub"], atol=1e-5)


def test_a_whole_sample(recorded: Recorded, frame: Callable[[int], np.ndarray]) -> None:
    record = recorded("ostrack_pipeline_sample")
    draws = record["draw_values"]
    assert draws[0, 0] >= PUBLISHED.gray
    assert draws[1, 0] >= PUBLISHED.flip
    for place, (kind, jitter, factor, size) in enumerate(
        (
            ("template", PUBLISHED.template_jitter, PUBLISHED.template_factor, 128),
            ("search", PUBLISHED.search_jitter, PUBLISHED.search_factor, 256),
        )
    ):
        normal, uniform, brightness, flip = draws[2 + 4 * place : 6 + 4 * place]
        view = ViewRoll(
            normal.astype(np.float32),
            uniform.astype(np.float32),
            float(brightness[0]),
            bool(flip[0] < PUBLISHED.flip_one),
        )
        image = frame(int(record["in_frames"][place]))
        box = record[f"in_{kind}_box"].astype(np.float32)
        done = view_of(image, box, PUBLISHED, Roll(False, False), view, jitter, factor=factor, size=size)
        assert done is not None
        pixels, label = finish_view(*done, view, PUBLISHED.levels)
        np.testing.assert_allclose(label, record[f"{kind}_anno"][0], atol=1e-6)
        crop = normalize(torch.from_numpy(pixels.transpose(2, 0, 1)))
        np.testing.assert_allclose(crop[:, ::8, ::8], record[f"{kind}_sub"], atol=1e-5)
        rounded = normalize(torch.from_numpy(finish_view(*done, view, "rounded")[0].transpose(2, 0, 1)))
        # half a level, of 255 levels, in units of the smallest deviation
        assert float((rounded - crop).abs().max()) <= 0.5 / 255 / 0.224 + 1e-5


@pytest.mark.parametrize("size", [256, 384])
def test_positions_of_a_pretrained_vision_transformer(size: int, recorded: Recorded) -> None:
    record = recorded("ostrack_posembed")
    grid = positions_on_a_grid(make_tensor("backbone.pos_embed", (1, 197, 768)), Path("made"))
    for name, cells in (("z", size // 32), ("x", size // 16)):
        resized = resize_positions(grid, cells)[:, :, ::24]
        np.testing.assert_allclose(resized, record[f"{name}_{size}"], atol=1e-6)
