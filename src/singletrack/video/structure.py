"""Whether a video file is as long as its own outermost elements say: what FFmpeg passes over without an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
TRACKS, TRACK, TRACK_NUMBER = bytes.fromhex("1654ae6b"), b"\xae", b"\xd7"
BLOCK, BLOCK_GROUP, BLOCK_IN_GROUP = b"\xa3", b"\xa0", b"\xa1"
CLUSTER_PARTS = set(map(bytes.fromhex, ["e7", "a7", "ab", "a3", "a0", "af", "5854", "ec", "bf"]))
MOST_BOXES = 1_000_000
LARGEST_DESCRIPTION = 16_000_000  # bytes of the description of a fragment that are read


def find_cut(path: Path, *, fragments_only: bool = False, track: int = 0, packets: int = 0) -> str:
    """Say where a Matroska, WebM or mp4 file ends too early or is broken; "" for any other file.

    Args:
        path: the file.
        fragments_only: the header of an mp4 lists no frames, so that all of them are in fragments.
        track: index of the track of a Matroska or WebM file that was read, in the order of the file.
        packets: number of its packets that FFmpeg gave.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(12)
        stream.seek(0)
        if start[:4] == EBML:
            return _cut_in_matroska(stream, size, track, packets)
        return _cut_in_mp4(stream, size, fragments_only) if start[4:8] == b"ftyp" else ""


def _cut_in_matroska(stream: BinaryIO, size: int, track: int, packets: int) -> str:
    """By the sizes of the segment, which holds everything, of its elements, and of those in its clusters.

    Each part of a cluster that holds frames must be of a track, and hold no more of `track` than were read.
    """
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
    tracks: list[int] = []
    held = 0  # blocks of the track
    for _ in range(MOST_BOXES):
        if place == end:
            return f"it has {held} frames, of which {packets} can be read" if held > packets else ""
        start = place
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
        if name == TRACKS:
            tracks = _track_numbers(stream, place)
        elif name in (BLOCK, BLOCK_GROUP) and tracks:
            number = _block_track(stream, name, place)
            if number not in tracks:
                return f"it has a frame of no track at byte {start}"
            held += track < len(tracks) and number == tracks[track]
    return ""


def _track_numbers(stream: BinaryIO, end: int) -> list[int]:
    """The numbers of the tracks in a list of tracks, which ends at byte `end`."""
    numbers = []
    while stream.tell() < end:
        name, length = _read_id(stream), _read_size(stream)
        if not name or length is None:
            return []
        if name == TRACK_NUMBER:
            numbers.append(int.from_bytes(stream.read(min(length, 8)), "big"))
        elif name != TRACK:
            stream.seek(length, os.SEEK_CUR)
    return numbers


def _block_track(stream: BinaryIO, name: bytes, end: int) -> int | None:
    """The number of the track that a block, or the block of a group that ends at byte `end`, belongs to."""
    while name != BLOCK and stream.tell() < end:
        name, length = _read_id(stream), _read_size(stream)
        if not name or length is None:
            return None
        if name == BLOCK_IN_GROUP:
            break
        stream.seek(length, os.SEEK_CUR)
    return _read_size(stream) if stream.tell() < end else None


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


def _cut_in_mp4(stream: BinaryIO, size: int, fragments_only: bool) -> str:
    """By the boxes at the top, each of which says how long it is, where there are fragments among them.

    A fragment is a box that describes frames (moof), followed by one that holds them (mdat).
    """
    place, fragments, described = 0, 0, False
    undescribed = 0  # byte of frames that no fragment describes
    held: int | None = None  # bytes of the frames of the last fragment, as it says
    short = ""  # what is wrong with that
    for _ in range(MOST_BOXES):
        if place == size:
            return f"it has frames without a description at byte {undescribed}" if fragments and undescribed else short
        stream.seek(place)
        header = stream.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        start = place + (16 if length == 1 else 8)
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0 and (name == b"mdat" or not fragments):  # up to the end
            return ""
        if length < 8 or place + length > size or not name.isascii():
            return f"it breaks off at byte {place}" if fragments else ""
        if name == b"moof":
            fragments, described = fragments + 1, True
            stream.seek(start)
            description = stream.read(min(place + length - start, LARGEST_DESCRIPTION))
            if not _fits(description) or not all(_fits(each) for kind, each in _boxes(description) if kind == b"traf"):
                return f"its fragment at byte {place} is broken"
            held = _described_bytes(description)
        elif name == b"mdat":
            if not described and (fragments or fragments_only):
                undescribed = undescribed or place
            missing = described and held is not None and held < place + length - start
            short = f"its last fragment describes {held} of {place + length - start} bytes" if missing else ""
            described = False
        place += length
    return ""


