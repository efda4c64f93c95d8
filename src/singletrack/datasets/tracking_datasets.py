"""Readers of tracking benchmarks: the sequences of each split, their location and format.

``BENCHMARKS``, at the end, is the table. A finder lists the sequences of a split, each as a function that reads it.
What a benchmark does not include, such as a list of names, comes from a file given by the user. Boxes are read as
written. OTB, LaSOT, UAV123 and others created with Matlab count pixels from 1; published trackers and toolkits use
these numbers unchanged, so published scores are comparable only this way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from singletrack.datasets.annotations import (
    read_config_seqs,
    read_list,
    read_properties,
    read_regions,
    read_values,
    read_vatic,
)
from singletrack.datasets.base import VideoSequence
from singletrack.datasets.coco import coco_objects, coco_pictures, read_json
from singletrack.datasets.custom import find_coco_export, find_cvat, find_folder, find_mot, read_still
from singletrack.datasets.detection_datasets import find_det, find_vid, find_youtubebb
from singletrack.datasets.layouts import (
    Benchmark,
    SequencePaths,
    SequenceReaders,
    by_class,
    first_existing,
    frames_of,
    has_size,
    in_folder,
    names_by_class,
    read,
    read_flags,
    read_hidden_without_box,
    read_language,
    read_plain,
    sequence,
)
from singletrack.datasets.storage import Storage, StoredFrames
from singletrack.errors import InputError, show_value

# --- one folder per sequence: LaSOT, its extension, VastTrack, TNL2K, DTB70 ------------------------------

LASOT_LISTS = {"test": "testing_set.txt", "train": "training_set.txt"}
# The boxes end here, but more images follow; the LaSOT toolkit truncates results.
LASOT_NUMBERS = {"monkey-17": (1, 2260)}


def find_lasot(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    if text is None:
        if not storage.has(LASOT_LISTS[split]):
            raise InputError(
                f"{LASOT_LISTS[split]} not found in {storage.root}; get it from the LaSOT download or toolkit, or "
                "give a "
                "split file with sequence names"
            )
        text = storage.text(LASOT_LISTS[split])
    targets = (in_folder(name, by_class(name), ("img",)) for name in read_list(text))
    targets = (replace(target, numbers=LASOT_NUMBERS.get(target.name)) for target in targets)
    return {target.name: partial(read_lasot, storage, target) for target in targets}


def find_lasot_ext(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    base = first_existing(storage, ("LaSOT_extension_subset", "lasot_extension_subset", "LaSOT_Ext"))
    targets = (in_folder(name, f"{base}/{by_class(name)}", ("img",)) for name in names_by_class(storage, base))
    return {target.name: partial(read_lasot, storage, target) for target in targets}


def read_lasot(storage: Storage, target: SequencePaths) -> VideoSequence:
    hidden, outside = (read_flags(storage, f"{target.folder}/{what}.txt") for what in ("full_occlusion", "out_of_view"))
    if len(hidden) != len(outside):
        raise InputError(
            f"full_occlusion.txt and out_of_view.txt of {target.folder} must have equal lengths; got "
            f"{len(hidden)} and {len(outside)} flags; get a complete copy"
        )
    return read_plain(
        storage,
        target,
        visible=~(hidden | outside),
        category=target.name.rpartition("-")[0].lower(),
        language=read_language(storage, target, "nlp.txt"),
    )


def find_vasttrack(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    base = first_existing(storage, (split, f"VastTrack_{split}", f"VastTrack/{split}"))
    folders = {name: f"{base}/{by_class(name)}" for name in names_by_class(storage, base)}
    return {name: partial(read_vasttrack, storage, name, folder) for name, folder in folders.items()}


def read_vasttrack(storage: Storage, name: str, folder: str) -> VideoSequence:
    boxes = "groundtruth.txt" if storage.has(f"{folder}/groundtruth.txt") else "Groundtruth.txt"
    target = in_folder(name, folder, ("imgs", "img"), boxes)
    return read_hidden_without_box(storage, target, language=read_language(storage, target, "nlp.txt"))


def find_tnl2k(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Sequences are in the folder of the split or in parts of it (TNL2K_train_subset_p1), as distributed."""
    base = first_existing(storage, (f"TNL2K_{split}_subset", f"TNL2K_{split}", split))
    folders = {}
    for name in storage.folders(base):
        inner = storage.folders(f"{base}/{name}")
        if "imgs" in inner:
            folders[name] = f"{base}/{name}"
        else:
            folders |= {part: f"{base}/{name}/{part}" for part in inner}
    targets = (in_folder(name, folder, ("imgs",)) for name, folder in folders.items())
    return {target.name: partial(read_tnl2k, storage, target) for target in targets}


