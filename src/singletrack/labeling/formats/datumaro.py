"""Datumaro's JSON, by its schema: `annotations/default.json`, and `images/default/` on request.

The frames with a label are items; `attributes.track_id` says which boxes belong together.
"""

from __future__ import annotations

import json
from pathlib import Path

from singletrack.labeling.formats.base import WriteOptions, visible_boxes
from singletrack.labeling.formats.checks import Place, only_json, read_json
from singletrack.labeling.formats.collect import Detections, choose_video, describe_video, video_fields
from singletrack.labeling.formats.output import copy_frames, frame_name, frame_number, new_folder, write_text
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo

MAX_ID = 2**53


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a .json file, or the only one in `annotations` of a folder."""
    if path.is_dir():
        path = only_json(path)
    place = Place(path)
    content = place.mapping(read_json(path), "the content")
    info = content.get("info") or {}
    facts = info.get("singletrack") if isinstance(info, dict) else None
    described = describe_video(facts, place.at("info.singletrack")) if isinstance(facts, dict) else None
    video = choose_video(video, described, place)
    categories = place.mapping(place.field(content, "categories"), "categories")
    kinds = place.mapping(place.field(categories, "label"), "categories.label")
    entries = place.items(place.field(kinds, "labels"), "labels")
    labels = [place.text(place.field(place.mapping(entry, "a label"), "name"), "name") for entry in entries]
    stems = {Path(name).stem: frame for frame, name in enumerate(video.frame_names or ())}
    boxes = Detections(place)
    for number, item in enumerate(place.items(place.field(content, "items"), "items")):
        where = place.at(f"items[{number}]")
        item = where.mapping(item, "an item")
        name = where.file_name(where.field(item, "id"), "id", folders=True)
        attributes = where.mapping(item.get("attr") or {}, "attr")
        frame = stems.get(Path(name).name, attributes.get("frame", frame_number(name)))
        frame = where.integer(frame, "the frame number of the item")
        for annotation in where.items(item.get("annotations") or [], "annotations"):
            annotation = where.mapping(annotation, "an annotation")
            if annotation.get("type") != "bbox":
                raise where.error("annotations of type bbox", annotation.get("type"), "export boxes only")
            kind = where.integer(where.field(annotation, "label_id"), "label_id", 0, len(labels) - 1)
            further = where.mapping(annotation.get("attributes") or {}, "attributes")
            id = further.get("track_id")
            id = None if id is None else where.integer(id, "track_id", 0, MAX_ID)
            entry = LabeledBox(box=where.box(where.field(annotation, "bbox")), source="import")
            boxes.add(frame, labels[kind], entry, where, id)
    return boxes.label_set(video)


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a folder, or a .json file alone."""
    video = labels.video
    kinds = {label: number for number, label in enumerate(sorted({target.label for target in labels.targets}))}
    found: dict[int, list[dict[str, object]]] = {frame: [] for target in labels.targets for frame in target.boxes}
    for target in labels.targets:
        for frame, box in visible_boxes(target.boxes.items()).items():
            found[frame].append(
                {
                    "id": len(found[frame]),
                    "type": "bbox",
                    "attributes": {**target.attributes, "track_id": target.id, "occluded": False},
                    "group": 0,
                    "label_id": kinds[target.label],
                    "z_order": 0,
                    "bbox": [round(value, 4) for value in box],
                }
            )
    items = [
        {
            "id": Path(frame_name(video, frame)).stem,
            "annotations": annotations,
            "attr": {"frame": frame},
            "image": {"path": frame_name(video, frame), "size": [video.height, video.width]},
        }
        for frame, annotations in sorted(found.items())
    ]
    content = {
        "dm_format_version": "1.0",
        "media_type": 2,
        "info": {"singletrack": video_fields(video)},
        "categories": {
            "label": {
                "labels": [{"name": label, "parent": "", "attributes": []} for label in kinds],
                "label_groups": [],
                "attributes": ["track_id", "occluded"],
            }
        },
        "items": items,
    }
    single = path.suffix.lower() == ".json"
    if not single:
        new_folder(path)
    write_text(path if single else path / "annotations" / "default.json", json.dumps(content, allow_nan=False))
    if options.frames:
        folder = path.parent / "images" if single else path / "images" / "default"
        copy_frames(options.frames, {frame: [folder / frame_name(video, frame)] for frame in found}, video)
