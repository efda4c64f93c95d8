"""Reports how far a run is, from its folder alone: also while it runs, from another process or machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from singletrack.bulk.manifest import ADDRESS
from singletrack.bulk.packages import require_package
from singletrack.bulk.store import Store
from singletrack.errors import InputError

RECENT = 600.0  # seconds over which the rate is measured
SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a run.

    Attributes:
        rows: number of rows of the manifest.
        done: rows that were tracked to their end.
        failed: rows that failed.
        frames: tracked frames; each target counts.
        running: whether a process works on it now.
        rows_per_second: rate over the last ten minutes; None before the first row has ended.
        frames_per_second: the same for frames.
        seconds_left: time left at this rate; None if it is unknown.
        failures: video, id and reason of the first failed rows.
    """

    rows: int
    done: int
    failed: int
    frames: int
    running: bool
    rows_per_second: float | None
    frames_per_second: float | None
    seconds_left: float | None
    failures: tuple[tuple[str, str, str], ...]


def read_status(folder: str | Path) -> Status:
    """Read the state of a run.

    Args:
        folder: path or address of its output folder.

    Raises:
        InputError: it is not the folder of a run.
    """
    require_package("pyarrow")
    address = str(folder)
    store = Store(address.rstrip("/") if ADDRESS.match(address) else str(Path(address).absolute()))
    facts = store.facts()
    if facts is None:
        raise InputError(f"{folder} is not a folder of `singletrack bulk`: it has no run.json; check the path")
    table = store.read_rows(["video", "id", "status", "reason", "frames", "began", "finished"])
    running = store.is_running()
    states = table["status"].to_pylist()
    frames, finished = table["frames"].to_pylist(), [each.timestamp() for each in table["finished"].to_pylist()]
    began = [each.timestamp() for each in table["began"].to_pylist()]
    failed = [index for index, state in enumerate(states) if state == "failed"]
    shown = [table.slice(index, 1).to_pylist()[0] for index in failed[:SHOWN_FAILURES]]
    rows_rate, frames_rate = _rates(finished, began, frames, time.time() if running else None)
    return Status(
        rows=facts.rows,
        done=len(states) - len(failed),
        failed=len(failed),
        frames=sum(frames),
        running=running,
        rows_per_second=rows_rate,
        frames_per_second=frames_rate,
        seconds_left=(facts.rows - len(states)) / rows_rate if rows_rate else None,
        failures=tuple((each["video"], each["id"], each["reason"]) for each in shown),
    )


def _rates(
    finished: list[float], began: list[float], frames: list[int], now: float | None
) -> tuple[float | None, float | None]:
    """Rows and frames per second over the last ``RECENT`` seconds, from when the first row of them was begun.

    None before the first row has ended.
    """
    end = max(finished, default=0.0) if now is None else now
    recent = [index for index, moment in enumerate(finished) if moment >= end - RECENT]
    start = max(end - RECENT, min((began[index] for index in recent), default=end))
    if end <= start:
        return None, None
    return len(recent) / (end - start), sum(frames[index] for index in recent) / (end - start)
