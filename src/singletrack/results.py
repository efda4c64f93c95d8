"""Reads and writes result files of boxes over time.

    .txt    x,y,width,height            one line per frame, as the benchmarks exchange them
    .csv    frame,time,x,y,width,height,score,lost      with this line at the top
    .jsonl  {"frame": 0, "time": 0.0, "box": [x, y, width, height], "score": 1.0, "lost": false}

For many targets, one line per target and frame:

    .txt    frame,id,x,y,width,height,score,-1,-1,-1    the MOTChallenge format; frames count from 1
    .csv    frame,time,id,x,y,width,height,score,lost   with this line at the top
    .jsonl  {"frame": 0, "time": 0.0, "id": 1, "box": ...}

Lines of a .jsonl also have "dropped" if the source is a camera or stream: frames passed over before this one. And on
request "pan" and "tilt", -1 to 1: where the center of the target is, from the center of the frame to its edges; pan
grows to the right, tilt upwards.

Boxes are xywh in frame pixels, top-left corner first. Frames count from 0. Time is in seconds.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from singletrack.errors import InputError, reason_of, show_value
from singletrack.files import is_stdout, is_stream, unwritable, writing
from singletrack.geometry.boxes import Box, pan_tilt
from singletrack.tracking.base import Result

CSV_COLUMNS = ("frame", "time", "x", "y", "width", "height", "score", "lost")
CSV_COLUMNS_OF_MANY = ("frame", "time", "id", *CSV_COLUMNS[2:])


@dataclass(frozen=True, kw_only=True)
class Record:
    """One target in one frame of a result file.

    Attributes:
        frame: index of the frame, from 0.
        box: x, y, width, height in frame pixels.
        id: id of the target; None in files of a single target.
        time: seconds since the first frame of the source; None in .txt files.
        score: confidence, 0 to 1; None in .txt files of a single target.
        lost: whether the target is lost; None in .txt files.
    """

    frame: int
    box: Box
    id: int | None = None
    time: float | None = None
    score: float | None = None
    lost: bool | None = None


class ResultWriter:
    """Context manager that writes results to a file, one line per frame and target.

    Each line is flushed before ``write`` returns, so that an interruption loses nothing.

    Args:
        path: output file; its ending (.txt, .csv, .jsonl) selects the format. "-" is standard output, which gets JSON
            lines, as do pipes and devices without an ending.
        many: write the id of the target in each line. The MOTChallenge format of .txt cannot mark a target as lost, so
            frames in which it is lost have no line.

    Raises:
        InputError: another ending.
        SingletrackError: the file cannot be written.
    """

    def __init__(self, path: str | Path, *, many: bool = False) -> None:
        self.path = Path(path)
        self._many = many
        ending = format_of(self.path)
        self._format_line = FORMATS[ending].format_line
        self._leaves_out_lost = many and ending == ".txt"
        self._size = 0  # of the complete lines, in bytes
        with writing(self.path):
            target = os.dup(1) if is_stdout(self.path) else self.path
            self._file = open(target, "w", encoding="utf-8", buffering=1, newline="\n")  # noqa: SIM115
        if ending == ".csv":
            self._write_line(",".join(CSV_COLUMNS_OF_MANY if many else CSV_COLUMNS))

    def write(
        self, frame: int, seconds: float, result: Result, id: int = 1, *, size_wh: tuple[int, int] | None = None
    ) -> None:
        """Write one result.

        Args:
            frame: index of the frame, from 0.
            seconds: time since the first frame of the source.
            result: the result.
            id: id of the target, from 1.
            size_wh: width and height of the frame, to write pan and tilt; .jsonl only.
        """
        if not (result.lost and self._leaves_out_lost):
            self._write_line(self._format_line(frame, seconds, result, id if self._many else None, size_wh))

    def _write_line(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
        except OSError as error:
            with suppress(OSError):  # flushing the rest of the buffer would fail again
                self._file.close()
            with suppress(OSError):  # of a full disk: the part of a line that had room
                if self.path.is_file():
                    os.truncate(self.path, self._size)
            raise unwritable(self.path, error) from error
        self._size += len(line.encode()) + 1

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        with writing(self.path):
            self._file.close()

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_results(
    path: str | Path, steps: Mapping[int, tuple[float, Mapping[int, Result]]], *, many: bool = False
) -> None:
    """Write a result file at once, in the order of the frames.

    Args:
        path: as for ``ResultWriter``.
        steps: frame -> seconds, and results by id.
        many: as for ``ResultWriter``.
    """
    with ResultWriter(path, many=many) as writer:
        for frame in sorted(steps):
            seconds, results = steps[frame]
            for id, result in results.items():
                writer.write(frame, seconds, result, id)


def read_results(path: str | Path) -> list[Record]:
    """Read a result file.

    Args:
        path: a .txt, .csv or .jsonl file. Numbers in a .txt may be separated by commas, tabs or spaces.

    Returns:
        The records in the order of the lines.

    Raises:
        InputError: another ending, an unreadable file, or an invalid line.
    """
    path = Path(path)
    parse_line = _find_format(path).parse_line
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read result file {path} ({reason_of(error)}); check the path") from error
    lines = text.splitlines()
    if is_torn(text, path.suffix.lower()):
        raise InputError(
            f"{path} must end with a complete line; got {show_value(lines[-1])}; remove that line, which was "
            "being written when the run was stopped"
        )
    header = 1 if path.suffix.lower() == ".csv" else 0
    if header and (not lines or tuple(lines[0].split(",")) not in (CSV_COLUMNS, CSV_COLUMNS_OF_MANY)):
        raise InputError(
            f"{path} must begin with the line {','.join(CSV_COLUMNS)}; got {show_value(lines[:1])}; add that line"
        )
    records: list[Record] = []
    try:
        for line in lines[header:]:
            records.append(parse_line(len(records), line))
    except (ValueError, KeyError, TypeError) as error:
        number = header + len(records) + 1
        raise InputError(
            f"{path} must have one record per line; line {number} is {lines[number - 1]!r} ({error}); fix or remove it"
        ) from error
    return records


def is_torn(text: str, ending: str) -> bool:
    """Whether the last line of a result file was cut off while it was written: a number may lack digits.

    Lines of a .csv and .jsonl always end with a line break. In a .txt, which other programs write without the last
    one, it is a number with fewer digits than those of this program have.
    """
    if not text or text.endswith("\n"):
        return False
    if ending != ".txt":
        return True
    last = text.splitlines()[-1].split(",")
    if re.match(r"\d+,\d+,-?\d+\.\d", text):  # of many targets
        return len(last) != 10 or last[-1] != "-1"
    ours = r"-?\d+\.\d{4}"
    return bool(re.match(ours + ",", text)) and (len(last) != 4 or not re.fullmatch(ours, last[-1]))


# --- one pair of functions for each format -----------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    format_line: Callable[[int, float, Result, int | None, tuple[int, int] | None], str]
    parse_line: Callable[[int, str], Record]


def _format_box(result: Result) -> str:
    return ",".join(f"{value:.4f}" for value in result.box)


def _format_txt(frame: int, seconds: float, result: Result, id: int | None, size_wh: object) -> str:
    if id is None:
        return _format_box(result)
    return f"{frame + 1},{id},{_format_box(result)},{result.score:.4f},-1,-1,-1"


def _parse_txt(frame: int, line: str) -> Record:
    values = re.split(r"[,\s]+", line.strip())
    if len(values) != 10:
        return Record(frame=frame, box=_parse_box(values))
    box, score = _parse_box(values[2:6]), float(values[6])
    return Record(frame=int(values[0]) - 1, id=int(values[1]), box=box, score=score)


def _format_csv(frame: int, seconds: float, result: Result, id: int | None, size_wh: object) -> str:
    target = "" if id is None else f"{id},"
    return f"{frame},{seconds:.4f},{target}{_format_box(result)},{result.score:.4f},{int(result.lost)}"


def _parse_csv(frame: int, line: str) -> Record:
    index, seconds, *values, score, lost = line.split(",")
    *target, x, y, width, height = values
    return Record(
        frame=int(index),
        time=float(seconds),
        id=int(target[0]) if target else None,
        box=_parse_box([x, y, width, height]),
        score=float(score),
        lost=bool(int(lost)),
    )


def _format_jsonl(
    frame: int, seconds: float, result: Result, id: int | None, size_wh: tuple[int, int] | None = None
) -> str:
    return json.dumps(pack_result(frame, seconds, result, id=id, size_wh=size_wh))


def pack_result(
    frame: int, seconds: float, result: Result, *, id: int | None = None, size_wh: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Pack a result for JSON, as a line of a .jsonl file has it; see ``ResultWriter.write``."""
    packed: dict[str, Any] = {"frame": frame, "time": round(seconds, 4)}
    if id is not None:
        packed["id"] = id
    packed |= {
        "box": [round(value, 4) for value in result.box],
        "score": round(result.score, 4),
        "lost": result.lost,
    }
    if result.dropped is not None:
        packed["dropped"] = result.dropped
    if size_wh is not None:
        packed["pan"], packed["tilt"] = (round(value, 4) for value in pan_tilt(result.box, size_wh))
    return packed


def _parse_jsonl(frame: int, line: str) -> Record:
    entry = json.loads(line)
    return Record(
        frame=entry["frame"],
        time=entry["time"],
        id=entry.get("id"),
        box=_parse_box(entry["box"]),
        score=entry["score"],
        lost=entry["lost"],
    )


def _parse_box(values: list[str]) -> Box:
    x, y, width, height = map(float, values)
    return x, y, width, height


FORMATS = {
    ".txt": _Format(_format_txt, _parse_txt),
    ".csv": _Format(_format_csv, _parse_csv),
    ".jsonl": _Format(_format_jsonl, _parse_jsonl),
}


def format_of(path: Path) -> str:
    """Return the ending that selects the format of an output file; raises InputError for another ending."""
    if not path.suffix and is_stream(path):
        return ".jsonl"
    _find_format(path)
    return path.suffix.lower()


def _find_format(path: Path) -> _Format:
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"result file must end in {', '.join(FORMATS)}; got {path}; choose one of these endings")
    return FORMATS[ending]
