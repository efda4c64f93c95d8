"""Crops for Siamese trackers: equal to pysot's own arithmetic, and readable by the recipe."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.training.made_data import make_all

from singletrack.cli.main import main
from singletrack.datasets.crop_writer import crop_around, write_crops
from singletrack.datasets.pysot_crops import CropFolder


def crop_of_pysot(image: np.ndarray, box: list[float], size: int = 511) -> np.ndarray:
    """What training_dataset/vid/par_crop.py computes, in our words, on BGR."""
    center = [(box[2] + box[0]) / 2.0, (box[3] + box[1]) / 2.0]
    width, height = box[2] - box[0], box[3] - box[1]
    side_z = np.sqrt((height + 0.5 * (width + height)) * (width + 0.5 * (width + height)))
    side = side_z + 2 * ((size - 127) / 2) / (127 / side_z)
    left, top, right, bottom = (
        center[0] - side / 2,
        center[1] - side / 2,
        center[0] + side / 2,
        center[1] + side / 2,
    )
    a, b = (size - 1) / (right - left), (size - 1) / (bottom - top)
    mapping = np.array([[a, 0, -a * left], [0, b, -b * top]], float)
    border = np.mean(image, axis=(0, 1))
    return cv2.warpAffine(image, mapping, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=border)


@pytest.mark.parametrize("box", [[40, 30, 90, 70], [0, 0, 3, 119], [150, 100, 170, 130], [12.5, 40.25, 60.75, 44.5]])
def test_equal_to_pysot_to_the_pixel(box: list[float]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    ours = crop_around(image, np.array(box, float))
    np.testing.assert_array_equal(ours[:, :, ::-1], crop_of_pysot(np.ascontiguousarray(image[:, :, ::-1]), box))


def test_a_data_set_becomes_crops_that_can_be_drawn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = make_all(tmp_path / "data")
    root = str(folders["got10k"])
    out = tmp_path / "crops"
    assert main(["datasets", "crops", "got10k", "--root", root, "--limit", "2", "--incomplete", "--out", str(out)]) == 0
    held = json.loads((out / "train.json").read_text())
    count = sum(len(tracks["00"]) for tracks in held.values())
    assert f"{count} crops of got10k train" in capsys.readouterr().out
    folder = CropFolder(name="vid", root=out, gap=1)
    assert len(folder.tracks) == 2
    assert folder.picture(folder.tracks[0], 0).shape == (511, 511, 3)
    first = next((out / "crop511").rglob("*.jpg"))
    first.write_bytes(b"kept")
    assert write_crops("got10k", root, out, limit=2, incomplete=True) == count
    assert first.read_bytes() == b"kept"