def _described_bytes(fragment: bytes) -> int | None:
    """The bytes of all frames that the content of a moof box describes; None where it leaves their sizes open."""
    total = 0
    for name, track in _boxes(fragment):
        usual: int | None = None
        for part, content in _boxes(track) if name == b"traf" else ():
            flags = int.from_bytes(content[1:4], "big")
            if part == b"tfhd" and flags & 0x10:  # the size of each frame, after what other flags announce
                place = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2) + 4 * bool(flags & 0x8)
                usual = int.from_bytes(content[place : place + 4], "big")
            elif part == b"trun":
                count = int.from_bytes(content[4:8], "big")
                if flags & 0x200:
                    first = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
                    before = 4 * bool(flags & 0x100)
                    step = before + 4 + 4 * bool(flags & 0x400) + 4 * bool(flags & 0x800)
                    places = range(first + before, min(len(content), first + count * step), step)
                    total += sum(int.from_bytes(content[each : each + 4], "big") for each in places)
                elif usual is None:
                    return None
                else:
                    total += count * usual
    return total


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names and contents of boxes that follow each other."""
    place = 0
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if length < 8:
            return
        yield content[place + 4 : place + 8], content[place + 8 : place + length]
        place += length


def _fits(content: bytes) -> bool:
    """Whether boxes that follow each other fill the content."""
    place = 0
    while place + 8 <= len(content):
        place += max(8, int.from_bytes(content[place : place + 4], "big"))
    return place == len(content) or len(content) == LARGEST_DESCRIPTION


def edit_list_is_damaged(path: Path) -> bool:
    """Whether the times of an mp4's video tracks contradict each other, so that the wrong frames may be hidden.

    The duration of a track is the sum of those of its frames, and what is shown of it is no longer; writers differ by a
    frame or two.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        place, header = 0, b""
        for _ in range(MOST_BOXES):
            stream.seek(place)
            header = stream.read(8)
            length = int.from_bytes(header[:4], "big")
            if header[4:] == b"moov" or length < 8 or place + length > size:
                break
            place += length
        if header[4:] != b"moov":
            return False
        movie = stream.read(min(length - 8, LARGEST_DESCRIPTION))
    ticks = next((_timescale(content) for name, content in _boxes(movie) if name == b"mvhd"), None)
    for name, track in _boxes(movie):
        media = _part(track, b"mdia")
        if name != b"trak" or _part(media, b"hdlr")[8:12] != b"vide":
            continue
        times, durations = _timescale(_part(media, b"mdhd")), _part(_part(_part(media, b"minf"), b"stbl"), b"stts")
        if times is None or ticks is None:
            return True
        entries = [durations[each : each + 8] for each in range(8, len(durations) - 7, 8)]
        total = sum(int.from_bytes(each[:4], "big") * int.from_bytes(each[4:], "big") for each in entries)
        longest = max((int.from_bytes(each[4:], "big") for each in entries), default=0)
        shown = _shown(_part(_part(track, b"edts"), b"elst"))
        if abs(total - times[1]) > 2 * longest or shown / ticks[0] > (total + 2 * longest) / times[0]:
            return True
    return False


def _part(content: bytes, name: bytes) -> bytes:
    return next((part for kind, part in _boxes(content) if kind == name), b"")


def _timescale(header: bytes) -> tuple[int, int] | None:
    """Ticks per second and duration in ticks, of an mvhd or mdhd box; None where they cannot be."""
    if header[:1] == b"\0":
        ticks, duration = int.from_bytes(header[12:16], "big"), int.from_bytes(header[16:20], "big")
    elif header[:1] == b"\1":
        ticks, duration = int.from_bytes(header[20:24], "big"), int.from_bytes(header[24:32], "big")
    else:
        return None
    return (ticks, duration) if ticks else None


def _shown(edits: bytes) -> int:
    """Ticks of the movie for which an edit list shows frames, without its empty parts."""
    wide = edits[:1] == b"\1"
    step, half = (20, 8) if wide else (12, 4)
    entries = [edits[each : each + step] for each in range(8, len(edits) - step + 1, step)]
    return sum(int.from_bytes(each[:half], "big") for each in entries if each[half : 2 * half] != b"\xff" * half)
