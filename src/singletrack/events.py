"""What happens to followed targets: found, lost, found again, left the frame, entered or left a zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result

# Consecutive frames on the other side of a zone's border before it counts as crossed, so that a box that trembles on
# the border is no stream of events.
CROSSED_AFTER = 3
EDGE_SHARE = 0.02  # of the shorter side of the frame: a box this near to the edge leaves the frame where it is lost


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a target.

    Attributes:
        type: "found" with its first box, "lost", "left_frame" (lost at the edge of the frame), "found_again",
            "entered_zone" or "left_zone".
        id: id of the target, from 1.
        frame: index of the frame, from 0.
        time: seconds since the first frame of the source.
        box: x, y, width, height in pixels: where the target is, or was last.
        score: confidence, 0 to 1.
        zone: name of the zone; None for other events.
    """

    type: str
    id: int
    frame: int
    time: float
    box: Box
    score: float
    zone: str | None = None

    def pack(self) -> dict[str, Any]:
        """Pack it for JSON."""
        packed = {
            "event": self.type,
            "id": self.id,
            "frame": self.frame,
            "time": round(self.time, 4),
            "box": [round(value, 2) for value in self.box],
            "score": round(self.score, 4),
        }
        return packed if self.zone is None else {**packed, "zone": self.zone}


@dataclass
class _Target:
    lost: bool
    box: Box  # the last in which it was not lost
    size_wh: tuple[int, int]  # of the frame with that box
    inside: dict[str, bool] = field(default_factory=dict)
    crossing: dict[str, int] = field(default_factory=dict)  # frames on the other side so far


class EventDetector:
    """Turns results into events.

    Args:
        zones: name -> x, y, width, height in pixels of the first frame. A target is inside while the center of its box
            is, and crosses the border after ``CROSSED_AFTER`` frames on the other side. A target that starts inside
            enters at once.

    Raises:
        InputError: a zone without area.
    """

    def __init__(self, zones: Mapping[str, Box] | None = None) -> None:
        self._zones = dict(zones or {})
        for name, (_, _, width, height) in self._zones.items():
            if not (width > 0 and height > 0):
                raise InputError(f"zone {name} must have a width and a height; got {width:g} x {height:g}")
        self._targets: dict[int, _Target] = {}
        self._size_wh: tuple[int, int] | None = None  # of the first frame

    def update(
        self, frame: int, seconds: float, results: Mapping[int, Result], size_wh: tuple[int, int]
    ) -> list[Event]:
        """Return what happened in one frame.

        Args:
            frame: index of the frame, from 0.
            seconds: its time.
            results: results by id of the target.
            size_wh: width and height of the frame in pixels.
        """
        events: list[Event] = []
        self._size_wh = self._size_wh or size_wh
        for id, result in results.items():
            target = self._targets.get(id)
            started = target is None
            kinds: list[tuple[str, str | None]] = []
            if target is None:
                target = self._targets[id] = _Target(result.lost, result.box, size_wh)
                kinds.append(("found", None))
            elif result.lost and not target.lost:
                kinds.append(("left_frame" if _at_edge(target.box, target.size_wh) else "lost", None))
            elif target.lost and not result.lost:
                kinds.append(("found_again", None))
            target.lost = result.lost
            if not result.lost:
                target.box, target.size_wh = result.box, size_wh
                kinds += self._crossed(target, started)
            events += [
                Event(type=kind, id=id, frame=frame, time=seconds, box=target.box, score=result.score, zone=zone)
                for kind, zone in kinds
            ]
        return events

    def forget(self, id: int) -> None:
        """Forget a target that was removed."""
        self._targets.pop(id, None)

    def _crossed(self, target: _Target, started: bool) -> list[tuple[str, str | None]]:
        kinds: list[tuple[str, str | None]] = []
        assert self._size_wh
        across, down = (first / now for first, now in zip(self._size_wh, target.size_wh, strict=True))
        x, y = across * (target.box[0] + target.box[2] / 2), down * (target.box[1] + target.box[3] / 2)
        for name, (left, top, width, height) in self._zones.items():
            now = left <= x < left + width and top <= y < top + height
            if now == target.inside.setdefault(name, False):
                target.crossing[name] = 0
                continue
            target.crossing[name] = target.crossing.get(name, 0) + 1
            if started or target.crossing[name] >= CROSSED_AFTER:
                target.inside[name], target.crossing[name] = now, 0
                kinds.append(("entered_zone" if now else "left_zone", name))
        return kinds


def _at_edge(box: Box, size_wh: tuple[int, int]) -> bool:
    x, y, width, height = box
    return min(x, y, size_wh[0] - x - width, size_wh[1] - y - height) <= EDGE_SHARE * min(size_wh)
