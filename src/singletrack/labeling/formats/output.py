"""Writes label files atomically, with safe names, and images next to them on request."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, VideoError
from singletrack.files import writing
from singletrack.labeling.labels import VideoInfo
from singletrack.video import open_video
from singletrack.video.reader import find_pictures

JPEG_QUALITY = 95
# names that Windows keeps for devices
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically; parent folders are created."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; parent folders are created."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def new_folder(path: Path) -> None:
    """Make a folder for a format of many files; one that exists must be empty, so that nothing old mixes in."""
    with writing(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} must be a new or empty folder; it exists; give another path or remove it")
        path.mkdir(parents=True, exist_ok=True)


def safe_name(text: str) -> str:
    """A text as part of a file name: letters, digits, "_", "-" and "." stay; never hidden, empty or reserved."""
    name = re.sub(r"[^\w.-]+|__+", "_", text).strip("._")[:80] or "unnamed"
    return f"_{name}" if name.split(".")[0].lower() in RESERVED else name


def unique_names(texts: Iterable[str]) -> list[str]:
    """Safe names, one for each text, that differ also where case does not count."""
    names: list[str] = []
    used: set[str] = set()
    for text in texts:
        name, number = safe_name(text), 1
        while name.lower() in used:
            number += 1
            name = f"{safe_name(text)}_{number}"
        used.add(name.lower())
        names.append(name)
    return names


def stem_of(video: VideoInfo) -> str:
    """The name of a video without its ending, as part of a file name."""
    return safe_name(Path(video.name).stem)


def frame_name(video: VideoInfo, frame: int) -> str:
    """The file name of a frame: its own in a folder of frames, else made of the video's name and the frame's number."""
    if video.frame_names is not None:
        return video.frame_names[frame]
    return f"{stem_of(video)}_{frame:06d}.jpg"


def frame_number(name: str) -> int | None:
    """clip_000012.jpg -> 12: the last number in a file name, or None."""
    digits = re.findall(r"\d+", Path(name).stem, re.ASCII)
    return int(digits[-1]) if digits and len(digits[-1]) <= 10 else None


def frame_ending(source: Path) -> str:
    """The ending of the pictures that ``copy_frames`` writes: that of a folder's first, ".jpg" for a video."""
    pictures = find_pictures(source)
    return pictures[0].suffix.lower() if pictures else ".jpg"


def copy_frames(source: Path, targets: Mapping[int, Iterable[Path]], video: VideoInfo) -> None:
    """Write frames of a video as JPEG, or copy those of a folder as they are.

    Args:
        source: A video file or folder of frames.
        targets: Where each frame goes, by its number; a frame may go to several places (as hard links where the disk
            has them).
        video: What the source must be.

    Raises:
        InputError: If the source has other frames than `video`.
        VideoError: If it cannot be read.
    """
    pictures = find_pictures(source)
    with open_video(source) as reader:
        if reader.size_wh != (video.width, video.height):
            raise InputError(
                f"{source} must be the labeled video of {video.width} x {video.height} pixels; it has "
                f"{reader.size_wh[0]} x {reader.size_wh[1]}; give the video that the labels were made for"
            )
        last = max(targets, default=-1)
        for number, frame in enumerate(reader) if pictures is None else enumerate(pictures):
            paths = list(targets.get(number, ()))
            for path in paths:
                with writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if path != paths[0]:
                        _link(paths[0], path)
                    elif isinstance(frame, Path):
                        shutil.copyfile(frame, path)
                    else:
                        path.write_bytes(_encode(frame))
            if number >= last:
                return
    raise VideoError(f"{source} must have {last + 1} frames or more; it has fewer; give the video of these labels")


def _encode(frame: NDArray[np.uint8]) -> bytes:
    from singletrack.opencv import cv2

    picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(content.tobytes())


def _link(first: Path, other: Path) -> None:
    try:
        os.link(first, other)
    except OSError:  # a disk without hard links
        shutil.copyfile(first, other)
