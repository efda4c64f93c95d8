"""Labels of one video as plain values: what projects hand out and what label formats read and write.

Frames count from 0. Boxes are x, y, width, height in pixels of the video, top-left corner first.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box

BoxSource = Literal["person", "tracker", "interpolation", "import"]
BOX_SOURCES: tuple[str, ...] = get_args(BoxSource)
# Colors for targets in the order in which they are added: distinct for most people with color blindness
# (Okabe and Ito, "Color Universal Design", 2008; without black).
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The video that is labeled.

    Attributes:
        name: File or folder name, without the folders above it.
        width: Width of the upright frames in pixels.
        height: Height of the upright frames in pixels.
        frame_count: Number of frames that decode.
        fps: Frames per second.
        frame_names: File name of each frame for a folder of images, in order; None for a video file.
    """

    name: str
    width: int
    height: int
    frame_count: int
    fps: float = 30.0
    frame_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.frame_count) < 1:
            raise InputError(
                f"a video needs a width, height and frame count of 1 or more; got {self.width} x {self.height} and "
                f"{self.frame_count}; check the file"
            )
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"fps must be above 0; got {self.fps}; check the file")
        if self.frame_names is not None and len(self.frame_names) != self.frame_count:
            raise InputError(
                f"a video of {self.frame_count} frames needs as many frame names; got {len(self.frame_names)}"
            )


@dataclass(frozen=True, kw_only=True)
class LabeledBox:
    """One target in one frame.

    Attributes:
        box: x, y, width, height in pixels of the video; None: the target is absent (hidden or out of view).
        score: Confidence, 0 to 1. 1 for what a person drew.
        lost: Whether the tracker has lost the target; the box is then the last confident one.
        keyframe: Whether a person set this box.
        source: Where the box comes from.
    """

    box: Box | None
    score: float = 1.0
    lost: bool = False
    keyframe: bool = False
    source: BoxSource = "person"

    def __post_init__(self) -> None:
        if self.source not in BOX_SOURCES:
            raise InputError(f"source must be one of {', '.join(BOX_SOURCES)}; got {self.source!r}")
        if not 0.0 <= self.score <= 1.0:
            raise InputError(f"score must be from 0 to 1; got {self.score}")
        if self.box is None:
            return
        if len(self.box) != 4 or not all(math.isfinite(value) for value in self.box):
            raise InputError(f"box must be four finite numbers (x, y, width, height); got {self.box!r}")
        if self.box[2] <= 0 or self.box[3] <= 0:
            raise InputError(f"width and height must be above 0; got {self.box!r}; are these two corners?")


@dataclass(frozen=True, kw_only=True)
class LabeledTarget:
    """One target and its boxes by frame number. Frames without an entry are not labeled.

    Attributes:
        id: 1 or more, unique in its label set.
        name: Name of this one target, such as "white car"; any text.
        label: Class, such as "car"; any text.
        color: "#rrggbb", for drawing.
        attributes: Further properties, as text.
        boxes: By frame number, ascending.
    """

    id: int
    name: str
    label: str
    color: str = PALETTE[0]
    attributes: Mapping[str, str] = field(default_factory=dict)
    boxes: Mapping[int, LabeledBox] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id < 1:
            raise InputError(f"target ids are 1 or more; got {self.id}")
        check_color(self.color)
        frames = list(self.boxes)
        if frames and min(frames) < 0:
            raise InputError(f"frame numbers are 0 or more; got {min(frames)} for target {self.id}")
        if any(later <= earlier for earlier, later in itertools.pairwise(frames)):
            object.__setattr__(self, "boxes", {frame: self.boxes[frame] for frame in sorted(frames)})


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """All labels of one video. Raises InputError for double ids and boxes after the last frame."""

    video: VideoInfo
    targets: tuple[LabeledTarget, ...] = ()

    def __post_init__(self) -> None:
        ids = [target.id for target in self.targets]
        if len(set(ids)) != len(ids):
            raise InputError(f"each target needs an id of its own; got {ids}")
        for target in self.targets:
            last = max(target.boxes, default=0)
            if last >= self.video.frame_count:
                raise InputError(
                    f"{self.video.name} has {self.video.frame_count} frames, numbered from 0; target {target.id} has a "
                    f"box in frame {last}; give the labels of this video, or the video that they are of"
                )


def check_color(color: str) -> str:
    """Return the color; raises InputError unless it is "#rrggbb"."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise InputError(f"color must be #rrggbb, such as {PALETTE[0]}; got {color!r}")
    return color
