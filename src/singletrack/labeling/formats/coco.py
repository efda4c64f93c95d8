"""COCO JSON: "coco" for detection, "coco-video" with videos and tracks besides, as TAO and MMTracking read them.

Both have `images`, `annotations` and `categories`, as pycocotools reads them. Images are the frames with a label;
one without annotations shows no target. `attributes.track_id` of "coco" is that of CVAT's exports. Absent and lost
targets have no annotation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singletrack.labeling.formats.base import WriteOptions, visible_boxes
from singletrack.labeling.formats.checks import MAX_FRAMES, Place, only_json, read_json, words
from singletrack.labeling.formats.collect import Collector, Detections, Draft, check_video
from singletrack.labeling.formats.output import copy_frames, frame_name, new_folder, write_text
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo
from singletrack.video.images import natural_key

MAX_ID = 2**53


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read either kind, a file or the one file below `annotations` of a folder."""
    file = only_json(path) if path.is_dir() else path
    place = Place(file)
    content = place.mapping(read_json(file), "the content")
    labels = {}
    for number, category in enumerate(place.items(place.field(content, "categories"), "categories")):
        where = place.at(f"categories[{number}]")
        labels[_id(where, category)] = where.text(where.field(category, "name"), "name")
    source = _choose_video(content, video, place)
    images = _read_images(content, source, video, place)
    if video is None:
        video = _describe(content, source, images, place)
    else:
        _check_video(video, source or {}, images, place)
    tracks = _read_tracks(content, labels, place)
    boxes = Detections(place)
    collector = Collector(place, tracks)
    for number, annotation in enumerate(place.items(place.field(content, "annotations"), "annotations")):
        where = place.at(f"annotations[{number}]")
        where.mapping(annotation, "an annotation")
        image, kind = _id(where, annotation, "image_id"), _id(where, annotation, "category_id")
        if annotation.get("iscrowd") or image in images.others:
            continue
        if image not in images.frames:
            raise where.error("the id of an image as image_id", image)
        if kind not in labels:
            raise where.error("the id of a category as category_id", kind)
        box = where.box(where.field(annotation, "bbox"))
        entry = LabeledBox(box=box, score=_score(annotation, where), source="import")
        id = _track_id(annotation, where)
        if not tracks:
            boxes.add(images.frames[image], labels[kind], entry, where, id)
        elif id in tracks:
            collector.add(id, images.frames[image], entry, where)
        else:
            raise where.error("the id of a track as track_id", id)
    return collector.label_set(video) if tracks else boxes.label_set(video)


class _Images:
    """Frame numbers by the ids of images; ids of images that belong to other videos."""

    def __init__(self) -> None:
        self.frames: dict[int, int] = {}
        self.others: set[int] = set()
        self.sizes: set[tuple[int, int]] = set()


def _id(place: Place, value: object, name: str = "id") -> int:
    mapping = place.mapping(value, "an entry")
    return place.integer(place.field(mapping, name), name, 0, MAX_ID)


def _choose_video(content: Mapping[str, Any], video: VideoInfo | None, place: Place) -> Mapping[str, Any] | None:
    """The entry of `videos` that is read: the only one, or that of the name of the given video."""
    entries = [place.mapping(entry, "a video") for entry in place.items(content.get("videos", []), "videos")]
    if len(entries) <= 1:
        return entries[0] if entries else None
    named = [entry for entry in entries if video is not None and entry.get("name") == video.name]
    if len(named) != 1:
        names = ", ".join(str(entry.get("name")) for entry in entries)
        raise place.error("one video, or the name of one of its videos", words(names), "give that video: --video CLIP")
    return named[0]


def _read_images(
    content: Mapping[str, Any], source: Mapping[str, Any] | None, video: VideoInfo | None, place: Place
) -> _Images:
    images = _Images()
    unnumbered: list[tuple[str, int]] = []
    for number, image in enumerate(place.items(place.field(content, "images"), "images")):
        where = place.at(f"images[{number}]")
        id = _id(where, image)
        if id in images.frames or id in images.others:
            raise where.error("another id for each image", id)
        if source is not None and image.get("video_id", source.get("id")) != source.get("id"):
            images.others.add(id)
            continue
        if "width" in image and "height" in image:
            size = where.integer(image["width"], "width", 1), where.integer(image["height"], "height", 1)
            images.sizes.add(size)
        name = where.file_name(where.field(image, "file_name"), "file_name", folders=True)
        index = image.get("frame_index", image.get("frame_id"))
        if index is None:
            unnumbered.append((name, id))
            images.frames[id] = -1
        else:
            images.frames[id] = where.integer(index, "frame_index")
    if unnumbered and len(unnumbered) < len(images.frames):
        raise place.error("frame_index in all images or in none", words(f"{len(unnumbered)} without it"))
    names = {name: frame for frame, name in enumerate(video.frame_names or ())} if video else {}
    for frame, (name, id) in enumerate(sorted(unnumbered, key=lambda each: natural_key(each[0]))):
        images.frames[id] = names.get(Path(name).name, frame)
    if len(set(images.frames.values())) < len(images.frames):
        raise place.error("a frame number of its own for each image", words("one twice"))
    return images


