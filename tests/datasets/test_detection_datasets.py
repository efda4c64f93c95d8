"""Data sets made for detection: ILSVRC's VID and DET, and YouTube-BB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_copies import HEIGHT, WIDTH, Tree, grays

from singletrack.datasets.frame_index import open_frame_index
from singletrack.datasets.registry import check_dataset, open_dataset
from singletrack.errors import InputError

Store = Callable[[Tree], Path]
Corners = tuple[int, int, int, int]  # left, top, right, bottom
NAN = [None] * 4


def annotation(objects: Iterable[tuple[int | None, Corners]], synset: str = "n02958343") -> str:
    """As ILSVRC writes it: a track (None in DET) and a box of each object, its sides in ILSVRC's order."""
    told = "".join(
        f"<object>{'' if track is None else f'<trackid>{track}</trackid>'}<name>{synset}</name><bndbox>"
        f"<xmax>{right}</xmax><xmin>{left}</xmin><ymax>{bottom}</ymax><ymin>{top}</ymin></bndbox>"
        "<occluded>1</occluded></object>"
        for track, (left, top, right, bottom) in objects
    )
    return f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>{told}</annotation>"


def rows(boxes: np.ndarray) -> list[list[float | None]]:
    """Boxes with None for NaN, which is equal to itself."""
    return [[None if np.isnan(value) else float(value) for value in box] for box in boxes]


def make_vid(tree: Tree, video: str, objects: dict[int, list[tuple[int, Corners]]], frames: int = 6) -> None:
    tree.frames(f"Data/VID/{video}", range(frames), "{:06d}.JPEG")
    for index in range(frames):
        tree.text(f"Annotations/VID/{video}/{index:06d}.xml", annotation(objects.get(index, [])))


FIRST = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
SECOND = "train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00001000"


def test_vid_tracks(tree: Tree, stored: Store) -> None:
    car, dog = (1, 2, 5, 8), (3, 3, 9, 7)
    make_vid(tree, FIRST, {1: [(0, car)], 2: [(1, dog), (0, (2, 2, 6, 8))], 4: [(0, (4, 2, 8, 8))]})
    make_vid(tree, SECOND, {0: [(0, dog)]}, frames=1)
    make_vid(tree, "val/ILSVRC2015_val_00000000", {0: [(7, car)]}, frames=2)
    root = stored(tree)
    first, second, third = open_dataset("vid", root)
    assert [each.name.removeprefix("ILSVRC2015_train_") for each in (first, second, third)] == [
        "00000000_0",
        "00000000_1",
        "00001000_0",
    ]
    assert (grays(first), first.size_wh) == ([1, 2, 3, 4], (WIDTH, HEIGHT))
    assert rows(first.boxes_xywh) == [[1, 2, 4, 6], [2, 2, 4, 6], NAN, [4, 2, 4, 6]]
    assert first.visible is not None
    assert first.visible.tolist() == [True, True, False, True]
    assert (grays(second), rows(second.boxes_xywh)) == ([2], [[3, 3, 6, 4]])
    (held,) = open_dataset("vid", root, split="val")
    assert (held.name, grays(held), rows(held.boxes_xywh)) == ("ILSVRC2015_val_00000000_7", [0], [[1, 2, 4, 6]])


def test_vid_below_the_folder_of_its_download(tree: Tree) -> None:
    make_vid(Tree(tree.root / "ILSVRC2015"), FIRST, {0: [(0, (1, 2, 5, 8))]}, frames=1)
    assert len(open_dataset("vid", tree.root)) == 1


