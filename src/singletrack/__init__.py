"""Follow one object through a video, given only its box in the first frame.

    tracker = singletrack.load("ostrack-tiny")
    tracker.init(frame, box)            # frame: (H, W, 3) uint8 RGB; box: x, y, width, height in pixels
    result = tracker.update(frame)      # result.box, result.score, result.lost

    for result in singletrack.track("clip.mp4", box): ...

    targets = singletrack.MultiTracker(tracker)         # many at once: add(frame, box), remove(id), update(frame)

Importing this loads nothing heavy; each name is fetched from its module when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from singletrack.errors import (
    CheckpointError,
    DamagedVideoError,
    ExportError,
    InputError,
    MissingDependencyError,
    MissingVideoError,
    ProjectError,
    SingletrackError,
    VideoError,
)

if TYPE_CHECKING:
    from singletrack.api import follow_live, track
    from singletrack.labeling.project import label_project
    from singletrack.loading import load, restore
    from singletrack.tracking.base import Result, Tracker
    from singletrack.tracking.multi import MultiTracker
    from singletrack.video.reader import open_video

    __version__: str

__all__ = [
    "CheckpointError",
    "DamagedVideoError",
    "ExportError",
    "InputError",
    "MissingDependencyError",
    "MissingVideoError",
    "MultiTracker",
    "ProjectError",
    "Result",
    "SingletrackError",
    "Tracker",
    "VideoError",
    "follow_live",
    "label_project",
    "load",
    "open_video",
    "restore",
    "track",
]

_HOMES = {  # the names above that are fetched when asked for
    "MultiTracker": "singletrack.tracking.multi",
    "Result": "singletrack.tracking.base",
    "Tracker": "singletrack.tracking.base",
    "follow_live": "singletrack.api",
    "label_project": "singletrack.labeling.project",
    "load": "singletrack.loading",
    "open_video": "singletrack.video.reader",
    "restore": "singletrack.loading",
    "track": "singletrack.api",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("singletrack")
    if name not in _HOMES:
        raise AttributeError(f"module 'singletrack' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"])
