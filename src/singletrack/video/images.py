"""Single images: file endings, order in a folder, decoding."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import DamagedVideoError, VideoError
from singletrack.video.frames import Frame, FrameConverter, Values
from singletrack.video.limits import check_local_file, check_picture_size

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (  # of files that are taken for videos without being opened
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".wmv",
    ".flv",
    ".gif",
)
PNG_START = b"\x89PNG\r\n\x1a\n"  # 16 bytes later: bits per value
TIFF_STARTS = (b"II*\0", b"MM\0*")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key in which runs of digits count as numbers, so that 2.jpg is before 10.jpg."""
    parts = ((part, part.lstrip("0")) for part in re.split(r"(\d+)", name.lower()))
    # longer numbers are larger: Python makes no whole number of 5,000 digits
    return [(len(digits), digits) if part.isdecimal() else (-1, part) for part, digits in parts]


def decode_values(data: bytes | NDArray[np.uint8], shrunk: int = 1) -> Values | None:
    """Decode the content of a file to (H, W) or (H, W, C) of any depth, RGB, upright; None if it is not an image.

    Args:
        data: content of the file.
        shrunk: 1, 2, 4 or 8: divisor of the sides, rounded up; each pixel is the mean of those it covers.
    """
    from singletrack.opencv import cv2

    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    content = np.frombuffer(data, np.uint8)
    check_picture_size(content.data)
    tiff = content[:4].tobytes() in TIFF_STARTS  # needed for OpenCV to read floats
    try:
        mode = cv2.IMREAD_UNCHANGED if tiff else flags[shrunk] | cv2.IMREAD_ANYDEPTH
        picture = cv2.imdecode(content, mode) if content.size else None
    except cv2.error:  # larger than OpenCV supports
        return None
    if picture is None:
        return None
    values: Values = picture
    if tiff and shrunk > 1:
        sides = [-(-side // shrunk) for side in values.shape[:2]]
        values = cv2.resize(picture, sides[::-1], interpolation=cv2.INTER_AREA)
    return _as_rgb(values)


def _as_rgb(values: Values) -> Values:
    """Convert an array from OpenCV to RGB order."""
    from singletrack.opencv import cv2

    if values.ndim == 3 and values.dtype in (np.uint8, np.uint16, np.float32):
        return cv2.cvtColor(values, cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return values[..., [2, 1, 0]] if values.ndim == 3 else values  # types that OpenCV does not swap


def may_be_deep(data: bytes) -> bool:
    """Check from its first bytes whether an image may have more than 8 bits per color."""
    return data[:4] in TIFF_STARTS or (data.startswith(PNG_START) and data[24:25] == b"\x10")


def decode_picture(
    data: bytes | NDArray[np.uint8], shrunk: int = 1, convert: FrameConverter | None = None
) -> Frame | None:
    """Decode the content of a file to (H, W, 3) uint8 RGB, see ``decode_values``; None if it is not an image.

    Args:
        convert: converter of the source; None for a single image.
    """
    values = decode_values(data, shrunk)
    return None if values is None else (convert or FrameConverter("picture"))(values)


def read_picture(path: Path, convert: FrameConverter | None = None) -> Frame:
    """Read an image file as (H, W, 3) uint8 RGB.

    Args:
        path: the file.
        convert: converter of the source; None for a single image.

    Raises:
        VideoError: the file cannot be read or decoded.
    """
    check_local_file(path)
    try:  # read by Python, because OpenCV does not support non-ASCII paths on Windows
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise VideoError(f"cannot read image {path} ({error.strerror}); check the file") from error
    frame = decode_picture(data, convert=convert or FrameConverter(str(path)))
    if frame is None:
        raise VideoError(f"cannot decode image {path} ({data.size} bytes); replace or remove it")
    return frame


def has_opacity(path: Path) -> bool:
    """Check whether a PNG, WebP or TIFF file has an alpha channel, which decoding drops."""
    from singletrack.opencv import cv2

    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return picture is not None and picture.ndim == 3 and picture.shape[2] == 4


def count_pages(path: Path) -> int:
    """Count the images in a TIFF file; 0 if it is not a TIFF file."""
    from singletrack.opencv import cv2

    try:
        return int(cv2.imcount(str(path), cv2.IMREAD_UNCHANGED))
    except cv2.error:
        return 0


def read_page(path: Path, index: int, convert: FrameConverter) -> Frame:
    """Read one image of a TIFF file; raises DamagedVideoError if it cannot be decoded."""
    from singletrack.opencv import cv2

    read, pages = cv2.imreadmulti(str(path), index, 1, flags=cv2.IMREAD_UNCHANGED)
    if not read or not pages:
        raise DamagedVideoError(f"cannot decode page {index} of {path}; get a complete copy for the rest")
    return convert(_as_rgb(pages[0]))
