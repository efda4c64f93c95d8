"""`singletrack bulk` on drawn clips: exactly once under SIGKILL, speed, scheduler rate and memory.

python benchmarks/bulk.py proof --clips 2000 --kills 50
python benchmarks/bulk.py speed --clips 96 --frames 100 --loop 8 --ray
python benchmarks/bulk.py scheduler --tasks 2000
python benchmarks/bulk.py memory --clips 20000
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cluster_simulation as simulation  # type: ignore[import-not-found]  # beside this script
import numpy as np
from numpy.typing import NDArray

from singletrack.bulk.store import Store
from singletrack.opencv import cv2
from singletrack.video import VideoWriter
from singletrack.workers import Count, Work
from singletrack.workers.cluster import run_on_ray
from singletrack.workers.processes import run_in_processes

SIZE_WH = (160, 120)
COMPARED = ["row", "video", "id", "model", "status", "reason", "frames", "digest"]  # of rows: all but times and hosts
SINGLETRACK = [sys.executable, "-m", "singletrack"]


def make_frames(frames: int, size_wh: tuple[int, int], seed: int) -> tuple[list[NDArray[np.uint8]], tuple[int, ...]]:
    """Draw a patch that moves over a background, both of smooth noise; returns the frames and the first box."""
    chance = np.random.default_rng(seed)
    width, height = size_wh

    def texture(size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        coarse = chance.integers(0, 256, (6, 6, 3), np.uint8)
        return np.asarray(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)

    background, patch = texture(size_wh), texture((width // 5, height // 5))
    left, top = chance.uniform(0.2, 0.4, 2) * size_wh
    step = chance.uniform(-0.005, 0.005, 2) * size_wh
    drawn = []
    for index in range(frames):
        frame = background.copy()
        x, y = (round(max(0.0, value)) for value in (left + index * step[0], top + index * step[1]))
        room = frame[y : y + patch.shape[0], x : x + patch.shape[1]]
        room[:] = patch[: room.shape[0], : room.shape[1]]
        drawn.append(frame)
    return drawn, (round(left), round(top), patch.shape[1], patch.shape[0])


def make_library(
    folder: Path, *, clips: int, frames: int, size_wh: tuple[int, int] = SIZE_WH, distinct: int = 200
) -> Path:
    """Write clips and a manifest; returns the manifest. Beyond ``distinct`` clips, files are hard links."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = []
    for number in range(min(clips, distinct)):
        drawn, box = make_frames(frames, size_wh, number)
        boxes.append(box)
        with VideoWriter(folder / f"{number:06d}.mp4", fps=30) as writer:
            for frame in drawn:
                writer.write(frame)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["video", "start", "x", "y", "w", "h"])
        for number in range(clips):
            path = folder / f"{number:06d}.mp4"
            if number >= distinct:
                os.link(folder / f"{number % distinct:06d}.mp4", path)
            table.writerow([path.name, 0, *boxes[number % distinct]])
    return folder / "manifest.csv"


def read_tables(out: Path) -> tuple[Any, Any]:
    """Read the boxes, and what happened to each row without times, both sorted."""
    import pyarrow.dataset as datasets

    boxes = datasets.dataset(out / "boxes", format="parquet").to_table()
    rows = datasets.dataset(out / "rows", format="parquet").to_table(columns=COMPARED)
    order = [(name, "ascending") for name in ("video", "id", "frame")]
    return boxes.sort_by(order).combine_chunks(), rows.sort_by("row").combine_chunks()


def table_bytes(table: Any) -> bytes:
    """The content of a table, for a comparison byte for byte."""
    import pyarrow as arrow

    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata())
    content: bytes = sink.getvalue().to_pybytes()
    return content


# --- exactly once --------------------------------------------------------------------------------------------------


