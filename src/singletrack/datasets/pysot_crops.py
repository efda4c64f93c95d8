"""Training pairs from the crops of pysot: VID, YouTube-BB, DET and COCO in their published layout.

    folder/
    ├── train.json                        {video: {track: {frame: [x1, y1, x2, y2]}}}, pixels of the video
    ├── crop511/VIDEO/FRAME.TRACK.x.jpg   the target centered in 511 x 511 pixels, at the scale of a template
    └── categories.json                   {video: {track: category}}; optional, pysot does not write it

The scripts of pysot (training_dataset/*) and ``crop_writer`` create them from the downloads. A network that always
sees its target in the middle learns the middle, so the search region is shifted by up to 64 pixels, uniformly, as in
the paper. The pair at an index depends only on (seed, index).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.base import Image
from singletrack.datasets.categories import Categories, Target
from singletrack.datasets.photos import Random
from singletrack.errors import InputError, VideoError, show_value
from singletrack.opencv import cv2
from singletrack.video.images import decode_picture

Array = NDArray[np.float64]

TEMPLATE_SIZE = 127  # pixels of a crop511 that show the square around the target
# Largest distance of the frames of a pair, as published.
GAPS = {"vid": 100, "youtubebb": 3, "det": 1, "coco": 1}
# Principal color variations of photos, scaled by their standard deviations, BGR (statistics of SiamFC).
COLORS = np.array(
    [
        [-0.55919361, 0.98062831, -0.41940627],
        [1.72091413, 0.19879334, -1.82968581],
        [4.64467907, 4.73710203, 4.88324118],
    ]
)


@dataclass(frozen=True)
class Track:
    """One target of one video.

    Attributes:
        frames: ascending numbers.
        boxes_xyxy: (N, 4) pixels of the video, not empty.
        category: what it is; empty if unknown.
    """

    video: str
    number: str
    frames: tuple[int, ...]
    boxes_xyxy: Array
    category: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class CropFolder:
    """A data set prepared by pysot. Can be pickled; other processes read the same folder.

    Attributes:
        gap: largest distance of the frames of a pair.

    Raises:
        InputError: the folder has another layout.
    """

    name: str
    root: Path
    gap: int

    @cached_property
    def tracks(self) -> list[Track]:
        """List all tracks with a non-empty box, in the order of the file."""
        path = self.root / "train.json"
        told = self._categories()
        try:
            videos = json.loads(path.read_text())
            tracks = [
                track
                for video, numbers in videos.items()
                for number, boxes in numbers.items()
                if (track := _track(video, number, boxes, told.get(video, {}).get(number, ""))) is not None
            ]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"{path} must be {{video: {{track: {{frame: [x1, y1, x2, y2]}}}}}}, as prepared by pysot; got "
                f"{getattr(error, 'strerror', None) or f'{type(error).__name__}: {error}'}; run `singletrack datasets "
                f"crops {self.name} --root ROOT --out {self.root}`, or training_dataset/{self.name} of pysot"
            ) from error
        if not tracks:
            raise InputError(f"{path} has no boxes with a size; create the file again")
        return tracks

    def _categories(self) -> dict[str, dict[str, str]]:
        path = self.root / "categories.json"
        if not path.exists():
            return {}
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            wrong = [each for tracks in told.values() for each in tracks.values() if not isinstance(each, str)]
        except (OSError, ValueError, AttributeError) as error:
            wrong = [f"{type(error).__name__}: {error}"]
        if wrong:
            raise InputError(
                f"{path} must be {{video: {{track: category}}}}; got {show_value(wrong[0])}; write it again with "
                f"`singletrack datasets crops {self.name}`, or delete it to train without categories"
            )
        return dict(told)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "root": self.root, "gap": self.gap}

    def picture(self, track: Track, place: int) -> Image:
        """Read the crop of one frame, (511, 511, 3) RGB; raises VideoError if that fails."""
        name = f"{track.frames[place]:06d}.{track.number}.x.jpg"
        path = self.root / "crop511" / track.video / name
        try:
            picture = decode_picture(path.read_bytes())
        except OSError as error:
            raise VideoError(f"cannot read crop {path} ({error}); prepare {self.name} again") from error
        if picture is None:
            raise VideoError(f"crop {path} is not an image; prepare {self.name} again")
        return picture

    def box(self, track: Track, place: int, picture: Image) -> Array:
        """Compute the box of the target in its crop, xyxy: centered, at the scale at which its square has
        TEMPLATE_SIZE pixels.
        """
        size = track.boxes_xyxy[place, 2:] - track.boxes_xyxy[place, :2]
        side = np.sqrt((size + size.sum() / 2).prod())  # of the square around the target, see ``tracking.anchors``
        half = size * TEMPLATE_SIZE / side / 2
        middle = np.array([picture.shape[1] // 2, picture.shape[0] // 2])
        return np.concatenate([middle - half, middle + half])


def _track(video: str, number: str, boxes: dict[str, Any], category: str) -> Track | None:
    """Read the frames with a non-empty box; None without any. Other entries are ignored."""
    held = {int(frame): box for frame, box in boxes.items() if frame.isdigit()}
    # pysot also reads sizes without position
    full = {frame: box if len(box) == 4 else [0, 0, *box] for frame, box in held.items()}
    kept = {frame: box for frame, box in sorted(full.items()) if box[2] > box[0] and box[3] > box[1]}
    if not kept:
        return None
    return Track(video, number, tuple(kept), np.array(list(kept.values()), np.float64), category)


def categories_of(folders: Sequence[CropFolder]) -> Categories:
    """Return the categories of all tracks of some folders."""
    return Categories([np.array([track.category.encode() for track in folder.tracks]) for folder in folders])


@dataclass(frozen=True, kw_only=True)
class Views:
    """How crops are cut and changed. The defaults are those published for SiamRPN++ with ResNet-50.

    Attributes:
        template_shift: largest shift of the template crop in pixels, uniform.
        search_shift: largest shift of the search crop in pixels, uniform.
        template_scale: largest relative change of its width and height, separately.
        search_scale: as ``template_scale``, for the search crop.
        blur: share of search crops with motion blur.
        other: share of pairs whose search crop shows another target.
        same_category: share of these whose other target has the same category, if it is known and has another target;
            the rest have another category. None draws any target, as published for SiamRPN++.
        color: strength of color changes.
    """

    template_size: int = TEMPLATE_SIZE
    search_size: int = 255
    template_shift: float = 4.0
    template_scale: float = 0.05
    search_shift: float = 64.0
    search_scale: float = 0.18
    blur: float = 0.2
    other: float = 0.2
    same_category: float | None = None
    color: float = 1.0


@dataclass(frozen=True)
class SiamesePair:
    """A training pair.

    Attributes:
        template: (T, T, 3) uint8 RGB.
        search: (S, S, 3) uint8 RGB.
        box: (4,) xywh as fractions of the search crop, of the target that it shows.
        present: whether this is the target of the template.
    """

    template: Image
    search: Image
    box: Array
    present: bool


def draw_siamese_pair(
    folders: Sequence[CropFolder],
    shares: Sequence[float],
    views: Views,
    seed: Sequence[int],
    index: int,
    categories: Categories | None = None,
) -> SiamesePair:
    """Draw the pair at an index, from 0; raises VideoError for a damaged crop.

    Args:
        folders: where to draw from.
        shares: sampling weight of each folder.
        views: how crops are cut.
        seed: seed of the run.
        index: index of the pair.
        categories: those of the folders, see ``categories_of``; needed with ``views.same_category``.
    """
    random = np.random.default_rng([*seed, index])
    edges = np.cumsum(np.asarray(shares, np.float64) / np.sum(shares))

    def draw_target() -> Target:
        which = min(int(np.searchsorted(edges, random.random(), side="right")), len(folders) - 1)
        return Target(which, int(random.integers(len(folders[which].tracks))))

    def track_of(target: Target) -> tuple[CropFolder, Track]:
        return folders[target.dataset], folders[target.dataset].tracks[target.number]

    target = draw_target()
    folder, track = track_of(target)
    place = int(random.integers(len(track.frames)))
    present = bool(random.random() >= views.other)
    if present:
        first, last = max(place - folder.gap, 0), min(place + folder.gap, len(track.frames) - 1)
        search = folder, track, int(random.integers(first, last + 1))
    else:
        if views.same_category is None or categories is None:
            chosen = draw_target()
        else:
            chosen = categories.other(random, target, views.same_category, draw_target)
        other_folder, other = track_of(chosen)
        search = other_folder, other, int(random.integers(len(other.frames)))
    crop, _ = view(random, folder, track, place, views.template_size, views.template_shift, views.template_scale)
    seen, box = view(random, *search, views.search_size, views.search_shift, views.search_scale)
    crop, seen = (recolored(random, each, views.color) for each in (crop, seen))
    if random.random() < views.blur:
        seen = blurred(random, seen)
    low, high = box[:2], box[2:]
    return SiamesePair(crop, seen, np.concatenate([low, high - low]) / views.search_size, present)


def view(
    random: Random, folder: CropFolder, track: Track, place: int, size: int, shift: float, scale: float
) -> tuple[Image, Array]:
    """Crop size x size pixels, randomly shifted and scaled, and map the box, xyxy in crop pixels.

    Pixels are measured from the edge of the crop: the center of an odd number of pixels is at half of it.
    """
    picture = folder.picture(track, place)
    box = folder.box(track, place, picture)
    limits = np.array([picture.shape[1], picture.shape[0]], np.float64)
    wide = np.minimum((size - 1) * (1 + random.uniform(-scale, scale, 2)), limits - 1)
    middle = limits // 2 + random.uniform(-shift, shift, 2)
    corner = np.clip(middle - wide / 2, 0, limits - 1 - wide)
    zoom = (size - 1) / wide
    place_matrix = np.array([[zoom[0], 0, -zoom[0] * corner[0]], [0, zoom[1], -zoom[1] * corner[1]]])
    crop = cv2.warpAffine(picture, place_matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8), (box - np.tile(corner, 2)) * np.tile(zoom, 2) + 0.5


def recolored(random: Random, crop: Image, strength: float) -> Image:
    """Add one color everywhere, drawn from the color variations of photos."""
    offset = strength * (COLORS @ random.standard_normal(3))[::-1]  # RGB
    return np.clip(np.rint(crop - offset), 0, 255).astype(np.uint8)


def blurred(random: Random, crop: Image) -> Image:
    """Blur along both axes by 5 to 45 pixels, with different strengths."""
    length = 5 + 2 * int(random.integers(21))
    share = random.random()
    kernel = np.zeros((length, length))
    kernel[:, length // 2] += share / length
    kernel[length // 2] += (1 - share) / length
    return np.asarray(cv2.filter2D(crop, -1, kernel), np.uint8)
