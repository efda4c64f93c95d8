"""Simulates a library on many workers, from task times that were measured by `singletrack bulk`.

    python benchmarks/cluster_simulation.py OUT --workers 1,2 --part-rows 4
    python benchmarks/cluster_simulation.py OUT --workers 1000 --rows 1000000 --part-rows 256 --deaths 0.1 --slow 0.02

OUT is the folder of a finished run. Rows get the times of its rows, drawn at random, and are handed out in parts as the
head does it: one part per worker, the next one when a part ends. A worker dies at a constant rate per hour; its part is
then handed out again, and the worker starts again. Some workers are slower than the others. The head hands out a
limited number of parts per second.

Workers that share a machine slow each other down: they share its memory and caches, and the clock of its cores, and
what else runs there has one idle core less. Times of one worker leave that out. ``--beside`` takes it from a short
run over a few of the clips, with as many workers as one machine has.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is simulated.

    Attributes:
        workers: number of workers.
        start_s: seconds until a worker has started and loaded the model.
        part_s: seconds that each part takes beside its rows: handing out, writing and committing.
        rate: parts that the head hands out per second.
        deaths: deaths of a worker per hour.
        slow: share of the workers that are slow.
        slowdown: how many times longer those take.
    """

    workers: int
    start_s: float
    part_s: float
    rate: float
    deaths: float = 0.0
    slow: float = 0.0
    slowdown: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it ended.

    Attributes:
        seconds: until the last part was committed.
        busy: share of the workers' time in which they tracked rows that counted.
        lost: share in which they tracked rows of parts that were lost.
        tail: seconds from the first idle worker to the end.
        deaths: number of workers that died.
    """

    seconds: float
    busy: float
    lost: float
    tail: float
    deaths: int


def simulate(cluster: Cluster, parts_s: Sequence[float], seed: int = 0) -> Outcome:
    """Simulate a run.

    Args:
        cluster: the workers and the head.
        parts_s: seconds of the rows of each part, on a worker of normal speed.
        seed: of the deaths and of who is slow.
    """
    chance = random.Random(seed)
    speeds = [cluster.slowdown if chance.random() < cluster.slow else 1.0 for _ in range(cluster.workers)]
    # when a worker is free, which one, and the part that it lost then
    events: list[tuple[float, int, float | None]] = [(cluster.start_s, each, None) for each in range(cluster.workers)]
    waiting, idle = list(reversed(parts_s)), list[int]()
    head_free = useful = lost = ended = 0.0
    first_idle, deaths = float("inf"), 0
    while events:
        now, worker, lost_part = heapq.heappop(events)
        if lost_part is None:
            idle.append(worker)
        else:
            waiting.append(lost_part)
            heapq.heappush(events, (now + cluster.start_s, worker, None))
        while waiting and idle:
            seconds, worker = waiting.pop(), idle.pop()
            head_free = max(now, head_free) + 1 / cluster.rate
            takes = seconds * speeds[worker] + cluster.part_s
            death = chance.expovariate(cluster.deaths / 3600) if cluster.deaths else float("inf")
            if death < takes:
                deaths, lost = deaths + 1, lost + death
                heapq.heappush(events, (head_free + death, worker, seconds))
            else:
                useful += seconds * speeds[worker]
                ended = max(ended, head_free + takes)
                heapq.heappush(events, (head_free + takes, worker, None))
        if idle:
            first_idle = min(first_idle, now)
    total = ended * cluster.workers
    return Outcome(
        seconds=ended, busy=useful / total, lost=lost / total, tail=max(0.0, ended - first_idle), deaths=deaths
    )


def seconds_per_frame(out: Path) -> float:
    """The mean over a finished run."""
    import pyarrow.dataset as datasets

    table = datasets.dataset(out / "rows", format="parquet").to_table(columns=["seconds", "frames"])
    return sum(table["seconds"].to_pylist()) / sum(table["frames"].to_pylist())


def seconds_per_part(out: Path) -> float:
    """What each part took beside its rows, in a finished run of one worker."""
    import pyarrow.dataset as datasets

    rows = datasets.dataset(out / "rows", format="parquet")
    table = rows.to_table(columns=["seconds", "began", "finished"])
    began, finished = ([each.timestamp() for each in table[name].to_pylist()] for name in ("began", "finished"))
    beside = max(finished) - min(began) - sum(table["seconds"].to_pylist())
    return max(0.0, beside) / len(rows.files)


def measured_rows(out: Path) -> np.ndarray:
    """Read the seconds of each row of a finished run, in the order in which it was processed."""
    import pyarrow.dataset as datasets

    table = datasets.dataset(out / "rows", format="parquet").to_table(columns=["row", "seconds"]).sort_by("row")
    return np.array(table["seconds"].to_pylist())


@click.command()
@click.argument("out", type=click.Path(exists=True, path_type=Path))
@click.option("--workers", default="1,2", show_default=True)
@click.option("--rows", type=int, help="Number of rows, with times drawn from OUT.  [default: the rows of OUT]")
@click.option("--part-rows", default=4, show_default=True)
@click.option("--start", "start_s", default=2.0, show_default=True, help="Seconds that a worker takes to start.")
@click.option("--part", "part_s", type=float, help="Seconds of a part beside its rows.  [default: as in OUT]")
@click.option(
    "--beside",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of a short run with as many workers as a machine has, from which their slowness is taken.",
)
@click.option("--rate", default=1000.0, show_default=True, help="Parts per second that the head hands out.")
@click.option("--deaths", default=0.0, show_default=True, help="Deaths of a worker per hour.")
@click.option("--slow", default=0.0, show_default=True, help="Share of slow workers.")
@click.option("--slowdown", default=3.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    out: Path,
    workers: str,
    rows: int | None,
    part_rows: int,
    start_s: float,
    part_s: float | None,
    beside: Path | None,
    rate: float,
    deaths: float,
    slow: float,
    slowdown: float,
    seed: int,
) -> None:
    """Print what a run takes with each number of workers, from OUT, which one worker has made."""
    seconds = measured_rows(out) * (seconds_per_frame(beside) / seconds_per_frame(out) if beside else 1.0)
    part_s = seconds_per_part(out) if part_s is None else part_s
    if rows is not None:
        seconds = np.random.default_rng(seed).choice(seconds, rows)
    parts = [float(seconds[start : start + part_rows].sum()) for start in range(0, len(seconds), part_rows)]
    for count in map(int, workers.split(",")):
        cluster = Cluster(
            workers=count, start_s=start_s, part_s=part_s, rate=rate, deaths=deaths, slow=slow, slowdown=slowdown
        )
        found = simulate(cluster, parts, seed)
        click.echo(
            f"{count} workers: {len(seconds)} rows in {found.seconds:.1f} s; {100 * found.busy:.1f} % of the time "
            f"useful, {100 * found.lost:.2f} % lost with {found.deaths} deaths; "
            f"{found.tail:.1f} s at the end not all busy"
        )


if __name__ == "__main__":
    main()