@dataclass
class Head:
    """A run as a process of its own, which can be killed."""

    manifest: Path
    out: Path
    options: list[str]
    log: Any

    def __post_init__(self) -> None:
        command = [*SINGLETRACK, "bulk", str(self.manifest), "--out", str(self.out), *self.options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def workers(self) -> list[int]:
        """Its worker processes, and those of our Ray cluster."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:  # it has ended
                    continue
        return [process for process in parents if self._is_worker(process, parents)]

    @staticmethod
    def _is_worker(process: int, parents: dict[int, int]) -> bool:
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            return False
        if b"spawn_main" not in line and not line.startswith(b"ray::_Actor"):
            return False
        while process in parents and process != os.getpid():
            process = parents[process]
        return process == os.getpid()


def committed_rows(out: Path) -> int:
    """The number of rows that are committed."""
    return sum(
        last - first + 1 for first, last in (map(int, name.split("-")) for name in Store(str(out)).list_parts("boxes"))
    )


def disturb(
    manifest: Path, out: Path, *, rows: int, kills: int, options: list[str], seed: int, log: Any
) -> dict[str, int]:
    """Run to the end, while workers and head are killed at random moments; returns the number of kills of each.

    The moments are uniform over the progress of the run, each with a random delay, so that they are spread over
    starting, tracking, writing and committing.
    """
    chance = random.Random(seed)
    moments = sorted(chance.randrange(rows) for _ in range(kills))
    done = {"head": 0, "worker": 0, "starts": 1}
    head = Head(manifest, out, options, log)
    for moment in moments:
        while committed_rows(out) < moment and head.process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        if head.process.poll() is not None:  # it ended, with an error perhaps: the next start goes on
            done["starts"] += 1
            head = Head(manifest, out, options, log)
        workers = head.workers()
        if workers and chance.random() < 0.6:
            with_signal(chance.choice(workers))
            done["worker"] += 1
        else:
            with_signal(head.process.pid)
            head.process.wait()
            done["head"] += 1
            done["starts"] += 1
            head = Head(manifest, out, options, log)
    while (code := head.process.wait()) < 0 or (code and committed_rows(out) < rows):
        done["starts"] += 1
        head = Head(manifest, out, options, log)
    return done


def with_signal(process: int) -> None:
    """Kill a process with SIGKILL, unless it has ended."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def prove(
    folder: Path, *, clips: int, frames: int, kills: int, jobs: int, options: list[str], seed: int
) -> dict[str, Any]:
    """Compare a run under kills with an undisturbed one; raises AssertionError if a row differs."""
    manifest = make_library(folder / "library", clips=clips, frames=frames)
    options = ["--jobs", str(jobs), *options]
    with (folder / "log.txt").open("w") as log:
        began = time.monotonic()
        command = [*SINGLETRACK, "bulk", str(manifest), "--out", str(folder / "calm"), *options]
        subprocess.run(command, check=True, stdout=log, stderr=log)
        calm = time.monotonic() - began
        began = time.monotonic()
        killed = disturb(manifest, folder / "killed", rows=clips, kills=kills, options=options, seed=seed, log=log)
        disturbed = time.monotonic() - began
    (boxes, rows), (same_boxes, same_rows) = read_tables(folder / "calm"), read_tables(folder / "killed")
    assert len(rows) == clips, f"{len(rows)} rows of {clips}"
    assert len(boxes) == clips * frames, f"{len(boxes)} boxes of {clips * frames}"
    assert table_bytes(rows) == table_bytes(same_rows), "the rows differ"
    assert table_bytes(boxes) == table_bytes(same_boxes), "the boxes differ"
    return {"clips": clips, "boxes": len(boxes), "calm_s": round(calm, 1), "disturbed_s": round(disturbed, 1), **killed}


# --- speed ---------------------------------------------------------------------------------------------------------


