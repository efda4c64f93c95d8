"""Tables with a row for each frame and target: CSV, JSON Lines and Parquet, for pandas, polars and the like.

They hold everything but the video; Parquet keeps that too. Result files of `singletrack track` are read as well.
Texts in CSV that a spreadsheet would run as a formula (they begin with =, +, - or @) get an apostrophe in front,
which is taken off again in reading.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from singletrack.errors import InputError
from singletrack.labeling.formats.base import WriteOptions
from singletrack.labeling.formats.checks import (
    DAMAGED,
    MAX_FILE_BYTES,
    Place,
    check_budget,
    parse_json,
    read_bytes,
    read_text,
    words,
)
from singletrack.labeling.formats.collect import Collector, choose_video, describe_video, require_video, video_fields
from singletrack.labeling.formats.output import write_bytes, write_text
from singletrack.labeling.formats.packages import require_package
from singletrack.labeling.labels import BOX_SOURCES, LabeledBox, LabelSet, VideoInfo

SIDES = ("x", "y", "width", "height")
COLUMNS = (
    "frame",
    "time",
    "id",
    "name",
    "label",
    *SIDES,
    "score",
    "lost",
    "absent",
    "keyframe",
    "source",
    "color",
    "attributes",
)
MAX_ID = 2**53
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # the apostrophe itself, so that every text comes back as it was
VIDEO_KEY = b"singletrack.video"
MAX_UNPACKED = 4 * MAX_FILE_BYTES


def _rows(labels: LabelSet) -> Iterator[dict[str, object]]:
    """A row for each frame and target, by frame, with Python's types; sides are None where a target is absent."""
    targets = {target.id: target for target in labels.targets}
    order = sorted((frame, target.id) for target in labels.targets for frame in target.boxes)
    for frame, id in order:
        target, entry = targets[id], targets[id].boxes[frame]
        sides = entry.box or (None, None, None, None)
        yield {
            "frame": frame,
            "time": round(frame / labels.video.fps, 4),
            "id": id,
            "name": target.name,
            "label": target.label,
            **{side: None if value is None else round(value, 4) for side, value in zip(SIDES, sides, strict=True)},
            "score": round(entry.score, 4),
            "lost": entry.lost,
            "absent": entry.box is None,
            "keyframe": entry.keyframe,
            "source": entry.source,
            "color": target.color,
            "attributes": json.dumps(dict(target.attributes), sort_keys=True),
        }


def _add_row(row: Mapping[str, object], collector: Collector, known: dict[int, object], place: Place) -> None:
    """Add a row; None and "" are missing cells."""
    cells = {key: value for key, value in row.items() if value is not None and value != ""}
    frame = place.integer(place.field(cells, "frame"), "frame")
    id = place.integer(cells.get("id", 1), "id", 0, MAX_ID)
    missing = [side for side in SIDES if side not in cells]
    absent = _flag(cells.get("absent", len(missing) == 4), "absent", place)
    if missing and not absent:
        place.field(cells, missing[0])
    box = None if absent else place.box([cells[side] for side in SIDES])
    score = place.number(cells.get("score", 1), "score")
    if not 0 <= score <= 1:
        raise place.error("a score from 0 to 1", score)
    source = cells.get("source", "import")
    if source not in BOX_SOURCES:
        raise place.error(f"one of {', '.join(BOX_SOURCES)} as source", source)
    facts = {key: cells[key] for key in ("name", "label", "color", "attributes") if key in cells}
    if known.setdefault(id, facts) != facts:
        raise place.error(f"the same name, label, color and attributes in all rows of target {id}", words("others"))
    draft = collector.draft(id)
    if not draft.boxes:
        draft.label = place.text(facts.get("label", "object"), "label")
        draft.name = place.text(facts["name"], "name") if "name" in facts else None
        draft.color = place.text(facts["color"], "color") if "color" in facts else None
        attributes = facts.get("attributes", {})
        if isinstance(attributes, str):
            attributes = parse_json(attributes, place.at("attributes"))
        draft.attributes = {
            place.text(key, "an attribute"): place.text(value, key, empty=True)
            for key, value in place.mapping(attributes, "attributes").items()
        }
    entry = LabeledBox(
        box=box,
        score=score,
        lost=_flag(cells.get("lost", False), "lost", place),
        keyframe=_flag(cells.get("keyframe", False), "keyframe", place),
        source=source,  # type: ignore[arg-type]
    )
    collector.add(id, frame, entry, place)


