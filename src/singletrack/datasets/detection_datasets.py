"""Reads detection data sets that trackers train on: ILSVRC VID and DET, and YouTube-BB, in their original layout.

Their contents are known only from all annotations. Reading these takes minutes for VID or DET; ``frame_index`` does
it once. For the crops made by pysot, see ``pysot_crops``.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from singletrack.datasets.base import Array, VideoSequence
from singletrack.datasets.custom import read_still
from singletrack.datasets.layouts import SequenceReaders, first_existing, has_size
from singletrack.datasets.storage import Storage
from singletrack.errors import InputError, VideoError
from singletrack.geometry.boxes import Box

# --- ILSVRC: VID and DET -----------------------------------------------------------------------------------

ILSVRC_FOLDERS = ("ILSVRC2015", "ILSVRC2017", "ILSVRC")  # folder names of the downloads
NOWHERE = (np.nan, np.nan, np.nan, np.nan)


# ILSVRC names categories by synsets. For those that COCO and YouTube-BB have as well, the word that they use.
COCO_WORDS = {
    "n00007846": "person",
    "n01503061": "bird",
    "n02084071": "dog",
    "n02121808": "cat",
    "n02131653": "bear",
    "n02374451": "horse",
    "n02391049": "zebra",
    "n02402425": "cow",
    "n02411705": "sheep",
    "n02503517": "elephant",
    "n02691156": "airplane",
    "n02769748": "backpack",
    "n02828884": "bench",
    "n02834778": "bicycle",
    "n02880940": "bowl",
    "n02924116": "bus",
    "n02958343": "car",
    "n03001627": "chair",
    "n03085013": "keyboard",
    "n03211117": "tv",
    "n03483316": "hair drier",
    "n03642806": "laptop",
    "n03761084": "microwave",
    "n03790512": "motorcycle",
    "n03793489": "mouse",
    "n03797390": "cup",
    "n03991062": "potted plant",
    "n04070727": "refrigerator",
    "n04074963": "remote",
    "n04228054": "skis",
    "n04256520": "couch",
    "n04379243": "dining table",
    "n04442312": "toaster",
    "n04468005": "train",
    "n04530566": "boat",
    "n04591713": "bottle",
    "n06874185": "traffic light",
    "n07697537": "hot dog",
    "n07739125": "apple",
    "n07747607": "orange",
    "n07753592": "banana",
    "n07873807": "pizza",
}


class MarkedObject(NamedTuple):
    """One object of an .xml: track ("" in DET), category and box (x, y, width, height)."""

    track: str
    category: str
    box_xywh: Box


class Marked(NamedTuple):
    """Contents of one .xml: size of the image, and its objects."""

    size_wh: tuple[int, int]
    objects: list[MarkedObject]


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object of a video. ``stems``: names of all its images, without ending. ``boxes``: image index -> xywh."""

    name: str
    category: str
    folder: str
    stems: list[str]
    boxes: dict[int, Box]
    size_wh: tuple[int, int]


