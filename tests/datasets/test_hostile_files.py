"""Archives and annotations that are broken or made to do harm: an InputError that names the file, and soon."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singletrack.datasets import storage
from singletrack.datasets.annotations import MOST_FRAMES, read_regions, read_vatic
from singletrack.datasets.custom import find_mot
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.storage import Storage
from singletrack.errors import InputError, VideoError

PICTURE = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


# --- archives ------------------------------------------------------------------------------------------------


def write_zip(path: Path, compression: int = zipfile.ZIP_STORED, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def test_a_zip_of_a_version_that_nobody_knows(tmp_path: Path) -> None:  # C10
    path = write_zip(tmp_path / "a.zip", one=b"1,2,3,4")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99  # version that is needed, in the list at the end
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*a\.zip"):
        Storage(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_does_not_unpack(compression: int, tmp_path: Path) -> None:  # C10
    path = write_zip(tmp_path / "a.zip", compression, one=os.urandom(500))
    content = bytearray(path.read_bytes())
    content[60:200] = bytes(140)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged or locked|Invalid data"):
        Storage(path).text("one")


def test_a_member_that_unpacks_to_far_more_is_not_read(tmp_path: Path) -> None:  # C10, C20
    path = write_zip(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, boxes=bytes(storage.SMALL_FILE + 1))
    with pytest.raises(InputError, match="would unpack to 16777217"):
        Storage(path).text("boxes")
    with pytest.raises(VideoError, match="would unpack to"):
        Storage(path).frames("", ["boxes"])[0]


def write_tar(path: Path, count: int = 3) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            info = tarfile.TarInfo(f"sequence{number}/groundtruth.txt")
            info.size = 700
            tar.addfile(info, io.BytesIO(b"1,2,3,4\n" * 87 + b"1,2,"))
    return path


def test_every_cut_of_a_tar_is_noticed(tmp_path: Path) -> None:  # C36: it opened with fewer sequences
    path = write_tar(tmp_path / "a.tar")
    content = path.read_bytes()
    assert Storage(path).folders("") == ["sequence0", "sequence1", "sequence2"]
    for end in range(1, 3 * 1536 + 1, 128):
        cut = tmp_path / f"{end}.tar"
        cut.write_bytes(content[:end])
        with pytest.raises(InputError, match="cannot read"):
            Storage(cut)


def test_a_damaged_header_of_a_tar_is_noticed(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "a.tar").read_bytes())
    content[1536 + 10] ^= 255  # in the name of the second member, which its checksum covers
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(InputError, match="damaged at byte 1536"):
        Storage(tmp_path / "b.tar")


def test_a_tar_that_announces_terabytes(tmp_path: Path) -> None:  # C10
    info = tarfile.TarInfo("boxes.txt")
    info.size = 32 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(InputError, match=r"it ends within .boxes\.txt."):
        Storage(tmp_path / "a.tar")


def test_a_pipe_is_no_annotation(tmp_path: Path) -> None:  # C8
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(InputError, match="pipe or device"):
        Storage(tmp_path).text("list.txt")


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "a/..", "a\0b"])
def test_paths_lead_nowhere_but_down(path: str, tmp_path: Path) -> None:  # C22
    (tmp_path / "secret").write_text("1,2,3,4")
    (tmp_path / "root" / "a").mkdir(parents=True)
    held = Storage(tmp_path / "root")
    for use in (held.place, held.folders, lambda path: held.files(f"{path}/x")):
        with pytest.raises(InputError, match="leads out of it"):
            use(path)


# --- texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "m",
        "m1,2,3",
        "m0,0,4,4,-1,3",
        "m0,0,4,4,nan,3",
        "m0,0,-4,4,0,3",
        "m0,0,4,4,0,2000000000",  # C20: 16 GB
        "m0,0,2000000000,2000000000,0,4",
        "m0,0,1e308,4,0,4",
    ],
)
def test_masks_that_are_none(line: str) -> None:  # C21
    with pytest.raises(InputError, match="expected a mask"):
        read_regions(line)


@pytest.mark.parametrize("frame", ["0", "-5", "1.5", "nan", "1e308", "1000000000000"])
def test_frames_that_are_none(frame: str) -> None:
    with pytest.raises(InputError, match="expected a whole number"):
        read_vatic(f'0 10 20 50 60 {frame} 0 0 0 "ball"', step=1)


# --- MOT -----------------------------------------------------------------------------------------------------


def mot(root: Path, lines: str, ini: str | bytes | None = None) -> list:
    folder = root / "mot" / "walk"
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    for number in range(1, 4):
        (folder / "img1" / f"{number:06d}.png").write_bytes(PICTURE)
    (folder / "gt" / "gt.txt").write_text(lines)
    if ini is not None:
        (folder / "seqinfo.ini").write_bytes(ini.encode() if isinstance(ini, str) else ini)
    return open_dataset("mot", root / "mot")


GOOD = "1,7,1,2,3,4,1,1,1\n2,7,1,2,3,4,1,1,1\n"


@pytest.mark.parametrize("track", ["nan", "1e308", "1.5", "inf"])
def test_mot_tracks_that_are_none(track: str, tmp_path: Path) -> None:  # C11
    with pytest.raises(InputError, match=r"walk/gt/gt.txt: expected a whole number of .* as track; line 1 has"):
        mot(tmp_path, f"1,{track},1,2,3,4\n")


@pytest.mark.parametrize("frame", ["nan", "-1e9", "0", "2.5", "1e300"])
def test_mot_frames_that_are_none(frame: str, tmp_path: Path) -> None:  # C11: -1e9 took over a minute
    with pytest.raises(InputError, match=r"walk/gt/gt.txt: expected a whole number of .* as frame; line 2 has"):
        mot(tmp_path, f"{GOOD.splitlines()[0]}\n{frame},7,1,2,3,4,1,1,1\n")


def test_mot_frames_beyond_the_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 9000000 frames"):
        mot(tmp_path, "1,7,1,2,3,4\n9000000,7,1,2,3,4\n")


def test_many_mot_tracks_take_linear_time(tmp_path: Path) -> None:  # C11
    """Each row is given to one track alone; before, every track looked through all of them."""
    mot(tmp_path, GOOD)
    lines = "".join(f"1,{track},1,2,3,4\n2,{track},1,2,3,4\n" for track in range(3000))
    (tmp_path / "mot" / "walk" / "gt" / "gt.txt").write_text(lines)
    found = find_mot(Storage(tmp_path / "mot"), "train", None)
    assert len(found) == 3000
    assert sum(len(reader.args[-1]) for reader in found.values()) == 6000  # type: ignore[attr-defined, misc]
    assert found["walk_1234"]().boxes_xywh.tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("ini", "works"),
    [
        ("[Sequence]\nimDir=img1\n", True),
        ("[Sequence]\nimDir=img1\nimDir=img1\n", True),  # doubled keys
        ("[Sequence]\nname=%(x)s\nimDir=img1\n", True),
        ("[Other]\nimDir=img2\n", True),
        ("imDir=img1\n", False),
        (b"\xff\xfe\x00[Sequence]", False),
        ("[Sequence\nimDir", False),
    ],
)
def test_mot_seqinfo(ini: str | bytes, works: bool, tmp_path: Path) -> None:  # C11
    if works:
        assert [each.name for each in mot(tmp_path, GOOD, ini)] == ["walk_7"]
        return
    with pytest.raises(InputError, match=r"seqinfo\.ini"):
        mot(tmp_path, GOOD, ini)


# --- COCO ----------------------------------------------------------------------------------------------------


def coco(root: Path, change: Callable[[dict[str, Any]], None]) -> list:
    folder = root / "coco"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(PICTURE)
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 8}],
        "annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    change(content)
    (folder / "all.json").write_text(json.dumps(content))
    return open_dataset("coco_export", folder)


def test_a_good_coco_file(tmp_path: Path) -> None:
    (found,) = coco(tmp_path, lambda content: None)
    assert found.boxes_xywh.tolist() == [[1, 2, 3, 4]]


def setting(part: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[part][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["annotations"][0].pop("bbox"), r"expected bbox .* in annotations\[0\] of all.json"),
        (setting("annotations", "bbox", [1, 2]), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "bbox", None), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "bbox", "1,2,3,4"), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "bbox", [1, 2, "3", 4]), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "bbox", [1, 2, float("nan"), 4]), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "bbox", [1, 2, 10**400, 4]), r"bbox .* in annotations\[0\]"),
        (setting("annotations", "image_id", 99), r"id of a picture in annotations\[0\]"),
        (setting("annotations", "image_id", [1]), r"image_id as a number or text"),
        (lambda content: content["images"][0].pop("file_name"), r"file_name as text in images\[0\] of all.json"),
        (setting("images", "file_name", 5), "file_name as text"),
        (setting("images", "width", "wide"), r"width as a number in images\[0\]"),
        (setting("images", "file_name", "../../1.png"), "leads out of it"),  # C22
        (lambda content: content.update(images={}), "a list of images in all.json"),
        (lambda content: content.update(annotations=[7]), r"expected annotations\[0\] of all.json"),
    ],
)
def test_broken_coco_files(change: Callable, message: str, tmp_path: Path) -> None:  # C21
    with pytest.raises(InputError, match=message):
        coco(tmp_path, change)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"images": ' + "9" * 5000 + "}", "\ufeff", ""])
def test_texts_that_are_not_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"expected .* in a\.json|COCO annotations"):
        open_dataset("coco_export", tmp_path)


# --- CVAT ----------------------------------------------------------------------------------------------------


def cvat(root: Path, xml: str) -> list:
    folder = root / "task"
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / "images" / f"{number}.png").write_bytes(PICTURE)
    (folder / "annotations.xml").write_text(f"<annotations>{xml}</annotations>")
    return open_dataset("cvat", folder)


BOX = 'xtl="1" ytl="2" xbr="4" ybr="6"'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            '<track id="0"><box frame="0" xtl="1" ytl="2" xbr="4"/></track>',
            "ybr in <box> of track 1 of annotations.xml",
        ),
        (f'<track><box frame="0" {BOX}/></track>', "id in <track> of track 1"),
        (f'<track id="0"><box {BOX}/></track>', "frame in <box>"),
        (f'<track id="0"><box frame="first" {BOX}/></track>', "as frame of <box> in track 1"),
        (f'<track id="0"><box frame="-4" {BOX}/></track>', "as frame of <box>"),
        (f'<track id="0"><box frame="1e300" {BOX}/></track>', "as frame of <box>"),
        (f'<track id="0"><box frame="nan" {BOX}/></track>', "as frame of <box>"),
        (f'<image id="0" name="0.png" width="8"><box {BOX}/></image>', "height in <image> of image 1"),
        (f'<image id="0" name="0.png" width="8" height="tall"><box {BOX}/></image>', "as height"),
        (f'<image id="0" width="8" height="8"><box {BOX}/></image>', "name in <image>"),
        (f'<image id="0" name="../../x.png" width="8" height="8"><box {BOX}/></image>', "leads out of it"),  # C22
        ("<image", "expected CVAT's XML"),
    ],
)
def test_broken_cvat_files(xml: str, message: str, tmp_path: Path) -> None:  # C21
    with pytest.raises(InputError, match=message):
        cvat(tmp_path, xml)


def test_entities_that_multiply_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{number + 1} "{f"&e{number};" * 10}">' for number in range(12))
    (tmp_path / "annotations.xml").write_text(
        f'<!DOCTYPE a [<!ENTITY e0 "0123456789">{entities}]><annotations>&e12;</annotations>'
    )
    with pytest.raises(InputError, match="expected CVAT's XML"):
        open_dataset("cvat", tmp_path)


# --- attributes and lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "[]", '{"walk_7": "FM"}', '{"walk_7": [1]}', "null", "[" * 100_000])
def test_broken_attributes(text: str, tmp_path: Path) -> None:  # C21
    mot(tmp_path, GOOD)
    (tmp_path / "attributes.json").write_text(text)
    with pytest.raises(InputError, match=r"attributes\.json"):
        open_dataset("mot", tmp_path / "mot", attributes=tmp_path / "attributes.json")


def test_numbers_of_5000_digits(tmp_path: Path) -> None:  # C10
    mot(tmp_path, GOOD)
    (tmp_path / "split.txt").write_text("1" * 5000)
    with pytest.raises(InputError, match="is not in this copy"):
        open_dataset("mot", tmp_path / "mot", split_file=tmp_path / "split.txt")
    (tmp_path / "mot" / "walk" / "img1" / ("9" * 200 + ".png")).write_bytes(PICTURE)
    assert len(open_dataset("mot", tmp_path / "mot")) == 1
    assert MOST_FRAMES < 10**9
