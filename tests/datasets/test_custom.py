"""A user's own data: videos with boxes, and what annotation tools write."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_copies import HEIGHT, WIDTH, Tree, grays

from singletrack.datasets.registry import open_dataset
from singletrack.datasets.video_frames import VideoFrames, unpack_video
from singletrack.errors import InputError, VideoError
from singletrack.video.images import read_picture
from singletrack.video.writer import VideoWriter

Store = Callable[[Tree], Path]


def make_video(path: Path, frames: int) -> None:
    """A video whose frames say their number by their gray, in steps of 20."""
    with VideoWriter(path, fps=10) as writer:
        for number in range(frames):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))


def number_of(frame: np.ndarray) -> int:
    return round(float(frame.mean()) / 20)


def test_videos_beside_their_boxes_and_in_folders(tree: Tree) -> None:
    make_video(tree.root / "walk.mp4", 5)
    tree.text("walk.txt", "1,2,10,10\n" * 4 + "nan,nan,nan,nan\n")
    (tree.root / "run").mkdir()
    make_video(tree.root / "run" / "any name.mp4", 3)
    tree.text("run/groundtruth.txt", "1,2,10,10\n")
    run, walk = open_dataset("folder", tree.root)
    assert (run.name, len(run), run.boxes_xywh.shape, run.visible) == ("run", 3, (1, 4), None)
    assert (walk.name, len(walk)) == ("walk", 5)
    assert walk.visible is not None
    assert walk.visible.tolist() == [True] * 4 + [False]
    assert [number_of(walk.frames[index]) for index in (0, 3, 3, 1, 4)] == [0, 3, 3, 1, 4]
    assert number_of(pickle.loads(pickle.dumps(walk)).frames[2]) == 2
    with pytest.raises(IndexError):
        walk.frames[5]


def test_a_video_of_fewer_frames_than_boxes(tree: Tree) -> None:
    make_video(tree.root / "walk.mp4", 2)
    tree.text("walk.txt", "1,2,10,10\n" * 3)
    (walk,) = open_dataset("folder", tree.root)
    with pytest.raises(VideoError, match=r"expected 3 frames .* it ends after 2"):
        walk.frames[2]


def test_a_video_is_unpacked_once(tmp_path: Path) -> None:
    make_video(tmp_path / "walk.mp4", 3)
    frames = VideoFrames(tmp_path / "walk.mp4")
    names = unpack_video(frames, tmp_path / "frames")
    assert [number_of(read_picture(tmp_path / "frames" / name)) for name in names] == [0, 1, 2]
    before = (tmp_path / "frames" / names[0]).stat().st_mtime_ns
    assert unpack_video(frames, tmp_path / "frames") == names
    assert (tmp_path / "frames" / names[0]).stat().st_mtime_ns == before
    frames.close()


@pytest.mark.parametrize(
    ("boxes", "pictures"),
    [
        ("_annotations.coco.json", ""),
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_a.json", "images/a"),
    ],
)
def test_coco_of_annotation_tools(tree: Tree, stored: Store, boxes: str, pictures: str) -> None:
    tree.frames(pictures, [7, 8])
    content = {
        "images": [{"id": n, "file_name": f"{n:08d}.jpg", "width": WIDTH, "height": HEIGHT} for n in (7, 8)],
        "annotations": [
            {"id": 1, "image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 1},
            {"id": 2, "image_id": 8, "bbox": [1, 2, 0, 4], "category_id": 1},
            {"id": 3, "image_id": 8, "bbox": [5, 2, 3, 4], "category_id": 1, "iscrowd": 1},
            {"id": 4, "image_id": 8, "bbox": [2, 2, 3, 4], "category_id": 1},
        ],
    }
    tree.text(boxes, json.dumps(content))
    tree.text("settings.json", "{}")
    first, second = open_dataset("coco_export", stored(tree))
    assert (grays(first), first.boxes_xywh.tolist()) == ([7], [[1, 2, 3, 4]])
    assert (grays(second), second.boxes_xywh.tolist()) == ([8], [[2, 2, 3, 4]])
    assert second.size_wh == (WIDTH, HEIGHT)


def test_coco_export_without_annotations_or_a_picture(tree: Tree) -> None:
    tree.text("notes.json", "[]")
    with pytest.raises(InputError, match="expected COCO annotations"):
        open_dataset("coco_export", tree.root)
    image = {"id": 1, "file_name": "away.jpg", "width": 4, "height": 4}
    thing = {"id": 1, "image_id": 1, "bbox": [0, 0, 2, 2]}
    tree.text("train.json", json.dumps({"images": [image], "annotations": [thing]}))
    with pytest.raises(InputError, match="expected the picture of train_1_1"):
        open_dataset("coco_export", tree.root)


def test_mot_tracks(tree: Tree, stored: Store) -> None:
    tree.frames("street/img1", range(1, 6), "{:06d}.jpg")
    rows = ["2,1,10,20,5,6,1,1,1.0", "4,1,12,20,5,6,1,1,0.5", "1,2,1,1,5,5,1,1,1", "2,2,1,1,5,5,0,1,1"]
    tree.text("street/gt/gt.txt", "\n".join(rows))
    tree.text("street/seqinfo.ini", "[Sequence]\nname=street\nimDir=img1\n")
    first, second = open_dataset("mot", stored(tree))
    assert (first.name, grays(first)) == ("street_1", [2, 3, 4])
    assert first.boxes_xywh[[0, 2]].tolist() == [[10, 20, 5, 6], [12, 20, 5, 6]]
    assert first.visible is not None
    assert first.cover is not None
    assert (first.visible.tolist(), first.cover.tolist()) == ([True, False, True], [1.0, 0.0, 0.5])
    assert (second.name, grays(second)) == ("street_2", [1])


def test_mot_lacking_frames_or_columns(tree: Tree) -> None:
    tree.frames("street/img1", [1])
    tree.text("street/gt/gt.txt", "3,1,10,20,5,6\n")
    with pytest.raises(InputError, match=r"expected 3 frames in .* got 1"):
        open_dataset("mot", tree.root)
    tree.text("street/gt/gt.txt", "3,1,10\n")
    with pytest.raises(InputError, match="got 3 numbers"):
        open_dataset("mot", tree.root)


CVAT_VIDEO = """<annotations><version>1.1</version>
<track id="3" label="car">
<box frame="1" outside="0" occluded="0" xtl="1.5" ytl="2" xbr="4.5" ybr="8"/>
<box frame="2" outside="1" occluded="0" xtl="1.5" ytl="2" xbr="4.5" ybr="8"/>
<box frame="3" outside="0" occluded="1" xtl="2" ytl="2" xbr="5" ybr="8"/>
<box frame="4" outside="1" occluded="0" xtl="2" ytl="2" xbr="5" ybr="8"/>
</track></annotations>"""
CVAT_IMAGES = """<annotations><version>1.1</version>
<image id="0" name="00000005.jpg" width="16" height="12"><box label="car" xtl="1" ytl="2" xbr="4" ybr="8"/></image>
</annotations>"""


def test_cvat_for_video(tree: Tree, stored: Store) -> None:
    tree.frames("images", range(6), "frame_{:06d}.PNG")
    tree.text("annotations.xml", CVAT_VIDEO)
    (car,) = open_dataset("cvat", stored(tree))
    assert grays(car) == [1, 2, 3]
    assert car.boxes_xywh[[0, 2]].tolist() == [[1.5, 2, 3, 6], [2, 2, 3, 6]]
    assert car.visible is not None
    assert car.visible.tolist() == [True, False, True]


def cvat_of_frames(numbers: Sequence[int]) -> str:
    boxes = [f'<box frame="{n}" outside="0" xtl="{n}" ytl="2" xbr="{n + 3}" ybr="8"/>' for n in numbers]
    return f'<annotations><track id="3" label="car">{"".join(boxes)}</track></annotations>'


@pytest.mark.parametrize("pattern", ["frame_{:06d}.PNG", "{}.png"])
@pytest.mark.parametrize(
    ("pictures", "boxes"),
    [
        (range(0, 30, 5), range(0, 30, 5)),  # every fifth frame
        (range(10, 16), range(10, 16)),  # a job that begins at frame 10
        (range(10, 30), range(12, 15)),  # which has enough pictures to be shifted in silence
    ],
)
def test_cvat_pictures_are_found_by_their_numbers(tree: Tree, pattern: str, pictures: range, boxes: range) -> None:
    tree.frames("images", pictures, pattern)
    tree.text("annotations.xml", cvat_of_frames(boxes))
    (car,) = open_dataset("cvat", tree.root)
    assert grays(car) == list(boxes)
    assert car.boxes_xywh[:, 0].tolist() == list(boxes)


def test_cvat_pictures_with_names_of_their_own_are_taken_in_order(tree: Tree) -> None:
    tree.frames("images", range(1, 7), "holiday_{:04d}.jpg")
    tree.text("annotations.xml", cvat_of_frames([1, 2]))
    (car,) = open_dataset("cvat", tree.root)
    assert grays(car) == [2, 3]  # frames 1 and 2 are the second and third picture


def test_cvat_lacking_a_frame(tree: Tree) -> None:
    tree.frames("images", [10, 11, 13], "frame_{:06d}.PNG")
    tree.text("annotations.xml", cvat_of_frames([10, 11, 12, 13]))
    with pytest.raises(InputError, match=r"expected pictures of the frames 12 of .*_3 in"):
        open_dataset("cvat", tree.root)


def test_cvat_for_images_in_tasks(tree: Tree) -> None:
    tree.frames("monday/images", [5])
    tree.text("monday/annotations.xml", CVAT_IMAGES)
    (car,) = open_dataset("cvat", tree.root)
    assert (car.name, grays(car), car.boxes_xywh.tolist()) == ("monday_0_0", [5], [[1, 2, 3, 6]])


@pytest.mark.parametrize(("text", "message"), [("<annotations>", "expected CVAT's XML"), ("<a/>", "found none")])
def test_cvat_that_is_none(tree: Tree, text: str, message: str) -> None:
    tree.text("annotations.xml", text)
    with pytest.raises(InputError, match=message):
        open_dataset("cvat", tree.root)
