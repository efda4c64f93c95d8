"""A small folder of labeled clips: a bright square walks over a dark ground, in one clip past another square."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from singletrack.datasets.labeled_clips import LabeledClip, LabeledTrack, frame_name
from singletrack.video import VideoWriter

WIDTH, HEIGHT, FRAMES = 160, 120, 12
TARGET, OTHER = (250, 250, 250), (0, 0, 250)


def target_box(index: int) -> tuple[int, int, int, int]:
    """The square's x, y, width, height: it goes right and grows."""
    return 20 + 6 * index, 40, 20 + index, 20 + index


def other_box(index: int) -> tuple[int, int, int, int]:
    return 100 - 5 * index, 84, 24, 24


def picture(index: int, shown: bool = True) -> np.ndarray:
    """A frame, RGB."""
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    for box, color, there in ((other_box(index), OTHER, True), (target_box(index), TARGET, shown)):
        if there:
            x, y, w, h = box
            image[y : y + h, x : x + w] = color
    return image


def made_clip(folder: Path, absent: tuple[int, ...] = (), unlabeled: tuple[int, ...] = ()) -> LabeledClip:
    """A clip of two objects whose frames lie in ``folder`` as they were drawn, without the loss of JPEG."""
    folder.mkdir(parents=True)
    boxes = {"target": np.full((FRAMES, 4), np.nan), "other": np.array([other_box(i) for i in range(FRAMES)], float)}
    for index in range(FRAMES):
        png = cv2.imencode(".png", picture(index, index not in absent)[..., ::-1])[1]
        (folder / frame_name(index)).write_bytes(png.tobytes())
        if index not in absent + unlabeled:
            boxes["target"][index] = target_box(index)
    labeled = np.array([index not in unlabeled for index in range(FRAMES)])
    tracks = tuple(
        LabeledTrack(name=name, boxes_xywh=of_track, labeled=labeled if name == "target" else np.ones(FRAMES, bool))
        for name, of_track in boxes.items()
    )
    return LabeledClip(video=folder / "clip.mp4", frames=FRAMES, size_wh=(WIDTH, HEIGHT), tracks=tracks)


def write_folder(folder: Path) -> Path:
    """Two clips: "free" with two objects, one of fair quality, and "other" with one of another license class."""
    folder.mkdir(parents=True)
    entries = []
    for clip, license_class, objects in (
        ("walk", "free", (target_box, other_box)),
        ("held", "non-commercial", (target_box,)),
    ):
        with VideoWriter(folder / f"{clip}.mp4", 25.0) as writer:
            for index in range(FRAMES):
                writer.write(picture(index))
        for number, box in enumerate(objects, start=1):
            rows = [f"{index}," + ",".join(map(str, box(index))) for index in range(FRAMES)]
            rows[5] = "5,nan,nan,nan,nan"
            del rows[7]
            (folder / f"{clip}-{number}.csv").write_text("\n".join(["frame,x,y,w,h", *rows]) + "\n")
            entries.append(
                {
                    "name": f"{clip}-{number}",
                    "video": f"{clip}.mp4",
                    "csv": f"{clip}-{number}.csv",
                    "frames": FRAMES,
                    "width": WIDTH,
                    "height": HEIGHT,
                    "labeled": True,
                    "licence_class": license_class,
                    "quality": "fair" if number == 2 else "good",
                }
            )
    entries.append({"name": "none", "video": "none.mp4", "labelled": False, "licence_class": "free"})
    (folder / "index.json").write_text(json.dumps(entries))
    return folder
