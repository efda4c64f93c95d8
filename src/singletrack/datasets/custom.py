"""Reads your own data: folders of frames, videos with boxes, and annotation formats (COCO, MOT, CVAT).

Each annotated object becomes a sequence.
"""

from __future__ import annotations

import configparser
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from singletrack.datasets.annotations import LARGEST_NUMBER, MOST_FRAMES, read_regions, read_table, whole_numbers
from singletrack.datasets.base import Array, Frames, VideoSequence
from singletrack.datasets.coco import coco_objects, coco_pictures, read_json
from singletrack.datasets.layouts import (
    SequencePaths,
    SequenceReaders,
    has_size,
    in_folder,
    read,
    read_language,
    sequence,
)
from singletrack.datasets.storage import Storage, StoredFrames
from singletrack.datasets.video_frames import VideoFrames
from singletrack.errors import InputError, show_value

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")

# --- folders of frames, and videos with boxes -------------------------------------------------------

FOLDER_IMAGES = ("", "img", "imgs", "color", "frames")
FOLDER_BOXES = ("groundtruth.txt", "groundtruth_rect.txt")


def find_folder(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each folder with frames or boxes is a sequence, and each video next to a .txt of the same name.

    A root with boxes is one sequence itself. A folder may have one video instead of frames.
    """
    found: SequenceReaders = {}
    alone = any(storage.has(file) for file in FOLDER_BOXES)
    for name in ["."] if alone else storage.folders(""):
        boxes = [file for file in FOLDER_BOXES if storage.has(f"{name}/{file}")]
        called = storage.root.resolve().stem if alone else name
        videos = _videos(storage, name)
        if boxes and len(videos) == 1 and not any(storage.pictures(f"{name}/{image}") for image in FOLDER_IMAGES):
            found[called] = partial(read_video, storage, called, videos[0], f"{name}/{boxes[0]}")
        elif boxes or any(storage.pictures(f"{name}/{image}") for image in FOLDER_IMAGES):
            target = in_folder(called, name, FOLDER_IMAGES, *boxes[:1])
            found[called] = partial(read_folder, storage, replace(target, first_box_only=True))
    for video in [] if alone else _videos(storage, ""):
        if storage.has(f"{Path(video).stem}.txt"):
            found[Path(video).stem] = partial(read_video, storage, Path(video).stem, video, f"{Path(video).stem}.txt")
    return found


def _videos(storage: Storage, folder: str) -> list[str]:
    """List the video files in a folder."""
    files = [name for name in storage.files(folder) if name.lower().endswith(VIDEO_ENDINGS)]
    return [f"{folder}/{name}" if folder else name for name in files]


def read_folder(storage: Storage, target: SequencePaths) -> VideoSequence:
    boxes = read(storage, target.boxes, read_regions)
    visible = has_size(boxes) if len(boxes) > 1 else None
    return sequence(
        storage, target, boxes, visible=visible, language=read_language(storage, target, "language.txt", "nlp.txt")
    )


def read_video(storage: Storage, name: str, video: str, boxes: str) -> VideoSequence:
    """Read a video and its boxes, one per line, or only the first."""
    folder, _, file = video.rpartition("/")
    place = storage.place(folder).below(file)
    if place.inside is not None:
        raise InputError(f"expected the video {place} on the disk; it lies in an archive; unpack it")
    boxes_xywh = read(storage, boxes, read_regions)
    frames = VideoFrames(place.path, len(boxes_xywh) if len(boxes_xywh) > 1 else None)
    visible = has_size(boxes_xywh) if len(boxes_xywh) > 1 else None
    return VideoSequence(name=name, frames=frames, boxes_xywh=boxes_xywh, visible=visible)


# --- COCO from annotation tools ---------------------------------------------------------------------


def find_coco_export(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each object of an image is a sequence of one frame, from all COCO JSON files; crowds are left out.

    The files are at the top (Roboflow), in its folders, or in ``annotations`` (CVAT, Label Studio), with the images
    next to them or in ``images``, possibly in a folder with the name of the file.
    """
    found: SequenceReaders = {}
    for folder in ["", *storage.folders("")]:
        for file in storage.files(folder):
            if file.endswith(".json"):
                found |= _objects_of(storage, folder, file)
    if not found:
        raise InputError(f"expected COCO annotations (.json) with boxes below {storage.root}; found none")
    return found


def _objects_of(storage: Storage, folder: str, file: str) -> SequenceReaders:
    path = f"{folder}/{file}" if folder else file
    content = read_json(storage, path)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return {}
    subset = file.removesuffix(".json").removeprefix("instances_")
    bases = [folder, "images", f"images/{subset}", subset, ""]
    found: SequenceReaders = {}
    pictures = coco_pictures(content, path)
    places = {number: _picture(storage, bases, name) for number, (name, _) in pictures.items()}
    for thing in coco_objects(content, path, pictures):
        name = f"{file.removesuffix('.json')}_{thing.image}_{thing.name}"
        found[name] = partial(
            read_still, name, places[thing.image], pictures[thing.image][1], thing.box_xywh, thing.category
        )
    return found


def _picture(storage: Storage, bases: Iterable[str], name: str) -> StoredFrames:
    """Find an image by name, which may include folders, below the first matching one of ``bases``."""
    for base in bases:
        path = f"{base}/{name}" if base else name
        if storage.has(path):
            folder, _, file = path.rpartition("/")
            return storage.frames(folder, [file])
    return storage.frames("", [])


def read_still(
    name: str, frames: Frames, size_wh: tuple[int, int], box_xywh: Iterable[float], category: str = ""
) -> VideoSequence:
    if not len(frames):
        raise InputError(f"expected the picture of {name}; it is not there; export it again with its pictures")
    boxes_xywh = np.array([[*box_xywh]], np.float64)
    return VideoSequence(name=name, frames=frames, boxes_xywh=boxes_xywh, category=category, told_size_wh=size_wh)


# --- MOTChallenge -------------------------------------------------------------------------------------------


def find_mot(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each track of each ``SEQUENCE/gt/gt.txt`` is a sequence, SEQUENCE_TRACK, from its first frame to its last.

    A line is frame, track, left, top, width, height, and optionally 1 (0: ignore), class and visible part. Frames and
    pixels count from 1. Frames of ``img1`` without a line have no box.
    """
    bases = ["."] if storage.has("gt/gt.txt") else storage.folders("")
    found: SequenceReaders = {}
    for base in bases:
        if not storage.has(f"{base}/gt/gt.txt"):
            continue
        table = read(storage, f"{base}/gt/gt.txt", read_table)
        if table.shape[1] < 6:
            raise InputError(
                f"expected frame,track,left,top,width,height in every line of {base}/gt/gt.txt; "
                f"got {table.shape[1]} numbers"
            )
        if table.shape[1] > 6:
            table = table[table[:, 6] != 0]
        called = storage.root.resolve().stem if base == "." else base
        try:
            tracks = whole_numbers(table[:, 1], "track")
            whole_numbers(table[:, 0], "frame", low=1, high=MOST_FRAMES)
        except InputError as error:
            raise InputError(f"{base}/gt/gt.txt: {error}; export it again") from error
        order = np.argsort(tracks, kind="stable")
        pictures = f"{base}/{_mot_pictures(storage, base)}"
        for rows in np.split(table[order], np.flatnonzero(np.diff(tracks[order])) + 1) if len(table) else []:
            name = f"{called}_{rows[0, 1]:.0f}"
            found[name] = partial(read_track, storage, name, pictures, rows)
    if not found:
        raise InputError(f"expected SEQUENCE/gt/gt.txt below {storage.root}; found none; check the path")
    return found


def _mot_pictures(storage: Storage, base: str) -> str:
    """Return the folder of the frames from seqinfo.ini, or img1."""
    if not storage.has(f"{base}/seqinfo.ini"):
        return "img1"
    told = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        told.read_string(storage.text(f"{base}/seqinfo.ini"))
        return told.get("Sequence", "imDir", fallback="img1")
    except (configparser.Error, ValueError) as error:
        raise InputError(
            f"expected [Sequence] and lines of key = value in {base}/seqinfo.ini; {error}; fix or remove it"
        ) from error


def read_track(storage: Storage, name: str, folder: str, rows: Array) -> VideoSequence:
    boxes = {int(row[0]) - 1: row[2:6] for row in rows}
    seen = {int(row[0]) - 1: float(row[8]) for row in rows} if rows.shape[1] > 8 else {}
    return _stretch(storage, name, folder, boxes, seen)


def _stretch(
    storage: Storage,
    name: str,
    folder: str,
    boxes: Mapping[int, Array],
    cover: Mapping[int, float] | None = None,
) -> VideoSequence:
    """Return the frames of a folder from the first to the last (from 0) with a box; NaN in between without one."""
    names = storage.pictures(folder)
    first, last = min(boxes), max(boxes)
    if first < 0:
        raise InputError(f"expected frames of {name} to count from 0; got {first}; export it again")
    if last >= len(names):
        raise InputError(
            f"expected {last + 1} frames in {storage.place(folder)} for {name}; got {len(names)}; get a complete copy"
        )
    boxes_xywh = np.array([boxes.get(index, np.full(4, np.nan)) for index in range(first, last + 1)], np.float64)
    return VideoSequence(
        name=name,
        frames=storage.frames(folder, names[first : last + 1]),
        boxes_xywh=boxes_xywh,
        visible=has_size(boxes_xywh),
        cover=np.array([cover.get(index, 0.0) for index in range(first, last + 1)]) if cover else None,
    )


def _numbered_stretch(storage: Storage, name: str, folder: str, boxes: Mapping[int, Array]) -> VideoSequence:
    """As ``_stretch``; pictures that are named by their frames are found by that number, wherever a job begins.

    CVAT calls the frames of a video frame_000010.PNG. Where only every fifth was annotated, or a job begins at frame
    10, their places in the folder are not their numbers.
    """
    numbers = _numbers_in(storage.pictures(folder))
    if not numbers or not _named_by_frame(numbers, boxes):
        return _stretch(storage, name, folder, boxes)
    first, last = min(boxes), max(boxes)
    lacking = sorted(boxes.keys() - numbers.keys())
    if lacking:
        raise InputError(
            f"expected pictures of the frames {', '.join(map(str, lacking[:5]))} of {name} in {storage.place(folder)}; "
            "got none with these numbers; get a complete copy"
        )
    chosen = [number for number in sorted(numbers) if first <= number <= last]
    boxes_xywh = np.array([boxes.get(number, np.full(4, np.nan)) for number in chosen], np.float64)
    return VideoSequence(
        name=name,
        frames=storage.frames(folder, [numbers[number] for number in chosen]),
        boxes_xywh=boxes_xywh,
        visible=has_size(boxes_xywh),
    )


def _numbers_in(names: list[str]) -> dict[int, str]:
    """Names of pictures by the last number in each; empty where one has none, or two have the same."""
    found = [re.findall(r"\d+", name.rpartition(".")[0]) for name in names]
    if not all(found) or any(len(each[-1]) > 9 for each in found):
        return {}
    numbers = {int(each[-1]): name for each, name in zip(found, names, strict=True)}
    return numbers if len(numbers) == len(names) else {}


def _named_by_frame(numbers: Mapping[int, str], boxes: Mapping[int, Array]) -> bool:
    """Whether pictures are named by their frames, and not by names of their own that happen to hold numbers."""
    if all(re.match(r"(?i)frame_\d+\.", name) for name in numbers.values()):
        return True
    gaps = max(numbers) - min(numbers) + 1 != len(numbers)
    # names that count from 1 without a gap are more often a user's own, in the order of the frames
    return boxes.keys() <= numbers.keys() and (gaps or max(boxes) >= len(numbers) or min(numbers) > 1)


# --- CVAT ---------------------------------------------------------------------------------------------------


def find_cvat(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Reads CVAT XML, "for video 1.1" (each track is a sequence) or "for images 1.1" (each box is a sequence of one
    frame).

    ``annotations.xml`` is at the top or in one folder per task, with its images in ``images`` next to it, as CVAT
    exports them with "save images". Only boxes are read.
    """
    found: SequenceReaders = {}
    for base in ["", *storage.folders("")]:
        path = f"{base}/annotations.xml" if base else "annotations.xml"
        if not storage.has(path):
            continue
        try:
            root = ElementTree.fromstring(storage.text(path))
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(f"expected CVAT's XML in {path}; {error}; export it again") from error
        folder = f"{base}/images" if base else "images"
        task = base or storage.root.resolve().stem
        found |= _cvat_tracks(storage, root, folder, task, path) | _cvat_stills(storage, root, folder, task, path)
    if not found:
        raise InputError(f"expected annotations.xml of CVAT with boxes below {storage.root}; found none")
    return found


def _cvat_tracks(storage: Storage, root: ElementTree.Element, folder: str, task: str, path: str) -> SequenceReaders:
    found: SequenceReaders = {}
    for number, track in enumerate(root.iter("track")):
        place = f"track {number + 1} of {path}"
        boxes = {
            int(_number(box, "frame", place, high=MOST_FRAMES)): _cvat_box(box, place)
            for box in track.iter("box")
            if box.get("outside", "0") == "0"
        }
        if boxes:
            name = f"{task}_{_attribute(track, 'id', place)}"
            found[name] = partial(_numbered_stretch, storage, name, folder, boxes)
    return found


def _cvat_stills(storage: Storage, root: ElementTree.Element, folder: str, task: str, path: str) -> SequenceReaders:
    found: SequenceReaders = {}
    counts: dict[str, int] = defaultdict(int)
    for index, image in enumerate(root.iter("image")):
        place = f"image {index + 1} of {path}"
        size_wh = int(_number(image, "width", place)), int(_number(image, "height", place))
        number = _attribute(image, "id", place)
        frames = _picture(storage, [folder, folder.rpartition("/")[0]], _attribute(image, "name", place))
        for box in image.iter("box"):
            name = f"{task}_{number}_{counts[number]}"
            counts[number] += 1
            found[name] = partial(read_still, name, frames, size_wh, _cvat_box(box, place))
    return found


def _cvat_box(box: ElementTree.Element, place: str) -> Array:
    low = -LARGEST_NUMBER
    left, top, right, bottom = (_number(box, side, place, low=low) for side in ("xtl", "ytl", "xbr", "ybr"))
    return np.array([left, top, right - left, bottom - top])


def _attribute(element: ElementTree.Element, name: str, place: str) -> str:
    """Return an attribute of an element; raises InputError, naming the place, if it is missing."""
    text = element.get(name)
    if text is None:
        raise InputError(f"expected {name} in <{element.tag}> of {place}; got none; export it again")
    return text


def _number(
    element: ElementTree.Element, name: str, place: str, low: float = 0.0, high: float = LARGEST_NUMBER
) -> float:
    """Return an attribute as a number within limits; raises InputError, naming the place, for anything else."""
    text = _attribute(element, name, place)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(
            f"expected a number of {low:g} to {high:g} as {name} of <{element.tag}> in {place}; got "
            f"{show_value(text)}; export it again"
        )
    return value
