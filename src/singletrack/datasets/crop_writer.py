"""Writes the crops that Siamese trackers train on, in the layout of pysot, from any data set of ``registry``.

``pysot_crops`` reads them. The crops equal those of pysot's training_dataset/*/par_crop.py to the pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from singletrack.datasets.base import Array, Image
from singletrack.datasets.pysot_crops import TEMPLATE_SIZE
from singletrack.datasets.registry import open_dataset
from singletrack.errors import VideoError
from singletrack.files import atomic_write, make_folder, writing
from singletrack.opencv import cv2

CROP_SIZE = 511  # pixels: room for a search region of 255 that is shifted and scaled
JPEG_QUALITY = 95  # OpenCV's default, which pysot uses


def crop_around(image: Image, box_xyxy: Array, size: int = CROP_SIZE) -> Image:
    """Crop the square around a target so that the square of a template takes ``TEMPLATE_SIZE`` pixels of it.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) pixels of the image, with a width and a height above 0.
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) uint8 RGB; the mean color of the image outside of it.
    """
    size_wh = box_xyxy[2:] - box_xyxy[:2]
    template = np.sqrt((size_wh + size_wh.sum() / 2).prod())
    pad = (size - TEMPLATE_SIZE) / 2 / (TEMPLATE_SIZE / template)
    side = template + 2 * pad
    # the mean color is that of BGR in pysot; order of the channels does not matter
    first = (box_xyxy[:2] + box_xyxy[2:]) / 2 - side / 2
    scale = (size - 1) / ((first + side) - first)
    matrix = np.array([[scale[0], 0, -scale[0] * first[0]], [0, scale[1], -scale[1] * first[1]]])
    padding = [float(value) for value in np.mean(image, axis=(0, 1))]
    crop = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=padding)
    return np.asarray(crop, np.uint8)


def write_crops(
    name: str,
    root: str | Path,
    out: Path,
    *,
    split: str = "train",
    limit: int | None = None,
    incomplete: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> int:
    """Write ``out/train.json``, ``out/crop511/NAME/FRAME.00.x.jpg`` and, if the data set has categories,
    ``out/categories.json``; crops that are there already are kept.

    Args:
        name: data set in ``registry``.
        root: its folder, .zip or .tar.
        out: folder of the crops.
        split: split of the data set.
        limit: take only this many sequences, the first ones; None for all.
        incomplete: skip what is missing from the copy.
        progress: wraps the iteration over the indices of the sequences, such as a tqdm bar.

    Returns:
        The number of crops in the folder.

    Raises:
        InputError: as ``registry.open_dataset``.
        VideoError: a frame cannot be read.
        SingletrackError: the folder cannot be written.
    """
    make_folder(out)
    sequences = open_dataset(name, root, split=split, limit=limit, incomplete=incomplete)
    videos: dict[str, dict[str, dict[str, list[float]]]] = {}
    categories: dict[str, dict[str, str]] = {}
    for index in progress(range(len(sequences))):
        sequence = sequences[index]
        boxes = np.concatenate([sequence.boxes_xywh[:, :2], sequence.boxes_xywh[:, :2] + sequence.boxes_xywh[:, 2:]], 1)
        frames: dict[str, list[float]] = {}
        folder = out / "crop511" / sequence.name
        make_folder(folder)
        for number, box in enumerate(boxes):
            shown = sequence.visible is None or bool(sequence.visible[number])
            if not shown or not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
                continue
            frames[f"{number:06d}"] = box.tolist()
            path = folder / f"{number:06d}.00.x.jpg"
            if not path.exists():
                _write_jpeg(path, crop_around(sequence.frames[number], box))
        if frames:
            videos[sequence.name] = {"00": frames}
            if sequence.category:
                categories[sequence.name] = {"00": sequence.category}
    if categories:
        _write_json(out / "categories.json", categories)
    _write_json(out / "train.json", videos)
    return sum(len(tracks["00"]) for tracks in videos.values())


def _write_json(path: Path, content: object) -> None:
    with writing(path), atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(content), encoding="utf-8")


def _write_jpeg(path: Path, crop: Image) -> None:
    done, content = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise VideoError(f"cannot encode {path}; check the OpenCV installation with singletrack doctor")
    with writing(path), atomic_write(path) as unfinished:
        unfinished.write_bytes(content.tobytes())
