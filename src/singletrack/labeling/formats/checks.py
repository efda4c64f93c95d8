"""Checks of label files from anywhere: bounded sizes, exact types, finite numbers, names that are no paths.

Every problem is an InputError that names the file and the place in it.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box

MAX_FILE_BYTES = 256 * 2**20
MAX_FILES = 1_000_000  # in one folder
MAX_FRAMES = 10_000_000  # 92 hours at 30 frames per second
MAX_BOXES = 5_000_000  # in one label set
MAX_COORDINATE = 1e6  # pixels
MAX_NAME = 1000  # characters
MAX_DEPTH = 100  # of elements in elements
SHOWN = 60  # characters of a bad value in a message
AGAIN = "export it again"
DAMAGED = f"it is damaged or of another kind: {AGAIN}"  # advice on a file that cannot be read at all

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # not allowed in XML either

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = SHOWN
_REPR.maxlevel = 2


@dataclass(frozen=True)
class Place:
    """A file and a place in it, for messages.

    Attributes:
        path: The file.
        where: The place, such as "line 3"; empty for the file as a whole.
    """

    path: Path
    where: str = ""

    def at(self, where: str) -> Place:
        """A place inside this one."""
        return replace(self, where=f"{self.where}, {where}" if self.where else where)

    def error(self, expected: str, got: object, advice: str = "correct or export the file again") -> InputError:
        """The error to raise: what was expected here, what came, and what to do next."""
        shown = str(got) if isinstance(got, _Words) else _REPR.repr(got)  # bounded: what comes may be a bomb of aliases
        shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."
        return InputError(
            f"{self.path}{f', {self.where}' if self.where else ''}: expected {expected}; got {shown}; {advice}"
        )

    def number(self, value: object, name: str) -> float:
        """A finite number, of JSON or as text."""
        if isinstance(value, str) and NUMBER.fullmatch(value.strip(" \t")):
            value = float(value.strip(" \t"))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"a number as {name}", value)
        if not abs(value) <= 1e300:  # also NaN; larger integers are no floats
            raise self.error(f"a finite number as {name}", value)
        return float(value)

    def integer(self, value: object, name: str, low: int = 0, high: int = MAX_FRAMES) -> int:
        """A whole number from `low` to `high`; 3.0 is one too."""
        number = self.number(value, name)
        if number != int(number) or not low <= number <= high:
            raise self.error(f"a whole number from {low} to {high} as {name}", value)
        return int(number)

    def text(self, value: object, name: str, *, empty: bool = False) -> str:
        """A text of ordinary characters; line breaks and tabs count as such."""
        if not isinstance(value, str) or (not value and not empty):
            raise self.error(f"a text as {name}", value)
        if len(value) > MAX_NAME or CONTROL.search(value):
            raise self.error(f"at most {MAX_NAME} characters without control characters as {name}", value)
        return value

    def file_name(self, value: object, name: str, *, folders: bool = False) -> str:
        """A name of a file; with `folders`, also a path below a folder. Never one that leads out of it."""
        text = self.text(value, name)
        parts = re.split(r"[/\\]", text)
        if any(part in {"", ".", ".."} for part in parts) or ":" in parts[0] or (len(parts) > 1 and not folders):
            raise self.error(f"a file name{' below the folder' if folders else ''} as {name}", text, "rename it")
        return text

    def mapping(self, value: object, name: str) -> Mapping[str, Any]:
        """An object of JSON, or a mapping of YAML."""
        if not isinstance(value, dict):
            raise self.error(f"an object as {name}", value)
        return value

    def items(self, value: object, name: str) -> list[Any]:
        """A list of JSON or YAML."""
        if not isinstance(value, list):
            raise self.error(f"a list as {name}", value)
        return value

    def field(self, mapping: Mapping[str, Any], name: str) -> Any:
        """The value of a field that must be there."""
        if name not in mapping:
            raise self.error(f"the field {name!r}", words(f"only {', '.join(map(repr, mapping)) or 'no fields'}"))
        return mapping[name]

    def box(self, values: object) -> Box:
        """x, y, width and height in pixels, width and height above 0."""
        if not isinstance(values, list | tuple) or len(values) != 4:
            raise self.error("a box of four numbers (x, y, width, height)", values)
        x, y, width, height = (
            self.number(value, name) for value, name in zip(values, ("x", "y", "width", "height"), strict=True)
        )
        if max(map(abs, (x, y, width, height))) > MAX_COORDINATE:
            raise self.error(f"pixels up to {MAX_COORDINATE:g}", values)
        if width <= 0 or height <= 0:
            raise self.error("a width and height above 0", values)
        return x, y, width, height


class _Words(str):
    """A text that messages show without quotes."""


def words(text: str) -> str:
    """A description, rather than a value, of what came instead."""
    return _Words(text)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of bounded size."""
    try:
        if not path.is_file():
            raise Place(path).error(
                "a file", words("a folder" if path.is_dir() else "nothing of this name"), "check the path"
            )
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Place(path).error(f"at most {MAX_FILE_BYTES} bytes", words(f"{size} bytes"), "split the file")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file; got {error.strerror}; check the path") from error


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8; a byte order mark is left out."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected text in UTF-8; got other bytes, from byte {error.start} on; {DAMAGED}"
        ) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; NaN and Infinity, which are no JSON, are refused."""
    return parse_json(read_text(path), Place(path))


def parse_json(text: str, place: Place) -> Any:
    """JSON as Python values; refused where it is none."""

    def refuse(constant: str) -> NoReturn:
        raise place.error("finite numbers", words(constant))

    try:
        return json.loads(text, parse_constant=refuse)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # a RecursionError is a bomb of brackets
        raise place.error("JSON", words(_describe_fault(text, error)), DAMAGED if text.strip() else AGAIN) from error


def _describe_fault(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "brackets that are nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if not text.strip():
        return "nothing: it is empty"
    return f"other text at line {error.lineno}, column {error.colno}"


def read_xml(path: Path) -> Element:
    """The root element of an XML file."""
    return parse_xml(read_bytes(path), Place(path))


def parse_xml(content: bytes, place: Place) -> Element:
    """The root element of an XML document.

    A document type is refused: entities, with which a small file can grow without bounds or fetch other files, need
    one, and no label format has one.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise place.at(f"line {parser.CurrentLineNumber}").error(
                f"elements at most {MAX_DEPTH} deep", words("more")
            )
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> NoReturn:
        raise place.at(f"line {parser.CurrentLineNumber}").error(
            "XML without a document type", words("<!DOCTYPE"), "remove it"
        )

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        root: Element = builder.close()
    except InputError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: encodings that are none
        raise place.error(
            "XML", words(_describe_xml_fault(content, error)), DAMAGED if content.strip() else AGAIN
        ) from error
    return root