def time_bulk(manifest: Path, out: Path, *options: str) -> dict[str, float]:
    """Time a run from the start of the command to its end, and its tracking alone."""
    began, cpu = time.monotonic(), _children_cpu()
    command = [*SINGLETRACK, "bulk", str(manifest), "--out", str(out), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: some rows failed
    total, cpu = time.monotonic() - began, _children_cpu() - cpu
    import pyarrow.dataset as datasets

    rows = datasets.dataset(out / "rows", format="parquet").to_table(columns=["frames", "seconds", "began", "finished"])
    ended = [each.timestamp() for each in rows["finished"].to_pylist()]
    seconds, frames = rows["seconds"].to_pylist(), rows["frames"].to_pylist()
    first = min(each.timestamp() for each in rows["began"].to_pylist())
    return {
        "total_s": total,
        "tracking_s": max(ended) - first,
        "frames": sum(frames),
        "frames_per_s": sum(frames) / (max(ended) - first),
        "frames_per_s_with_start": sum(frames) / total,
        "busy_s": sum(seconds),
        "cpu_s": cpu,  # of head and workers; on Ray of the head alone
        "frames_per_cpu_s": sum(frames) / cpu,
    }


def time_loop(folder: Path, manifest: Path, clips: int) -> dict[str, float]:
    """Time `singletrack track` in a loop, on one thread."""
    began, cpu, frames = time.monotonic(), _children_cpu(), 0
    with manifest.open() as stream:
        for row in itertools.islice(csv.DictReader(stream), clips):
            box = ",".join(row[side] for side in "xywh")
            boxes = folder / f"{row['video']}.csv"
            command = [*SINGLETRACK, "track", str(manifest.parent / row["video"]), "--box", box, "--threads", "1"]
            subprocess.run([*command, "--save-boxes", str(boxes)], check=True, capture_output=True)
            frames += len(boxes.read_text().splitlines()) - 1
    total, cpu = time.monotonic() - began, _children_cpu() - cpu
    found = {"total_s": total, "frames": frames, "frames_per_s_with_start": frames / total}
    return {**found, "cpu_s": cpu, "frames_per_cpu_s": frames / cpu}


def _children_cpu() -> float:
    """CPU seconds of the processes that have ended; on a busy machine they say more than the time that passed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def ray_cluster(cores: int) -> Iterator[str]:
    """A Ray cluster on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=cores, object_store_memory=80_000_000, include_dashboard=False)
        yield cluster.address
    finally:
        cluster.shutdown()


def measure_speed(folder: Path, *, clips: int, frames: int, loop: int, ray: bool, rounds: int) -> list[dict[str, Any]]:
    """Time 1 and 2 worker processes, the loop, and Ray with 1 and 2 workers, in turns.

    From the run of one worker and a short one of two, the simulation predicts that of two.
    """
    size = (320, 180)
    manifest = make_library(folder / "library", clips=clips, frames=frames, size_wh=size, distinct=clips)
    found = []
    for turn in range(rounds):
        for jobs in (1, 2):
            out = folder / f"pool-{jobs}-{turn}"
            found.append({"run": f"pool {jobs}", **time_bulk(manifest, out, "--jobs", str(jobs), "--part-rows", "4")})
        found.append(predict(folder, turn, clips, found[-1]["tracking_s"]))
        if ray:
            with ray_cluster(2) as address:
                for jobs in (1, 2):
                    out = folder / f"ray-{jobs}-{turn}"
                    options = ["--jobs", str(jobs), "--part-rows", "4", "--ray", address]
                    found.append({"run": f"ray {jobs}", **time_bulk(manifest, out, *options)})
        if loop:
            found.append({"run": "loop", **time_loop(folder, manifest, loop)})
    return found


