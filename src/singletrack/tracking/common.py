"""What trackers share that look, frame by frame, at one square round the last box: settings, checks, and doubt.

Knows nothing of any one model, of engines or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, Image, Square, check_frame

Settings = TypeVar("Settings", bound="CropSettings | LostSettings")

FIXED_SETTINGS = ("template_size", "search_size", "mean", "std", "num_templates", "mark_template")  # by the network


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """How crops are taken and boxes kept inside the frame.

    template_factor, search_factor: side of a crop, in square roots of the box's area.
    template_size, search_size: side of a crop as the network takes it, in pixels.
    mean, std: of RGB in 0 to 1; the network normalizes crops with them.
    clip_margin: the box keeps this many pixels inside the frame and is never smaller.
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
    """When a target counts as lost: after `lost_after` frames in a row with a score under `lost_below`.

    It counts as found again at the first score from `found_above` on.

    long_term: search the whole frame for a lost target, see ``tracking.longterm``.
    search_after: for how many frames the tracker first looks on alone, round its last box.
    tiles_per_frame: at how many tiles of the frame it then looks as well; a frame takes that much longer.
    tile_widen, tile_step: side of a tile, in search squares of the tracker; and how far apart the centers of two may
        be, in square roots of the last box's area.
    confirm_looks, confirm_share: what a tile shows with a score from `lost_below` on counts as the target once it was
        seen in the same place in so many frames, with a mean score from `found_above` on and from this share of the
        target's usual score on.
    confirm_colors: and if its colors are as like the first frame's target as this share of how like they usually are;
        0 takes any.
    """

    lost_below: float = 0.25
    found_above: float = 0.4
    lost_after: int = 5
    long_term: bool = False
    search_after: int = 5
    tiles_per_frame: int = 2
    tile_scale: float = 1.0
    tile_step: float = 3.0
    confirm_looks: int = 4
    confirm_share: float = 0.8
    confirm_colors: float = 0.8

    def __post_init__(self) -> None:
        if not self.lost_below <= self.found_above:
            raise InputError(
                f"expected lost_below <= found_above; got {self.lost_below} and {self.found_above}; "
                "leave a gap between them, so that one score near the threshold does not flip the verdict"
            )
        if not isinstance(self.long_term, bool):
            raise InputError(
                f"expected long_term to be True or False; got {self.long_term!r}; a word counts as neither"
            )
        if self.lost_after < 1:
            raise InputError(f"expected lost_after of 1 or more; got {self.lost_after}; it counts frames")
        if self.search_after < 0 or min(self.tiles_per_frame, self.confirm_looks) < 1:
            raise InputError(
                f"expected search_after of 0 or more, tiles_per_frame and confirm_looks of 1 or more; got "
                f"{self.search_after}, {self.tiles_per_frame} and {self.confirm_looks}; they are counts"
            )
        if self.tile_scale <= 0 or self.tile_step <= 0:
            raise InputError(
                f"expected tile_widen and tile_step over 0; got {self.tile_scale} and {self.tile_step}; "
                "they are lengths"
            )
        if not 0.0 <= self.confirm_colors <= 1.0:
            raise InputError(f"expected confirm_colors of 0 to 1; got {self.confirm_colors}; 0 takes any colors")


def change_settings(settings: Settings, changes: Mapping[str, Any], owner: str) -> Settings:
    """The settings with some of them changed; raises InputError, naming their owner, for what cannot be meant."""
    names = [field.name for field in fields(settings) if field.name not in FIXED_SETTINGS]
    for key in changes:
        if key not in names:
            raise InputError(f"expected settings of {owner} among {', '.join(names)}; got {key!r}; give one of these")
    try:
        return replace(settings, **changes)
    except TypeError as error:
        raise InputError(f"expected settings of the kind that {owner} has; got {dict(changes)} ({error})") from error


@dataclass
class LostState:
    """Whether the target counts as lost, and for how many frames in a row its score has been too low."""

    frames: int = 0
    lost: bool = False

    def update(self, score: float, settings: LostSettings) -> None:
        """Take in the score of the next frame."""
        self.frames = self.frames + 1 if score < settings.lost_below else 0
        self.lost = score < settings.found_above if self.lost else self.frames >= settings.lost_after


def check_next_frame(frame: NDArray[np.uint8], size_wh: tuple[int, int]) -> Image:
    """The frame as (H, W, 3) uint8 RGB. Raises InputError if it cannot be meant or is not as large as the first."""
    frame = check_frame(frame)
    if (frame.shape[1], frame.shape[0]) != size_wh:
        raise InputError(
            f"expected a frame of {size_wh[0]} x {size_wh[1]} pixels, as the first one; "
            f"got {frame.shape[1]} x {frame.shape[0]}; resize it, or call init with a box of this frame"
        )
    return frame


def shows_nothing(frame: Image, box: Box, factor: float) -> bool:
    """Whether all pixels of the square round a box (or none, beyond the frame) have one color."""
    rows, columns = Square.around(box, factor).inside((frame.shape[1], frame.shape[0]))
    image = frame[rows, columns]
    if image.size == 0:
        return True
    # a sparse look settles it for nearly every image
    return bool((image[::16, ::16] == image[0, 0]).all() and (image == image[0, 0]).all())