def test_vid_that_lacks_a_frame_in_its_middle(tree: Tree) -> None:
    """The frames after it must not take the places of those before."""
    make_vid(tree, FIRST, {0: [(0, (1, 2, 5, 8))], 3: [(0, (1, 2, 5, 8)), (1, (1, 2, 5, 8))]})
    (tree.root / f"Data/VID/{FIRST}/000001.JPEG").unlink()
    with pytest.raises(InputError, match=r"1 of 4 frames of ILSVRC2015_train_00000000_0 are missing .* such as 000001"):
        open_dataset("vid", tree.root)
    (whole,) = open_dataset("vid", tree.root, incomplete=True)
    assert (whole.name, grays(whole)) == ("ILSVRC2015_train_00000000_1", [3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "invalid ILSVRC annotation"),
        ("<annotation/>", "it has no size/width"),
        (annotation([(0, (1, 2, 5, 8))]).replace("<xmin>1</xmin>", ""), "it has no bndbox/xmin"),
        (annotation([(0, (1, 2, 5, 8))]).replace("<xmin>1<", "<xmin>one<"), "could not convert"),
    ],
)
def test_an_annotation_that_is_none(tree: Tree, text: str, message: str) -> None:
    tree.text("Annotations/VID/val/ILSVRC2015_val_00000000/000000.xml", text)
    with pytest.raises(InputError, match=message):
        open_dataset("vid", tree.root, split="val")


@pytest.mark.parametrize("name", ["vid", "det"])
def test_ilsvrc_that_is_not_there(tree: Tree, name: str) -> None:
    with pytest.raises(InputError, match="no sequences of"):
        open_dataset(name, tree.root)


def make_det(tree: Tree) -> None:
    folder = "train/ILSVRC2013_train/n02958343"
    tree.frames(f"Data/DET/{folder}", [3], "n02958343_{}.JPEG")
    objects = [(None, (1, 2, 5, 8)), (None, (4, 4, 4, 8)), (None, (3, 3, 9, 7))]
    tree.text(f"Annotations/DET/{folder}/n02958343_3.xml", annotation(objects))
    folder = "train/ILSVRC2014_train_0000"
    tree.frames(f"Data/DET/{folder}", [17], "ILSVRC2014_train_{:08d}.JPEG")
    tree.text(f"Annotations/DET/{folder}/ILSVRC2014_train_00000017.xml", annotation([(None, (0, 0, 2, 3))]))


def test_det_objects(tree: Tree, stored: Store) -> None:
    make_det(tree)
    first, second, third = open_dataset("det", stored(tree))
    assert [each.name for each in (first, second, third)] == [
        "n02958343_3_0",
        "n02958343_3_2",
        "ILSVRC2014_train_00000017_0",
    ]
    assert (grays(first), rows(first.boxes_xywh)) == ([3], [[1, 2, 4, 6]])
    assert (grays(second), rows(second.boxes_xywh)) == ([3], [[3, 3, 6, 4]])
    assert (grays(third), rows(third.boxes_xywh), third.size_wh) == ([17], [[0, 0, 2, 3]], (WIDTH, HEIGHT))


def test_det_without_a_picture(tree: Tree) -> None:
    make_det(tree)
    tree.text("Annotations/DET/val/ILSVRC2012_val_00000001.xml", annotation([(None, (1, 2, 5, 8))]))
    with pytest.raises(InputError, match="expected the picture of ILSVRC2012_val_00000001_0"):
        open_dataset("det", tree.root, split="val")


def test_categories_of_ilsvrc_are_named_as_in_coco(tree: Tree) -> None:
    """Synsets that COCO does not have stay as they are."""
    video, picture = "val/ILSVRC2015_val_00000000", "val/ILSVRC2012_val_00000001"
    tree.frames(f"Data/VID/{video}", [0], "{:06d}.JPEG")
    tree.frames("Data/DET/val", [1], "ILSVRC2012_val_{:08d}.JPEG")
    for synset, category in (("n02402425", "cow"), ("n02342885", "n02342885")):
        tree.text(f"Annotations/VID/{video}/000000.xml", annotation([(0, (1, 2, 5, 8))], synset))
        tree.text(f"Annotations/DET/{picture}.xml", annotation([(None, (1, 2, 5, 8))], synset))
        for name in ("vid", "det"):
            assert [each.category for each in open_dataset(name, tree.root, split="val")] == [category]


LISTING = "yt_bb_detection_train"
YOUTUBEBB = """AAAAAA_-AAA,11000,0,person,0,present,0.5,0.75,0.25,0.5
AAAAAA_-AAA,10000,0,person,0,absent,-1,-1,-1,-1
AAAAAA_-AAA,12000,0,person,0,absent,-1,-1,-1,-1
AAAAAA_-AAA,13000,0,person,0,present,0,0.25,0,1
AAAAAA_-AAA,11000,0,person,1,present,0,0.5,0,0.5
BBBBBBBBBBB,0,23,knife,0,absent,-1,-1,-1,-1
"""


