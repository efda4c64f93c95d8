"""Label projects: one SQLite file per video that holds targets, keyframes, tracked boxes and every edit.

Keyframes are what a person said and are never changed by the tracker. Everything a method reports as done is on the
disk when it returns. One process at a time may write; methods may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from singletrack.geometry.boxes import Box
from singletrack.labeling.labels import LabeledBox, LabeledTarget, LabelSet, VideoInfo


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames of one target that the tracker fills, next to one keyframe or between two.

    Attributes:
        target: Id of the target.
        first, last: First and last frame to fill, both included; keyframes are not among them.
        left, right: Frame number of the keyframe with a box just before `first` and just after `last`. None where
            tracking has nothing to start from on that side: before the first keyframe, after the last one, or where
            the target is marked absent. One of them is always set.
        left_box, right_box: The boxes of these keyframes, None where `left` or `right` is None.
    """

    target: int
    first: int
    last: int
    left: int | None
    right: int | None
    left_box: Box | None
    right_box: Box | None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A frame that a person should look at next.

    Attributes:
        target: Id of the target.
        frame: Frame number.
        doubt: 0 (certain) to 1.
        reason: "runs disagree", "low score", "lost", "size jumps" or "scene cut".
    """

    target: int
    frame: int
    doubt: float
    reason: str


class Project:
    """The labels of one video, kept in a SQLite file. Use it as a context manager, or call ``close``.

    Every change (targets, keyframes, imports, scene cuts) is one edit that ``undo`` takes back, also after a restart.
    Tracked boxes are no edits: after an undo, those that belong to the keyframes of that time are shown again.

    Attributes:
        path: The project file.
        source: Path of the video or folder of frames.
        video: Name, size, frame count and rate of the source.
        read_only: Whether changes are refused.
    """

    path: Path
    source: Path
    video: VideoInfo
    read_only: bool

    @classmethod
    def create(cls, path: str | Path, source: str | Path) -> Project:
        """Make a new project file for a video or folder of frames.

        Raises:
            InputError: If `path` exists.
            VideoError: If the source cannot be read.
            SingletrackError: If `path` cannot be written.
        """
        raise NotImplementedError

    @classmethod
    def open(cls, path: str | Path, *, source: str | Path | None = None, read_only: bool = False) -> Project:
        """Open a project file.

        Args:
            path: The project file.
            source: Where the video is now, if it was moved. It must be the same video.
            read_only: Only read, also while another process writes.

        Raises:
            ProjectError: If the file is no project, another process has it open for writing, the source is missing, or
                the source is another video than the labeled one.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- targets ---

    def targets(self) -> tuple[LabeledTarget, ...]:
        """All targets in the order in which they were added, without their boxes."""
        raise NotImplementedError

    def add_target(
        self, name: str, label: str = "object", color: str | None = None, attributes: Mapping[str, str] | None = None
    ) -> int:
        """Add a target and return its id: 1 for the first; ids are never used again.

        Args:
            name: Name of this one target.
            label: Its class.
            color: "#rrggbb". [default: the next of ``labels.PALETTE``]
            attributes: Further properties.
        """
        raise NotImplementedError

    def change_target(
        self,
        id: int,
        *,
        name: str | None = None,
        label: str | None = None,
        color: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is given; `attributes` replaces all of them. Raises InputError for an unknown id."""
        raise NotImplementedError

    def remove_target(self, id: int) -> None:
        """Remove a target with its keyframes. Raises InputError for an unknown id."""
        raise NotImplementedError

    # --- keyframes ---

    def keyframes(self, target: int) -> dict[int, LabeledBox]:
        """The keyframes of a target by frame number, ascending; ``box`` is None where it is marked absent."""
        raise NotImplementedError

    def set_keyframe(self, target: int, frame: int, box: Box | None) -> None:
        """Add or replace a keyframe.

        Args:
            target: Id of the target.
            frame: Frame number.
            box: x, y, width, height in pixels of the source; it must overlap the frame. None marks the target absent
                from this frame until the next keyframe.

        Raises:
            InputError: For an unknown target, a frame outside the video or a bad box.
        """
        raise NotImplementedError

    def remove_keyframe(self, target: int, frame: int) -> None:
        """Remove a keyframe. Raises InputError where there is none."""
        raise NotImplementedError

    # --- boxes ---

    def boxes(self, target: int, first: int = 0, last: int | None = None) -> dict[int, LabeledBox]:
        """The boxes of a target by frame number, ascending, in frames `first` to `last`, both included.

        Keyframes, tracked boxes, and, between two keyframes that are not tracked yet, boxes by linear interpolation.
        """
        raise NotImplementedError

    def labels(self) -> LabelSet:
        """All targets with all their boxes."""
        raise NotImplementedError

    def import_labels(self, labels: LabelSet) -> list[int]:
        """Add the targets of a label set, as one edit; returns their new ids.

        Boxes with ``keyframe`` set become keyframes. Where a target has none, as few frames as describe it to a tenth
        of a pixel by linear interpolation become keyframes. The other boxes are kept between them as they are.

        Raises InputError where the label set is of a video of another size or with fewer or more frames.
        """
        raise NotImplementedError

    # --- tracking ---

    def stale_segments(self, target: int) -> list[Segment]:
        """Segments whose keyframes changed since they were tracked, or that were not tracked to their end."""
        raise NotImplementedError

    def store_track(self, segment: Segment, boxes: Mapping[int, LabeledBox], *, complete: bool = True) -> None:
        """Keep what the tracker made of a segment; what was there before for the same keyframes is replaced.

        Args:
            segment: As ``stale_segments`` gave it. If its keyframes have changed since, the boxes are kept but not
                shown.
            boxes: By frame number; frames that are left out have no box.
            complete: False where tracking was stopped; the segment then stays stale.
        """
        raise NotImplementedError

    def suggestions(self, n: int | None = None) -> list[Suggestion]:
        """The frames most in doubt, the most doubtful first, never next to a keyframe; at most `n`."""
        raise NotImplementedError

    def cuts(self) -> tuple[int, ...] | None:
        """The first frame of each new scene, ascending; None where the video was not searched for cuts yet."""
        raise NotImplementedError

    def set_cuts(self, frames: Iterable[int]) -> None:
        """Set the scene cuts. Raises InputError for frames outside 1 to the last frame."""
        raise NotImplementedError

    # --- history ---

    def undo(self) -> str | None:
        """Take back the last edit; returns what it was, in words ("set keyframe 12 of white car"), None if none."""
        raise NotImplementedError

    def redo(self) -> str | None:
        """Do the last edit that was taken back once more; returns what it was, None if there is none."""
        raise NotImplementedError

    @property
    def can_undo(self) -> bool:
        """Whether ``undo`` has something to take back."""
        raise NotImplementedError

    @property
    def can_redo(self) -> bool:
        """Whether ``redo`` has something to do once more."""
        raise NotImplementedError


def label_project(source: str | Path, project: str | Path | None = None) -> Project:
    """Open the label project of a video, or make it if there is none.

    Args:
        source: A video file or a folder of frames.
        project: The project file. [default: beside the source, its name with the ending .singletrack]

    Raises:
        VideoError: If the source cannot be read.
        ProjectError: As ``Project.open``.
    """
    raise NotImplementedError
