"""Whether a video file is as long as its own outermost elements say: what FFmpeg passes over without an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
CLUSTER = b"\x1f\x43\xb6\x75"
# What may stand in a segment, and in a cluster, whose parts are looked at one by one, by the names of Matroska.
SEGMENT_PARTS = {
    CLUSTER,
    *map(bytes.fromhex, ("114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1941a469", "1043a770", "1254c367")),
    b"\xec",
    b"\xbf",
}
CLUSTER_PARTS = set(map(bytes.fromhex, ["e7", "a7", "ab", "a3", "a0", "af", "5854", "ec", "bf"]))
MOST_BOXES = 1_000_000


def find_cut(path: Path) -> str:
    """Say where a Matroska, WebM or mp4 file ends too early or is broken; "" for any other file."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(12)
        stream.seek(0)
        if start[:4] == EBML:
            return _cut_in_matroska(stream, size)
        return _cut_in_mp4(stream, size) if start[4:8] == b"ftyp" else ""


def _cut_in_matroska(stream: BinaryIO, size: int) -> str:
    """By the sizes of the segment, which holds everything, of its elements, and of those in its clusters."""
    stream.seek(4)
    header = _read_size(stream)
    if header is None or header > size:
        return ""
    stream.seek(header, os.SEEK_CUR)
    if stream.read(4) != SEGMENT:
        return ""
    length = _read_size(stream)
    if length is None:  # a live recording announces none
        return ""
    place = stream.tell()
    end = place + length
    if end > size:
        return f"it should have {end} bytes and has {size}"
    stream.seek(end)
    if end < size and stream.read(4) != EBML:  # another file may follow
        return f"it should have {end} bytes and has {size}"
    for _ in range(MOST_BOXES):
        if place == end:
            return ""
        stream.seek(place)
        name = _read_id(stream)
        length = _read_size(stream)
        if name in CLUSTER_PARTS or (name == CLUSTER and length is None):
            if length is None:  # a cluster of a live recording: what follows are its parts
                length = 0
        elif name not in SEGMENT_PARTS or length is None:
            return f"it breaks off at byte {place}"
        place = stream.tell() + (0 if name == CLUSTER else length)
        if place > end:
            return f"it breaks off at byte {place}"
    return ""


def _read_id(stream: BinaryIO) -> bytes:
    """The name of an element of EBML: one to four bytes, by the zeros before the first one's highest bit."""
    first = stream.read(1)
    return first + stream.read(8 - first[0].bit_length()) if first and first[0] > 15 else b""


def _read_size(stream: BinaryIO) -> int | None:
    """A size of EBML: as many bytes as the first one has zeros before its highest bit, and one; None: not known."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + stream.read(length - 1), "big") - (1 << 7 * length)
    return None if value == (1 << 7 * length) - 1 else value


def _cut_in_mp4(stream: BinaryIO, size: int) -> str:
    """By the boxes at the top, each of which says how long it is, where there are fragments among them."""
    place, fragments = 0, 0
    for _ in range(MOST_BOXES):
        if place == size:
            return ""
        stream.seek(place)
        header = stream.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # up to the end
            return ""
        fragments += header[4:8] == b"moof"
        if length < 8 or place + length > size or not header[4:8].isascii():
            return f"it breaks off at byte {place}" if fragments else ""
        place += length
    return ""
