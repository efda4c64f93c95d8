"""Bad and hostile files of every format: one InputError each, which names the file and the place."""

from __future__ import annotations

import json
import random
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from singletrack.errors import InputError, MissingDependencyError
from singletrack.labeling.formats import FORMATS, checks, read_labels, write_labels
from singletrack.labeling.labels import LabelSet, VideoInfo

EXTRA = 'pip install "singletrack[labels]"'
VIDEO = VideoInfo(name="clip.mp4", width=64, height=48, frame_count=12, fps=30.0)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refuse(path: Path, labels: LabelSet, *parts: str, format: str | None = None, file: Path | None = None) -> None:
    """The file is refused with a message of file, place, what was expected and what came."""
    with pytest.raises(InputError) as caught:
        read_labels(path, format=format, video=labels.video)
    message = str(caught.value)
    assert message.startswith(str(file or path)), message
    for part in parts:
        assert part in message, message
    assert len(message) < len(str(path)) + 400, message


# --- what all readers share --------------------------------------------------------------------------------

TEXT_FORMATS = [name for name in FORMATS if name not in {"parquet"}]


def main_file(path: Path) -> Path:
    """The file of a written format that its reader reads first."""
    if path.is_file():
        return path
    names = ("gt/gt.txt", "data.yaml", "annotations/default.json")
    found = [path / name for name in names if (path / name).is_file()]
    found += sorted((path / "Annotations").glob("*.xml")) + sorted(path.glob("*/groundtruth*.txt"))
    return found[0]


def write(labels: LabelSet, folder: Path, name: str) -> Path:
    if name == "yolo":
        pytest.importorskip("yaml", reason=EXTRA)
    path = folder / f"out{FORMATS[name].suffix}"
    write_labels(labels, path, format=name)
    return path


@pytest.mark.parametrize("name", TEXT_FORMATS)
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00bad", b"\x00" * 50, b"[" * 100_000, b"<a>" * 3, b"{}", b"1,2,3", b"nan"],
    ids=["bytes", "zeros", "brackets", "tags", "object", "numbers", "nan"],
)
def test_junk_is_refused(name: str, content: bytes, labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, name)
    file = main_file(path)
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_labels(path, format=name, video=labels.video)
    assert str(file) in str(caught.value)
    assert "expected" in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 500


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_large_files_are_refused(name: str, labels: LabelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(labels, tmp_path, name)
    file = main_file(path)
    monkeypatch.setattr(checks, "MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match=r"expected at most 10 bytes; got \d+ bytes"):
        read_labels(path, format=name, video=labels.video)
    assert file.stat().st_size > 10


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_too_many_boxes_are_refused(
    name: str, labels: LabelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(labels, tmp_path, name)
    monkeypatch.setattr(checks, "MAX_BOXES", 5)
    with pytest.raises(InputError, match="expected at most 5 boxes"):
        read_labels(path, format=name, video=labels.video)


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_not_there_is_refused(name: str, labels: LabelSet, tmp_path: Path) -> None:
    refuse(tmp_path / "none", labels, "got nothing of this name; check the path", format=name)


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].suffix])
def test_a_folder_is_no_file(name: str, labels: LabelSet, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason=EXTRA)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read_labels(tmp_path, format=name, video=labels.video)


def test_a_pipe_is_no_file(labels: LabelSet) -> None:
    refuse(Path("/dev/zero"), labels, "expected a file", format="csv")


