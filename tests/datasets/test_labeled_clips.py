"""Folders of labeled clips: what is read of them, and what is said of damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_clips import FRAMES, HEIGHT, WIDTH, picture, target_box, write_folder

from singletrack.datasets.labeled_clips import UnpackedFrames, fingerprint, read_labeled_clips, unpack_clip
from singletrack.errors import InputError, VideoError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "footage")


def test_reads_clips_and_their_objects(folder: Path) -> None:
    walk, held = read_labeled_clips(folder)
    assert (walk.video, len(walk), walk.size_wh) == (folder / "walk.mp4", FRAMES, (WIDTH, HEIGHT))
    assert [(track.name, track.license_class, track.quality) for track in (*walk.tracks, *held.tracks)] == [
        ("walk-1", "free", "good"),
        ("walk-2", "free", "fair"),
        ("held-1", "non-commercial", "good"),
    ]
    track = walk.tracks[0]
    assert track.boxes_xywh[3].tolist() == list(target_box(3))
    # frame 5 is labeled as absent, frame 7 is not labeled
    assert np.flatnonzero(track.absent).tolist() == [5]
    assert np.flatnonzero(~track.labeled).tolist() == [7]
    assert np.flatnonzero(~track.present).tolist() == [5, 7]


def test_keeps_the_wanted_license_classes(folder: Path) -> None:
    (held,) = read_labeled_clips(folder, lambda license_class: license_class != "free")
    assert held.video.name == "held.mp4"
    with pytest.raises(InputError, match="none among 4 entries of the classes free, non-commercial"):
        read_labeled_clips(folder, lambda license_class: False)


def test_unpacks_a_clip_once(folder: Path, tmp_path: Path) -> None:
    clip = read_labeled_clips(folder)[0]
    unpacked = unpack_clip(clip, tmp_path / "cache")
    frames = UnpackedFrames(unpacked, FRAMES - 2, first=2)
    assert len(frames) == FRAMES - 2
    assert np.abs(frames[1].astype(int) - picture(3)).mean() < 3
    with pytest.raises(IndexError):
        frames[FRAMES - 2]
    (unpacked / "00000000.jpg").write_bytes(b"kept")
    assert unpack_clip(clip, tmp_path / "cache") == unpacked
    assert (unpacked / "00000000.jpg").read_bytes() == b"kept"


def test_fingerprint_follows_the_labels(folder: Path) -> None:
    before = fingerprint(read_labeled_clips(folder))
    assert before.startswith("3 objects of 2 clips, ")
    path = folder / "held-1.csv"
    path.write_text(path.read_text().replace("\n3,", "\n3,1"))
    assert fingerprint(read_labeled_clips(folder)) != before


def test_a_clip_of_too_few_frames(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    for entry in index[:2]:
        entry["frames"] = FRAMES + 3
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(VideoError, match=f"expected {FRAMES + 3} frames in .*walk.mp4.*; got {FRAMES}"):
        unpack_clip(read_labeled_clips(folder)[0], tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read it .*give the folder that holds it"):
        read_labeled_clips(tmp_path)
    (folder / "held.mp4").unlink()
    with pytest.raises(InputError, match=r"1 are missing, held\.mp4 first"):
        read_labeled_clips(folder)
    (folder / "held-1.csv").unlink()
    with pytest.raises(InputError, match=r"expected the boxes of an object in .*held-1.csv"):
        read_labeled_clips(folder)


@pytest.mark.parametrize("line", ["99,1,2,3,4", "1,2,3,4", "x,1,2,3,4"])
def test_a_damaged_line_is_named(folder: Path, line: str) -> None:
    (folder / "walk-1.csv").write_text(f"frame,x,y,w,h\n0,1,2,3,4\n{line}\n")
    with pytest.raises(InputError, match=f"in line 3 of .*walk-1.csv; got {line}"):
        read_labeled_clips(folder)


def test_a_damaged_index_is_named(folder: Path) -> None:
    (folder / "index.json").write_text('[{"name": "a", "licence_class": "free"}]')
    with pytest.raises(InputError, match=r"expected name, video, csv.*KeyError"):
        read_labeled_clips(folder)
    (folder / "index.json").write_text("{}")
    with pytest.raises(InputError, match="got dict"):
        read_labeled_clips(folder)
