"""How far the tracker is in segments that it has not finished: kept in the project, so that it can resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from singletrack.labeling.labels import LabeledBox

# Deleted when the segment is done. `direction` is 1 for forward and -1 for backward.
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS run (segment INTEGER NOT NULL, direction INTEGER NOT NULL, frame INTEGER NOT NULL, "
    "gave_up INTEGER NOT NULL, waiting TEXT, made_by TEXT NOT NULL, state BLOB NOT NULL, "
    "PRIMARY KEY (segment, direction)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS step (segment INTEGER NOT NULL, direction INTEGER NOT NULL, frame INTEGER NOT NULL, "
    "x REAL NOT NULL, y REAL NOT NULL, width REAL NOT NULL, height REAL NOT NULL, score REAL NOT NULL, "
    "lost INTEGER NOT NULL, PRIMARY KEY (segment, direction, frame)) WITHOUT ROWID",
)


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """One direction through a segment, as far as it is tracked.

    Attributes:
        frame: The last frame that was tracked.
        boxes: What the tracker found, by frame number.
        waiting: What it found since a scene cut, while it is not clear whether that is the target; None if it is.
        gave_up: Whether it ended at a cut after which the target was not found.
        made_by: Which tracker with which settings; only the same one can go on.
        state: That of the tracker after `frame`, see ``singletrack.restore``.
    """

    frame: int
    boxes: Mapping[int, LabeledBox]
    waiting: Mapping[int, LabeledBox] | None
    gave_up: bool
    made_by: str
    state: bytes


def pack_waiting(boxes: Mapping[int, LabeledBox] | None) -> str | None:
    """Boxes as JSON."""
    if boxes is None:
        return None
    return json.dumps([[frame, each.box, each.score, each.lost] for frame, each in boxes.items()])


def unpack_waiting(text: str | None) -> dict[int, LabeledBox] | None:
    """The inverse of ``pack_waiting``."""
    if text is None:
        return None
    return {
        frame: LabeledBox(box=tuple(box), score=score, lost=lost, source="tracker")
        for frame, box, score, lost in json.loads(text)
    }


def pack_step(frame: int, each: LabeledBox) -> tuple[object, ...]:
    """A row of the table step, without its first two columns."""
    return (frame, *(each.box or ()), each.score, int(each.lost))


def unpack_step(row: Mapping[str, Any]) -> LabeledBox:
    """The inverse of ``pack_step``."""
    box = row["x"], row["y"], row["width"], row["height"]
    return LabeledBox(box=box, score=row["score"], lost=bool(row["lost"]), source="tracker")
