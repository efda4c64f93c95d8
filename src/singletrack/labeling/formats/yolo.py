"""YOLO detection as Ultralytics reads it: `data.yaml`, `labels/train/NAME_000000.txt`, `images/train/`.

A line is class (from 0), center x, center y, width, height, as shares of the frame. Boxes are cut at the edges of the
frame, as Ultralytics refuses others. The format has no ids. A frame with a label in which nothing can be seen is an
empty file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.base import WriteOptions, format_number, visible_boxes
from singletrack.labeling.formats.checks import DAMAGED, Place, list_files, read_text, words
from singletrack.labeling.formats.collect import Detections, choose_video, describe_video, video_fields
from singletrack.labeling.formats.output import copy_frames, frame_name, frame_number, new_folder, write_text
from singletrack.labeling.formats.packages import require_package
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a folder with `data.yaml` and `labels`, or the `data.yaml`."""
    root = path if path.is_dir() else path.parent
    file = root / "data.yaml" if path.is_dir() else path
    place = Place(file)
    content = _read_yaml(file)
    names = _read_names(content, place)
    facts = place.mapping(content["video"], "video") if "video" in content else None
    video = choose_video(video, None if facts is None else describe_video(facts, place.at("video")), place)
    stems = {Path(name).stem: frame for frame, name in enumerate(video.frame_names or ())}
    boxes = Detections(place)
    folders = [root / "labels", *sorted(entry for entry in (root / "labels").glob("*") if entry.is_dir())]
    for text_file in (found for folder in folders if folder.is_dir() for found in list_files(folder, (".txt",))):
        frame = stems.get(text_file.stem, frame_number(text_file.name))
        if frame is None:
            raise Place(text_file).error(
                "a file name that ends in the number of its frame", text_file.name, "rename it"
            )
        for number, line in enumerate(read_text(text_file).splitlines(), start=1):
            if line.strip():
                where = Place(text_file, f"line {number}")
                label, box = _read_line(line.split(), names, video, where)
                boxes.add(frame, label, LabeledBox(box=box, source="import"), where)
    return boxes.label_set(video)


def _read_yaml(file: Path) -> Mapping[str, Any]:
    yaml = require_package("yaml", "reading YOLO")
    place = Place(file)
    text = read_text(file)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"other text at line {mark.line + 1}, column {mark.column + 1}" if mark else "other content"
        raise place.error("YAML", words(where), DAMAGED) from error
    return place.mapping(content, "the content")


def _read_names(content: Mapping[str, Any], place: Place) -> dict[int, str]:
    """Labels by class number; YAML may hold them as a list or a mapping."""
    names = place.field(content, "names")
    numbered = dict(enumerate(names)) if isinstance(names, list) else place.mapping(names, "names")
    return {place.integer(key, "a class"): place.text(name, f"names[{key}]") for key, name in numbered.items()}


def _read_line(cells: list[str], names: Mapping[int, str], video: VideoInfo, place: Place) -> tuple[str, Box]:
    if len(cells) != 5:
        raise place.error("class, center x, center y, width, height", words(f"{len(cells)} columns"))
    kind = place.integer(cells[0], "class")
    if kind not in names:
        raise place.error(f"one of the {len(names)} classes of data.yaml", kind)
    x, y, width, height = (place.number(cell, "a share of the frame") for cell in cells[1:])
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < width <= 1 and 0 < height <= 1):
        raise place.error("shares of the frame from 0 to 1, width and height above 0", words(" ".join(cells[1:])))
    box = ((x - width / 2) * video.width, (y - height / 2) * video.height, width * video.width, height * video.height)
    return names[kind], place.box(box)


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a folder. Without pictures, put them into `images/train` before training."""
    video = labels.video
    kinds = {label: number for number, label in enumerate(sorted({target.label for target in labels.targets}))}
    lines: dict[int, list[str]] = {frame: [] for target in labels.targets for frame in target.boxes}
    for target in labels.targets:
        for frame, box in visible_boxes(target.boxes.items()).items():
            shares = _to_shares(box, video)
            if shares is not None:
                lines[frame].append(" ".join([str(kinds[target.label]), *(format_number(each, 8) for each in shares)]))
    new_folder(path)
    names = "".join(f"  {number}: {json.dumps(label)}\n" for label, number in kinds.items())
    facts = json.dumps(video_fields(video))  # JSON is YAML too
    text = f"train: images/train\nval: images/train\nnames:\n{names}" if kinds else "train: images/train\nnames: {}\n"
    write_text(path / "data.yaml", f"{text}video: {facts}\n")
    for frame, rows in sorted(lines.items()):
        file = path / "labels" / "train" / f"{Path(frame_name(video, frame)).stem}.txt"
        write_text(file, "".join(f"{row}\n" for row in rows))
    if options.frames:
        folder = path / "images" / "train"
        copy_frames(options.frames, {frame: [folder / frame_name(video, frame)] for frame in lines}, video)


def _to_shares(box: Box, video: VideoInfo) -> tuple[float, float, float, float] | None:
    """Center and size as shares of the frame, of the part inside it; None where nothing is inside."""
    x, y, width, height = box
    left, right = max(x, 0.0) / video.width, min(x + width, video.width) / video.width
    top, bottom = max(y, 0.0) / video.height, min(y + height, video.height) / video.height
    if right - left < 1e-8 or bottom - top < 1e-8:
        return None
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
