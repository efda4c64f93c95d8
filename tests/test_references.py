"""A target that is found from a picture of it, and one that is not there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import singletrack
from singletrack import references
from singletrack.errors import InputError, VideoError
from singletrack.references import find_target, read_reference

random = np.random.default_rng(3)
GROUND = np.kron(random.integers(90, 140, (15, 20, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
THING, OTHER = (np.kron(random.integers(0, 255, (6, 6, 3), np.uint8), np.ones((10, 10, 1), np.uint8)) for _ in range(2))


def frames(first: int, count: int = 14) -> list[np.ndarray]:
    """The thing appears in frame ``first``."""
    made = []
    for index in range(count):
        frame = GROUND.copy()
        if index >= first:
            frame[150:210, 200:260] = THING
        made.append(frame)
    return made


@pytest.fixture(autouse=True)
def one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size that is tried takes as long again."""
    monkeypatch.setattr(references, "SIZES", (0.3,))


@pytest.fixture(scope="module")
def tracker() -> singletrack.Tracker:
    return singletrack.load("ostrack-tiny", threads=1)


def test_found_when_it_appears(tracker: singletrack.Tracker) -> None:
    count: list[int] = []
    larger = cv2.resize(THING, (90, 90), interpolation=cv2.INTER_CUBIC)
    sighting = find_target(frames(3), [larger], tracker, on_frame=lambda: count.append(1))
    assert sighting.frame >= 3
    assert len(count) == sighting.frame + 1
    x, y, width, height = sighting.box
    assert (x + width / 2, y + height / 2) == pytest.approx((230, 180), abs=10)
    assert sighting.score >= 0.5


def test_a_thing_that_is_not_there(tracker: singletrack.Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = references._Seeker.look

    def note(seeker: references._Seeker, index: int, frame: np.ndarray) -> references.Sighting | None:
        looked.append(index)
        return look(seeker, index, frame)

    monkeypatch.setattr(references._Seeker, "look", note)
    with pytest.raises(InputError, match="no frame shows the thing of the picture for certain"):
        find_target(frames(99, 12), [OTHER], tracker)
    assert looked == [0, 5, 10]  # every fifth, as long as nothing looks like it


def test_what_is_refused(tracker: singletrack.Tracker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 8 x 8 pixels"):
        find_target(frames(0, 1), [THING[:5]], tracker)
    with pytest.raises(InputError, match="add --long-term"):
        find_target(frames(0, 1), [THING], singletrack.load("ostrack-tiny", threads=1).tracker)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(VideoError, match="cannot decode image"):
        read_reference(str(tmp_path / "text.jpg"))


def test_read_reference(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "thing.png"), THING[..., ::-1])
    assert (read_reference(str(tmp_path / "thing.png")) == THING).all()