def _flag(value: object, name: str, place: Place) -> bool:
    flags: dict[object, bool] = {"0": False, "1": True, "false": False, "true": True}
    text = str(value).lower() if isinstance(value, bool | int | str) else None
    if text not in flags:
        raise place.error(f"true or false as {name}", value)
    return flags[text]


# --- CSV ---------------------------------------------------------------------------------------------------


def read_csv(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a table with a line of column names; `frame` and the sides are needed, the others may be missing."""
    place = Place(path)
    collector, known = Collector(place), dict[int, object]()
    try:
        lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        columns = next(lines, [])
        if len(set(columns)) < len(columns) or not {"frame", *SIDES} <= set(columns):
            raise place.at("line 1").error(
                f"the columns frame, {', '.join(SIDES)}, each once",
                words(repr(",".join(columns)) if columns else "nothing: it is empty"),
            )
        for cells in lines:
            where = place.at(f"line {lines.line_num}")
            if not cells:
                continue
            if len(cells) != len(columns):
                raise where.error(f"{len(columns)} columns", words(f"{len(cells)}"))
            _add_row(dict(zip(columns, map(_unquote, cells), strict=True)), collector, known, where)
    except csv.Error as error:
        raise place.error("CSV", words(str(error))) from error
    return collector.label_set(require_video(video, place))


def write_csv(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a .csv file."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_to_cell(row[column]) for column in COLUMNS] for row in _rows(labels))
    write_text(path, file.getvalue())


def _to_cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return quote(value) if isinstance(value, str) else value


def quote(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _unquote(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


# --- JSON Lines --------------------------------------------------------------------------------------------


def read_jsonl(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a file with an object in each line; `box` is a list, or null where the target is absent."""
    place = Place(path)
    collector, known = Collector(place), dict[int, object]()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = place.at(f"line {number}")
            row = dict(where.mapping(parse_json(line, where), "a row"))
            box = row.pop("box", None)
            if box is not None:
                row |= dict(zip(SIDES, where.box(box), strict=True))
            _add_row(row, collector, known, where)
    return collector.label_set(require_video(video, place))


def write_jsonl(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a .jsonl file."""
    lines = []
    for row in _rows(labels):
        sides = [row[side] for side in SIDES]
        kept = {key: value for key, value in row.items() if key not in {*SIDES, "absent"}}
        kept |= {"box": None if row["absent"] else sides, "attributes": json.loads(str(row["attributes"]))}
        lines.append(json.dumps(kept, allow_nan=False) + "\n")
    write_text(path, "".join(lines))


# --- Parquet -----------------------------------------------------------------------------------------------


def read_parquet(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a .parquet file with the columns of CSV; the video too, where we wrote it."""
    parquet = require_package("pyarrow.parquet", "reading Parquet")
    place = Place(path)
    content = read_bytes(path)
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        facts = file.metadata
        check_budget(facts.num_rows, place)
        size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
        if size > MAX_UNPACKED:
            raise place.error(f"at most {MAX_UNPACKED} bytes unpacked", words(f"{size}"), "split the file")
        rows = file.read(columns=[name for name in file.schema_arrow.names if name in COLUMNS]).to_pylist()
        described = (file.schema_arrow.metadata or {}).get(VIDEO_KEY)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are some of these
        raise place.error("Parquet", words("other content"), DAMAGED) from error
    if described is not None:
        text = described.decode("utf-8", "replace")
        facts = describe_video(place.mapping(parse_json(text, place.at("the video")), "the video"), place)
        video = choose_video(video, facts, place)
    collector, known = Collector(place), dict[int, object]()
    for number, row in enumerate(rows, start=1):
        _add_row(row, collector, known, place.at(f"row {number}"))
    return collector.label_set(require_video(video, place))


def write_parquet(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a .parquet file."""
    arrow = require_package("pyarrow", "writing Parquet")
    parquet = require_package("pyarrow.parquet", "writing Parquet")
    types = {
        **dict.fromkeys(("frame", "id"), arrow.int64()),
        **dict.fromkeys(("time", *SIDES, "score"), arrow.float64()),
        **dict.fromkeys(("lost", "absent", "keyframe"), arrow.bool_()),
    }
    metadata = {VIDEO_KEY: json.dumps(video_fields(labels.video)).encode()}
    schema = arrow.schema([(column, types.get(column, arrow.string())) for column in COLUMNS], metadata=metadata)
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(_rows(labels)), schema=schema), file)
    write_bytes(path, file.getvalue())