def read_tnl2k(storage: Storage, target: SequencePaths) -> VideoSequence:
    return read_plain(storage, target, language=read_language(storage, target, "language.txt"))


def find_dtb70(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    base = first_existing(storage, ("DTB70",))
    names = storage.folders(base)
    targets = (in_folder(name, f"{base}/{name}", ("img",), "groundtruth_rect.txt") for name in names)
    return {target.name: partial(read_plain, storage, target) for target in targets}


# --- GOT-10k, TrackingNet, COCO ----------------------------------------------------------------------------

GOT10K_COVER_LEVELS = 8  # cover.label is 0 (not visible) to 8
TRACKINGNET_CHUNKS = 12
TRACKINGNET_CHUNK_SIZE = 2511


def find_got10k(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    part = "train" if split in {"vottrain", "votval"} else split
    base = first_existing(storage, (part, f"{part}_data", f"full_data/{part}_data"))
    if not base:
        raise InputError(f"no folder {part} or {part}_data in {storage.root}; check the path")
    # Some downloads of the train split lack the list.
    listing = f"{base}/list.txt"
    names = read_list(storage.text(listing)) if storage.has(listing) else storage.folders(base)
    targets = (replace(in_folder(name, f"{base}/{name}", ("",)), first_box_only=part == "test") for name in names)
    return {target.name: partial(read_got10k, storage, target) for target in targets}


def read_got10k(storage: Storage, target: SequencePaths) -> VideoSequence:
    facts: dict[str, Any] = {}
    if not target.first_box_only:
        cover = read(storage, f"{target.folder}/cover.label", read_values) / GOT10K_COVER_LEVELS
        absent = read_flags(storage, f"{target.folder}/absence.label")
        if len(absent) != len(cover):
            raise InputError(
                f"absence.label and cover.label of {target.folder} must have equal lengths; got {len(absent)} "
                f"and {len(cover)} lines; get a complete copy"
            )
        facts |= {"cover": cover, "visible": ~absent & (cover > 0)}
    if storage.has(f"{target.folder}/meta_info.ini"):
        told = read_properties(storage.text(f"{target.folder}/meta_info.ini"))
        rate = re.match(r"[\d.]+", told.get("anno_fps", ""))  # 10Hz
        size = re.findall(r"\d+", told.get("resolution", ""))  # (1920, 1080)
        facts |= {"fps": float(rate[0])} if rate else {}
        facts |= {"category": told.get("object_class", "").lower()}
        facts |= {"told_size_wh": (int(size[0]), int(size[1]))} if len(size) == 2 else {}
    return read_plain(storage, target, **facts)


def find_trackingnet(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """A chunk has anno/NAME.txt and frames/NAME, or zips/NAME.zip as distributed."""
    chunks = [split.upper()] if split != "train" else [f"TRAIN_{number}" for number in range(TRACKINGNET_CHUNKS)]
    targets = (
        SequencePaths(
            name=name,
            folder=chunk,
            frames=(f"{chunk}/frames/{name}", f"{chunk}/zips/{name}"),
            boxes=f"{chunk}/anno/{name}.txt",
            first_box_only=split == "test",
        )
        for chunk in chunks
        for name in names_of(storage.files(f"{chunk}/anno"))
    )
    return {target.name: partial(read_plain, storage, target) for target in targets}


def names_of(files: list[str], ending: str = ".txt") -> list[str]:
    """Strip the ending from matching files: ["a.txt", "b.md"] -> ["a"]."""
    return [file.removesuffix(ending) for file in files if file.endswith(ending)]


def find_coco(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Each annotated object is a sequence of one frame, IMAGE_OBJECT; crowds are left out."""
    images = f"{split}2017"
    base = first_existing(storage, (f"images/{images}", images))
    path = f"annotations/instances_{images}.json"
    content = read_json(storage, path)
    if not isinstance(content, dict):
        raise InputError(f"expected images and annotations in {path}; got {show_value(content)}; get a complete copy")
    folder, there = storage.place(base), set(storage.pictures(base))
    pictures = coco_pictures(content, path)
    frames = {number: StoredFrames(folder, [name] if name in there else []) for number, (name, _) in pictures.items()}
    found: SequenceReaders = {}
    for thing in coco_objects(content, path, pictures):
        name = f"{thing.image:012d}_{thing.name}" if isinstance(thing.image, int) else f"{thing.image}_{thing.name}"
        size_wh = pictures[thing.image][1]
        found[name] = partial(read_still, name, frames[thing.image], size_wh, thing.box_xywh, thing.category)
    return found


# --- OTB, NFS, UAV123 --------------------------------------------------------------------------------------

# For folders with more images than boxes, the page of the benchmark lists the first and last frame.
OTB_NUMBERS = {
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
# Number of first frames that PyTracking and OSTrack leave out; their result files are shorter by it.
PYTRACKING_OMITS = {"Tiger1": 5}
NFS_RATE = 240  # frame rate of the numbers in all files
UAV_ATTRIBUTES = "SV ARC LR FM FOC POC OV BC IV VC CM SOB"


def find_otb(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Two targets in one folder have separate files; they are named as in PyTracking, Jogging_1."""
    base = first_existing(storage, ("OTB100", "OTB2015"))
    found: SequenceReaders = {}
    for folder in storage.folders(base):
        for file in storage.files(f"{base}/{folder}"):
            match = re.fullmatch(r"groundtruth_rect(?:\.(\d+))?\.txt", file)
            if match and storage.text(f"{base}/{folder}/{file}").strip():  # the first file of Human4 is empty
                name = f"{folder}_{match[1]}" if match[1] else folder
                target = in_folder(name, f"{base}/{folder}", ("img",), file)
                omitted = PYTRACKING_OMITS.get(name, 0) if split == "pytracking" else 0
                found[name] = partial(read_otb, storage, replace(target, numbers=OTB_NUMBERS.get(folder)), omitted)
    return found


def read_otb(storage: Storage, target: SequencePaths, omitted: int) -> VideoSequence:
    """Read a sequence without its first ``omitted`` frames."""
    whole, frames = read_plain(storage, target), frames_of(storage, target)
    frames = StoredFrames(frames.folder, frames.names[omitted:])
    return replace(whole, frames=frames, boxes_xywh=whole.boxes_xywh[omitted:])


def find_nfs(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Supports the original layout (airboard_1/30/airboard_1.txt) and that of PyTracking (anno/nfs_airboard_1.txt)."""
    packed = [name.removeprefix("nfs_") for name in names_of(storage.files("anno"))] if split == "30" else []
    if packed:
        targets = {
            name: SequencePaths(name=name, folder="anno", frames=(f"sequences/{name}",), boxes=f"anno/nfs_{name}.txt")
            for name in packed
        }
        return {name: partial(read_plain, storage, target, fps=30.0) for name, target in targets.items()}
    names = [name for name in storage.folders("") if storage.has(f"{name}/{split}/{name}.txt")]
    targets = {name: in_folder(name, f"{name}/{split}", (name,), f"{name}.txt") for name in names}
    return {name: partial(read_nfs, storage, target, int(split)) for name, target in targets.items()}


def read_nfs(storage: Storage, target: SequencePaths, fps: int) -> VideoSequence:
    """Frame and box counts may differ by one, as in several sequences."""
    boxes, in_sight = read(storage, target.boxes, partial(read_vatic, step=NFS_RATE // fps))
    frames = frames_of(storage, target)
    count = min(len(frames), len(boxes))
    if max(len(frames), len(boxes)) - count > 1:
        raise InputError(
            f"the numbers of boxes and frames may differ by at most one; got {len(boxes)} boxes in {target.boxes} and "
            f"{len(frames)} frames in {frames.folder}; get a complete copy"
        )
    return VideoSequence(
        name=target.name,
        frames=StoredFrames(frames.folder, frames.names[:count]),
        boxes_xywh=boxes[:count],
        visible=in_sight[:count],
        fps=float(fps),
    )


def find_uav(version: str) -> Callable[[Storage, str, str | None], SequenceReaders]:
    """Return a finder for UAV123 or UAV20L, two lists over the same videos, both in configSeqs.m."""

    def find(storage: Storage, split: str, text: str | None) -> SequenceReaders:
        if text is None or "startFrame" not in text:
            if not storage.has("configSeqs.m"):
                raise InputError(
                    f"configSeqs.m, which lists the frames of each sequence, not found in {storage.root}; give the "
                    "folder "
                    "UAV123 of the download, or that file as split file"
                )
            text = storage.text("configSeqs.m")
        annotated = set(names_of(storage.files(f"anno/{version}")))
        # The file has two arrays; the one whose names have boxes is used. Some names are in both, with different
        # frames.
        arrays = [{excerpt.name: excerpt for excerpt in array} for array in read_config_seqs(text)]
        excerpts = max(arrays, key=lambda array: len(array.keys() & annotated) - len(array.keys() - annotated))
        videos = dict.fromkeys((version, "UAV123"))
        targets = (
            SequencePaths(
                name=excerpt.name,
                folder=f"anno/{version}",
                frames=tuple(f"data_seq/{place}/{excerpt.folder}" for place in videos),
                boxes=f"anno/{version}/{excerpt.name}.txt",
                numbers=excerpt.numbers,
            )
            for excerpt in excerpts.values()
        )
        return {target.name: partial(read_uav, storage, target) for target in targets}

    return find


def read_uav(storage: Storage, target: SequencePaths) -> VideoSequence:
    challenges = f"{target.folder}/att/{target.name}.txt"
    told = read_flags(storage, challenges) if storage.has(challenges) else np.zeros(0, np.bool_)
    attributes = tuple(name for name, here in zip(UAV_ATTRIBUTES.split(), told, strict=False) if here)
    return read_hidden_without_box(storage, target, attributes=attributes)


# --- VOT ---------------------------------------------------------------------------------------------------


def find_vot(storage: Storage, split: str, text: str | None) -> SequenceReaders:
    """Also reads the folder of a VOT workspace. Each of several targets in one video is a sequence, NAME_TARGET."""
    base = "sequences" if storage.has("sequences/list.txt") else ""
    listing = f"{base}/list.txt"
    found: SequenceReaders = {}
    for name in read_list(storage.text(listing)) if storage.has(listing) else storage.folders(base):
        folder = f"{base}/{name}"
        told = read_properties(storage.text(f"{folder}/sequence")) if storage.has(f"{folder}/sequence") else {}
        images = (told["channels.color"].rpartition("/")[0],) if "channels.color" in told else ("color", "")
        objects = [file for file in storage.files(folder) if re.fullmatch(r"groundtruth_.+\.txt", file)]
        for file in objects or ["groundtruth.txt"]:
            full = name + file.removeprefix("groundtruth").removesuffix(".txt") if len(objects) > 1 else name
            found[full] = partial(read_vot, storage, in_folder(full, folder, images, file), told)
    return found


def read_vot(storage: Storage, target: SequencePaths, told: dict[str, str]) -> VideoSequence:
    """The box of a polygon or mask is its axis-aligned bounding box. Missing lines are unknown, as in the VOT
    toolkit.
    """
    boxes = read(storage, target.boxes, read_regions)
    lacking = len(frames_of(storage, target)) - len(boxes)
    if len(boxes) and lacking > 0:
        boxes = np.concatenate([boxes, np.full((lacking, 4), np.nan)])
    tags = [file for file in storage.files(target.folder) if file.endswith((".tag", ".label"))]
    facts: dict[str, Any] = {
        "attributes": tuple(
            tag.rpartition(".")[0] for tag in tags if read_flags(storage, f"{target.folder}/{tag}").any()
        )
    }
    if told.get("width", "").isdecimal() and told.get("height", "").isdecimal():
        facts["told_size_wh"] = int(told["width"]), int(told["height"])
    if told.get("fps", "").isdecimal():
        facts["fps"] = float(told["fps"])
    return sequence(storage, target, boxes, visible=has_size(boxes), **facts)


# --- the table ---------------------------------------------------------------------------------------------

LASOT_ATTRIBUTES = "IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC"
TNL2K_ATTRIBUTES = "CM ROT DEF FOC IV OV POC VC SV BC MB ARC LR FM AS TC MS"
VASTTRACK_ATTRIBUTES = "LR SV FM ARC IV INV DEF ROT BC MB"

BENCHMARKS = {
    "lasot": Benchmark(
        about="LaSOT, long videos of 70 classes",
        splits={"test": 280, "train": 1120},
        find=find_lasot,
        attributes=LASOT_ATTRIBUTES,
        layout="CLASS/CLASS-N/img/00000001.jpg, groundtruth.txt, full_occlusion.txt and out_of_view.txt next to img/, "
        "and training_set.txt",
    ),
    "lasot_ext": Benchmark(
        about="LaSOT extension, 15 more classes",
        splits={"test": 150},
        find=find_lasot_ext,
        attributes=LASOT_ATTRIBUTES,
    ),
    "trackingnet": Benchmark(
        about="TrackingNet, YouTube videos in chunks",
        splits={
            "test": 511,
            "train": TRACKINGNET_CHUNKS * TRACKINGNET_CHUNK_SIZE,
            **{f"train_{number}": TRACKINGNET_CHUNK_SIZE for number in range(TRACKINGNET_CHUNKS)},
        },
        find=find_trackingnet,
        layout="TRAIN_0/ to TRAIN_11/, in each anno/NAME.txt and frames/NAME/0.jpg (or zips/NAME.zip)",
    ),
    "got10k": Benchmark(
        about="GOT-10k, test classes not in training",
        splits={"test": 180, "val": 180, "train": 9335, "vottrain": None, "votval": None},
        find=find_got10k,
        needs_file={
            "vottrain": "got10k_vot_train_split.txt",
            "votval": "got10k_vot_val_split.txt",
        },
        layout="train/GOT-10k_Train_000001/00000001.jpg, groundtruth.txt, absence.label and cover.label there, "
        "also in val/, and for the VOT splits got10k_vot_train_split.txt and got10k_vot_val_split.txt",
    ),
    "coco": Benchmark(
        about="COCO 2017, objects in single images, for training",
        splits={"train": None, "val": None},
        find=find_coco,
        layout="annotations/instances_train2017.json and train2017/000000000009.jpg (or images/train2017/)",
    ),
    "vid": Benchmark(
        about="ILSVRC VID, objects of 30 classes in videos, for training",
        splits={"train": None, "val": None},
        find=find_vid,
        layout="Data/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/000000.JPEG and the same below "
        "Annotations/ with .xml (or everything in ILSVRC2015/)",
    ),
    "det": Benchmark(
        about="ILSVRC DET, objects of 200 classes in single images, for training",
        splits={"train": None, "val": None},
        find=find_det,
        layout="Data/DET/train/ILSVRC2013_train/n01503061/n01503061_10003.JPEG, or in any other folder there, and the "
        "same below Annotations/ with .xml (or everything in ILSVRC2015/)",
    ),
    "youtubebb": Benchmark(
        about="YouTube-BB, YouTube videos at one frame per second, for training",
        splits={"train": None, "val": None},
        find=find_youtubebb,
        layout="yt_bb_detection_train.csv and yt_bb_detection_train/CLASS/ID_MILLISECONDS_CLASS_OBJECT.jpg",
    ),
    "nfs": Benchmark(about="Need for Speed", splits={"30": 100, "240": 100}, find=find_nfs),
    "uav123": Benchmark(
        about="UAV123, filmed from drones", splits={"test": 123}, find=find_uav("UAV123"), attributes=UAV_ATTRIBUTES
    ),
    "uav20l": Benchmark(
        about="UAV20L, long videos of UAV123", splits={"test": 20}, find=find_uav("UAV20L"), attributes=UAV_ATTRIBUTES
    ),
    "tnl2k": Benchmark(
        about="TNL2K, with a sentence for each target",
        splits={"test": 700, "train": 1300},
        find=find_tnl2k,
        attributes=TNL2K_ATTRIBUTES,
    ),
    "otb": Benchmark(about="OTB2015, also called OTB100", splits={"test": 100, "pytracking": 100}, find=find_otb),
    "vot": Benchmark(about="a VOT challenge: a list of sequences", splits={"test": None}, find=find_vot),
    "vasttrack": Benchmark(
        about="VastTrack, 2,115 classes",
        splits={"test": 3500, "train": 47110},
        find=find_vasttrack,
        attributes=VASTTRACK_ATTRIBUTES,
    ),
    "dtb70": Benchmark(about="DTB70, filmed from drones", splits={"test": 70}, find=find_dtb70),
    "folder": Benchmark(
        about="your own: frames or a video, with groundtruth.txt", splits={"test": None}, find=find_folder
    ),
    "coco_export": Benchmark(
        about="your own: COCO JSON from an annotation tool", splits={"train": None}, find=find_coco_export
    ),
    "mot": Benchmark(about="your own: tracks in the MOTChallenge format", splits={"train": None}, find=find_mot),
    "cvat": Benchmark(about="your own: CVAT XML with its images", splits={"train": None}, find=find_cvat),
}
