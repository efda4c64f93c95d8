"""Finds the thing that a reference picture shows in the frames of a video, to follow it from there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2
from singletrack.steps import Frame
from singletrack.tracking.base import Tracker
from singletrack.tracking.color_histogram import colors_of, similarity
from singletrack.tracking.longterm import LongTermTracker
from singletrack.video.images import read_picture

SIZES = (0.6, 0.3, 0.15)  # of the thing in the frame that are tried, as shares of the frame's sides
TILES_PER_FRAME = 12
STRIDE = 5  # every how-manieth frame is searched until something in it may be the thing
LEAST_SCORE = 0.74  # on average, over:
LOOKS = 5  # frames one after the other in which it must be found at the same place
LEAST_SIMILARITY = 0.75  # of its colors to those of the picture


class Sighting(NamedTuple):
    """Where a thing was found."""

    frame: int
    box: Box
    score: float


def find_target(
    frames: Iterable[Frame],
    pictures: Sequence[Frame],
    tracker: Tracker,
    *,
    on_frame: Callable[[], None] = lambda: None,
) -> Sighting:
    """Search frames until one shows the thing of a picture, for some frames one after the other.

    Args:
        frames: (H, W, 3) uint8 RGB, all of one size.
        pictures: the thing, cut out closely, from one or more sides; (H, W, 3) uint8 RGB.
        tracker: a tracker with long-term search, which is not changed.
        on_frame: called after each frame.

    Raises:
        InputError: another tracker, a picture that is too small, or no frame shows it.
    """
    if not isinstance(tracker, LongTermTracker):
        raise InputError("finding a target from a picture needs the long-term search; add --long-term")
    if not pictures or min(min(picture.shape[:2]) for picture in pictures) < 8:
        raise InputError("expected pictures of at least 8 x 8 pixels; give a larger one, cut out closely")
    seekers: list[_Seeker] = []
    best = 0.0
    for index, frame in enumerate(frames):
        if not seekers:
            seekers = [_Seeker(picture, size, frame, tracker) for picture in pictures for size in SIZES]
        looking = [seeker for seeker in seekers if index % STRIDE == 0 or seeker.undecided]
        found = [sighting for seeker in looking if (sighting := seeker.look(index, frame)) is not None]
        best = max(best, *(seeker.best for seeker in seekers))
        on_frame()
        if found:
            return max(found, key=lambda sighting: sighting.score)
    raise InputError(
        f"no frame shows the thing of the picture for certain (highest score {best:.2f}); give a picture that is more "
        "like it, several pictures, or --box"
    )


class _Seeker:
    """Searches for one picture at one size: as a target that was lost."""

    def __init__(self, picture: Frame, size: float, frame: Frame, tracker: LongTermTracker) -> None:
        self._tracker = copy.copy(tracker)
        self._tracker.settings = replace(
            tracker.settings,
            long_term=True,
            tiles_per_frame=TILES_PER_FRAME,
            confirm_looks=LOOKS,
            found_above=max(LEAST_SCORE, tracker.settings.lost_below),
        )
        canvas, box = _place(picture, size, frame)
        self._colors = colors_of(canvas, box)
        self._tracker.init(canvas, box)
        self._tracker.search_again()
        self.best = 0.0

    @property
    def undecided(self) -> bool:
        """Whether the last frame has shown something that may be it."""
        return self._tracker.undecided

    def look(self, index: int, frame: Frame) -> Sighting | None:
        result = self._tracker.update(frame)
        self.best = max(self.best, result.score)
        if result.lost:
            return None
        colors = colors_of(frame, result.box)
        alike = 1.0 if colors is None or self._colors is None else similarity(colors, self._colors)
        if result.score >= LEAST_SCORE and alike >= LEAST_SIMILARITY:
            return Sighting(index, result.box, result.score)
        self._tracker.search_again()
        return None


def _place(picture: Frame, size: float, frame: Frame) -> tuple[Frame, Box]:
    """A frame of the video's size with the picture in its middle, and where it is."""
    height, width = frame.shape[:2]
    scale = min(size * width / picture.shape[1], size * height / picture.shape[0])
    wide, high = max(4, round(picture.shape[1] * scale)), max(4, round(picture.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    canvas = np.full_like(frame, edges.mean(axis=0).astype(np.uint8))
    left, top = (width - wide) // 2, (height - high) // 2
    canvas[top : top + high, left : left + wide] = cv2.resize(picture, (wide, high), interpolation=how)
    return canvas, (float(left), float(top), float(wide), float(high))


def read_reference(path: str) -> Frame:
    """Read a picture, (H, W, 3) uint8 RGB; raises VideoError as ``video.images.read_picture`` does."""
    return read_picture(Path(path))