def test_frames_after_the_end_of_the_video_are_refused(labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame,x,y,width,height\n12,1,1,5,5\n")
    refuse(tmp_path / "a.csv", labels, "has 12 frames")


def test_labels_without_the_size_of_the_video_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame,x,y,width,height\n1,1,1,5,5\n")
    with pytest.raises(InputError, match="give it: --video CLIP"):
        read_labels(tmp_path / "a.csv")


# --- texts of numbers: MOT, CSV, sequences, YOLO ----------------------------------------------------------

BAD_BOXES = [
    ("nan,1,5,5", "a number as x"),
    ("inf,1,5,5", "a number as x"),
    ("1e999,1,5,5", "a finite number as x"),
    ("1e300,1,5,5", "pixels up to"),
    ("1_0,1,5,5", "a number as x"),
    ("0x10,1,5,5", "a number as x"),
    ("one,1,5,5", "a number as x"),
    ("1,1,-5,5", "a width and height above 0"),
    ("1,1,5,0", "a width and height above 0"),
]


@pytest.mark.parametrize(("box", "said"), BAD_BOXES)
def test_bad_boxes_in_texts(box: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"frame,x,y,width,height\n0,1,1,5,5\n1,{box}\n")
    refuse(tmp_path / "a.csv", labels, "line 3", said)
    (tmp_path / "a.txt").write_text(f"1,1,1,1,5,5,1,1,1\n2,1,{box},1,1,1\n")
    refuse(tmp_path / "a.txt", labels, "line 2", said)
    (tmp_path / "groundtruth.txt").write_text(f"1,1,5,5\n{box}\n")
    refuse(tmp_path / "groundtruth.txt", labels, "line 2", said, format="got10k")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0,1,1,1,5,5", "a whole number from 1"),
        ("1.5,1,1,1,5,5", "a whole number from 1"),
        ("99999999,1,1,1,5,5", "a whole number from 1"),
        ("1,-1,1,1,5,5", "as id"),
        ("1,1,1,1,5", "5 columns"),
        ("1,1,1,1,5,5,1,1,1,1,1", "11 columns"),
        ("1,1,1,1,5,5,7,-1,-1,-1", "a score from 0 to 1, or -1"),
        ("2,1,1,1,5,5,1,2,1", "class 1 for target 1"),
        ("1,1,1,1,5,5,1,1,1", "another one for target 1 in frame 0"),
    ],
)
def test_bad_lines_of_mot(line: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(f"1,1,1,1,5,5,1,1,1\n{line}\n")
    refuse(tmp_path / "gt.txt", labels, "line 2", said, format="mot")


@pytest.mark.parametrize(
    ("change", "said"),
    [("imWidth=", "imWidth"), ("imWidth=0", "imWidth"), ("imWidth=x", "imWidth"), ("name=../../etc", "a file name")],
)
def test_bad_seqinfo(change: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, "mot")
    key = change.partition("=")[0]
    text = (path / "seqinfo.ini").read_text()
    (path / "seqinfo.ini").write_text(re.sub(f"^{key}=.*$", change, text, flags=re.MULTILINE))
    with pytest.raises(InputError, match=f"seqinfo.ini.*{said}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 1.5 0.5", "shares of the frame"),
        ("0 0.5 0.5 -0.1 0.5", "shares of the frame"),
        ("0 0.5 nan 0.1 0.5", "a number"),
        ("9 0.5 0.5 0.1 0.5", "one of the 2 classes"),
        ("car 0.5 0.5 0.1 0.5", "a number as class"),
        ("0 0.5 0.5 0.1", "4 columns"),
    ],
)
def test_bad_lines_of_yolo(line: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, "yolo")
    file = path / "labels" / "train" / "clip_one_000000.txt"
    file.write_text(line)
    refuse(path, labels, "line 1", said, file=file)


