"""MOTChallenge: `gt/gt.txt` with a line for each target and frame, `gt/labels.txt` and `seqinfo.ini`.

A line is frame (from 1), id, x, y, width, height, 1 (0: to be ignored), class (from 1, a line of `labels.txt`) and
visibility. One `.txt` file alone is read and written too, and the ten columns of result files are read. Absent and
lost targets have no line.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from singletrack.labeling.formats.base import WriteOptions, format_number, is_visible
from singletrack.labeling.formats.checks import MAX_FRAMES, Place, read_text, words
from singletrack.labeling.formats.collect import Collector, choose_video, require_video
from singletrack.labeling.formats.output import copy_frames, frame_ending, new_folder, write_text
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo

MAX_ID = 2**31 - 1


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a folder with `gt/gt.txt`, or one file of that form."""
    file = path / "gt" / "gt.txt" if path.is_dir() else path
    root = file.parent.parent if file.parent.name == "gt" else file.parent
    if (root / "seqinfo.ini").is_file():
        video = choose_video(video, _read_seqinfo(root / "seqinfo.ini"), Place(root / "seqinfo.ini"))
    names_file = file.parent / "labels.txt"
    labels = read_text(names_file).splitlines() if names_file.is_file() else []
    collector = Collector(Place(file))
    classes: dict[int, int] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            _read_line(line.replace(",", " ").split(), Place(file, f"line {number}"), collector, classes)
    single = set(classes.values()) <= {-1, 1}
    for id, kind in classes.items():
        if 1 <= kind <= len(labels):
            collector.draft(id).label = Place(names_file, f"line {kind}").text(labels[kind - 1].strip(), "a label")
        elif not single:
            collector.draft(id).label = f"class {kind}"
    return collector.label_set(require_video(video, Place(file)))


def _read_line(cells: list[str], place: Place, collector: Collector, classes: dict[int, int]) -> None:
    if not 6 <= len(cells) <= 10:
        raise place.error("frame,id,x,y,width,height and up to four more numbers", words(f"{len(cells)} columns"))
    frame = place.integer(cells[0], "frame", 1) - 1
    id = place.integer(cells[1], "id", 0, MAX_ID)
    box = place.box(cells[2:6])
    mark = place.number(cells[6], "the mark") if len(cells) > 6 else 1.0
    kind = place.integer(cells[7], "class", -1, MAX_ID) if len(cells) in {8, 9} else -1
    if len(cells) == 10:  # a result file: the mark is a score, or -1 without one
        if not (0 <= mark <= 1 or mark == -1):
            raise place.error("a score from 0 to 1, or -1", mark)
        score = mark if mark >= 0 else 1.0
    elif mark == 0:
        return
    else:
        score = 1.0
    if classes.setdefault(id, kind) != kind:
        raise place.error(f"class {classes[id]} for target {id}, as before", kind)
    collector.add(id, frame, LabeledBox(box=box, score=score, source="import"), place)


def _read_seqinfo(file: Path) -> VideoInfo:
    place = Place(file)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file))
        values = dict(parser["Sequence"])
    except (configparser.Error, KeyError) as error:
        raise place.error("a section [Sequence] with one key a line", words(str(error).replace("\n", " "))) from error
    return VideoInfo(
        name=place.file_name(place.field(values, "name"), "name"),
        width=place.integer(place.field(values, "imwidth"), "imWidth", 1),
        height=place.integer(place.field(values, "imheight"), "imHeight", 1),
        frame_count=place.integer(place.field(values, "seqlength"), "seqLength", 1, MAX_FRAMES),
        fps=place.number(values.get("framerate", "30"), "frameRate"),
    )


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a folder, or one file where the path ends in .txt."""
    kinds = {label: number for number, label in enumerate(sorted({target.label for target in labels.targets}), start=1)}
    rows = [
        (frame, target.id, entry.box, kinds[target.label])
        for target in labels.targets
        for frame, entry in target.boxes.items()
        if entry.box is not None and is_visible(entry)
    ]
    lines = [
        ",".join([str(frame + 1), str(id), *map(format_number, box), "1", str(kind), "1"])
        for frame, id, box, kind in sorted(rows)
    ]
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix.lower() == ".txt":
        write_text(path, text)
        return
    new_folder(path)
    write_text(path / "gt" / "gt.txt", text)
    write_text(path / "gt" / "labels.txt", "".join(f"{' '.join(label.split())}\n" for label in kinds))
    video = labels.video
    ending = frame_ending(options.frames) if options.frames else ".jpg"
    facts = {
        "name": video.name,
        "imDir": "img1",
        "frameRate": format_number(video.fps, 6),
        "seqLength": video.frame_count,
        "imWidth": video.width,
        "imHeight": video.height,
        "imExt": ending,
    }
    write_text(path / "seqinfo.ini", "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in facts.items()))
    if options.frames:
        pictures = {frame: [path / "img1" / f"{frame + 1:06d}{ending}"] for frame in range(video.frame_count)}
        copy_frames(options.frames, pictures, video)