def _describe(content: Mapping[str, Any], source: Mapping[str, Any] | None, images: _Images, place: Place) -> VideoInfo:
    """The video as the file describes it."""
    source = source or {}
    if "width" in source and "height" in source:
        width, height = place.integer(source["width"], "width", 1), place.integer(source["height"], "height", 1)
    elif len(images.sizes) == 1:
        ((width, height),) = images.sizes
    else:
        raise place.error("images of one size", words(f"{len(images.sizes)} sizes"), "give the video: --video CLIP")
    last = max(images.frames.values(), default=0)
    return VideoInfo(
        name=place.file_name(source.get("name", place.path.stem), "name", folders=True).replace("/", "_"),
        width=width,
        height=height,
        frame_count=max(place.integer(source.get("length", last + 1), "length", 1, MAX_FRAMES), 1),
        fps=place.number(source.get("fps", 30.0), "fps"),
    )


def _check_video(video: VideoInfo, source: Mapping[str, Any], images: _Images, place: Place) -> None:
    """Raise InputError where the file says that it is of another video."""
    count = place.integer(source["length"], "length", 1, MAX_FRAMES) if "length" in source else None
    sizes: set[tuple[int, int] | None] = {*images.sizes}
    if "width" in source and "height" in source:
        sizes.add((place.integer(source["width"], "width", 1), place.integer(source["height"], "height", 1)))
    for size in sizes or {None}:
        check_video(video, place, size_wh=size, frame_count=count, name=str(source.get("name", video.name)))


def _read_tracks(content: Mapping[str, Any], labels: Mapping[int, str], place: Place) -> dict[int, Draft]:
    tracks = {}
    for number, track in enumerate(place.items(content.get("tracks", []), "tracks")):
        where = place.at(f"tracks[{number}]")
        id, kind = _id(where, track), _id(where, track, "category_id")
        if kind not in labels:
            raise where.error("the id of a category as category_id", kind)
        attributes = where.mapping(track.get("attributes", {}), "attributes")
        tracks[id] = Draft(
            label=labels[kind],
            name=where.text(track["name"], "name", empty=True) if "name" in track else None,
            color=where.text(track["color"], "color") if "color" in track else None,
            attributes={
                where.text(key, "an attribute"): where.text(value, key, empty=True) for key, value in attributes.items()
            },
        )
    return tracks


def _track_id(annotation: Mapping[str, Any], place: Place) -> int | None:
    attributes = annotation.get("attributes", {})
    inner = attributes.get("track_id") if isinstance(attributes, dict) else None
    id = annotation.get("track_id", annotation.get("instance_id", inner))
    return None if id is None else place.integer(id, "track_id", 0, MAX_ID)


def _score(annotation: Mapping[str, Any], place: Place) -> float:
    score = place.number(annotation.get("score", 1.0), "score")
    if not 0 <= score <= 1:
        raise place.error("a score from 0 to 1", score)
    return score


# --- writing -----------------------------------------------------------------------------------------------


def write_detection(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write "coco": a .json file, or a folder with `annotations/instances_default.json`."""
    _write(labels, path, options, tracks=False)


def write_video(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write "coco-video": likewise, with `videos` and `tracks`."""
    _write(labels, path, options, tracks=True)


def _write(labels: LabelSet, path: Path, options: WriteOptions, *, tracks: bool) -> None:
    video = labels.video
    frames = sorted({frame for target in labels.targets for frame in target.boxes})
    kinds = {label: number for number, label in enumerate(sorted({target.label for target in labels.targets}), start=1)}
    size = {"width": video.width, "height": video.height}
    images: list[dict[str, object]] = [
        {"id": frame + 1, "file_name": frame_name(video, frame), **size, "frame_index": frame} for frame in frames
    ]
    annotations: list[dict[str, object]] = []
    for target in labels.targets:
        for frame, (x, y, width, height) in visible_boxes(target.boxes.items()).items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": frame + 1,
                    "category_id": kinds[target.label],
                    "bbox": [round(value, 4) for value in (x, y, width, height)],
                    "area": round(width * height, 4),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
            if target.boxes[frame].score < 1:
                annotations[-1]["score"] = round(target.boxes[frame].score, 4)
            if tracks:
                annotations[-1] |= {"video_id": 1, "track_id": target.id, "instance_id": target.id}
            else:
                annotations[-1]["attributes"] = {"track_id": target.id, "occluded": False}
    content: dict[str, object] = {
        "info": {"description": video.name},
        "licenses": [],
        "categories": [{"id": number, "name": label, "supercategory": ""} for label, number in kinds.items()],
        "images": images,
        "annotations": annotations,
    }
    # the length of the video, which detection has no place for, is needed to read the file without it
    content["videos"] = [{"id": 1, "name": video.name, **size, "length": video.frame_count, "fps": video.fps}]
    if tracks:
        for image in images:
            image |= {"video_id": 1, "frame_id": image["frame_index"]}
        content["tracks"] = [
            {
                "id": target.id,
                "video_id": 1,
                "category_id": kinds[target.label],
                "name": target.name,
                "color": target.color,
                "attributes": dict(target.attributes),
            }
            for target in labels.targets
        ]
    single = path.suffix.lower() == ".json"
    if not single:
        new_folder(path)
    write_text(
        path if single else path / "annotations" / "instances_default.json", json.dumps(content, allow_nan=False)
    )
    if options.frames:
        folder = path.parent / "images" if single else path / "images" / "default"
        copy_frames(options.frames, {frame: [folder / frame_name(video, frame)] for frame in frames}, video)
