"""Pictures from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.datasets.photos import KIN, Photos
from singletrack.errors import InputError


def test_photos_come_from_files_and_are_held_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photos"):
        Photos(tmp_path)
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 1000, 3), index * 20, np.uint8))
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves beside a file")
    photos = Photos(tmp_path, longest=480)
    assert len(photos) == 10
    assert min(photos.draw(np.random.default_rng(0)).shape[:2]) >= 72
    train, held = photos.split(5)
    assert (len(train), len(held)) == (8, 2)
    assert not set(train.paths) & set(held.paths)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    bad = Photos(tmp_path)
    bad.paths = [tmp_path / "bad.jpg"]
    with pytest.raises(InputError, match="cannot read photo"):
        bad.draw(np.random.default_rng(0))


def test_kin_lie_beside_one_another(tmp_path: Path) -> None:
    for index in range(40):
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), np.full((80, 80, 3), 6 * index, np.uint8))
    photos, random = Photos(tmp_path), np.random.default_rng(0)
    for _ in range(30):
        found = photos.draw_object(random)
        kin = photos.draw_object(random, beside=found)
        away = (kin.place - found.place) % 40
        assert 1 <= min(away, 40 - away) <= KIN
        assert kin.picture[0, 0, 0] == 6 * kin.place
