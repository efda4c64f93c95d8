"""Label Studio's JSON of tasks with `VideoRectangle` regions: percent of the frame, few keyframes, frames from 1.

A keyframe with `enabled` false ends a stretch: its own frame still shows the target. The name of a target is its
region's `meta.text`; attributes have no place. Size, length and rate of the video are in the task's data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.base import WriteOptions, visible_boxes
from singletrack.labeling.formats.checks import Place, read_json, words
from singletrack.labeling.formats.collect import Collector, beyond_video, choose_video, describe_video, video_fields
from singletrack.labeling.formats.output import write_text
from singletrack.labeling.formats.reduction import reduce_keyframes
from singletrack.labeling.formats.runs import set_by_person, split_runs
from singletrack.labeling.labels import LabeledBox, LabeledTarget, LabelSet, VideoInfo

REGION = "videorectangle"


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a file with one task, alone or in a list. Of several annotations the last one counts."""
    place = Place(path)
    content = read_json(path)
    tasks = content if isinstance(content, list) else [content]
    if len(tasks) != 1:
        raise place.error("one task (one video)", words(f"{len(tasks)}"), "export the tasks one by one")
    task = place.mapping(tasks[0], "a task")
    data = place.mapping(task.get("data", {}), "data")
    facts = data.get("singletrack")
    described = describe_video(facts, place.at("data.singletrack")) if isinstance(facts, dict) else None
    video = choose_video(video, described, place)
    collector = Collector(place)
    regions = [place.at("result").mapping(region, "a region") for region in _find_regions(task, place)]
    regions = [region for region in regions if region.get("type") == REGION]
    for number, (id, region) in enumerate(zip(_find_ids(regions), regions, strict=True), start=1):
        _read_region(region, id, video, collector, place.at(f"region {number}"))
    return collector.label_set(video)


def _find_regions(task: Mapping[str, Any], place: Place) -> list[Any]:
    for kind in ("annotations", "completions", "predictions"):
        entries = place.items(task.get(kind) or [], kind)
        if entries:
            entry = place.mapping(entries[-1], kind)
            return place.items(place.field(entry, "result"), "result")
    raise place.error("annotations or predictions", words("a task without them"))


def _find_ids(regions: Sequence[Mapping[str, Any]]) -> list[int]:
    """The ids that ``to_region`` wrote, where all are such; else 1, 2, 3 ..."""
    found = [re.fullmatch(r"target_(\d{1,15})", str(region.get("id"))) for region in regions]
    ids = [int(match[1]) for match in found if match]
    return ids if len(set(ids)) == len(regions) else list(range(1, len(regions) + 1))


def _read_region(region: Mapping[str, Any], id: int, video: VideoInfo, collector: Collector, place: Place) -> None:
    value = place.mapping(place.field(region, "value"), "value")
    labels = place.items(value.get("labels") or [], "labels")
    draft = collector.draft(id)
    if labels:
        draft.label = place.text(labels[0], "a label")
    meta = place.mapping(region.get("meta") or {}, "meta")
    texts = meta.get("text") or []
    texts = [texts] if isinstance(texts, str) else place.items(texts, "meta.text")
    if texts:
        draft.name = place.text(texts[0], "meta.text", empty=True)
    collector.add_line(id, read_keyframes(value, video, place), video.frame_count, place)


def read_keyframes(value: Mapping[str, Any], video: VideoInfo, place: Place) -> dict[int, LabeledBox]:
    """The keyframes of a region's value by frame number; absent from the frame after one that is not enabled."""
    keyframes: dict[int, LabeledBox] = {}
    ends: list[int] = []
    for item in place.items(place.field(value, "sequence"), "sequence"):
        where = place.at(f"frame {item.get('frame') if isinstance(item, dict) else item}")
        item = where.mapping(item, "a keyframe")
        frame = where.integer(where.field(item, "frame"), "frame", 1) - 1
        if frame >= video.frame_count:
            raise beyond_video(frame, video, where)
        if where.number(item.get("rotation", 0), "rotation") != 0:
            raise where.error("upright boxes", words(f"rotation {item['rotation']}"), "use upright rectangles")
        if frame in keyframes:
            raise where.error("one keyframe for each frame", words("two"))
        keyframes[frame] = LabeledBox(box=_to_box(item, video, where), keyframe=True, source="import")
        enabled = item.get("enabled", True)
        if not isinstance(enabled, bool):
            raise where.error("true or false as enabled", enabled)
        if not enabled:
            ends.append(frame + 1)
    for end in ends:
        if end < video.frame_count:
            keyframes.setdefault(end, LabeledBox(box=None, keyframe=True, source="import"))
    return keyframes


def _to_box(item: Mapping[str, Any], video: VideoInfo, place: Place) -> Box:
    x, y, width, height = (place.number(place.field(item, key), key) for key in ("x", "y", "width", "height"))
    across, down = video.width / 100, video.height / 100
    return place.box((x * across, y * down, width * across, height * down))


# --- writing -----------------------------------------------------------------------------------------------


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a .json file with one task, to be imported into a project with the configuration of ``label_config``."""
    task = {
        "data": {"video": labels.video.name, "singletrack": video_fields(labels.video)},
        "annotations": [
            {"result": [to_region(target, labels.video, options.tolerance) for target in labels.targets]},
        ],
    }
    write_text(path, json.dumps([task], allow_nan=False, indent=1))


def to_region(
    target: LabeledTarget,
    video: VideoInfo,
    tolerance: float | None,
    *,
    from_name: str = "box",
    to_name: str = "video",
) -> dict[str, Any]:
    """A target as a region of Label Studio; the names are those of its tags `VideoRectangle` and `Video`."""
    sequence = []
    for run in split_runs(visible_boxes(target.boxes.items())):
        last = max(run)
        for frame, (x, y, width, height) in reduce_keyframes(run, tolerance, exact=set_by_person(target)).items():
            sequence.append(
                {
                    "frame": frame + 1,
                    "enabled": frame != last,
                    "rotation": 0,
                    "x": round(100 * x / video.width, 6),
                    "y": round(100 * y / video.height, 6),
                    "width": round(100 * width / video.width, 6),
                    "height": round(100 * height / video.height, 6),
                    "time": round((frame + 1) / video.fps, 4),
                }
            )
    return {
        "id": f"target_{target.id}",
        "type": REGION,
        "from_name": from_name,
        "to_name": to_name,
        "origin": "manual",
        "meta": {"text": [target.name]},
        "value": {
            "framesCount": video.frame_count,
            "duration": round(video.frame_count / video.fps, 4),
            "sequence": sequence,
            "labels": [target.label],
        },
    }