def make_youtubebb(tree: Tree) -> None:
    tree.text(f"{LISTING}.csv", YOUTUBEBB)
    tree.frames(f"{LISTING}/0", range(10000, 14000, 1000), "AAAAAA_-AAA_{}_0_0.jpg")
    tree.frames(f"{LISTING}/0", [11000], "AAAAAA_-AAA_{}_0_1.jpg")


def test_youtubebb(tree: Tree, stored: Store) -> None:
    """From where it is first present, in the order of time; an object that never is makes no sequence."""
    make_youtubebb(tree)
    first, second = open_dataset("youtubebb", stored(tree))
    assert (first.name, second.name) == ("AAAAAA_-AAA_0_0", "AAAAAA_-AAA_0_1")
    assert first.category == second.category == "person"
    assert (grays(first), first.size_wh) == ([time % 256 for time in (11000, 12000, 13000)], (WIDTH, HEIGHT))
    assert rows(first.boxes_xywh) == [[8, 3, 4, 3], NAN, [0, 0, 4, 12]]
    assert first.visible is not None
    assert first.visible.tolist() == [True, False, True]
    assert (grays(second), rows(second.boxes_xywh)) == ([11000 % 256], [[0, 0, 8, 6]])


def test_youtubebb_without_frames_in_which_its_object_is_absent(tree: Tree) -> None:
    make_youtubebb(tree)
    (tree.root / f"{LISTING}/0/AAAAAA_-AAA_12000_0_0.jpg").unlink()
    first, _ = open_dataset("youtubebb", tree.root)
    assert rows(first.boxes_xywh) == [[8, 3, 4, 3], [0, 0, 4, 12]]


def test_youtubebb_without_a_video_that_is_gone(tree: Tree) -> None:
    make_youtubebb(tree)
    (tree.root / f"{LISTING}/0/AAAAAA_-AAA_13000_0_0.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 2 frames of AAAAAA_-AAA_0_0 are missing"):
        open_dataset("youtubebb", tree.root)
    assert [each.name for each in open_dataset("youtubebb", tree.root, incomplete=True)] == ["AAAAAA_-AAA_0_1"]


def test_youtubebb_whose_first_picture_is_none(tree: Tree) -> None:
    make_youtubebb(tree)
    (tree.root / f"{LISTING}/0/AAAAAA_-AAA_11000_0_1.jpg").write_bytes(b"no picture")
    report = check_dataset("youtubebb", tree.root)
    assert list(report.problems) == ["AAAAAA_-AAA_0_1"]
    assert "cannot decode image" in report.problems["AAAAAA_-AAA_0_1"][0]


@pytest.mark.parametrize("line", ["AAAAAA_-AAA,11000,0,person,0,present\n", "A,now,0,person,0,present,0,1,0,1\n"])
def test_youtubebb_with_a_line_that_is_none(tree: Tree, line: str) -> None:
    tree.text(f"{LISTING}.csv", YOUTUBEBB + line)
    with pytest.raises(InputError, match=r"every line of yt_bb_detection_train\.csv must have 10 values"):
        open_dataset("youtubebb", tree.root)


def test_youtubebb_that_is_not_there(tree: Tree) -> None:
    with pytest.raises(InputError, match=r"^cannot read text file"):
        open_dataset("youtubebb", tree.root)


def test_training_reads_them(tree: Tree, tmp_path: Path) -> None:
    make_vid(tree, FIRST, {0: [(0, (1, 2, 5, 8))], 2: [(0, (2, 2, 6, 8))]})
    make_det(tree)
    make_youtubebb(tree)
    visible = {
        name: open_frame_index(name, tree.root, tmp_path / "kept", split="train").visible.tolist()
        for name in ("vid", "det", "youtubebb")
    }
    assert visible == {"vid": [True, False, True], "det": [True] * 3, "youtubebb": [True, False, True, True]}