def test_yaml_runs_nothing_and_does_not_grow(labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, "yolo")
    (path / "data.yaml").write_text('names: !!python/object/apply:os.system ["touch owned"]\n')
    refuse(path, labels, "expected YAML", file=path / "data.yaml")
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (path / "data.yaml").write_text("\n".join([*layers, "names: *a11"]))
    refuse(path, labels, "expected a text as names[0]", file=path / "data.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frame,x,y,width\n", "line 1: expected the columns"),
        ("frame,x,x,y,width,height\n", "line 1: expected the columns"),
        ("frame,x,y,width,height\n1,2,3\n", "line 2: expected 5 columns; got 3"),
        ("frame,x,y,width,height\n1,2,3,,5\n", "line 2: expected the field 'width'"),
        ("frame,x,y,width,height\n-1,2,3,4,5\n", "as frame"),
        ("frame,x,y,width,height,score\n1,2,3,4,5,7\n", "a score from 0 to 1"),
        ("frame,x,y,width,height,lost\n1,2,3,4,5,maybe\n", "true or false as lost"),
        ("frame,x,y,width,height,source\n1,2,3,4,5,me\n", "as source"),
        ("frame,x,y,width,height,color\n1,2,3,4,5,red\n", "color must be #rrggbb"),
        ("frame,x,y,width,height,label\n1,2,3,4,5,a\n2,2,3,4,5,b\n", "line 3: expected the same name, label"),
        ("frame,x,y,width,height,label\n1,2,3,4,5,a\x07\n", "without control characters as label"),
        ('frame,x,y,width,height,attributes\n1,2,3,4,5,"{""a"": 1}"\n', "a text as a"),
        ("frame,x,y,width,height,attributes\n1,2,3,4,5,[]\n", "an object as attributes"),
        ('frame,x,y,width,height\n1,2,3,4,"5\n', "expected CSV"),
    ],
)
def test_bad_csv(text: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    refuse(tmp_path / "a.csv", labels, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"frame": 1, "box": [1, 2, NaN, 4]}', "finite numbers; got NaN"),
        ('{"frame": 1, "box": [1, 2, 1e999, 4]}', "a finite number as width"),
        ('{"frame": 1, "box": [1, 2, true, 4]}', "a number as width; got True"),
        ('{"frame": 1, "box": [1, 2, 3]}', "a box of four numbers"),
        ('{"frame": 1, "box": "1,2,3,4"}', "a box of four numbers"),
        ('{"frame": "one", "box": [1, 2, 3, 4]}', "a number as frame"),
        ('{"box": [1, 2, 3, 4]}', "the field 'frame'"),
        ("[1]", "an object as a row"),
        ('{"frame": 1,', "expected JSON"),
        ('{"frame": ' + "9" * 5000 + "}", "expected JSON"),
    ],
)
def test_bad_json_lines(line: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"frame": 0, "box": null}}\n{line}\n')
    refuse(tmp_path / "a.jsonl", labels, "line 2", said)


# --- JSON: COCO, Label Studio, Datumaro --------------------------------------------------------------------

JSON_CHANGES: list[tuple[str, Callable[[Any], object], str]] = [
    ("coco", lambda c: c.pop("images"), "the field 'images'"),
    ("coco", lambda c: c.update(images={}), "a list as images"),
    ("coco", lambda c: c["images"].append(c["images"][0]), "another id for each image"),
    ("coco", lambda c: c["images"][0].update(file_name="../../etc/passwd"), "a file name below the folder"),
    ("coco", lambda c: c["images"][0].update(file_name="/etc/passwd"), "a file name below the folder"),
    ("coco", lambda c: c["images"][0].update(file_name="C:\\boot.ini"), "a file name below the folder"),
    ("coco", lambda c: c["images"][0].update(width=-3), "a whole number from 1"),
    ("coco", lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "annotations[0]: expected a width and height"),
    ("coco", lambda c: c["annotations"][0].update(bbox=None), "a box of four numbers"),
    ("coco", lambda c: c["annotations"][0].pop("bbox"), "the field 'bbox'"),
    ("coco", lambda c: c["annotations"][0].update(image_id=99), "the id of an image"),
    ("coco", lambda c: c["annotations"][0].update(image_id=[1]), "a number as image_id"),
    ("coco", lambda c: c["annotations"][0].update(category_id=99), "the id of a category"),
    ("coco", lambda c: c["annotations"].append(c["annotations"][0]), "another one for target 1 in frame 0"),
    ("coco", lambda c: c["categories"][0].update(name=["a"]), "categories[0]: expected a text as name"),
    ("coco-video", lambda c: c["annotations"][0].update(track_id=99), "the id of a track"),
    ("coco-video", lambda c: c["tracks"][0].update(name="a\u0000b"), "without control characters"),
    ("coco-video", lambda c: c["tracks"][0].update(color="javascript:"), "color must be #rrggbb"),
    ("label-studio", lambda c: c.append(c[0]), "one task"),
    ("label-studio", lambda c: c[0].update(annotations=[]), "annotations or predictions"),
    ("label-studio", lambda c: sequence(c).pop("x"), "the field 'x'"),
    ("label-studio", lambda c: sequence(c).update(frame=0), "a whole number from 1"),
    ("label-studio", lambda c: sequence(c).update(frame=13), "got a box in frame 12 (counted from 0)"),
    ("label-studio", lambda c: sequence(c).update(width=-1), "a width and height above 0"),
    ("label-studio", lambda c: sequence(c).update(enabled="no"), "true or false as enabled"),
    ("label-studio", lambda c: sequence(c).update(rotation=30), "upright boxes"),
    ("datumaro", lambda c: c["items"][0].update(id="../a"), "a file name below the folder"),
    ("datumaro", lambda c: annotation(c).update(label_id=7), "label_id"),
    ("datumaro", lambda c: annotation(c).update(type="mask"), "annotations of type bbox"),
    ("datumaro", lambda c: annotation(c).update(bbox=[1, 2, 3, 0]), "items[0]: expected a width and height"),
]


