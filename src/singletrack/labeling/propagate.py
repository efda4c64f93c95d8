"""Tracks the stale segments of a project, from both sides where there are keyframes on both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from singletrack.labeling.labels import LabeledBox
from singletrack.labeling.project import Project
from singletrack.tracking.base import Tracker


@dataclass(frozen=True, kw_only=True)
class TrackProgress:
    """How far ``track_segments`` is.

    Attributes:
        done, total: Steps of one target in one frame. Segments between two keyframes count twice, once for each
            direction.
    """

    done: int
    total: int


def track_segments(
    project: Project,
    *,
    targets: Sequence[int] | None = None,
    first: int = 0,
    last: int | None = None,
    model: str = "ostrack-tiny",
    tracker: Tracker | None = None,
    on_boxes: Callable[[int, Mapping[int, LabeledBox], TrackProgress], None] = lambda target, boxes, progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Track every stale segment and keep the boxes in the project.

    Segments between two keyframes are tracked forward from the left one and backward from the right one, and both runs
    are joined. Segments after the last keyframe are tracked forward, those before the first one backward. Targets
    whose segments overlap are tracked in one pass. A scene cut (``Project.cuts``) ends a run, unless the target is
    found again within a few frames.

    Args:
        project: An open project.
        targets: Ids of the targets. [default: all]
        first, last: Only segments that overlap these frames; an open segment (after the last keyframe or before the
            first) ends at them. [default: the entire video]
        model: As for ``singletrack.load``.
        tracker: A tracker that is already loaded, used instead of `model`.
        on_boxes: Called with a target's id, new boxes by frame number and the progress, as they are made. A frame may
            come again with a better box, when the second direction joins the first. Called in the thread that calls
            this.
        should_stop: Called before each frame; True stops. What was made is kept.

    Returns:
        True if all was tracked, False if it was stopped.

    Raises:
        VideoError: If the source cannot be read.
        DamagedVideoError: After what could be read was tracked, if the source is cut short or damaged.
    """
    raise NotImplementedError