def predict(folder: Path, turn: int, clips: int, measured: float) -> dict[str, Any]:
    """Compare the simulation's seconds for two workers with those that were measured."""
    lines = (folder / "library" / "manifest.csv").read_text().splitlines()
    few = folder / "library" / "few.csv"
    few.write_text("\n".join(lines[: 1 + max(8, clips // 4)]) + "\n")
    alone, beside = folder / f"pool-1-{turn}", folder / f"beside-{turn}"
    time_bulk(few, beside, "--jobs", "2", "--part-rows", "4")
    rows = simulation.measured_rows(alone)
    found = {"run": "simulation of pool 2", "measured_s": measured}
    for name, slower in (
        ("alone", 1.0),
        ("beside", simulation.seconds_per_frame(beside) / simulation.seconds_per_frame(alone)),
    ):
        parts = [float(slower * rows[start : start + 4].sum()) for start in range(0, clips, 4)]
        part_s = simulation.seconds_per_part(alone)
        cluster = simulation.Cluster(workers=2, start_s=0.0, part_s=part_s, rate=1000.0)
        seconds = simulation.simulate(cluster, parts).seconds
        found |= {f"{name}_s": seconds, f"{name}_off_percent": 100 * (seconds / measured - 1)}
    return found


# --- real clips ------------------------------------------------------------------------------------------------------


def list_footage(footage: Path, videos: Path, manifest: Path, frames: int) -> int:
    """Write a manifest of all labeled tracks from the first box, and of the middle of each video; gives its length."""
    import av

    rows = []
    for entry in sorted(footage.glob("*.csv")):
        labels = [row for row in csv.DictReader(entry.open()) if row["w"] != "nan"]
        video = max(
            (each for each in footage.glob("*.mp4") if entry.stem.startswith(each.stem)),
            key=lambda each: len(each.stem),
        )
        first = int(labels[0]["frame"])
        rows.append([video, first, first + frames - 1, entry.stem, *(labels[0][side] for side in "xywh")])
    for video in sorted(videos.glob("*.mp4")):
        with av.open(str(video)) as container:
            width, height = container.streams.video[0].width, container.streams.video[0].height
        rows.append([video, 0, frames - 1, video.stem, 0.4 * width, 0.4 * height, 0.2 * width, 0.2 * height])
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows([["video", "start", "end", "id", *"xywh"], *rows])
    return len(rows)


def compare_footage(folder: Path, footage: Path, videos: Path, *, frames: int, jobs: int) -> dict[str, Any]:
    """Track real clips in processes and on a Ray cluster of this machine; raises AssertionError if a row differs."""
    manifest = folder / "manifest.csv"
    count = list_footage(footage.absolute(), videos.absolute(), manifest, frames)
    pool = time_bulk(manifest, folder / "pool", "--jobs", str(jobs))
    with ray_cluster(jobs) as address:
        on_ray = time_bulk(manifest, folder / "ray", "--jobs", str(jobs), "--ray", address)
    (boxes, rows), (same_boxes, same_rows) = read_tables(folder / "pool"), read_tables(folder / "ray")
    assert table_bytes(rows) == table_bytes(same_rows), "the rows differ"
    assert table_bytes(boxes) == table_bytes(same_boxes), "the boxes differ"
    states = rows["status"].to_pylist()
    found = {"rows": count, "done": states.count("done"), "boxes": len(boxes), "equal": True}
    return {**found, "pool_s": pool["total_s"], "ray_s": on_ray["total_s"]}


# --- scheduler -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Empty:
    """A task without work."""

    name: str


def do_nothing() -> Work:
    """The work of an empty task."""

    def work(tasks: Iterable[Empty], count: Count) -> Iterator[tuple[str, None]]:
        for task in tasks:
            yield task.name, None

    return work


def measure_scheduler(tasks: int, workers: Iterable[int]) -> list[dict[str, Any]]:
    """Time empty tasks: how many the head hands out per second."""
    found = []

    def measure(name: str, run: Callable[[Iterator[Empty]], Iterator[Any]]) -> None:
        moments = [time.monotonic() for _ in run(Empty(str(number)) for number in range(tasks))]
        half = len(moments) // 2  # the first half includes the start of the workers
        rate = (len(moments) - half - 1) / (moments[-1] - moments[half])
        found.append({"run": name, "tasks": tasks, "tasks_per_s": round(rate, 1)})

    for jobs in workers:
        measure(f"pool {jobs}", lambda each, jobs=jobs: run_in_processes(each, do_nothing, jobs=jobs, threads=1))
        with ray_cluster(jobs) as address:
            measure(f"ray {jobs}", lambda each, jobs=jobs: run_on_ray(each, do_nothing, address=address, jobs=jobs))
    return found


# --- memory --------------------------------------------------------------------------------------------------------


def measure_memory(folder: Path, *, clips: int, frames: int, jobs: int) -> dict[str, Any]:
    """Sample the memory of the workers and the head, in MB by share of the rows that are committed."""
    manifest = make_library(folder / "library", clips=clips, frames=frames, size_wh=(64, 48), distinct=20)
    out = folder / "out"
    samples: dict[int, tuple[float, float]] = {}
    began = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        head = Head(manifest, out, ["--jobs", str(jobs), "--part-rows", "50"], log)
        while head.process.poll() is None:
            share = 10 * committed_rows(out) // clips if (out / "run.json").exists() else 0
            memory = [_megabytes(each) for each in head.workers()]
            if memory:
                samples[share] = max(memory), _megabytes(head.process.pid)
            time.sleep(1)
    assert head.process.returncode == 0, (folder / "log.txt").read_text()
    return {
        "clips": clips,
        "seconds": round(time.monotonic() - began),
        "worker_MB_by_tenth": [round(samples[tenth][0]) for tenth in sorted(samples)],
        "head_MB_by_tenth": [round(samples[tenth][1]) for tenth in sorted(samples)],
    }


def _megabytes(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


@click.group()
def main() -> None:
    """Run one of the measurements, and print it as lines of JSON."""


clips_option = functools.partial(click.option, "--clips", show_default=True)
frames_option = functools.partial(click.option, "--frames", show_default=True)
jobs_option = click.option("--jobs", default=2, show_default=True)
ray_option = click.option("--ray", is_flag=True, help="On a Ray cluster of this machine.")
folder_option = click.option("--folder", type=click.Path(path_type=Path), help="Empty folder to keep.  [default: none]")


@main.command("proof")
@clips_option(default=2000)
@frames_option(default=4)
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=0, show_default=True)
@jobs_option
@ray_option
@folder_option
def proof(clips: int, frames: int, kills: int, seed: int, jobs: int, ray: bool, folder: Path | None) -> None:
    """Kill workers and head at random moments, and compare with an undisturbed run."""
    with new_folder(folder) as place, ray_cluster(jobs) if ray else nullcontext() as address:
        options = ["--ray", address] if address else []
        show([prove(place, clips=clips, frames=frames, kills=kills, jobs=jobs, options=options, seed=seed)])


@main.command("speed")
@clips_option(default=96)
@frames_option(default=100)
@click.option("--loop", default=8, show_default=True, help="Clips of the loop of `singletrack track`; 0: no loop.")
@click.option("--rounds", default=1, show_default=True)
@ray_option
@folder_option
def speed(clips: int, frames: int, loop: int, rounds: int, ray: bool, folder: Path | None) -> None:
    """Time 1 and 2 worker processes, the same on Ray, and a loop of `singletrack track`."""
    with new_folder(folder) as place:
        show(measure_speed(place, clips=clips, frames=frames, loop=loop, ray=ray, rounds=rounds))


@main.command("footage")
@click.option("--footage", type=click.Path(exists=True, path_type=Path), required=True, help="Labeled clips.")
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True, help="Videos without labels.")
@click.option("--frames", default=20, show_default=True, help="Frames to track of each target.")
@jobs_option
@folder_option
def footage(footage: Path, videos: Path, frames: int, jobs: int, folder: Path | None) -> None:
    """Track real clips on the pool and on Ray, and compare."""
    with new_folder(folder) as place:
        show([compare_footage(place, footage, videos, frames=frames, jobs=jobs)])


@main.command("scheduler")
@click.option("--tasks", default=2000, show_default=True)
@click.option("--workers", multiple=True, default=(1, 2, 4), show_default=True)
def scheduler(tasks: int, workers: tuple[int, ...]) -> None:
    """Time empty tasks."""
    show(measure_scheduler(tasks, workers))


@main.command("memory")
@clips_option(default=20_000)
@frames_option(default=2)
@jobs_option
@folder_option
def memory(clips: int, frames: int, jobs: int, folder: Path | None) -> None:
    """Sample the memory of the processes over many clips."""
    with new_folder(folder) as place:
        show([measure_memory(place, clips=clips, frames=frames, jobs=jobs)])


@contextmanager
def new_folder(folder: Path | None) -> Iterator[Path]:
    """A folder for a measurement: the one given, or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        yield place


def show(found: Iterable[dict[str, Any]]) -> None:
    """Print results, one per line."""
    for each in found:
        click.echo(
            json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in each.items()})
        )


if __name__ == "__main__":
    main()
