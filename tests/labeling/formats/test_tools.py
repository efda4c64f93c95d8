"""Each format, read by the tool that it is for.

The tools are installed by: pip install --no-deps -r tests/labeling/formats/tools.txt
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tools import need

from singletrack.datasets.registry import open_dataset
from singletrack.labeling.formats import read_labels, write_labels
from singletrack.labeling.formats.base import visible_boxes
from singletrack.labeling.labels import LabeledTarget, LabelSet
from singletrack.video import VideoWriter

EXTRA = 'pip install "singletrack[labels]"'
# what the tools' own code is warned of is not ours to mend; unclosed files of theirs come up later, wherever
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def clip(tmp_path: Path, labels: LabelSet) -> Path:
    """A clip of the labels' size and length, of frames that get lighter."""
    path = tmp_path / labels.video.name
    with VideoWriter(path, labels.video.fps) as writer:
        for number in range(labels.video.frame_count):
            frame = np.full((labels.video.height, labels.video.width, 3), 20 * number, np.uint8)
            writer.write(frame, number / labels.video.fps)
    return path


def visible(target: LabeledTarget) -> dict[int, tuple[float, float, float, float]]:
    return visible_boxes(target.boxes.items())


def rows(labels: LabelSet) -> dict[tuple[int, int], tuple[float, float, float, float]]:
    """Visible boxes by frame and id."""
    return {(frame, target.id): box for target in labels.targets for frame, box in visible(target).items()}


def one_class(labels: LabelSet) -> LabelSet:
    """TrackEval scores pedestrians, class 1, alone."""
    return replace(labels, targets=tuple(replace(target, label="pedestrian") for target in labels.targets))


# --- TrackEval ---------------------------------------------------------------------------------------------


def test_trackeval_reads_mot(labels: LabelSet, tmp_path: Path) -> None:
    trackeval = need("trackeval")
    truth = one_class(labels)
    write_labels(truth, tmp_path / "gt" / "clip", format="mot")
    fewer = replace(truth, targets=truth.targets[:2])  # a tracker that misses the third target, of one box
    for name, found in {"all": truth, "fewer": fewer}.items():
        write_labels(found, tmp_path / "trackers" / name / "data" / "clip.txt")
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": str(tmp_path / "gt"),
                "TRACKERS_FOLDER": str(tmp_path / "trackers"),
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": {"clip": None},
                "PRINT_CONFIG": False,
            }
        )
        evaluator = trackeval.Evaluator(
            {
                "PRINT_RESULTS": False,
                "PRINT_CONFIG": False,
                "TIME_PROGRESS": False,
                "OUTPUT_SUMMARY": False,
                "OUTPUT_DETAILED": False,
                "PLOT_CURVES": False,
                "RETURN_ON_ERROR": False,
                "BREAK_ON_ERROR": True,
            }
        )
        found_by_eval, _messages = evaluator.evaluate([dataset], [trackeval.metrics.CLEAR(), trackeval.metrics.HOTA()])
    scored: dict[str, Any] = {
        name: found_by_eval["MotChallenge2DBox"][name]["clip"]["pedestrian"] for name in ("all", "fewer")
    }
    assert scored["all"]["CLEAR"]["CLR_TP"] == 15  # 5 boxes of the car, 9 of the dog, 1 far away
    assert scored["all"]["CLEAR"]["MOTA"] == 1
    np.testing.assert_allclose(scored["all"]["HOTA"]["HOTA"], 1)
    assert (scored["fewer"]["CLEAR"]["CLR_TP"], scored["fewer"]["CLEAR"]["CLR_FN"]) == (14, 1)


