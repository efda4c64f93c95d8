"""Pairs from made copies of pysot's training crops."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.datasets.pysot_crops import CropFolder, SiamesePair, Views, draw_siamese_pair
from singletrack.errors import InputError, VideoError

SEED = (1, 2)
STILL = Views(template_shift=0, template_scale=0, search_shift=0, search_scale=0, blur=0, other=0, color=0)


def make_crops(root: Path, name: str, gap: int, frames: int = 6) -> CropFolder:
    """Two videos whose targets, of 40 x 20 pixels, are white on black; a track without a size is there too."""
    tracks = {"00": {f"{10 * frame:06d}": [5, 5, 45, 25] for frame in range(frames)}, "01": {"000000": [3, 3, 3, 9]}}
    videos = {f"{name}/a": tracks, f"{name}/b": {"00": {"000000": [40, 20], "note": "not a frame"}}}
    crop = np.zeros((511, 511, 3), np.uint8)
    # the square has 70 x 50 pixels' area; at 127 pixels a side one pixel is 2.147
    crop[234:277, 213:299] = 255
    for video, numbers in videos.items():
        folder = root / "crop511" / video
        folder.mkdir(parents=True)
        for frame in numbers["00"]:
            cv2.imwrite(str(folder / f"{frame}.00.x.jpg"), crop)
    (root / "train.json").write_text(json.dumps(videos))
    return CropFolder(name=name, root=root, gap=gap)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CropFolder:
    return make_crops(tmp_path_factory.mktemp("crops") / "vid", "vid", gap=1)


def drawn(folder: CropFolder, views: Views, index: int) -> SiamesePair:
    return draw_siamese_pair([folder], [1.0], views, SEED, index)


def test_tracks(folder: CropFolder) -> None:
    first, second = folder.tracks
    assert (first.video, first.frames) == ("vid/a", (0, 10, 20, 30, 40, 50))
    assert (second.video, second.frames, second.boxes_xyxy.tolist()) == ("vid/b", (0,), [[0, 0, 40, 20]])
    assert pickle.loads(pickle.dumps(folder)).tracks[0].frames == first.frames


def test_the_target_is_in_the_middle(folder: CropFolder) -> None:
    box = folder.box(folder.tracks[0], 0, folder.picture(folder.tracks[0], 0))
    scale = 127 / np.sqrt(70 * 50)
    np.testing.assert_allclose(box, 255 + np.array([-20, -10, 20, 10]) * scale)
    pair = drawn(folder, STILL, 0)
    assert pair.template.shape == (127, 127, 3)
    assert pair.search.shape == (255, 255, 3)
    np.testing.assert_allclose(
        pair.box * 255, np.array([127.5 - 20 * scale, 127.5 - 10 * scale, 40 * scale, 20 * scale])
    )
    assert pair.template[63, 63].min() > 250
    assert pair.template[0].max() < 5


def test_search_regions_are_shifted_evenly(folder: CropFolder) -> None:
    """Up to 64 pixels in all directions, as often one as another; and the box moves with the picture."""
    views = Views(search_scale=0, template_shift=0, blur=0, other=0, color=0)
    pairs = [drawn(folder, views, index) for index in range(200)]
    boxes = np.array([pair.box for pair in pairs]) * 255
    shifts = boxes[:, :2] + boxes[:, 2:] / 2 - 127.5
    assert np.abs(shifts).max() <= 64
    assert (np.histogram(shifts, bins=4, range=(-64, 64))[0] > 70).all()  # 100 in each, on average
    for pair, (x, y, width, height) in zip(pairs[:20], boxes, strict=False):
        bright = np.argwhere(pair.search[..., 0] > 127)
        np.testing.assert_allclose(bright.min(0), [y, x], atol=1.5)
        np.testing.assert_allclose(bright.max(0), [y + height, x + width], atol=1.5)


def test_a_pair_follows_from_its_index(folder: CropFolder) -> None:
    one, again, another = (drawn(folder, Views(), index) for index in (3, 3, 4))
    np.testing.assert_array_equal(one.search, again.search)
    assert (one.search != another.search).any()


def test_some_show_another_target(folder: CropFolder) -> None:
    present = [drawn(folder, Views(), index).present for index in range(200)]
    assert 20 <= present.count(False) <= 60


def test_what_is_missing_is_named(folder: CropFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.json must be .* as prepared by pysot"):
        _ = CropFolder(name="vid", root=tmp_path, gap=1).tracks
    (tmp_path / "train.json").write_text('{"a": {"00": {"000000": [1, 1, 1, 1]}}}')
    with pytest.raises(InputError, match="has no boxes with a size"):
        _ = CropFolder(name="vid", root=tmp_path, gap=1).tracks
    (tmp_path / "train.json").write_text('{"a": {"00": {"000000": [1, 1, 5, 5]}}}')
    with pytest.raises(VideoError, match=r"cannot read crop .*000000\.00\.x\.jpg"):
        drawn(CropFolder(name="vid", root=tmp_path, gap=1), Views(), 0)
