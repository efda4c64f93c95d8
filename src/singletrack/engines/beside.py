"""Finds and checks what an exported file takes from the .safetensors file of the same name beside it.

ONNX calls this external data: a tensor that is named in the graph, with a file, an offset and a length in place of its
values. The graph is scanned here, before an engine reads it, so that no file makes an engine read anything else.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from singletrack.engines import unreadable
from singletrack.errors import CheckpointError, show_value

ENDING = ".safetensors"
# The messages of ONNX that lead to tensors: field number -> the message in that field, see onnx.proto.
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
LOCATION = b"location"  # a key that each tensor whose values lie elsewhere has
EXTERNAL_DATA = 13  # field of a tensor: its entries, each a key (field 1) and a value (field 2)
DEEPEST = 100  # messages within messages, as many as the readers of ONNX accept
Buffer = mmap.mmap | bytes


def files_of(path: str | Path) -> list[Path]:
    """Return the files of an exported model: the given one, and the weights beside it if it takes some from there.

    In the second case links are followed first, so that a file and its weights may be linked together.

    Args:
        path: an existing .onnx or .xml file.

    Raises:
        CheckpointError: it takes weights from another place or beyond the end of that file, or that file is missing.
    """
    path = Path(path)
    taken = _external_data(path)
    if not taken:
        return [path]
    whole = path.resolve()
    beside = whole.with_suffix(ENDING)
    for entries in taken:
        if entries.get("location") != beside.name:
            raise unreadable(
                path,
                f"its weights lie in another file, {show_value(entries.get('location'))}, where only {beside.name} in "
                "the same folder may hold them; a file that was renamed needs its old name back",
            )
    if not beside.is_file() or beside.resolve().parent != whole.parent:
        there = "which leads out of the folder" if beside.is_symlink() else "which is not there"
        raise CheckpointError(
            f"expected the weights of {path} in {beside}, {there}; copy both files together, or install singletrack "
            "again if they are its own"
        )
    size = beside.stat().st_size
    for entries in taken:
        start, length = _number(entries.get("offset")), _number(entries.get("length"))
        if entries.keys() - {"location", "offset", "length"} or start is None or not length or start + length > size:
            raise unreadable(path, f"its weights at {show_value(entries)} are no part of {beside.name} of {size} bytes")
    return [whole, beside]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 20 else None


def _external_data(path: Path) -> list[dict[str, str]]:
    """The entries of every tensor whose values lie elsewhere."""
    if not path.stat().st_size:
        return []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(LOCATION) < 0 or content[:1] == b"<":
            return []  # XML, as in an IR, is no ONNX
        try:
            return list(_tensors(content, 0, len(content), "model"))
        except (IndexError, ValueError) as error:
            raise unreadable(path, f"not ONNX, or cut short ({error})") from error


def _tensors(content: Buffer, start: int, end: int, message: str, depth: int = 0) -> Iterator[dict[str, str]]:
    """The entries of the tensors in a message with values elsewhere."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} messages within messages")
    if message == "tensor":
        entries: dict[str, str] = {}
        for number, first, last in _fields(content, start, end):
            if number == EXTERNAL_DATA:
                pair = {which: content[begin:stop] for which, begin, stop in _fields(content, first, last)}
                key, value = (pair.get(which, b"").decode("utf-8", "replace") for which in (1, 2))
                if key in entries:  # readers may differ in which of the two they take
                    raise ValueError(f"two entries {show_value(key)} of one tensor")
                entries[key] = value
        if entries:
            if depth > 2:  # of a node, or of a graph inside one
                raise ValueError("a tensor other than a weight of the graph lies in another file")
            yield entries
        return
    for number, first, last in _fields(content, start, end):
        inner = MESSAGES[message].get(number)
        if inner and content.find(LOCATION, first, last) >= 0:
            yield from _tensors(content, first, last, inner, depth + 1)


def _fields(content: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that hold bytes or a message: number, start, end."""
    while start < end:
        key, start = _varint(content, start, end)
        kind = key & 7
        if kind == 0:
            _, start = _varint(content, start, end)
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        elif kind == 2:
            length, start = _varint(content, start, end)
            if start + length > end:
                raise ValueError(f"{length} bytes at {start} where {end - start} are left")
            yield key >> 3, start, start + length
            start += length
        else:
            raise ValueError(f"a field of kind {kind}")
    if start > end:
        raise ValueError(f"a number beyond {end}")


def _varint(content: Buffer, start: int, end: int) -> tuple[int, int]:
    """A number of variable length and where it ends."""
    value = 0
    for place in range(10):
        if start + place >= end:
            raise ValueError(f"a number beyond {end}")
        byte = content[start + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value & (1 << 64) - 1, start + place + 1
    raise ValueError(f"a number of more than 10 bytes at {start}")
