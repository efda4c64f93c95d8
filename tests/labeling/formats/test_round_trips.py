"""Every format gives back the boxes that it was given."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.labeling.formats import FORMATS, read_labels, write_labels
from singletrack.labeling.formats.base import visible_boxes
from singletrack.labeling.formats.registry import find_format
from singletrack.labeling.labels import LabeledBox, LabeledTarget, LabelSet, VideoInfo

NEEDS_VIDEO = {"csv", "jsonl"}
NO_IDS = {"yolo"}
TABLES = ("csv", "jsonl", "parquet")


def out_path(folder: Path, name: str) -> Path:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason='pip install "singletrack[labels]"')
    if name == "yolo":
        pytest.importorskip("yaml", reason='pip install "singletrack[labels]"')
    return folder / f"out{FORMATS[name].suffix}"


def boxes_of(labels: LabelSet) -> dict[tuple[str, int], dict[int, tuple[float, float, float, float]]]:
    """Visible boxes by label and id."""
    found = {(each.label, each.id): visible_boxes(each.boxes.items()) for each in labels.targets}
    return {key: boxes for key, boxes in found.items() if boxes}


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NO_IDS])
def test_boxes_and_ids_come_back(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name, tolerance=0.01 if FORMATS[name].keyframes else None)
    again = read_labels(path, video=labels.video if name in NEEDS_VIDEO else None)
    before, after = boxes_of(labels), boxes_of(again)
    assert after.keys() == before.keys()
    for key, boxes in before.items():
        assert list(after[key]) == list(boxes), key
        np.testing.assert_allclose(list(after[key].values()), list(boxes.values()), rtol=0, atol=0.0101)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {*NEEDS_VIDEO, "voc"}])
def test_the_video_comes_back(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    video = read_labels(path).video
    assert (video.name, video.width, video.height, video.frame_count) == ("clip one.mp4", 640, 360, 12)
    if name != "cvat":  # has no place for it
        assert video.fps == 25.0


@pytest.mark.parametrize("name", TABLES)
def test_tables_keep_everything(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path)
    assert read_labels(path, video=labels.video) == labels


@pytest.mark.parametrize("name", ["cvat", "label-studio", "coco-video"])
def test_names_come_back(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    again = read_labels(path)
    assert [target.name for target in again.targets] == ["=white car", "Rex & <b>co</b>", "'far' \"away\", ja"]
    if name != "label-studio":
        assert again.targets[0].attributes == {"parked": "no"}


@pytest.mark.parametrize("name", ["cvat", "label-studio"])
def test_absences_come_back_where_keyframes_hold_them(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    car = read_labels(path).targets[0]
    # lost, absent and not labeled are one to these tools
    assert [frame for frame, entry in car.boxes.items() if entry.box is None] == [3, 4, 5, 8, 9, 10, 11]


@pytest.mark.parametrize("name", ["got10k", "lasot", "otb"])
def test_sequences_keep_absences_inside(name: str, labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "out", format=name)
    car = read_labels(tmp_path / "out").targets[0]
    assert [frame for frame, entry in car.boxes.items() if entry.box is None] == [3, 4, 5]
    assert max(car.boxes) == 7


def test_yolo_gives_the_boxes_without_ids(labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, "yolo")
    write_labels(labels, path, format="yolo")
    again = read_labels(path)
    # no frame has two of a label, so each label is one target
    assert [(target.id, target.label) for target in again.targets] == [(1, "car"), (2, "dog")]
    cars = visible_boxes(again.targets[0].boxes.items())
    assert list(cars) == [0, 1, 2, 6, 7, 11]
    np.testing.assert_allclose(cars[1], (12.13, 21.0, 40.5, 30.0), atol=1e-4)


def test_without_ids_two_of_a_label_in_a_frame_are_targets_each(tmp_path: Path) -> None:
    path = out_path(tmp_path, "yolo")
    boxes = {0: LabeledBox(box=(10, 10, 20, 20)), 1: LabeledBox(box=(12, 10, 20, 20))}
    twins = tuple(LabeledTarget(id=id, name="", label="cow", boxes=boxes) for id in (1, 2))
    video = VideoInfo(name="cows", width=100, height=80, frame_count=2)
    write_labels(LabelSet(video=video, targets=twins), path, format="yolo")
    assert [len(target.boxes) for target in read_labels(path).targets] == [1, 1, 1, 1]


def test_yolo_cuts_boxes_at_the_frame(tmp_path: Path) -> None:
    path = out_path(tmp_path, "yolo")
    boxes = {0: LabeledBox(box=(-10, 70, 30, 20)), 1: LabeledBox(box=(200, 10, 5, 5))}
    target = LabeledTarget(id=1, name="", label="cow", boxes=boxes)
    video = VideoInfo(name="cows", width=100, height=80, frame_count=2)
    write_labels(LabelSet(video=video, targets=(target,)), path, format="yolo")
    assert (path / "labels" / "train" / "cows_000000.txt").read_text() == "0 0.1 0.9375 0.2 0.125\n"
    assert (path / "labels" / "train" / "cows_000001.txt").read_text() == ""


@pytest.mark.parametrize("name", list(FORMATS))
def test_no_targets_are_no_error(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    empty = LabelSet(video=labels.video)
    write_labels(empty, path, format=name)
    if name not in {"voc", "got10k", "lasot", "otb"}:  # no files, nothing to read
        assert read_labels(path, format=name, video=labels.video).targets == ()


def test_a_folder_that_is_not_empty_is_left_alone(labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        write_labels(labels, tmp_path, format="voc")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("ending", "name"), [(".csv", "csv"), (".xml", "cvat"), (".txt", "mot"), (".jsonl", "jsonl")])
def test_the_ending_says_the_format(ending: str, name: str, labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / f"a{ending}")
    write_labels(labels, tmp_path / f"b{ending}", format=name)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_an_ending_of_several_formats_needs_a_format(labels: LabelSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one of mot, coco"):
        write_labels(labels, tmp_path / "out.json")
    with pytest.raises(InputError, match="format must be one of"):
        write_labels(labels, tmp_path / "out.json", format="word")


def test_frames_of_a_folder_keep_their_names(labels: LabelSet, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason='pip install "singletrack[labels]"')
    names = tuple(f"left_{letter}.png" for letter in "abcdefghijkl")
    named = replace(labels, video=replace(labels.video, frame_names=names))
    for name in ("coco", "coco-video", "datumaro", "voc", "yolo"):
        write_labels(named, tmp_path / name, format=name)
        again = read_labels(tmp_path / name, video=named.video)
        assert sorted({frame for target in again.targets for frame in target.boxes}) == [0, 1, 2, *range(3, 12)], name
    assert "left_d.png" in (tmp_path / "coco" / "annotations" / "instances_default.json").read_text()


STATES_VIDEO = [name for name in FORMATS if name not in NEEDS_VIDEO]


@pytest.mark.parametrize("name", STATES_VIDEO)
def test_labels_of_a_video_of_another_size_are_refused(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    other = replace(labels.video, name="dog.mp4", width=1280, height=720)
    with pytest.raises(
        InputError, match=r"expected labels of 'dog.mp4', 1280 x 720 pixels.*640 x 360.*; give the labels"
    ):
        read_labels(path, video=other)
    renamed = replace(labels.video, name="renamed.mp4")
    assert read_labels(path, video=renamed).video == renamed


@pytest.mark.parametrize("name", [name for name in STATES_VIDEO if name != "voc"])
@pytest.mark.parametrize("count", [10, 30])
def test_labels_of_a_video_of_another_length_are_refused(
    name: str, count: int, labels: LabelSet, tmp_path: Path
) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    with pytest.raises(
        InputError, match=f"expected labels of 'clip one.mp4', {count} frames; got another video, 12 fr"
    ):
        read_labels(path, video=replace(labels.video, frame_count=count))


@pytest.mark.parametrize("name", [name for name in STATES_VIDEO if name != "voc"])
def test_a_length_that_is_off_by_one_is_the_same_video(name: str, labels: LabelSet, tmp_path: Path) -> None:
    """Decoders disagree about the last frame."""
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    longer = replace(labels.video, frame_count=13)
    assert read_labels(path, video=longer).video == longer


@pytest.mark.parametrize("name", ["csv", "jsonl", "voc"])
def test_labels_of_a_longer_video_are_refused(name: str, labels: LabelSet, tmp_path: Path) -> None:
    path = out_path(tmp_path, name)
    write_labels(labels, path, format=name)
    with pytest.raises(InputError, match=r"has 11 frames.*box in frame 11; give"):
        read_labels(path, video=replace(labels.video, frame_count=11))


def test_tracks_of_a_longer_video_whose_length_is_not_stated(labels: LabelSet, tmp_path: Path) -> None:
    shorter = replace(labels.video, frame_count=11)
    write_labels(labels, tmp_path / "out.xml")
    text = (tmp_path / "out.xml").read_text(encoding="utf-8")
    (tmp_path / "out.xml").write_text(re.sub("<meta>.*</meta>", "", text, flags=re.DOTALL), encoding="utf-8")
    with pytest.raises(InputError, match=r"'clip one\.mp4', frames 0 to 10; got a box in frame 11"):
        read_labels(tmp_path / "out.xml", video=shorter)
    write_labels(labels, tmp_path / "out.json", format="label-studio")
    tasks = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    del tasks[0]["data"]["singletrack"]
    (tmp_path / "out.json").write_text(json.dumps(tasks), encoding="utf-8")
    with pytest.raises(InputError, match=r"'clip one\.mp4', frames 0 to 10; got a box in frame 11"):
        read_labels(tmp_path / "out.json", video=shorter)


def test_a_coco_video_of_another_size_among_several(labels: LabelSet, tmp_path: Path) -> None:
    """Sizes and lengths are those of the video that is read, not of the others."""
    path = tmp_path / "out.json"
    write_labels(labels, path, format="coco-video")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["videos"].append({"id": 2, "name": "dog.mp4", "width": 99, "height": 99, "length": 3})
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_labels(path, video=labels.video).video == labels.video


@pytest.mark.parametrize("name", ["coco", "coco-video", "datumaro"])
def test_the_folder_of_a_file_and_its_pictures_is_read(name: str, labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "out" / "dog.json", format=name)
    (tmp_path / "out" / "images").mkdir()
    assert boxes_of(read_labels(tmp_path / "out")).keys() == boxes_of(labels).keys()


@pytest.mark.parametrize("name", ["got10k", "lasot", "otb"])
def test_the_folder_of_one_sequence_is_known_by_its_files(name: str, labels: LabelSet, tmp_path: Path) -> None:
    write_labels(replace(labels, targets=labels.targets[:1]), tmp_path / "out", format=name)
    (folder,) = (entry for entry in (tmp_path / "out").iterdir() if entry.is_dir())
    assert find_format(folder) == find_format(tmp_path / "out") == name
