"""What a video or picture file may ask for: refused before memory is set aside or a reader waits for ever."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from singletrack.errors import MissingVideoError, VideoError, show_value

LARGEST_PIXELS = 1 << 27  # of one frame: 16384 x 8192, which takes 400 MB as RGB
LOCAL_TIMEOUT = 60.0  # seconds that FFmpeg may take for one step in a file
# Formats that are lists of other files or addresses, which may be anywhere, and may grow for ever.
PLAYLISTS = frozenset({"hls", "dash", "concat", "sdp", "rtp", "rtsp", "imf", "image2", "webm_dash_manifest"})
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"v=0\r\n", b"v=0\n")


def check_local_file(path: Path) -> None:
    """Raise VideoError for a pipe, socket or device, which may never end, for a playlist, and for a missing file."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            raise VideoError(
                f"expected a file; got {path}, which is a pipe, socket or device; write it to a file first"
            )
        with path.open("rb") as stream:
            start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except FileNotFoundError as error:
        raise MissingVideoError(f"expected a file; there is no {path}; check the path") from error
    except OSError as error:
        raise VideoError(f"expected a file; cannot read {path} ({error.strerror}); check its permissions") from error
    if start.startswith(PLAYLIST_STARTS) or b"<MPD" in start:
        raise VideoError(
            f"expected a video; got {path}, which is a playlist; give the video itself, or the address of the stream"
        )


def path_exists(path: Path) -> bool:
    """Whether there is such a file or folder. Raises MissingVideoError for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # too long, or with a zero in it
        reason = getattr(error, "strerror", None) or error
        raise MissingVideoError(f"source not found: {show_value(str(path))} ({reason}); check the path") from error


def check_picture_size(data: bytes | memoryview) -> None:
    """Raise VideoError for a picture of more than ``LARGEST_PIXELS`` pixels, by what its bytes announce."""
    size = announced_size(data)
    if size is not None and size[0] * size[1] > LARGEST_PIXELS:
        raise VideoError(
            f"expected a picture of at most {LARGEST_PIXELS} pixels; got one of {size[0]} x {size[1]}; make it smaller"
        )


def announced_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height as a PNG, JPEG, BMP or WebP announces them; None where they are not found."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    return None


def _webp_size(data: bytes | memoryview) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """From the first frame header among the segments."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        elif 0xD0 <= marker <= 0xD9 or marker == 0x01:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