def find_vid(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each track of a video is a sequence, VIDEO_TRACK, from its first box to its last; NaN in between without a box.

    ``occluded`` is not read, because it marks any degree of occlusion, and pysot trains on these boxes as well.
    """
    found: SequenceReaders = {}
    for marked, pictures in _folders(storage, "VID", split):
        files = _annotations(storage, marked)
        tracks: dict[str, dict[int, Box]] = defaultdict(dict)
        categories: dict[str, str] = {}
        size_wh = (0, 0)
        for index, file in enumerate(files):
            size_wh, objects = _read_annotation(storage, f"{marked}/{file}")
            for thing in objects:
                tracks[thing.track][index] = thing.box_xywh
                categories.setdefault(thing.track, thing.category)
        stems = [file.removesuffix(".xml") for file in files]
        for track, boxes in tracks.items():
            name = f"{pictures.rpartition('/')[2]}_{track}"
            told = Track(
                name=name, category=categories[track], folder=pictures, stems=stems, boxes=boxes, size_wh=size_wh
            )
            found[name] = partial(read_track, storage, told)
    return found


def read_track(storage: Storage, track: Track) -> VideoSequence:
    first, last = min(track.boxes), max(track.boxes)
    stems = track.stems[first : last + 1]
    there = {name.rpartition(".")[0]: name for name in storage.pictures(track.folder)}
    lacking = [stem for stem in stems if stem not in there]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(stems)} frames of {track.name} are missing in {storage.place(track.folder)}, "
            "such as "
            f"{lacking[0]}; get a complete copy"
        )
    boxes_xywh = np.array([track.boxes.get(index, NOWHERE) for index in range(first, last + 1)], np.float64)
    return VideoSequence(
        name=track.name,
        frames=storage.frames(track.folder, [there[stem] for stem in stems]),
        boxes_xywh=boxes_xywh,
        visible=has_size(boxes_xywh),
        category=track.category,
        told_size_wh=track.size_wh,
    )


def find_det(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each object of an image is a sequence of one frame, IMAGE_OBJECT, objects counted from 0."""
    found: SequenceReaders = {}
    for marked, pictures in _folders(storage, "DET", split):
        there = {name.rpartition(".")[0]: name for name in storage.pictures(pictures)}
        for file in _annotations(storage, marked):
            stem = file.removesuffix(".xml")
            frames = storage.frames(pictures, [there[stem]] if stem in there else [])
            size_wh, objects = _read_annotation(storage, f"{marked}/{file}")
            for number, thing in enumerate(objects):
                if min(thing.box_xywh[2:]) > 0:
                    name = f"{stem}_{number}"
                    found[name] = partial(read_still, name, frames, size_wh, thing.box_xywh, thing.category)
    return found


def _folders(storage: Storage, part: str, split: str) -> Iterator[tuple[str, str]]:
    """Iterate over the annotation folders of a split, at any depth, with their image folders."""
    base = first_existing(storage, ILSVRC_FOLDERS)
    waiting = [f"{part}/{split}"]
    while waiting:
        folder = waiting.pop()
        marked = f"{base}/Annotations/{folder}"
        waiting += [f"{folder}/{name}" for name in reversed(storage.folders(marked))]
        if _annotations(storage, marked):
            yield marked, f"{base}/Data/{folder}"


def _annotations(storage: Storage, folder: str) -> list[str]:
    """List the .xml files in a folder, in natural order."""
    return [file for file in storage.files(folder) if file.endswith(".xml")]


def _read_annotation(storage: Storage, path: str) -> Marked:
    content = storage.text(path)
    try:
        root = ElementTree.fromstring(content)
        width, height = (int(_text(root, f"size/{side}")) for side in ("width", "height"))
        objects = []
        for thing in root.iter("object"):
            left, top, right, bottom = (
                float(_text(thing, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            synset = thing.findtext("name", "")
            box_xywh = left, top, right - left, bottom - top
            objects.append(MarkedObject(thing.findtext("trackid", ""), COCO_WORDS.get(synset, synset), box_xywh))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"invalid ILSVRC annotation {path}: {error}; get a complete copy") from error
    return Marked((width, height), objects)


def _text(element: ElementTree.Element, path: str) -> str:
    """Return the text of a child element; raises ValueError if it is missing."""
    text = element.findtext(path)
    if not text:
        raise ValueError(f"it has no {path}")
    return text


# --- YouTube-BB --------------------------------------------------------------------------------------------

YOUTUBEBB_LISTS = {"train": "yt_bb_detection_train", "val": "yt_bb_detection_validation"}
YOUTUBEBB_COLUMNS = 10  # youtube_id, timestamp_ms, class_id, class_name, object_id, object_presence, then the box


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One object of a video.

    Attributes:
        told: five numbers per time: milliseconds; left, right, top and bottom as fractions of the frame, NaN where
            absent.
        there: names of all files in its folder.
    """

    youtube_id: str
    class_id: str
    category: str
    object_id: str
    folder: str
    told: array[float]
    there: AbstractSet[str]

    @property
    def name(self) -> str:
        return f"{self.youtube_id}_{self.class_id}_{self.object_id}"

    def picture(self, milliseconds: float) -> str:
        return f"{self.youtube_id}_{milliseconds:.0f}_{self.class_id}_{self.object_id}.jpg"


def find_youtubebb(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each object of a video is a sequence, VIDEO_CLASS_OBJECT, at one frame per second, from its first appearance.

    Google distributes ``yt_bb_detection_train.csv.gz``, which must be unpacked. The frames are next to it, as
    youtube-bb-utility extracts them from YouTube and as the scripts of pysot expect:
    ``yt_bb_detection_train/CLASS/ID_TIME_CLASS_OBJECT.jpg``.
    """
    listing = YOUTUBEBB_LISTS[split]
    content = storage.text(f"{listing}.csv")
    try:
        objects, categories = _read_objects(content)
    except ValueError as error:
        raise InputError(
            f"every line of {listing}.csv must have {YOUTUBEBB_COLUMNS} values with the box in the last four; got "
            f"{error}; "
            "download the file again"
        ) from error
    there: dict[str, set[str]] = {}
    found: SequenceReaders = {}
    for (youtube_id, class_id, object_id), told in objects.items():
        folder = f"{listing}/{class_id}"
        if class_id not in there:
            there[class_id] = set(storage.files(folder))
        segment = Segment(
            youtube_id=youtube_id,
            class_id=class_id,
            category=categories[class_id],
            object_id=object_id,
            folder=folder,
            told=told,
            there=there[class_id],
        )
        if not np.isnan(told[1::5]).all():
            found[segment.name] = partial(read_segment, storage, segment)
    return found


def _read_objects(text: str) -> tuple[dict[tuple[str, str, str], array[float]], dict[str, str]]:
    """Read the rows of each (video, class, object), and the name of each class; raises ValueError for an invalid
    line.
    """
    objects: dict[tuple[str, str, str], array[float]] = defaultdict(lambda: array("d"))
    categories: dict[str, str] = {}
    # millions of lines, so neither lines nor rows are kept
    for row in csv.reader(line[0] for line in re.finditer(r".+", text)):
        if len(row) != YOUTUBEBB_COLUMNS:
            raise ValueError(f"{len(row)} in {','.join(row)!r}")
        youtube_id, time, class_id, category, object_id, presence, *sides = row
        categories.setdefault(class_id, category.lower())
        box = map(float, sides) if presence == "present" else NOWHERE
        objects[youtube_id, class_id, object_id].extend([float(time), *box])
    return objects, categories


def read_segment(storage: Storage, segment: Segment) -> VideoSequence:
    """Frames without the object may not have been extracted; they are left out."""
    rows = np.array(segment.told).reshape(-1, 5)
    rows = rows[np.argsort(rows[:, 0])]
    present = ~np.isnan(rows[:, 1])
    rows, present = rows[np.argmax(present) :], present[np.argmax(present) :]
    names = [segment.picture(row[0]) for row in rows]
    extracted = np.array([name in segment.there for name in names])
    if not extracted[present].all():
        raise InputError(
            f"{(present & ~extracted).sum()} of {present.sum()} frames of {segment.name} are missing in "
            f"{storage.place(segment.folder)}; extract them, or skip incomplete sequences if the video is no longer on "
            "YouTube"
        )
    frames = storage.frames(segment.folder, [name for name, here in zip(names, extracted, strict=True) if here])
    try:
        height, width = frames[0].shape[:2]
    except VideoError as error:
        raise InputError(str(error)) from error
    boxes_xywh = _in_pixels(rows[extracted, 1:], width, height)
    return VideoSequence(
        name=segment.name,
        frames=frames,
        boxes_xywh=boxes_xywh,
        visible=has_size(boxes_xywh),
        category=segment.category,
        told_size_wh=(width, height),
    )


def _in_pixels(shares: Array, width: int, height: int) -> Array:
    """Convert fractions of the frame (left, right, top, bottom) to x, y, width, height in pixels: (N, 4)."""
    left, right, top, bottom = (shares * (width, width, height, height)).T
    return np.stack([left, top, right - left, bottom - top], 1)
