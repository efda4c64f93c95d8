"""Targets put together from the boxes that a reader finds, in whatever order they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.checks import MAX_FRAMES, Place, check_budget, words
from singletrack.labeling.labels import PALETTE, LabeledBox, LabeledTarget, LabelSet, VideoInfo


@dataclass(kw_only=True)
class Draft:
    """A target that is being read: what is known of it, and its boxes by frame number."""

    label: str = "object"
    name: str | None = None
    color: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    boxes: dict[int, LabeledBox] = field(default_factory=dict)


class Collector:
    """Gathers targets by their ids; refuses two boxes in one frame and more boxes than fit into memory."""

    def __init__(self, place: Place, drafts: Mapping[int, Draft] | None = None) -> None:
        self._place = place
        self._drafts = dict(drafts or {})
        self._count = 0

    def draft(self, id: int) -> Draft:
        """The target of this id, created on first use."""
        return self._drafts.setdefault(id, Draft())

    def add(self, id: int, frame: int, entry: LabeledBox, place: Place) -> None:
        """Add what a target is in one frame."""
        boxes = self.draft(id).boxes
        if frame in boxes:
            raise place.error(
                "one box for each target and frame", words(f"another one for target {id} in frame {frame}")
            )
        boxes[frame] = entry
        self._count += 1
        check_budget(self._count, self._place)

    def add_line(self, id: int, keyframes: Mapping[int, LabeledBox], end: int, place: Place) -> None:
        """Add a target of a tool that interpolates: its keyframes, and all frames after the first up to `end`.

        Between two boxes the sides go in straight lines; an absent keyframe holds until the next one, and a box holds
        until an absent keyframe and, after the last keyframe, until the last frame.

        Args:
            id: Of the target.
            keyframes: By frame number.
            end: Number of frames of the video.
            place: Of the target, for messages.
        """
        frames = sorted(keyframes)
        check_budget(self._count + (max(end, frames[-1] + 1) - frames[0] if frames else 0), self._place)
        for frame, following in zip(frames, [*frames[1:], end], strict=True):
            entry, after = keyframes[frame], keyframes.get(following)
            self.add(id, frame, entry, place)
            for between in range(frame + 1, following):
                box = entry.box
                if box is not None and after is not None and after.box is not None:
                    box = _between(box, after.box, (between - frame) / (following - frame))
                self.add(id, between, LabeledBox(box=box, source="interpolation"), place)

    @property
    def last_frame(self) -> int:
        """The highest frame number so far, -1 without any."""
        return max((max(draft.boxes) for draft in self._drafts.values() if draft.boxes), default=-1)

    def label_set(self, video: VideoInfo) -> LabelSet:
        """All targets, in the order of their ids. Where these count from 0, as in CVAT, each becomes one more."""
        targets = []
        shift = 1 if 0 in self._drafts else 0
        for number, key in enumerate(sorted(self._drafts)):
            draft, id = self._drafts[key], key + shift
            targets.append(
                LabeledTarget(
                    id=id,
                    name=f"{draft.label} {id}" if draft.name is None else draft.name,
                    label=draft.label,
                    color=draft.color or PALETTE[number % len(PALETTE)],
                    attributes=draft.attributes,
                    boxes=dict(sorted(draft.boxes.items())),
                )
            )
        return LabelSet(video=video, targets=tuple(targets))


class Detections:
    """Gathers boxes of a format that may not say which of them belong to the same target."""

    def __init__(self, place: Place) -> None:
        self._collector = Collector(place)
        self._loose: list[tuple[int, str, LabeledBox, Place]] = []
        self._labels: dict[int, str] = {}

    def add(self, frame: int, label: str, entry: LabeledBox, place: Place, id: int | None = None) -> None:
        """Add one box, with the id of its target where the file says it."""
        if id is None:
            self._loose.append((frame, label, entry, place))
            check_budget(len(self._loose), place)
            return
        if self._labels.setdefault(id, label) != label:
            raise place.error(f"one label for target {id}, {self._labels[id]!r}", label)
        self._collector.draft(id).label = label
        self._collector.add(id, frame, entry, place)

    def label_set(self, video: VideoInfo) -> LabelSet:
        """All targets.

        Boxes without an id: where no frame has two of a label, those of a label are one target. Else each box of that
        label is a target of its own, for any other choice would be a guess.
        """
        used = max(self._labels, default=0)
        crowded = {
            label for (_, label), count in Counter((each[0], each[1]) for each in self._loose).items() if count > 1
        }
        ids: dict[str, int] = {}
        for frame, label, entry, place in self._loose:
            if label in crowded or label not in ids:
                used += 1
                ids[label] = used
            self._collector.draft(ids[label]).label = label
            self._collector.add(ids[label], frame, entry, place)
        return self._collector.label_set(video)


def _between(left: Box, right: Box, share: float) -> Box:
    x, y, width, height = (a + (b - a) * share for a, b in zip(left, right, strict=True))
    return x, y, width, height


def require_video(video: VideoInfo | None, place: Place) -> VideoInfo:
    """The video that was given; raises InputError where a file that does not describe it came alone."""
    if video is None:
        raise place.error(
            "the video that the labels belong to",
            words("labels that do not say its size and length"),
            "give it: --video CLIP, in Python video=",
        )
    return video


def choose_video(video: VideoInfo | None, described: VideoInfo | None, place: Place) -> VideoInfo:
    """The video that was given, else the one that the file describes; raises InputError where they do not fit."""
    if video is not None and described is not None:
        size_wh = described.width, described.height
        check_video(video, place, size_wh=size_wh, frame_count=described.frame_count, name=described.name)
    return require_video(video or described, place)


def check_video(
    video: VideoInfo,
    place: Place,
    *,
    size_wh: tuple[int, int] | None = None,
    frame_count: int | None = None,
    name: str | None = None,
) -> None:
    """Raise InputError where labels are of another video than the given one.

    Args:
        video: The given video.
        place: Of the labels.
        size_wh: Width and height of the video that they are of; None if the file does not say it.
        frame_count: Its number of frames, which may be off by one; None if the file does not say it.
        name: Its name, for the message: a renamed video is the same one.
    """
    mine, theirs = [], []
    if size_wh not in (None, (video.width, video.height)):
        mine.append(f"{video.width} x {video.height} pixels")
        theirs.append(f"{size_wh[0]} x {size_wh[1]}")
    if frame_count is not None and abs(frame_count - video.frame_count) > 1:  # some decoders drop the last frame
        mine.append(f"{video.frame_count} frames")
        theirs.append(f"{frame_count} frames")
    if theirs:
        shown = "another video" if name in (None, video.name) else f"{name[:20]!r}"
        raise place.error(
            f"labels of {video.name!r}, {', '.join(mine)}",
            words(f"{shown}, {', '.join(theirs)}"),
            "give the labels of this video, or the video that they are of",
        )


def beyond_video(frame: object, video: VideoInfo, place: Place) -> InputError:
    """The error to raise for a frame number, counted from 0, after the last frame."""
    return place.error(
        f"labels of {video.name!r}, frames 0 to {video.frame_count - 1}",
        words(f"a box in frame {frame} (counted from 0)"),
        "give the labels of this video, or the video that they are of",
    )


def describe_video(values: Mapping[str, object], place: Place) -> VideoInfo:
    """A video from the fields that our writers leave: name, width, height, frame_count, fps."""
    return VideoInfo(
        name=place.file_name(place.field(values, "name"), "name of the video"),
        width=place.integer(place.field(values, "width"), "width", 1, 100_000),
        height=place.integer(place.field(values, "height"), "height", 1, 100_000),
        frame_count=place.integer(place.field(values, "frame_count"), "frame_count", 1, MAX_FRAMES),
        fps=place.number(values.get("fps", 30.0), "fps"),
    )


def video_fields(video: VideoInfo) -> dict[str, object]:
    """What ``describe_video`` reads."""
    return {
        "name": video.name,
        "width": video.width,
        "height": video.height,
        "frame_count": video.frame_count,
        "fps": video.fps,
    }
