"""What a result file says about each target: its way, speed, size, score and lost spans, in numbers and a picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.drawing import target_color
from singletrack.errors import InputError, MissingDependencyError
from singletrack.install import install_command
from singletrack.results import Record

Array = NDArray[np.float64]
SPEED_SECONDS = 0.5  # over which a speed is measured, so that a trembling box is not fast


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One target over time.

    Attributes:
        times: (N,) seconds.
        centers: (N, 2) x and y, in pixels, or in meters with a scale.
        sizes: (N,) square root of the area of the box, in the same unit.
        speeds: (N,) in units per second; NaN where it is lost.
        scores: (N,) 0 to 1; NaN where the file has none.
        lost: (N,) whether it is lost.
    """

    times: Array
    centers: Array
    sizes: Array
    speeds: Array
    scores: Array
    lost: NDArray[np.bool_]

    @property
    def path_length(self) -> float:
        """Length of the way, without the parts where it is lost."""
        steps = np.hypot(*np.diff(self.centers, axis=0).T) if len(self.times) > 1 else np.zeros(0)
        return float(steps[~self.lost[1:] & ~self.lost[:-1]].sum())

    @property
    def seconds_seen(self) -> float:
        """Time in which it is not lost."""
        return float(np.diff(self.times)[~self.lost[1:]].sum())

    @property
    def lost_spans(self) -> list[tuple[float, float]]:
        """First and last time of each span in which it is lost."""
        spans = []
        for lost, places in itertools.groupby(range(len(self.lost)), key=lambda place: bool(self.lost[place])):
            each = list(places)
            if lost:
                spans.append((float(self.times[each[0]]), float(self.times[each[-1]])))
        return spans


def trajectories_of(
    records: Sequence[Record], *, fps: float | None = None, scale: float | None = None
) -> dict[int, Trajectory]:
    """Sort the records of a result file by target.

    Args:
        records: from ``results.read_results``.
        fps: frames per second, for files without times; None for the times of the file.
        scale: meters per pixel; None for pixels.

    Raises:
        InputError: no records, no times and no ``fps``, or a value that is not above 0.
    """
    for name, value in (("fps", fps), ("scale", scale)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name} must be above 0; got {value}")
    if not records:
        raise InputError("expected boxes; the file has none")
    rows: dict[int, list[Record]] = {}
    for record in records:
        rows.setdefault(record.id or 1, []).append(record)
    return {id: _trajectory(sorted(each, key=lambda row: row.frame), fps, scale or 1.0) for id, each in rows.items()}


def _trajectory(records: Sequence[Record], fps: float | None, scale: float) -> Trajectory:
    times = np.array([np.nan if record.time is None else record.time for record in records])
    if fps is not None:
        times = np.array([record.frame for record in records]) / fps
    elif np.isnan(times).any():
        raise InputError("expected times; a .txt file has none; give the frames per second with --fps")
    boxes = np.array([record.box for record in records], np.float64) * scale
    lost = np.array([bool(record.lost) for record in records])
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    firsts = np.searchsorted(times, times - SPEED_SECONDS)
    passed = times - times[firsts]
    moved = np.hypot(*(centers - centers[firsts]).T)
    speeds = np.divide(moved, passed, out=np.zeros_like(moved), where=passed > 0)
    recently_lost = [bool(lost[first : place + 1].any()) for place, first in enumerate(firsts)]
    return Trajectory(
        times=times,
        centers=centers,
        sizes=np.sqrt(boxes[:, 2] * boxes[:, 3]),
        speeds=np.where(recently_lost, np.nan, speeds),
        scores=np.array([np.nan if record.score is None else record.score for record in records]),
        lost=lost,
    )


def draw_trajectories(trajectories: Mapping[int, Trajectory], path: Path, *, unit: str = "px") -> None:
    """Write a picture: the ways of all targets, and speed, size and score over time, with lost spans shaded.

    Args:
        trajectories: by id.
        path: output .png, .svg or .pdf.
        unit: of lengths, for the labels.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"plots need matplotlib; install it: {install_command('report')}") from error
    figure = Figure(figsize=(11, 6), layout="constrained")
    way, *over_time = figure.subplot_mosaic([["way", "speed"], ["way", "size"], ["way", "score"]]).values()
    names = (f"speed, {unit}/s", f"size, {unit}", "score")
    for id, each in trajectories.items():
        color = tuple(value / 255 * 0.85 for value in target_color(id))
        seen = np.where(each.lost[:, None], np.nan, each.centers)
        way.plot(*seen.T, color=color, label=f"target {id}")
        way.plot(*each.centers[0], "o", color=color)
        for axes, values in zip(over_time, (each.speeds, each.sizes, each.scores), strict=True):
            axes.plot(each.times, np.where(each.lost, np.nan, values), color=color, linewidth=1.2)
            for first, last in each.lost_spans:
                axes.axvspan(first, last, color=color, alpha=0.18, linewidth=0)
    way.set(title="way, from the dot on", xlabel=f"x, {unit}", ylabel=f"y, {unit}", aspect="equal")
    way.invert_yaxis()
    if len(trajectories) > 1:
        way.legend(fontsize=8)
    for axes, name in zip(over_time, names, strict=True):
        axes.set(ylabel=name)
        axes.set_ylim(bottom=0, top=1 if name == "score" else None)
    over_time[-1].set(xlabel="seconds; shaded: lost")
    figure.savefig(path, dpi=120)