def _describe_xml_fault(content: bytes, error: Exception) -> str:
    if not content.strip():
        return "nothing: it is empty"
    if not isinstance(error, expat.ExpatError):
        return str(error)
    return f"other text at line {error.lineno}, column {error.offset + 1} ({expat.ErrorString(error.code)})"


def list_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of these endings, by name. Raises InputError for too many."""
    try:
        found: list[Path] = []
        for entry in _entries(folder):
            if entry.suffix.lower() in endings:
                found.append(entry)
                if len(found) > MAX_FILES:
                    raise Place(folder).error(f"at most {MAX_FILES} files", words("more"), "split the folder")
        return sorted(found)
    except OSError as error:
        raise InputError(f"{folder}: expected a readable folder; got {error.strerror}; check the path") from error


def only_json(folder: Path) -> Path:
    """The one .json file in `annotations` of a folder, or else in the folder itself."""
    folder = folder / "annotations" if (folder / "annotations").is_dir() else folder
    files = list_files(folder, (".json",))
    if len(files) != 1:
        raise Place(folder).error("one .json file", words(f"{len(files)}"), "give the path of the file")
    return files[0]


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir()


def check_budget(count: int, place: Place) -> None:
    """Raise InputError where a file describes more boxes than fit into memory."""
    if count > MAX_BOXES:
        raise place.error(f"at most {MAX_BOXES} boxes", words(f"{count} or more"), "split the file")
