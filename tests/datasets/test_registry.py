"""Opening by name, asking for parts, refusing what is not whole, and checking a copy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_copies import Tree, picture

from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import check_dataset, open_dataset, split_digest
from singletrack.datasets.storage import Storage
from singletrack.errors import InputError


@pytest.fixture
def whole(tree: Tree) -> Tree:
    """Three whole sequences: cat, dog and eel."""
    for name in ("cat", "dog", "eel"):
        tree.frames(name, range(1, 4))
        tree.text(f"{name}/groundtruth.txt", "1,2,3,4\n" * 3)
    return tree


def names(sequences: Iterable[VideoSequence]) -> list[str]:
    return [sequence.name for sequence in sequences]


def test_parts_may_be_asked_for(whole: Tree, tmp_path: Path) -> None:
    root = whole.root
    assert names(open_dataset("folder", root)) == ["cat", "dog", "eel"]
    assert names(open_dataset("folder", root, limit=2)) == ["cat", "dog"]
    assert names(open_dataset("folder", root, names=["eel", "cat"])) == ["eel", "cat"]
    own = tmp_path / "own.txt"
    own.write_text("eel\n\ndog\n")
    assert names(open_dataset("folder", root, split_file=own)) == ["eel", "dog"]
    assert names(open_dataset("folder", root, exclude_file=own)) == ["cat"]
    own.write_text("2\n0\n")
    assert names(open_dataset("folder", root, split_file=own)) == ["eel", "cat"]


def test_what_cannot_be_meant_is_refused(whole: Tree, tmp_path: Path) -> None:
    root = whole.root
    with pytest.raises(InputError, match=r"unknown data set 'lasso'; choose one of lasot, "):
        open_dataset("lasso", root)
    with pytest.raises(InputError, match=r"lasot has no split 'val'; choose one of test, train"):
        open_dataset("lasot", root, split="val")
    with pytest.raises(InputError, match="has no sequence 'dgo'; it has dog"):
        open_dataset("folder", root, names=["dgo"])
    with pytest.raises(InputError, match="limit must be at least 1; got 0"):
        open_dataset("folder", root, limit=0)
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.txt"):
        open_dataset("folder", root, split_file=tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="check the path"):
        open_dataset("folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no sequences of folder test"):
        open_dataset("folder", tmp_path / "empty")


def test_an_incomplete_copy_is_opened_only_where_that_is_said(whole: Tree, tmp_path: Path) -> None:
    root = whole.root
    (root / "dog" / "00000002.jpg").unlink()
    with pytest.raises(InputError, match=r"dog: each frame needs a box; got 3 boxes .* and 2 frames") as caught:
        open_dataset("folder", root)
    assert f"singletrack datasets check folder --root {root}" in str(caught.value)
    assert names(open_dataset("folder", root, incomplete=True)) == ["cat", "eel"]
    assert names(open_dataset("folder", root, names=["eel"])) == ["eel"]
    assert names(open_dataset("folder", root, limit=1)) == ["cat"]
    with pytest.raises(InputError, match="dog: "):
        open_dataset("folder", root, limit=2)
    own = tmp_path / "own.txt"
    own.write_text("cat\nfox\n")
    with pytest.raises(InputError, match="fox: is not in this copy"):
        open_dataset("folder", root, split_file=own)
    with pytest.raises(InputError, match="the split: 70 sequences expected, 3 found"):
        open_dataset("dtb70", root)


def test_long_lists_of_faults_are_cut(tree: Tree) -> None:
    for number in range(9):
        tree.frames(f"s{number}", [1])
    with pytest.raises(InputError, match=r"s4: .*; and 4 more; list all problems"):
        open_dataset("folder", tree.root)


def test_attributes_from_flags_or_json(tree: Tree, tmp_path: Path) -> None:
    tree.frames("Animal1/img", [1])
    tree.text("Animal1/groundtruth_rect.txt", "1,2,3,4")
    (tmp_path / "own.json").write_text(json.dumps({"Animal1": ["FM", "LR"], "Other": []}))
    (sequence,) = open_dataset("dtb70", tree.root, limit=1, attributes=tmp_path / "own.json")
    assert sequence.attributes == ("FM", "LR")

    tree.frames("test/Yo-Yo/Yo-Yo-3/imgs", [1])
    tree.text("test/Yo-Yo/Yo-Yo-3/Groundtruth.txt", "1,2,3,4")
    flags = Tree(tmp_path / "att")
    flags.text("Yo-Yo-3.txt", "1,0,0,0,0,0,0,0,0,1")
    (sequence,) = open_dataset("vasttrack", tree.root, limit=1, attributes=flags.root)
    assert sequence.attributes == ("LR", "MB")
    flags.text("Yo-Yo-3.txt", "1,0")
    with pytest.raises(InputError, match=r"must have 10 flags .*; got 2"):
        open_dataset("vasttrack", tree.root, limit=1, attributes=flags.root)


def test_a_sequence_has_a_row_for_each_frame(tree: Tree) -> None:
    tree.frames("cat", [1, 2])
    frames = Storage(tree.root).frames("cat", ["00000001.jpg", "00000002.jpg"])
    assert VideoSequence(name="cat", frames=frames, boxes_xywh=np.zeros((1, 4))).visible is None
    for rows in (0, 3):
        with pytest.raises(InputError, match=rf"cat needs a box for each of its 2 frames, .*; got {rows} x 4"):
            VideoSequence(name="cat", frames=frames, boxes_xywh=np.zeros((rows, 4)))
    with pytest.raises(InputError, match="cat needs visible for each of its 2 frames; got 3 values"):
        VideoSequence(name="cat", frames=frames, boxes_xywh=np.zeros((2, 4)), visible=np.ones(3, bool))
    with pytest.raises(InputError, match="cat needs cover for each of its 2 frames"):
        VideoSequence(name="cat", frames=frames, boxes_xywh=np.zeros((2, 4)), cover=np.ones(1))


# --- checking ----------------------------------------------------------------------------------------------


def test_a_whole_copy_has_no_problems(whole: Tree) -> None:
    seen: list[str] = []

    def progress(items: Iterable[str]) -> Iterable[str]:
        for item in items:
            seen.append(item)
            yield item

    report = check_dataset("folder", whole.root, progress=progress)
    assert (report.sequences, report.frames, report.problems) == (3, 9, {})
    assert seen == ["cat", "dog", "eel"]
    # SHA-256 of "cat\ndog\neel"
    assert report.digest == split_digest(["eel", "cat", "dog"])
    assert report.digest == "c5f7ee12fa395560542a6b94b02c7ef4c2d2018e1e4e43a357005a784ca25456"


def test_check_tells_all_that_is_wrong(whole: Tree, tmp_path: Path) -> None:
    root = whole.root
    (root / "cat" / "00000002.jpg").write_bytes(b"no picture")
    (root / "cat" / "00000003.jpg").write_bytes(picture(3)[:-3])
    (root / "dog" / "00000002.jpg").unlink()
    whole.text("eel/groundtruth.txt", "nan,nan,nan,nan\n1,2,3,4\n1,2,3,4\n")
    own = tmp_path / "own.txt"
    own.write_text("cat\ndog\neel\nfox\n")
    report = check_dataset("folder", root, split_file=own)
    assert (report.sequences, report.frames, report.expected) == (2, 6, None)
    assert report.problems["fox"] == ["is not in this copy"]
    assert report.problems["cat"] == [
        "1 frames cannot be read, the first is 00000002.jpg",
        "1 frames are truncated, the first is 00000003.jpg",
    ]
    assert "got 3 boxes in dog/groundtruth.txt and 2 frames" in report.problems["dog"][0]
    assert report.problems["eel"] == ["the first frame has no valid box, but nan,nan,nan,nan"]
    assert report.digest == split_digest(["cat", "dog", "eel", "fox"])
    quick = check_dataset("folder", root, quick=True)
    assert quick.problems["cat"] == ["1 frames are truncated, the first is 00000003.jpg"]


def test_check_counts_against_what_is_expected(whole: Tree) -> None:
    report = check_dataset("lasot_ext", whole.root)
    assert (report.expected, report.sequences) == (150, 0)
    assert report.problems == {"the split": ["150 sequences expected, 0 found"]}
