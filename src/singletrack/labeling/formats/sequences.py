"""Folders of single-object tracking: GOT-10k, LaSOT and OTB, a folder for each target.

With images, all three can be read as data set `folder` by `singletrack evaluate` and `singletrack finetune`. A sequence
extends from the first to the last frame in which its target is visible; 0,0,0,0 marks frames in between without it.
`meta_info.ini` of GOT-10k also records which frame of which video is the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.base import WriteOptions, format_number, visible_boxes
from singletrack.labeling.formats.checks import MAX_FRAMES, NUMBER, Place, read_text, words
from singletrack.labeling.formats.collect import Collector, choose_video, require_video
from singletrack.labeling.formats.output import (
    copy_frames,
    frame_ending,
    new_folder,
    safe_name,
    stem_of,
    unique_names,
    write_text,
)
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo

META = "meta_info.ini"
MAX_ID = 2**53


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where one of the three puts what.

    Attributes:
        boxes: File of boxes, a line for each frame.
        images: Folder of the pictures below that of the sequence; empty: beside the boxes.
        digits: Digits of the pictures' names, which count from 1.
        absent: Files with a 1 for each frame in which the target cannot be seen.
        by_line: Whether these have a line for each frame, not one line.
    """

    boxes: str
    images: str
    digits: int
    absent: tuple[str, ...] = ()
    by_line: bool = False


GOT10K = Layout(boxes="groundtruth.txt", images="", digits=8, absent=("absence.label",), by_line=True)
LASOT = Layout(boxes="groundtruth.txt", images="img", digits=8, absent=("full_occlusion.txt", "out_of_view.txt"))
OTB = Layout(boxes="groundtruth_rect.txt", images="img", digits=4)


def read(layout: Layout, path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a folder of sequences, the folder of one, or its file of boxes."""
    if not path.is_dir():
        files = [path]
    elif (path / layout.boxes).is_file():
        files = [path / layout.boxes]
    else:
        files = sorted(folder / layout.boxes for folder in path.iterdir() if (folder / layout.boxes).is_file())
    if not files:
        raise Place(path).error(f"folders with {layout.boxes}", words("none"), "give the folder of the sequences")
    collector = Collector(Place(path))
    name = ""  # of the video that the first one is of
    for number, file in enumerate(files, start=1):
        place = Place(file.parent / META)
        meta = _read_meta(file.parent / META)
        id = place.integer(meta.get("target_id", str(number)), "target_id", 1, MAX_ID)
        draft = collector.draft(id)
        if draft.boxes:
            raise place.error("a target_id of its own for each sequence", id)
        draft.label = place.text(meta.get("object_class") or "object", "object_class")
        draft.name = place.text(meta.get("target_name") or file.resolve().parent.name, "target_name")
        first = place.integer(meta.get("first_frame", "0"), "first_frame")
        for frame, entry in enumerate(_read_boxes(file, layout), start=first):
            collector.add(id, frame, entry, Place(file, f"frame {frame}"))
        described = _describe(meta, place)
        if described is not None and described.name != (name := name or described.name):
            raise place.error(f"sequences of one video, {name!r}", described.name, "read them one by one")
        if described is not None:
            video = choose_video(video, described, place)
    return collector.label_set(require_video(video, Place(path)))


def _read_boxes(file: Path, layout: Layout) -> list[LabeledBox]:
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    boxes = [_read_box(line, Place(file, f"line {number}")) for number, line in enumerate(lines, start=1)]
    for name in layout.absent:
        place = Place(file.parent / name)
        if place.path.is_file():
            flags = read_text(place.path).replace(",", " ").split()
            if len(flags) != len(lines):
                raise place.error(f"{len(lines)} flags, one for each box", words(f"{len(flags)}"))
            for number, flag in enumerate(flags):
                if place.at(f"flag {number + 1}").integer(flag, "0 or 1", 0, 1):
                    boxes[number] = None
    return [LabeledBox(box=box, source="import") for box in boxes]


def _read_box(line: str, place: Place) -> Box | None:
    """x, y, width, height; None for four zeros or NaNs."""
    cells = line.replace(",", " ").split()
    if len(cells) != 4:
        raise place.error("x,y,width,height", words(f"{len(cells)} columns"))
    if all(cell.lower() == "nan" for cell in cells):
        return None
    if all(NUMBER.fullmatch(cell) and float(cell) == 0 for cell in cells):
        return None
    return place.box(cells)


def _read_meta(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    lines = (line.partition(":") for line in read_text(file).splitlines())
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def _describe(meta: Mapping[str, str], place: Place) -> VideoInfo | None:
    if not {"video", "frame_count", "resolution"} <= meta.keys():
        return None
    size = meta["resolution"].strip("() ").split(",")
    if len(size) != 2:
        raise place.error("(width, height) as resolution", meta["resolution"])
    return VideoInfo(
        name=place.file_name(meta["video"], "video"),
        width=place.integer(size[0], "width", 1),
        height=place.integer(size[1], "height", 1),
        frame_count=place.integer(meta["frame_count"], "frame_count", 1, MAX_FRAMES),
        fps=place.number(meta.get("anno_fps", "30").removesuffix("Hz"), "anno_fps"),
    )


def write(layout: Layout, labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a folder with a sequence for each target that can be seen somewhere."""
    video = labels.video
    visible = {target.id: visible_boxes(target.boxes.items()) for target in labels.targets}
    targets = [target for target in labels.targets if visible[target.id]]
    new_folder(path)
    names = unique_names(f"{stem_of(video)}_{target.id}_{safe_name(target.name)}" for target in targets)
    ending = frame_ending(options.frames) if options.frames else ".jpg"
    pictures: dict[int, list[Path]] = {}
    for name, target in zip(names, targets, strict=True):
        folder, boxes = path / name, visible[target.id]
        first, last = min(boxes), max(boxes)
        rows = [",".join(map(format_number, boxes.get(frame, (0, 0, 0, 0)))) for frame in range(first, last + 1)]
        write_text(folder / layout.boxes, "".join(f"{row}\n" for row in rows))
        flags = ["0" if frame in boxes else "1" for frame in range(first, last + 1)]
        for number, file in enumerate(layout.absent):
            shown = flags if number == len(layout.absent) - 1 else ["0"] * len(flags)
            write_text(folder / file, ("\n" if layout.by_line else ",").join(shown) + "\n")
        if layout is GOT10K:
            write_text(folder / "cover.label", "".join("8\n" if flag == "0" else "0\n" for flag in flags))
        facts = {
            "object_class": target.label,
            "anno_fps": f"{format_number(video.fps, 6)}Hz",
            "resolution": f"({video.width}, {video.height})",
            "video": video.name,
            "frame_count": video.frame_count,
            "first_frame": first,
            "target_id": target.id,
            "target_name": target.name,
        }
        lines = (f"{key}: {' '.join(str(value).split())}\n" for key, value in facts.items())
        write_text(folder / META, "[METAINFO]\n" + "".join(lines))
        for number, frame in enumerate(range(first, last + 1), start=1):
            place = folder / layout.images / f"{number:0{layout.digits}d}{ending}"
            pictures.setdefault(frame, []).append(place)
    if layout is GOT10K:
        write_text(path / "list.txt", "".join(f"{name}\n" for name in names))
    if options.frames:
        copy_frames(options.frames, pictures, video)


read_got10k, read_lasot, read_otb = (partial(read, layout) for layout in (GOT10K, LASOT, OTB))
write_got10k, write_lasot, write_otb = (partial(write, layout) for layout in (GOT10K, LASOT, OTB))