# --- pycocotools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coco", "coco-video"])
def test_pycocotools_reads_coco(name: str, labels: LabelSet, tmp_path: Path) -> None:
    coco, cocoeval = need("pycocotools.coco"), need("pycocotools.cocoeval")
    write_labels(labels, tmp_path / "coco.json", format=name)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(tmp_path / "coco.json"))
        assert [category["name"] for category in truth.loadCats(truth.getCatIds())] == ["car", "dog"]
        assert len(truth.getImgIds()) == 12
        found = truth.loadAnns(truth.getAnnIds(imgIds=[12]))
        assert sorted(annotation["bbox"] for annotation in found) == [[0, 0, 640, 360], [377, 200, 50, 40]]
        answers = [
            {**{key: each[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
            for each in truth.loadAnns(truth.getAnnIds())
        ]
        scorer = cocoeval.COCOeval(truth, truth.loadRes(answers), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    assert scorer.stats[0] == pytest.approx(1.0)


# --- Ultralytics -------------------------------------------------------------------------------------------


def test_yolo_has_the_documented_layout(labels: LabelSet, clip: Path, tmp_path: Path) -> None:
    need("yaml", EXTRA)
    root = tmp_path / "yolo"
    write_labels(labels, root, format="yolo", frames=clip)
    assert (root / "data.yaml").read_text().splitlines()[:5] == [
        "train: images/train",
        "val: images/train",
        "names:",
        '  0: "car"',
        '  1: "dog"',
    ]
    stems = [f"clip_one_{frame:06d}" for frame in range(12)]
    assert sorted(path.name for path in (root / "images" / "train").iterdir()) == [f"{stem}.jpg" for stem in stems]
    assert sorted(path.name for path in (root / "labels" / "train").iterdir()) == [f"{stem}.txt" for stem in stems]
    # frame 3: the car is lost; the dog at 321, 200, 50, 40 of 640 x 360
    assert (
        root / "labels" / "train" / "clip_one_000003.txt"
    ).read_text() == "1 0.540625 0.61111111 0.078125 0.11111111\n"
    assert (root / "labels" / "train" / "clip_one_000011.txt").read_text().splitlines()[1] == "0 0.5 0.5 1 1"


def test_ultralytics_reads_yolo(labels: LabelSet, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    utils = need("ultralytics.data.utils", "pip install ultralytics (with a torchvision that fits)")
    root = tmp_path / "yolo"
    write_labels(labels, root, format="yolo", frames=clip)
    described = utils.check_det_dataset(str(root / "data.yaml"), autodownload=False)
    assert described["names"] == {0: "car", 1: "dog"}
    pictures = sorted(str(path) for path in Path(described["train"]).iterdir())
    texts = utils.img2label_paths(pictures)
    counts = []
    for picture, text in zip(pictures, texts, strict=True):
        _, boxes, shape, _, _, missing, _, _, corrupt, message = utils.verify_image_label(
            (picture, text, "", False, 2, 0, 0, False)
        )
        assert (shape, missing, corrupt) == ((360, 640), 0, 0), message
        counts.append(len(boxes))
    assert counts == [1, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 2]


# --- Datumaro ----------------------------------------------------------------------------------------------

# our name, Datumaro's, and whether it keeps ids
DATUMARO = [
    ("datumaro", "datumaro", True),
    ("voc", "voc_detection", True),
    ("mot", "mot_seq", True),
    ("cvat", "cvat", True),
    ("coco", "coco_instances", True),
]


@pytest.mark.parametrize(("ours", "theirs", "ids"), DATUMARO)
def test_datumaro_reads(ours: str, theirs: str, ids: bool, labels: LabelSet, clip: Path, tmp_path: Path) -> None:
    datumaro = need("datumaro")
    root = tmp_path / "out"
    path = root / "annotations.xml" if ours == "cvat" else root
    # CVAT's own reader goes in straight lines between keyframes, Datumaro's does not: every frame is one then
    cvat = ours == "cvat"
    write_labels(labels, path, format=ours, tolerance=0.01 if cvat else None, frames=None if cvat else clip)
    dataset = datumaro.Dataset.import_from(str(root), theirs)
    names = [category.name for category in dataset.categories()[datumaro.AnnotationType.label].items]
    found: dict[int, list[tuple[str, Any, list[float]]]] = {}
    for item in dataset:
        frame = int(item.attributes.get("frame", str(item.id).rpartition("_")[2]))
        frame -= ours == "mot"  # counts from 1
        for each in item.annotations:
            if each.type == datumaro.AnnotationType.bbox and not each.attributes.get("outside"):
                entry = names[each.label], int(each.attributes["track_id"]), [float(side) for side in each.get_bbox()]
                found.setdefault(frame, []).append(entry)
    targets = {target.id: target for target in labels.targets}
    count = 0
    for frame, entries in found.items():
        for label, id, box in entries:
            assert label == targets[id].label
            np.testing.assert_allclose(box, visible(targets[id])[frame], atol=0.0101)
            count += 1
    # of CVAT's file the keyframes alone: 5 of the car (its frames bend), the dog's ends, and one
    assert count == (8 if ours == "cvat" else 15)


# --- CVAT --------------------------------------------------------------------------------------------------


def test_cvat_tracks_fit_the_sdk(labels: LabelSet, tmp_path: Path) -> None:
    """The tracks as CVAT's server keeps them: its models check types and values."""
    models = need("cvat_sdk.models")
    from xml.etree import ElementTree

    write_labels(labels, tmp_path / "a.xml")
    tracks = []
    for track in ElementTree.parse(tmp_path / "a.xml").getroot().iter("track"):
        shapes = [
            models.TrackedShapeRequest(
                type="rectangle",
                frame=int(box.attrib["frame"]),
                outside=box.attrib["outside"] == "1",
                occluded=box.attrib["occluded"] == "1",
                z_order=int(box.attrib["z_order"]),
                points=[float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")],
            )
            for box in track.iter("box")
        ]
        tracks.append(models.LabeledTrackRequest(frame=shapes[0].frame, label_id=1, group=0, shapes=shapes))
    data = models.LabeledDataRequest(version=0, tags=[], shapes=[], tracks=tracks)
    assert [len(track.shapes) for track in data.tracks] == [6, 2, 1]
    outside = [shape.frame for shape in data.tracks[0].shapes if shape.outside]
    assert outside == [3, 8]


# --- Label Studio ------------------------------------------------------------------------------------------

CONFIG = """<View>
  <Video name="video" value="$video" framerate="25"/>
  <VideoRectangle name="box" toName="video"/>
  <Labels name="label" toName="video"><Label value="car"/><Label value="dog"/></Labels>
</View>"""


@pytest.fixture
def task(labels: LabelSet, tmp_path: Path) -> dict[str, Any]:
    write_labels(labels, tmp_path / "task.json", format="label-studio", tolerance=0.01)
    return json.loads((tmp_path / "task.json").read_text())[0]  # type: ignore[no-any-return]


def test_label_studio_accepts_the_task(task: dict[str, Any]) -> None:
    interface = need("label_studio_sdk.label_interface").LabelInterface(CONFIG)
    assert interface.is_video_object_tracking()
    assert interface.validate_task({"data": task["data"]})
    assert interface.validate_annotation({"result": task["annotations"][0]["result"]})
    broken = json.loads(json.dumps(task["annotations"][0]))
    broken["result"][0]["value"]["sequence"][0]["x"] = "left"
    assert not interface.validate_annotation(broken)


def test_label_studio_draws_the_boxes_between(task: dict[str, Any], labels: LabelSet) -> None:
    """Its own function for going from keyframes to all frames."""
    video = need("label_studio_sdk._extensions.label_studio_tools.postprocessing.video")
    for region, target in zip(video.extract_key_frames(task["annotations"][0]["result"]), labels.targets, strict=True):
        found = {}
        for item in region["value"]["sequence"]:
            percent = np.array([item[key] for key in ("x", "y", "width", "height")])
            found[item["frame"] - 1] = percent * [6.4, 3.6, 6.4, 3.6]
        boxes = visible(target)
        assert sorted(found) == sorted(boxes)
        for frame, box in boxes.items():
            np.testing.assert_allclose(found[frame], box, atol=0.0101)


def test_label_studio_converter_reads_the_task(task: dict[str, Any], tmp_path: Path) -> None:
    converter = need("label_studio_sdk.converter.converter").Converter(CONFIG, str(tmp_path / "projects"))
    exported = {**task, "id": 1, "created_at": "2026-01-01", "annotations": [{**task["annotations"][0], "id": 1}]}
    (tmp_path / "in.json").write_text(json.dumps([exported]))
    converter.convert_to_json_min(str(tmp_path / "in.json"), str(tmp_path / "min"), is_dir=False)
    (entry,) = json.loads((tmp_path / "min" / "result.json").read_text())
    assert [len(region["sequence"]) for region in entry["box"]] == [5, 2, 1]
    assert [region["labels"] for region in entry["box"]] == [["car"], ["dog"], ["car"]]


# --- pandas, polars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_pandas_reads_tables(name: str, labels: LabelSet, tmp_path: Path) -> None:
    pandas = need("pandas")
    path = tmp_path / f"out.{name}"
    if name == "parquet":
        need("pyarrow", EXTRA)
    write_labels(labels, path)
    if name == "jsonl":
        table = pandas.read_json(path, lines=True)
    else:
        table = pandas.read_csv(path) if name == "csv" else pandas.read_parquet(path)
    assert len(table) == sum(len(target.boxes) for target in labels.targets)
    dog = table[(table.id == 2) & (table.frame == 4)].iloc[0]
    assert (dog["box"][0] if name == "jsonl" else dog.x) == 328
    assert dog.label == "dog"
    assert table[table.id == 1].keyframe.sum() == 3


# --- our own data sets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["got10k", "lasot", "otb"])
def test_evaluate_and_finetune_read_sequences(name: str, labels: LabelSet, clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "sequences"
    write_labels(labels, root, format=name, frames=clip)
    sequences = {sequence.name: sequence for sequence in open_dataset("folder", root)}
    assert sorted(sequences) == ["clip_one_1_white_car", "clip_one_2_Rex_b_co_b", "clip_one_7_far_away_ja"]
    car = sequences["clip_one_1_white_car"]
    assert car.visible is not None
    assert car.visible.tolist() == [True, True, True, False, False, False, True, True]
    np.testing.assert_allclose(car.boxes_xywh[1], (12.13, 21, 40.5, 30))
    dog = sequences["clip_one_2_Rex_b_co_b"]
    assert len(dog) == 9
    assert dog.boxes_xywh[0].tolist() == [321, 200, 50, 40]
    assert abs(int(dog.frames[0].mean()) - 60) <= 2  # frame 3 of the clip


def test_got10k_sequences_are_those_of_got10k(labels: LabelSet, clip: Path, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "got" / "val", format="got10k", frames=clip)
    sequences = {each.name: each for each in open_dataset("got10k", tmp_path / "got", split="val", incomplete=True)}
    car = sequences["clip_one_1_white_car"]
    assert car.fps == 25
    assert car.size_wh == (640, 360)
    assert car.cover is not None
    assert car.cover.tolist() == [1, 1, 1, 0, 0, 0, 1, 1]


def test_mot_frames_are_those_of_mot(labels: LabelSet, clip: Path, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "root" / "clip", format="mot", frames=clip)
    sequences = {sequence.name: sequence for sequence in open_dataset("mot", tmp_path / "root")}
    assert sorted(sequences) == ["clip_1", "clip_2", "clip_7"]
    assert abs(int(sequences["clip_2"].frames[0].mean()) - 60) <= 2


def test_frames_of_a_folder_are_copied_as_they_are(labels: LabelSet, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    from singletrack.opencv import cv2

    for number in range(12):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((360, 640, 3), number, np.uint8))
    names = tuple(f"{number}.png" for number in range(12))
    named = replace(labels, video=replace(labels.video, frame_names=names))
    write_labels(named, tmp_path / "coco", format="coco", frames=folder)
    write_labels(named, tmp_path / "mot", format="mot", frames=folder)
    assert (tmp_path / "coco" / "images" / "default" / "7.png").read_bytes() == (folder / "7.png").read_bytes()
    assert (tmp_path / "mot" / "img1" / "000011.png").read_bytes() == (folder / "10.png").read_bytes()
    sequences = list(open_dataset("coco_export", tmp_path / "coco"))
    assert len(sequences) == 15


@pytest.fixture(autouse=True)
def _quiet_tools() -> Iterator[None]:
    """Their log lines are no part of a test's output."""
    import logging

    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_read_labels_finds_what_datumaro_wrote(labels: LabelSet, tmp_path: Path) -> None:
    """The other way round: its own export, of one of our files, read by us."""
    datumaro = need("datumaro")
    write_labels(labels, tmp_path / "in", format="datumaro")
    dataset = datumaro.Dataset.import_from(str(tmp_path / "in"), "datumaro")
    for theirs, ours in {"datumaro": "datumaro", "voc_detection": "voc", "coco_instances": "coco"}.items():
        dataset.export(str(tmp_path / ours), theirs)
        again = read_labels(tmp_path / ours, format=ours, video=labels.video)
        found = sorted(box for target in again.targets for box in visible(target).values())
        expected = sorted(box for target in labels.targets for box in visible(target).values())
        np.testing.assert_allclose(found, expected, atol=0.0101)
