"""Footage: what the readers of benchmarks tell, in arrays that lie on the disk, read once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_copies import Tree

from singletrack.datasets import frame_index as module
from singletrack.datasets.frame_index import load_footage, open_frame_index
from singletrack.errors import InputError, VideoError

LASOT = ("full_occlusion", "out_of_view")


@pytest.fixture
def lasot(tree: Tree) -> Tree:
    """Two sequences of four and three frames; the target of the first is hidden in one, and has no box in another."""
    for name, boxes, hidden in (
        ("cat-1", "1,2,3,4\n5,6,0,8\n9,10,11,12\n1,1,2,2", "0,0,1,0"),
        ("cat-2", "7,7,3.5,2\n7,7,3,2\n7,7,3,2", "0,0,0"),
    ):
        tree.frames(f"cat/{name}/img", range(1, 1 + boxes.count("\n") + 1))
        tree.text(f"cat/{name}/groundtruth.txt", boxes)
        for flags in LASOT:
            tree.text(f"cat/{name}/{flags}.txt", hidden)
    tree.text("training_set.txt", "cat-1\ncat-2")
    return tree


def test_arrays_hold_what_the_reader_tells(lasot: Tree, stored: Callable[[Tree], Path], tmp_path: Path) -> None:
    frame_index = open_frame_index("lasot", stored(lasot), tmp_path / "kept", split="train", incomplete=True)
    assert (frame_index.dataset, frame_index.split, len(frame_index)) == ("lasot", "train", 2)
    assert frame_index.names.tolist() == [b"cat-1", b"cat-2"]
    assert frame_index.categories.tolist() == [b"cat", b"cat"]
    assert frame_index.starts.tolist() == [0, 4, 7]
    assert frame_index.lengths.tolist() == [4, 3]
    assert frame_index.seen.tolist() == [2, 3]
    assert frame_index.visible.tolist() == [True, False, False, True, True, True, True]
    assert frame_index.box(1, 0).tolist() == [7, 7, 3.5, 2]
    assert frame_index.box(0, 1).dtype == np.float32
    assert not frame_index.of_pictures
    assert [int(frame_index.picture(1, frame)[0, 0, 0]) for frame in range(3)] == [1, 2, 3]
    assert frame_index.picture(0, 2).shape == (12, 16, 3)
    assert frame_index.picture(0, 2, shrunk=4).shape == (3, 4, 3)


def test_it_is_read_once(lasot: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)
    monkeypatch.setattr(module, "choose", None)
    again = open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)
    assert again.fingerprint == first.fingerprint
    assert isinstance(again.boxes, np.memmap)
    sent = pickle.dumps(again)
    assert len(sent) < 500  # the files are named, not sent
    assert pickle.loads(sent).box(0, 3).tolist() == [1, 1, 2, 2]


def test_an_index_from_before_categories_is_read_anew(lasot: Tree, tmp_path: Path) -> None:
    first = open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)
    (first.folder / "categories.npy").unlink()
    again = open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)
    assert again.categories.tolist() == [b"cat", b"cat"]
    assert again.fingerprint == first.fingerprint


def test_the_fingerprint_tells_data_apart_and_not_where_they_lie(lasot: Tree, tmp_path: Path) -> None:
    def fingerprint(kept: str) -> str:
        return open_frame_index("lasot", lasot.root, tmp_path / kept, split="train", incomplete=True).fingerprint

    before = fingerprint("one")
    assert fingerprint("two") == before
    lasot.text("cat/cat-2/groundtruth.txt", "7,7,3.5,2\n7,7,3,2\n7,8,3,2")
    assert fingerprint("one") == before  # what is kept is not read anew
    assert fingerprint("three") != before


def test_an_incomplete_copy_is_refused(lasot: Tree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1120 sequences expected, 2 found"):
        open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train")
    assert not list(tmp_path.glob("kept/*"))
    lasot.text("training_set.txt", "")
    with pytest.raises(InputError, match="no sequences of lasot train"):
        open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)


def test_sequences_without_all_their_boxes_cannot_be_trained_on(tree: Tree, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tree.frames(name, range(3))
        tree.text(f"{name}/groundtruth.txt", "1,1,2,2\n" * (3 if name == "one" else 1))
    with pytest.raises(InputError, match="two: it has 1 boxes for 3 frames"):
        open_frame_index("folder", tree.root, tmp_path / "kept")
    assert len(open_frame_index("folder", tree.root, tmp_path / "kept", incomplete=True)) == 1


def test_what_is_kept_may_be_damaged_or_gone(lasot: Tree, tmp_path: Path) -> None:
    frame_index = open_frame_index("lasot", lasot.root, tmp_path / "kept", split="train", incomplete=True)
    (lasot.root / "cat/cat-1/img/00000003.jpg").unlink()
    with pytest.raises(VideoError, match=r"00000003\.jpg"):
        frame_index.picture(0, 2)
    (frame_index.folder / "boxes.npy").unlink()
    with pytest.raises(InputError, match="delete it"):
        load_footage(frame_index.folder)