def sequence(content: Any) -> Any:
    return content[0]["annotations"][0]["result"][0]["value"]["sequence"][0]


def annotation(content: Any) -> Any:
    return content["items"][0]["annotations"][0]


@pytest.mark.parametrize(("name", "change", "said"), JSON_CHANGES)
def test_bad_json(name: str, change: Callable[[Any], object], said: str, labels: LabelSet, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_labels(labels, path, format=name)
    edit_json(path, change)
    refuse(path, labels, said, format=name)


def test_a_video_of_endless_length_is_refused(labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "a.json", format="label-studio")
    edit_json(tmp_path / "a.json", lambda c: c[0]["data"]["singletrack"].update(frame_count=10**12))
    with pytest.raises(InputError, match="frame_count"):
        read_labels(tmp_path / "a.json")
    edit_json(tmp_path / "a.json", lambda c: c[0]["data"]["singletrack"].update(frame_count=10**7))
    edit_json(tmp_path / "a.json", lambda c: sequence(c).update(frame=1))
    with pytest.raises(InputError, match="expected at most 5000000 boxes"):  # a region that holds to the end
        read_labels(tmp_path / "a.json")


# --- XML: CVAT, VOC ----------------------------------------------------------------------------------------

BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotations [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotations><track label="&b;"/></annotations>"""
OUTSIDE = """<?xml version="1.0"?>
<!DOCTYPE annotations [<!ENTITY file SYSTEM "file:///etc/passwd">]>
<annotations><track label="&file;"/></annotations>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_xml_with_a_document_type_is_refused(text: str, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    refuse(tmp_path / "a.xml", labels, "line 2: expected XML without a document type; got <!DOCTYPE; remove it")
    folder = tmp_path / "Annotations"
    folder.mkdir()
    (folder / "1.xml").write_text(text)
    refuse(tmp_path, labels, "without a document type", format="voc", file=folder / "1.xml")


def test_xml_of_endless_depth_is_refused(labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotations>\n" + "<a>" * 200 + "</a>" * 200 + "</annotations>")
    refuse(tmp_path / "a.xml", labels, "line 2: expected elements at most 100 deep")


def test_xml_in_another_encoding_is_read_too(labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "a.xml")
    text = (tmp_path / "a.xml").read_text().replace("utf-8", "utf-16")
    (tmp_path / "b.xml").write_text(text, encoding="utf-16")
    assert read_labels(tmp_path / "b.xml") == read_labels(tmp_path / "a.xml")
    (tmp_path / "c.xml").write_text(BOMB.replace("1.0", '1.0" encoding="utf-16'), encoding="utf-16")
    refuse(tmp_path / "c.xml", labels, "without a document type")


XML_CHANGES = [
    ("<annotations>", "<stuff>", "expected XML"),
    ('xtl="10.25"', 'xtl="nan"', "track 1, frame 0: expected a number as xtl"),
    ('xtl="10.25"', 'xtl="1e9"', "pixels up to"),
    ('xtl="10.25"', "", "a number as xtl"),
    ('xbr="50.25"', 'xbr="3"', "track 1, frame 0: expected a width and height above 0"),
    ('frame="0"', 'frame="-1"', "as frame"),
    ('frame="0"', 'frame="12"', "got a box in frame 12 (counted from 0)"),
    ('frame="0"', 'frame="2"', "one box for each frame"),
    ('id="2"', 'id="1"', "an id of its own for each track"),
    ('id="2"', 'id="two"', "a number as id"),
    ('label="dog" ', "", "a text as label"),
    ('z_order="0"', 'z_order="0" rotation="30"', "upright boxes"),
    ("<box frame", "<polygon frame", "expected XML"),
]


@pytest.mark.parametrize(("old", "new", "said"), XML_CHANGES)
def test_bad_cvat(old: str, new: str, said: str, labels: LabelSet, tmp_path: Path) -> None:
    write_labels(labels, tmp_path / "a.xml", tolerance=0.01)
    text = (tmp_path / "a.xml").read_text()
    assert old in text
    (tmp_path / "a.xml").write_text(text.replace(old, new, 1))
    refuse(tmp_path / "a.xml", labels, said)


def test_cvat_shapes_that_are_no_boxes_are_refused_not_dropped(labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        '<annotations><track id="0" label="car"><polygon frame="0" points="1,1;2,2;3,1"/></track></annotations>'
    )
    refuse(tmp_path / "a.xml", labels, "track 0, frame 0: expected boxes; got <polygon>")


def test_bad_voc(labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, "voc")
    file = path / "Annotations" / "clip_one_000000.xml"
    good = file.read_text()
    for old, new, said in [
        ("<xmin>10.25</xmin>", "<xmin>60</xmin>", "object 1: expected a width and height above 0"),
        ("<xmin>10.25</xmin>", "", "a number as xmin"),
        ("<name>car</name>", "<name></name>", "a text as name"),
        ("<width>640</width>", "<width>wide</width>", "a number as width"),
        ("<value>1</value>", "<value>one</value>", "a number as track_id"),
    ]:
        assert old in good
        file.write_text(good.replace(old, new, 1))
        refuse(path, labels, said, file=file)


# --- sequences ---------------------------------------------------------------------------------------------


def test_bad_sequences(labels: LabelSet, tmp_path: Path) -> None:
    path = write(labels, tmp_path, "got10k")
    folder = path / "clip_one_1_white_car"
    (folder / "absence.label").write_text("0\n1\n")
    refuse(path, labels, "expected 8 flags, one for each box; got 2", file=folder / "absence.label")
    (folder / "absence.label").write_text("0\n" * 7 + "2\n")
    refuse(path, labels, "flag 8: expected a whole number from 0 to 1", file=folder / "absence.label")
    (folder / "absence.label").unlink()
    meta = (folder / "meta_info.ini").read_text()
    for old, new, said in [
        ("target_id: 1", "target_id: 0", "target_id"),
        ("first_frame: 0", "first_frame: -4", "first_frame"),
        ("target_id: 1", "target_id: 2", "a target_id of its own"),
    ]:
        (folder / "meta_info.ini").write_text(meta.replace(old, new))
        with pytest.raises(InputError, match=said):
            read_labels(path, video=labels.video)


# --- Parquet -----------------------------------------------------------------------------------------------


def test_bad_parquet(labels: LabelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow", reason=EXTRA)
    parquet = pytest.importorskip("pyarrow.parquet", reason=EXTRA)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    refuse(path, labels, "expected Parquet")
    parquet.write_table(arrow.table({"frame": ["a"], "x": [1], "y": [1], "width": [1], "height": [1]}), path)
    refuse(path, labels, "row 1: expected a number as frame")
    parquet.write_table(arrow.table({"frame": [0], "x": [float("nan")], "y": [1], "width": [1], "height": [1]}), path)
    refuse(path, labels, "row 1: expected a finite number as x")
    parquet.write_table(arrow.table({"frame": [0] * 6}), path)
    monkeypatch.setattr(checks, "MAX_BOXES", 5)
    refuse(path, labels, "at most 5 boxes")


# --- chance ------------------------------------------------------------------------------------------------

PIECES = [
    b"nan",
    b"-1",
    b"1e999",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'"x"',
    b"../",
    b"\x00",
    b"9" * 20,
    b"'",
    b"<",
    b"\n",
]


@pytest.mark.parametrize("name", list(FORMATS))
def test_damage_by_chance_is_read_or_refused(name: str, labels: LabelSet, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason=EXTRA)
    path = write(labels, tmp_path, name)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    draws = random.Random(0)
    messages: list[str] = []
    for _ in range(150):
        file = draws.choice(files)
        good = file.read_bytes()
        damaged = bytearray(good)
        for _ in range(draws.randint(1, 3)):
            place = draws.randrange(len(damaged) + 1)
            damaged[place : place + draws.randint(0, 12)] = draws.choice([*PIECES, bytes([draws.randrange(256)])])
        file.write_bytes(damaged)
        try:
            read_labels(path, format=draws.choice([name, None]), video=draws.choice([labels.video, None]))
        except InputError as error:
            messages.append(str(error))
        file.write_bytes(good)
    assert len(messages) > 30
    assert all(message.startswith(str(path)) and len(message) < 800 for message in messages), messages


# --- writing -----------------------------------------------------------------------------------------------


def test_formulas_are_quoted_in_csv(labels: LabelSet, tmp_path: Path) -> None:
    from dataclasses import replace

    for text in ["=1+1", "+1", "-1", "@sum", "\tx", "'quoted", "''=x", "plain", 'a "b", c\nd']:
        targets = (replace(labels.targets[0], name=text, label=text, attributes={text: text}),)
        write_labels(replace(labels, targets=targets), tmp_path / "a.csv")
        content = (tmp_path / "a.csv").read_text()
        assert not re.search(r'(^|,)"?[=+@\t]', content, re.MULTILINE), text
        assert not re.search(r'(^|,)"?-[^0-9]', content, re.MULTILINE), text
        assert read_labels(tmp_path / "a.csv", video=labels.video).targets == targets, text
    assert ",'=1+1," in _written(labels, "=1+1", tmp_path)
    assert ",'-1," in _written(labels, "-1", tmp_path)


def _written(labels: LabelSet, name: str, folder: Path) -> str:
    from dataclasses import replace

    write_labels(replace(labels, targets=(replace(labels.targets[0], name=name),)), folder / "b.csv")
    return (folder / "b.csv").read_text()


@pytest.mark.parametrize("name", ["got10k", "lasot", "otb"])
def test_names_never_lead_out_of_the_folder(name: str, labels: LabelSet, tmp_path: Path) -> None:
    from dataclasses import replace

    names = ["../../out", "/etc/passwd", "..", "a/b", "C:\\x", ".hidden", "con", "", "x" * 500, "\n"]
    targets = tuple(replace(labels.targets[2], id=id, name=text) for id, text in enumerate(names, start=1))
    root = tmp_path / "deep" / "root"
    video = replace(labels.video, name="../../clip.mp4")
    write_labels(replace(labels, video=video, targets=targets), root, format=name)
    folders = [path.name for path in root.iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    assert all(re.fullmatch(r"[\w-][\w.-]{0,120}", folder) for folder in folders)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["root"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize("name", ["cvat", "voc"])
def test_texts_stay_texts_in_xml(name: str, labels: LabelSet, tmp_path: Path) -> None:
    from dataclasses import replace

    label = '"><script>alert(1)</script>&amp;'
    marked = replace(labels, targets=(replace(labels.targets[0], label=label),))
    path = tmp_path / ("a.xml" if name == "cvat" else "voc")
    write_labels(marked, path, format=name)
    assert "<script>" not in main_file(path).read_text()
    assert read_labels(path, video=labels.video).targets[0].label == label
    broken = replace(labels, targets=(replace(labels.targets[0], label="a\x00b"),))
    with pytest.raises(InputError, match="without control characters"):
        write_labels(broken, tmp_path / f"broken{FORMATS[name].suffix}", format=name)


def test_a_failed_write_leaves_the_old_file(labels: LabelSet, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "a.xml").write_text("old")
    broken = replace(labels, targets=(replace(labels.targets[0], label="a\x00b"),))
    with pytest.raises(InputError):
        write_labels(broken, tmp_path / "a.xml")
    assert (tmp_path / "a.xml").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]


# --- zips ---


def zip_of(path: Path, **entries: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("entry", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt"])
def test_a_zip_cannot_leave_its_folder(entry: str, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", **{"gt/gt.txt": "1,1,1,1,5,5,1,1,1", entry: "x"})
    with pytest.raises(InputError, match="expected a zip of plain files"):
        read_labels(path, video=VIDEO)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "expected labels; got a folder or zip without a file that is typical of them; choose another"),
        ({"readme.txt": "hello", "a.jpg": "?"}, "expected labels; got a folder or zip without a file"),
        ({"inner.zip": "PK"}, "expected labels; got a file whose ending is .zip"),
        ({"gt/gt.txt": "1,2"}, "a.zip/gt/gt.txt, line 1: expected frame,id"),
        ({"clip/gt/gt.txt": "1,2"}, "a.zip/clip/gt/gt.txt, line 1: expected frame,id"),
    ],
)
def test_a_zip_without_labels(entries: dict[str, str], said: str, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", **entries)
    with pytest.raises(InputError) as caught:
        read_labels(path, video=VIDEO)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "singletrack-labels-" not in str(caught.value)


def test_a_zip_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match="expected a zip that can be unpacked"):
        read_labels(path, video=VIDEO)


def test_a_zip_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.labeling.formats.archive.UNPACKED_BYTES", 1000)
    with pytest.raises(InputError, match="larger"):
        read_labels(zip_of(tmp_path / "a.zip", **{"gt/gt.txt": "0" * 2000}), video=VIDEO)


def test_what_a_mac_adds_to_a_zip_is_passed_over(tmp_path: Path) -> None:
    line = "1,1,1,1,5,5,1,1,1"
    path = zip_of(tmp_path / "a.zip", **{"clip/gt/gt.txt": line, "__MACOSX/clip/._gt": "?", ".DS_Store": "?"})
    assert len(read_labels(path, video=VIDEO).targets) == 1


# --- what a person reads ---


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "", "expected JSON; got nothing: it is empty; export it again"),
        ("a.json", "hello", "expected JSON; got other text at line 1, column 1; it is damaged or of another kind"),
        ("a.json", '{"images": [', "expected JSON; got other text at line 1, column 13"),
        ("a.json", "[" * 100_000, "expected JSON; got brackets that are nested too deeply"),
        ("a.json", b"\x89PNG", "expected text in UTF-8; got other bytes, from byte 0 on; it is damaged"),
        ("a.xml", "", "expected XML; got nothing: it is empty; export it again"),
        ("a.xml", "hello", "expected XML; got other text at line 1, column 1 (syntax error); it is damaged"),
        ("a.xml", "<annotations>\n<x></annotations>", "got other text at line 2, column 6 (mismatched tag)"),
        ("a.csv", "", "each once; got nothing: it is empty;"),
        ("a.csv", "hello", "each once; got 'hello';"),
        ("a.zip", "hello", "expected a zip that can be unpacked; got other content; it is damaged"),
        ("data.yaml", "a: [", "expected YAML; got other text at line 1, column 5; it is damaged"),
        ("a.parquet", "hello", "expected Parquet; got other content; it is damaged"),
    ],
)
def test_a_broken_file_is_described_in_plain_words(name: str, content: str | bytes, said: str, tmp_path: Path) -> None:
    for ending, package in {".yaml": "yaml", ".parquet": "pyarrow"}.items():
        if name.endswith(ending):
            pytest.importorskip(package, reason=EXTRA)
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        read_labels(tmp_path / name, video=VIDEO)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("module", "file", "said"),
    [
        ("yaml", "data.yaml", "reading YOLO needs PyYAML, which is not installed; run: pip install"),
        ("pyarrow", "a.parquet", "reading Parquet needs pyarrow, which is not installed; run: pip install"),
    ],
)
def test_a_missing_package_is_called_by_its_name(
    module: str, file: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.parquet", None)
    (tmp_path / file).write_text("names: []")
    with pytest.raises(MissingDependencyError, match=said):
        read_labels(tmp_path / file, video=VIDEO)


def test_yolo_is_written_without_a_package(labels: LabelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    write_labels(labels, tmp_path / "out", format="yolo")
    assert (tmp_path / "out" / "data.yaml").exists()


def test_a_video_is_no_file_of_labels(tmp_path: Path) -> None:
    (tmp_path / "dog.mp4").write_bytes(b"?")
    (tmp_path / "frames").mkdir()
    for name in ("dog.mp4", "frames"):
        with pytest.raises(InputError, match=r"expected labels; got a (video; give the file or|folder or zip)"):
            read_labels(tmp_path / name)
    (tmp_path / "dog.singletrack").touch()
    (tmp_path / "frames.singletrack").touch()
    for name in ("dog", "frames"):
        with pytest.raises(InputError, match=f"give its project, .*{name}.singletrack$"):
            read_labels(tmp_path / (name if name == "frames" else "dog.mp4"))
