"""Settings, checks and the lost state that all trackers share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, show_value
from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, Image, Square, check_frame

Settings = TypeVar("Settings", bound="CropSettings | LostSettings")

MOST_TILES_PER_FRAME = 1000
LARGEST_SETTING = 1e9  # of any number among the settings
# By the annotation of a setting: its types, and the name of these in errors.
KINDS: dict[str, tuple[Any, str]] = {
    "int": ((int, np.integer), "a whole number"),
    "float": ((int, float, np.integer, np.floating), "a finite number"),
    "bool": (bool, "True or False"),
}
# The network fixes these.
FIXED_SETTINGS = ("template_size", "search_size", "mean", "std", "num_templates", "mark_template", "box_channel")


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """Settings of crops and of clipping boxes to the frame.

    Attributes:
        template_factor: side of the template crop relative to the square root of the box area.
        template_size: side of the template crop in network pixels.
        search_factor: side of the search crop relative to the square root of the box area.
        search_size: side of the search crop in network pixels.
        mean: RGB mean for normalization, in 0 to 1.
        std: RGB standard deviation for normalization, in 0 to 1.
        clip_margin: minimum part of the box inside the frame, and minimum width and height, in pixels.
    """

    template_factor: float = 2.0
    template_size: int = 128
    search_factor: float
    search_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    clip_margin: float = 10.0


@dataclass(frozen=True, kw_only=True)
class LostSettings:
    """When a target counts as lost, and how to search for it.

    A target is lost after ``lost_after`` consecutive frames with a score below ``lost_below``, and found again at the
    first score of at least ``found_above``. The remaining settings belong to the search of the whole frame, see
    ``tracking.longterm``.

    Attributes:
        lost_below: scores below this count toward a loss, 0 to 1.
        found_above: lowest score at which a lost target is found again, 0 to 1.
        lost_after: number of consecutive low scores that make a loss.
        hold_below: a box whose score is at least this (or ``lost_below``, if that is lower) is followed even while the
            target is lost, where the last good box would be kept otherwise. None follows no such guess.
        long_term: search the whole frame for a lost target.
        search_after: number of lost frames before the search of the whole frame starts.
        tiles_per_frame: number of tiles to evaluate per frame. Each costs one more forward pass.
        tile_scale: side of a tile relative to the search square of the tracker.
        tile_step: largest distance between tile centers, relative to the square root of the area of the last box.
        confirm_looks: number of frames in which a candidate must be seen at the same place.
        confirm_share: a candidate's mean score must reach this share of the target's usual score, and ``found_above``.
        confirm_likeness: the likeness of a candidate to the first frame must reach this share of the target's usual
            value; 0 accepts any look.
    """

    lost_below: float = 0.25
    found_above: float = 0.4
    lost_after: int = 5
    hold_below: float | None = None
    long_term: bool = False
    search_after: int = 5
    tiles_per_frame: int = 2
    tile_scale: float = 1.0
    tile_step: float = 3.0
    confirm_looks: int = 4
    confirm_share: float = 0.8
    confirm_likeness: float = 0.8

    def __post_init__(self) -> None:
        check_kinds(self)
        if not self.lost_below <= self.found_above:
            raise InputError(
                f"lost_below must not exceed found_above; got {self.lost_below} and {self.found_above}; "
                "keep a gap between them, so that a score near the threshold does not flip the state"
            )
        if self.lost_after < 1:
            raise InputError(f"lost_after must be at least 1; got {self.lost_after}; it is a number of frames")
        if self.search_after < 0 or min(self.tiles_per_frame, self.confirm_looks) < 1:
            raise InputError(
                f"search_after must be at least 0, tiles_per_frame and confirm_looks at least 1; got "
                f"{self.search_after}, {self.tiles_per_frame} and {self.confirm_looks}; they are counts"
            )
        if self.tiles_per_frame > MOST_TILES_PER_FRAME:
            raise InputError(
                f"tiles_per_frame must be at most {MOST_TILES_PER_FRAME}; got {self.tiles_per_frame}; "
                "each takes as long as a frame"
            )
        if not all(0.01 <= length <= 100 for length in (self.tile_scale, self.tile_step)):
            raise InputError(
                f"tile_scale and tile_step must be 0.01 to 100; got {self.tile_scale} and {self.tile_step}; "
                "they are lengths in search squares and in roots of the box's area"
            )
        factors = {name: getattr(self, name, 1.0) for name in ("template_factor", "search_factor")}
        for name, factor in factors.items():
            if not 0.1 <= factor <= 100:
                raise InputError(f"{name} must be 0.1 to 100; got {factor}; it is in roots of the box's area")
        if self.hold_below is not None and not 0.0 <= self.hold_below <= 1.0:
            raise InputError(
                f"hold_below must be 0 to 1 or None; got {self.hold_below}; None follows no guess while lost"
            )
        if not 0.0 <= self.confirm_likeness <= 1.0:
            raise InputError(f"confirm_likeness must be 0 to 1; got {self.confirm_likeness}; 0 accepts any look")

    def follows(self, score: float) -> bool:
        """Check whether a box with this score is followed even while the target is lost, see ``hold_below``."""
        return self.hold_below is not None and score >= min(self.hold_below, self.lost_below)


def check_kinds(settings: Any) -> None:
    """Raise InputError, naming it, for a setting that is not of its kind: a whole number, a finite number, or a flag.

    settings: a dataclass whose numbers are annotated as int, float or bool, with "| None" where there may be none.
    """
    for each in fields(settings):
        value, kind = getattr(settings, each.name), str(each.type)
        wanted = KINDS.get(kind.removesuffix(" | None"))
        if wanted is None or (value is None and kind.endswith("| None")):
            continue
        whole, called = wanted
        flag = isinstance(value, bool | np.bool_)
        right = isinstance(value, bool) if kind == "bool" else isinstance(value, whole) and not flag
        if not right or (kind != "bool" and not abs(value) <= LARGEST_SETTING):
            raise InputError(
                f"{each.name} must be {called}; got {show_value(value)}; give such a value or leave it out"
            )


def change_settings(settings: Settings, changes: Mapping[str, Any], owner: str) -> Settings:
    """Return a copy of the settings with some of them changed.

    Args:
        settings: the settings to change.
        changes: new values by name.
        owner: whose settings these are, for error messages.

    Raises:
        InputError: an unknown name or an invalid value.
    """
    names = [field.name for field in fields(settings) if field.name not in FIXED_SETTINGS]
    for key in changes:
        if key not in names:
            raise InputError(f"unknown setting {key!r} of {owner}; choose among {', '.join(names)}")
    try:
        return replace(settings, **changes)
    except TypeError as error:
        raise InputError(
            f"invalid settings of {owner}: {dict(changes)} ({error}); check the types of the values"
        ) from error


@dataclass
class LostState:
    """Whether the target is lost.

    Attributes:
        frames: number of consecutive frames with a low score.
        lost: True while the target counts as lost.
    """

    frames: int = 0
    lost: bool = False

    def update(self, score: float, settings: LostSettings) -> None:
        """Update the state with the score of the next frame."""
        self.frames = self.frames + 1 if score < settings.lost_below else 0
        self.lost = score < settings.found_above if self.lost else self.frames >= settings.lost_after


class OneThread:
    """Context manager that lets one thread in at a time, and refuses others: frames have an order.

    Copies of an object that holds it, and what is read from a file, get their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise InputError(
                "a tracker takes one frame at a time; another thread is in its update already; call it from one "
                "thread, or load a tracker for each (copy.copy shares the network)"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @classmethod
    def of(cls, owner: object) -> OneThread:
        """That of an object, which is made with the first call."""
        found: OneThread = owner.__dict__.setdefault("_one_thread", cls())
        return found


def state_without_thread(owner: object) -> dict[str, Any]:
    """The attributes of an object for a copy of it, without its ``OneThread``."""
    return {name: value for name, value in owner.__dict__.items() if name != "_one_thread"}


def check_next_frame(frame: NDArray[np.uint8], size_wh: tuple[int, int]) -> Image:
    """Validate a frame like ``check_frame``, and check its size.

    Args:
        frame: (H, W, 3) uint8 RGB.
        size_wh: width and height of the first frame.

    Raises:
        InputError: an invalid frame, or another size.
    """
    frame = check_frame(frame)
    if (frame.shape[1], frame.shape[0]) != size_wh:
        raise InputError(
            f"frame must be {size_wh[0]} x {size_wh[1]} pixels, as the first frame; "
            f"got {frame.shape[1]} x {frame.shape[0]}; resize it, or call init with a box of this frame"
        )
    return frame


def shows_nothing(frame: Image, box: Box, factor: float) -> bool:
    """Check whether the square around a box has a single color or lies outside the frame."""
    rows, columns = Square.around(box, factor).inside((frame.shape[1], frame.shape[0]))
    image = frame[rows, columns]
    if image.size == 0:
        return True
    # a sparse sample settles this for almost every image
    return bool((image[::16, ::16] == image[0, 0]).all() and (image == image[0, 0]).all())
