"""Short video clips with a box per object and frame: a folder of videos, a CSV file per object and an index.

    footage/
    ├── index.json      a list with an entry per object: name, video, csv, licence_class, quality and more
    ├── NAME.mp4
    └── NAME-1.csv      frame,x,y,w,h: frames count from 0; pixels; nan where the object is absent

A frame without a row is not labeled, which does not mean that the object is absent.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.base import Array, Image
from singletrack.errors import InputError, VideoError
from singletrack.opencv import cv2
from singletrack.video import open_video
from singletrack.video.images import read_picture

JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledTrack:
    """One object of a clip.

    boxes_xywh: (N, 4) pixels, a row per frame of the clip; NaN where the object is absent or not labeled.
    labeled: (N,) whether the frame has a label. A labeled frame without a box shows no target.
    quality: "good" or "fair", as the index says; "" where it does not say.
    """

    name: str
    boxes_xywh: Array
    labeled: NDArray[np.bool_]
    license_class: str = ""
    quality: str = ""

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N,) whether the object has a box."""
        return np.asarray(np.isfinite(self.boxes_xywh).all(1))

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(N,) whether the frame is labeled as one without the object."""
        return self.labeled & ~self.present


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledClip:
    """One video and its labeled objects. size_wh: pixels."""

    video: Path
    frames: int
    size_wh: tuple[int, int]
    tracks: tuple[LabeledTrack, ...]

    def __len__(self) -> int:
        return self.frames


class UnpackedFrames:
    """Frames of a clip as JPEG files, read in any order. first: the clip's frame that is number 0."""

    def __init__(self, folder: Path, count: int, first: int = 0) -> None:
        self.folder, self.count, self.first = folder, count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Image:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return read_picture(self.folder / frame_name(self.first + index))


def frame_name(index: int) -> str:
    return f"{index:08d}.jpg"


def read_labeled_clips(folder: Path, keep: Callable[[str], bool] = lambda license_class: True) -> list[LabeledClip]:
    """The labeled clips of a folder, in the order of its index.

    Args:
        folder: where index.json lies.
        keep: whether to take the objects of a license class. Clips of which no object is left are left out.

    Raises:
        InputError: the index, a CSV file or a video is missing or cannot be read, or nothing is left.
    """
    entries = _read_index(folder)
    tracks: dict[str, list[LabeledTrack]] = {}
    facts: dict[str, tuple[int, tuple[int, int]]] = {}
    for entry in entries:
        try:
            if not entry.get("labelled", True) or not keep(entry["licence_class"]):
                continue
            video, count = entry["video"], int(entry["frames"])
            facts[video] = count, (int(entry["width"]), int(entry["height"]))
            boxes, labeled = _read_boxes(folder / entry["csv"], count)
            track = LabeledTrack(
                name=entry["name"],
                boxes_xywh=boxes,
                labeled=labeled,
                license_class=entry["licence_class"],
                quality=entry.get("quality") or "",
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"expected name, video, csv, frames, width, height and licence_class of each object in "
                f"{folder / 'index.json'}; got {str(entry)[:200]} ({error!r}); complete the entry"
            ) from error
        tracks.setdefault(video, []).append(track)
    clips = [
        LabeledClip(video=folder / video, frames=facts[video][0], size_wh=facts[video][1], tracks=tuple(of_video))
        for video, of_video in tracks.items()
    ]
    if missing := [clip.video.name for clip in clips if not clip.video.is_file()]:
        raise InputError(
            f"expected the videos that {folder / 'index.json'} names; {len(missing)} are missing, {missing[0]} first; "
            "get a complete copy of the folder"
        )
    if not clips:
        classes = sorted({str(entry.get("licence_class")) for entry in entries if isinstance(entry, dict)})
        raise InputError(
            f"expected labeled objects of the wanted license classes in {folder}; got none among "
            f"{len(entries)} entries of the classes {', '.join(classes)}; choose other classes"
        )
    return clips


def unpack_clip(clip: LabeledClip, cache: Path) -> Path:
    """Return a folder below ``cache`` with each frame of the clip as a JPEG file, which is created on first use.

    Raises:
        VideoError: the video cannot be read, or has fewer frames than the index states.
    """
    stat = clip.video.stat()
    digest = hashlib.sha256(f"{clip.video.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = cache / f"{clip.video.stem}-{digest}"
    if folder.is_dir():
        return folder
    unfinished = cache / f"{folder.name}.{os.getpid()}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    count = 0
    with open_video(clip.video) as frames:
        for count, frame in enumerate(frames, start=1):
            done, content = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            assert done
            (unfinished / frame_name(count - 1)).write_bytes(content.tobytes())
    if count < clip.frames:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise VideoError(
            f"expected {clip.frames} frames in {clip.video}, as its index says; got {count}; get a complete copy"
        )
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and wrote the same
            raise
        shutil.rmtree(unfinished)
    return folder


def fingerprint(clips: Iterable[LabeledClip]) -> str:
    """Return the number of clips and objects, and a digest of the labels and video sizes."""
    digest, videos, objects = hashlib.sha256(), 0, 0
    for clip in clips:
        videos, objects = videos + 1, objects + len(clip.tracks)
        digest.update(f"{clip.video.name} {clip.video.stat().st_size}".encode())
        for track in clip.tracks:
            digest.update(track.name.encode() + track.boxes_xywh.tobytes() + track.labeled.tobytes())
    return f"{objects} objects of {videos} clips, {digest.hexdigest()[:16]}"


def _read_index(folder: Path) -> list[dict[str, Any]]:
    path = folder / "index.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a list of labeled clips in {path}; cannot read it ({error}); give the folder that holds it"
        ) from error
    if not isinstance(entries, list):
        raise InputError(f"expected a list of labeled clips in {path}; got {type(entries).__name__}; correct the file")
    return entries


def _read_boxes(path: Path, count: int) -> tuple[Array, NDArray[np.bool_]]:
    """(count, 4) boxes and (count,) whether each frame has a row."""
    boxes, labeled = np.full((count, 4), np.nan), np.zeros(count, bool)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
    except OSError as error:
        raise InputError(
            f"expected the boxes of an object in {path}; cannot read it ({error.strerror}); get a complete copy"
        ) from error
    for line, row in enumerate(rows, start=2):
        try:
            frame, box = int(row[0]), [float(value) for value in row[1:]]
            if len(box) != 4 or not 0 <= frame < count:
                raise ValueError
        except (ValueError, IndexError):
            raise InputError(
                f"expected frame,x,y,w,h with a frame of 0 to {count - 1} in line {line} of {path}; "
                f"got {','.join(row)}; correct the line"
            ) from None
        labeled[frame] = True
        if np.isfinite(box).all() and box[2] > 0 and box[3] > 0:
            boxes[frame] = box
    return boxes, labeled
