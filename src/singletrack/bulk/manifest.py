"""Reads a manifest: CSV, JSON Lines or Parquet, one target per row, from a file or an address."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from singletrack.bulk.packages import require_package
from singletrack.errors import InputError, MissingDependencyError, show_value
from singletrack.geometry.boxes import Box

COLUMNS = ("video", "start", "end", "box", "x", "y", "w", "h", "id", "model")  # others are ignored
ENDINGS = (".csv", ".jsonl", ".ndjson", ".parquet")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
LONGEST_TEXT = 4096  # characters of a path, address, id or model


class Row(NamedTuple):
    """One target.

    Attributes:
        row: number of the row in the manifest, from 0.
        video: path or address, as in the manifest.
        start: first frame, from 0, in which the box lies.
        end: last frame to track; None for the end of the video.
        box: four numbers, in the box format of the run.
        id: name of the target in its video; the row number if the manifest has no ids.
        model: model name or exported file; "" for the model of the run.
    """

    row: int
    video: str
    start: int
    end: int | None
    box: Box
    id: str
    model: str


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Args:
        path: file, address, or folder or glob of Parquet files, which are read in the order of their names.

    Raises:
        InputError: not found, or another ending.
        MissingDependencyError: the package that opens such addresses is not installed.
    """

    path: str

    def __post_init__(self) -> None:
        self.files()

    def files(self) -> list[str]:
        """List the files of the manifest."""
        system, path = open_address(self.path)
        try:
            if system.isdir(path):
                paths = [each for each in system.ls(path, detail=False) if _ending(each) == ".parquet"]
            else:
                paths = system.glob(path) if any(letter in path for letter in "*?[") else [path]
        except Exception as error:  # each file system has its own, such as those of missing credentials
            raise self._refusal(error) from error
        paths = sorted(each for each in paths if not posixpath.basename(each).startswith("."))
        if not paths or not all(map(system.isfile, paths)):
            raise InputError(
                f"manifest not found: {self.path}; check the path, and that it is a file or holds .parquet"
            )
        wrong = [each for each in paths if _ending(each) not in ENDINGS]
        if wrong:
            raise InputError(f"a manifest must end in {', '.join(ENDINGS)}; got {wrong[0]}; rename or convert it")
        return paths

    def digest(self) -> str:
        """Return the SHA-256 of the content of all files."""
        system, _ = open_address(self.path)
        total = hashlib.sha256()
        for path in self.files():
            with system.open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    total.update(block)
        return total.hexdigest()

    def rows(self) -> Iterator[Row]:
        """Read the rows one by one.

        Raises:
            InputError: an invalid row, with its line.
        """
        number = 0
        for path in self.files():
            for place, content in self._contents(path):
                yield _row(number, place, content)
                number += 1

    def _contents(self, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        system, _ = open_address(self.path)
        read = {".csv": _read_csv, ".parquet": _read_parquet}.get(_ending(path), _read_jsonl)
        try:
            with system.open(path, "rb") as stream:
                yield from read(posixpath.basename(path), stream)
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> InputError:
        return InputError(f"cannot read manifest {self.path} ({error}); check the path and its permissions")


def open_address(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path or address, and the path in it.

    Raises:
        InputError: an unknown protocol.
        MissingDependencyError: the package of the protocol, or fsspec, is not installed.
    """
    fsspec = require_package("fsspec")
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingDependencyError(f"cannot open {address}: {error}") from error
    except ValueError as error:
        raise InputError(f"cannot open {address} ({error}); give a path, or an address that fsspec opens") from error
    return system, path


def resolve(video: str, root: str) -> str:
    """Return the address, or absolute path, of a video that a manifest names.

    Args:
        video: path or address.
        root: absolute folder or address from which relative paths start.
    """
    if video.startswith("file://"):
        return video.removeprefix("file://")
    if ADDRESS.match(video):
        return video
    if ADDRESS.match(root):
        return f"{root.rstrip('/')}/{video.lstrip('/')}"
    return str(Path(root) / video)


def _ending(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


# --- formats -------------------------------------------------------------------------------------------------------


def _read_csv(name: str, stream: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            _check_columns(name, reader.fieldnames or [])
            for content in reader:
                place = f"{name}, line {reader.line_num}"
                if None in content or None in content.values():
                    raise InputError(
                        f"{place}: a row must have {len(reader.fieldnames or [])} values like the header; quote values "
                        "that contain commas"
                    )
                yield place, {key: value.strip() or None for key, value in content.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{name}, line {reader.line_num + 1}: expected CSV in UTF-8; got {error}") from error


def _read_jsonl(name: str, stream: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        place = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: expected a JSON object; got {show_value(line)} ({error})") from error
        if not isinstance(content, dict):
            raise InputError(f"{place}: expected a JSON object; got {show_value(content)}")
        yield place, content


def _read_parquet(name: str, stream: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    arrow, parquet = require_package("pyarrow"), require_package("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(stream)
        names = file.schema_arrow.names
        _check_columns(name, names)
        number = 0
        for batch in file.iter_batches(columns=[each for each in names if each in COLUMNS]):
            for content in batch.to_pylist():
                number += 1
                yield f"{name}, row {number}", content
    except arrow.ArrowException as error:
        raise InputError(f"{name}: expected Parquet; got {error}; write it again") from error


def _check_columns(name: str, columns: Any) -> None:
    if "video" not in columns or not ("box" in columns or {"x", "y", "w", "h"} <= set(columns)):
        raise InputError(
            f"{name}: a manifest needs the columns video, and box or x, y, w, h; got {', '.join(map(str, columns))}; "
            "optional columns are start, end, id, model"
        )


# --- values --------------------------------------------------------------------------------------------------------


def _row(number: int, place: str, content: Mapping[str, Any]) -> Row:
    video = _text(content, "video", place)
    if not video:
        raise InputError(f"{place}: video must be a path or address; got nothing; remove the row or fill it in")
    start = _index(content, "start", place) or 0
    end = _index(content, "end", place)
    if end is not None and end < start:
        raise InputError(f"{place}: end must be at least start, {start}; got {end}; it is the last frame to track")
    return Row(
        row=number,
        video=video,
        start=start,
        end=end,
        box=_box(content, place),
        id=_text(content, "id", place) or str(number),
        model=_text(content, "model", place),
    )


def _text(content: Mapping[str, Any], column: str, place: str) -> str:
    value = content.get(column)
    if value is None:
        return ""
    if isinstance(value, bool | float | list | dict | bytes) or len(text := str(value)) > LONGEST_TEXT:
        raise InputError(
            f"{place}: {column} must be a text of at most {LONGEST_TEXT} characters; got {show_value(value)}"
        )
    return text


def _index(content: Mapping[str, Any], column: str, place: str) -> int | None:
    value = content.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):  # as pandas writes gaps
        return None
    try:
        number = float(value) if not isinstance(value, bool) else -1
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 1 << 31 or number != int(number):
        raise InputError(f"{place}: {column} must be a frame index from 0; got {show_value(value)}")
    return int(number)


def _box(content: Mapping[str, Any], place: str) -> Box:
    value = content.get("box")
    values: Any = [content.get(side) for side in "xywh"] if value is None else value
    if isinstance(values, str):  # 1,2,3,4 or [1, 2, 3, 4]
        values = values.strip("[]() ").replace(",", " ").split()
    parse: Callable[[Any], float] = lambda each: math.nan if isinstance(each, bool) else float(each)  # noqa: E731
    try:
        numbers = [parse(each) for each in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InputError(f"{place}: box must be four finite numbers; got {show_value(values)}; write x,y,width,height")
    return numbers[0], numbers[1], numbers[2], numbers[3]
