"""Single pictures: their endings, their order in a folder, and decoding one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import VideoError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts as a person would: runs of digits count as numbers, so 2.jpg stands before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def decode_picture(data: bytes | NDArray[np.uint8], shrunk: int = 1) -> NDArray[np.uint8] | None:
    """A file's content -> (H, W, 3) uint8 RGB, turned as its metadata says; None where it is no picture.

    shrunk: 1, 2, 4 or 8: sides are so many times shorter, rounded up; each pixel is a mean of those it stands for.
    """
    import cv2

    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    content = np.frombuffer(data, np.uint8)
    picture = cv2.imdecode(content, flags[shrunk]) if content.size else None
    if picture is None:
        return None
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The picture of a file, (H, W, 3) uint8 RGB. Raises VideoError where it cannot be read or decoded."""
    try:  # read by Python and not by OpenCV, which takes no path outside ASCII on Windows
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise VideoError(f"expected a picture; cannot read {path} ({error.strerror}); check the file") from error
    picture = decode_picture(data)
    if picture is None:
        raise VideoError(
            f"expected a picture; got {path} ({data.size} bytes), which does not decode; replace or remove it"
        )
    return picture
