"""Whether a video file is as long as its own outermost elements say: what FFmpeg passes over without an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
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
    """By the size that the segment, which holds everything, announces; a live recording announces none."""
    stream.seek(4)
    header = _read_size(stream)
    if header is None or header > size:
        return ""
    stream.seek(header, os.SEEK_CUR)
    if stream.read(4) != SEGMENT:
        return ""
    segment = _read_size(stream)
    end = None if segment is None else stream.tell() + segment
    return f"it should have {end} bytes and has {size}" if end is not None and end > size else ""


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
