"""Objects in photos: found where colors part them from what is behind, and looked for once."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.datasets import object_masks
from singletrack.datasets.object_masks import cached_object, find_object
from singletrack.datasets.photos import Photos
from singletrack.datasets.synthetic.cutouts import cut_object, draw_piece


def disc_on_meadow() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on grainy green, 240 x 160, and where it is."""
    random = np.random.default_rng(0)
    picture = random.normal((60, 140, 50), 8, (160, 240, 3)).clip(0, 255).astype(np.uint8)
    truth = np.zeros((160, 240), np.uint8)
    cv2.circle(truth, (130, 75), 40, 255, -1)
    picture[truth > 0] = random.normal((190, 40, 40), 8, (160, 240, 3)).clip(0, 255)[truth > 0]
    return picture, truth


def test_a_disc_on_a_meadow_is_found_whole() -> None:
    picture, truth = disc_on_meadow()
    mask = find_object(picture)
    assert mask is not None
    assert max(mask.shape) == 128
    found = cv2.resize(mask, (240, 160)) > 127
    both, either = (found & (truth > 0)).sum(), (found | (truth > 0)).sum()
    assert both / either > 0.93


def test_no_object_in_plain_noise_nor_in_one_that_fills_the_photo() -> None:
    noise = np.random.default_rng(0).normal(120, 10, (160, 240, 3)).clip(0, 255).astype(np.uint8)
    full = noise.copy()
    full[8:-8, 8:-8] = (200, 30, 30)
    assert find_object(noise) is None
    assert find_object(full) is None


def test_an_object_cut_from_its_photo_fits_its_box() -> None:
    picture, _ = disc_on_meadow()
    mask = find_object(picture)
    assert mask is not None
    piece = cut_object(picture, mask, 100)
    low, high = piece.outline.min(0), piece.outline.max(0)
    assert high - low == pytest.approx([100, 100], abs=7)
    red = (piece.pixels[..., 0] > 120) & (piece.pixels[..., 1] < 90)
    assert (piece.alpha > 127)[red].mean() > 0.95
    assert red[piece.alpha > 127].mean() > 0.95


def test_outlines_are_looked_for_once_and_so_is_their_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _ = disc_on_meadow()
    noise = np.random.default_rng(0).normal(120, 10, (160, 240, 3)).clip(0, 255).astype(np.uint8)
    for name, pixels in (("disc", picture), ("noise", noise)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels[..., ::-1])
    cache = tmp_path / "cache"
    first = cached_object(tmp_path / "disc.png", picture, cache)
    assert cached_object(tmp_path / "noise.png", noise, cache) is None
    monkeypatch.setattr(object_masks, "find_object", None)
    again = cached_object(tmp_path / "disc.png", picture, cache)
    assert first is not None
    assert again is not None
    assert np.array_equal(first, again)
    assert cached_object(tmp_path / "noise.png", noise, cache) is None
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(tmp_path / "disc.png", tmp_path / "elsewhere")
    assert cached_object(Path(moved), picture, cache) is not None


def test_photos_draw_their_objects(tmp_path: Path) -> None:
    picture, _ = disc_on_meadow()
    cv2.imwrite(str(tmp_path / "disc.png"), picture[..., ::-1])
    photos = Photos(tmp_path, objects=tmp_path / "cache")
    found = photos.draw_object(np.random.default_rng(0))
    assert np.array_equal(found.picture, picture)
    assert found.mask is not None
    sides = [np.ptp(draw_piece(np.random.default_rng(seed), photos, 64).outline, 0).tolist() for seed in range(8)]
    assert any(side == pytest.approx([64, 64], abs=5) for side in sides)
