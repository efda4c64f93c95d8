"""Measures the cost and speed of models: operations, time per stage, and memory, on each engine.

Each row of the table is measured in a separate process, so that its memory is measured separately.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from singletrack import loading, registry
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines import TRAIN_EXTRA, installed_engines, require_packages
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.install import install_command
from singletrack.published import published_costs
from singletrack.tracking.multi import SharedNetwork, check_batch_tracker

WARM_UP = 3  # frames before timing starts
REPORT_EXTRA = (("matplotlib",), install_command("report"))


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row to measure; see ``loading.load``. ``batch``: targets per forward pass."""

    model: str
    weights: Path | None = None
    keep_ratio: float | None = None
    engine: str
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    settings: Mapping[str, Any] | None = None
    batch: int = 1
    frames: int = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """Measured values: medians in milliseconds for the full batch.

    Attributes:
        crop: from the frame to the network input.
        encode: the templates, once per template.
        locate: the network.
        decode: from the maps to boxes.
        frames_per_second: for one target, from crop, locate and decode; for a batch, frames of all targets.
        memory: peak of the process in megabytes, including Python and the engine; None if unknown.
    """

    model: str
    keep_ratio: float | None
    engine: str
    precision: str
    batch: int
    crop: float
    encode: float
    locate: float
    decode: float
    frames_per_second: float
    memory: float | None


def plan(
    models: Sequence[str],
    *,
    weights: Path | None = None,
    keep_ratios: Sequence[float | None] = (None,),
    engines: Sequence[str] = (),
    precisions: Sequence[str] = ("auto",),
    device: str = "auto",
    threads: int | None = None,
    batches: Sequence[int] = (1,),
    frames: int = 20,
    settings: Mapping[str, Any] | None = None,
) -> list[Job]:
    """List every combination, model by model; all installed engines if none are given.

    Raises:
        InputError: an unknown name or invalid number.
    """
    for model in models:
        if model not in registry.MODELS:
            raise registry.unknown_model(model)
    if not models or (weights is not None and len(models) > 1):
        raise InputError(
            f"{'a weights file needs exactly one model' if weights else 'give at least one model'}; got {models}"
        )
    if min([*batches, frames]) < 1:
        raise InputError(f"frames and batches must be at least 1; got {frames} and {list(batches)}")
    return [
        Job(
            model=model,
            weights=weights,
            keep_ratio=ratio,
            engine=engine,
            precision=precision,
            device=device,
            threads=threads,
            batch=batch,
            frames=frames,
            settings=settings,
        )
        for model in models
        for ratio in ratios_for(model, keep_ratios)
        for engine in (engines or installed_engines())
        for precision in precisions
        for batch in batches
    ]


def ratios_for(model: str, keep_ratios: Sequence[float | None]) -> list[float | None]:
    """Return the keep ratios that a model can be measured with.

    A model without elimination keeps all tokens, which is a ratio of 1. Raises InputError for another ratio of it.
    """
    if registry.MODELS[model].network.eliminates:
        return list(keep_ratios)
    wrong = [ratio for ratio in keep_ratios if ratio not in (None, 1.0)]
    if wrong:
        raise InputError(f"{model} eliminates no tokens, so its keep ratio is 1; got {wrong[0]}; leave it out")
    return [None]


def measure_each(jobs: Iterable[Job]) -> Iterator[Row]:
    """Measure each job in a new process; its errors are raised here."""
    for job in jobs:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            yield process.submit(measure, job).result()


def measure(job: Job) -> Row:
    """Load the model and track generated frames of 640 x 360 in this process.

    A model without weights runs with initial ones, which takes the same time. Raises the errors of ``loading.load``.
    """
    with _weights_for(job) as weights:
        options = loading.LoadOptions(
            weights=weights,
            engine=job.engine,
            precision=job.precision,  # type: ignore[arg-type]
            device=job.device,
            keep_ratio=job.keep_ratio,
            threads=job.threads,
            settings=job.settings,
        )
        loaded = loading.load_with(job.model, options)
    tracker = check_batch_tracker(loaded, "profile another model")
    network = SharedNetwork(tracker.network, [job.batch])
    clip = list(generate_clip(frames=2))
    trackers = [network.share(tracker) for _ in range(job.batch)]
    first, box = clip[0]
    for shared, target in zip(trackers, _spread(box, job.batch), strict=True):
        shared.init(first, target)
    took: dict[str, list[float]] = defaultdict(list)
    for index in range(1, 1 + WARM_UP + job.frames):
        frame = clip[index % 2][0]
        with _timed(took["crop"]):
            looks = [shared.preprocess(frame) for shared in trackers]
        asked = [look for look in looks if look is not None]
        with _timed(took["encode"]):
            for look in asked:
                tracker.network.encode(look.template)
        with _timed(took["locate"]):
            seen = iter(network.locate_each(asked))
        with _timed(took["decode"]):
            for shared, each in zip(trackers, looks, strict=True):
                shared.postprocess(None if each is None else next(seen))
    stages = {stage: median(values[WARM_UP:]) for stage, values in took.items()}
    update = stages["crop"] + stages["locate"] + stages["decode"]
    return Row(
        model=job.model,
        keep_ratio=job.keep_ratio,
        engine=job.engine,
        precision=str(getattr(tracker.network, "precision", job.precision)),
        batch=job.batch,
        frames_per_second=1000 * job.batch / update,
        memory=peak_memory(),
        **stages,
    )


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times.append(1000 * (time.perf_counter() - start))


def _spread(box: Box, count: int) -> list[Box]:
    """Place ``count`` boxes of one size side by side, with different contents."""
    x, y, width, height = box
    return [((x + 13 * index) % 500, (y + 7 * index) % 250, width, height) for index in range(count)]


@contextmanager
def _weights_for(job: Job) -> Iterator[Path | None]:
    """Return the weights of a job, the bundled ones, or a file of initial ones."""
    if job.weights is not None or registry.MODELS[job.model].bundled:
        yield job.weights
        return
    require_packages(f"{job.model} without weights", *TRAIN_EXTRA)
    from singletrack.models.flops import write_untrained

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{job.model}.safetensors"
        write_untrained(registry.MODELS[job.model].network, path)
        yield path


def peak_memory() -> float | None:
    """Return the peak memory of this process in megabytes; None if unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


# --- tables and plots -------------------------------------------------------------------------------------------


def format_costs(models: Sequence[str], keep_ratios: Sequence[float | None]) -> str:
    """Format a Markdown table of parameters and operations; raises MissingDependencyError without PyTorch."""
    require_packages("counting operations", *TRAIN_EXTRA)
    from singletrack.models.flops import count

    lines = [
        "| model | keep ratio | parameters M | GMACs | with attention | template only | as the paper counts | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        for ratio in ratios_for(model, keep_ratios):
            network = registry.MODELS[model].network
            cost = count(network, ratio)
            paper = "" if cost.paper is None else f"{cost.paper / 1e9:.2f}"
            kept = ratio if ratio is not None else getattr(network, "keep_ratio", None)
            reported = [each.gmacs for each in published_costs() if (each.model, each.keep_ratio) == (model, kept)]
            lines.append(
                f"| {model} | {_ratio(ratio)} | {cost.parameters / 1e6:.2f} | {cost.published / 1e9:.2f} "
                f"| {cost.total / 1e9:.2f} | {cost.encode.total / 1e9:.2f} "
                f"| {paper} | {'' if reported[:1] in ([], [None]) else reported[0]} |"
            )
    return "\n".join(lines)


ROW_HEADER = (
    "| model | keep ratio | engine | precision | batch | crop ms | encode ms | locate ms | decode ms | frames/s "
    "| memory MB |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def format_row(row: Row) -> str:
    """Format one row below ``ROW_HEADER``."""
    memory = "" if row.memory is None else f"{row.memory:.0f}"
    return (
        f"| {row.model} | {_ratio(row.keep_ratio)} | {row.engine} | {row.precision} | {row.batch} | {row.crop:.2f} "
        f"| {row.encode:.2f} | {row.locate:.2f} | {row.decode:.2f} | {row.frames_per_second:.1f} | {memory} |"
    )


def format_parts(model: str, weights: Path | None, keep_ratio: float | None, repeats: int = 5) -> str:
    """Format a Markdown table of the time of the parts of ``locate`` in PyTorch on the CPU."""
    require_packages("timing the parts of a network", *TRAIN_EXTRA)
    from singletrack.models.flops import time_parts_of

    job = Job(model=model, weights=weights, keep_ratio=keep_ratio, engine="torch")
    with _weights_for(job) as path:
        network = loading.build_model(model, path or loading.bundled_file(model, ".safetensors"), keep_ratio)
    parts = time_parts_of(network, repeats=repeats)
    total = sum(parts.values())
    lines = ["| part of locate | ms | share |", "|---|---|---|"]
    lines += [f"| {part} | {1000 * value:.2f} | {100 * value / total:.1f} % |" for part, value in parts.items()]
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Convert the rows to JSON values."""
    return [asdict(row) for row in rows]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Plot frames per second and the stages, row by row; raises MissingDependencyError without matplotlib."""
    require_packages("a plot", *REPORT_EXTRA)
    from matplotlib.figure import Figure

    labels = [f"{row.model} {_ratio(row.keep_ratio)} {row.engine} {row.precision} x{row.batch}" for row in rows]
    figure = Figure(figsize=(11, 1.5 + 0.35 * len(rows)), layout="constrained")
    speed, stages = figure.subplots(1, 2, sharey=True)
    speed.barh(labels, [row.frames_per_second for row in rows])
    speed.set_xlabel("frames/s")
    left = [0.0] * len(rows)
    for stage in ("crop", "locate", "decode"):
        widths = [getattr(row, stage) / row.batch for row in rows]
        stages.barh(labels, widths, left=left, label=stage)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    stages.set_xlabel("ms per target and frame")
    stages.legend()
    speed.invert_yaxis()
    figure.savefig(path)


def _ratio(keep_ratio: float | None) -> str:
    return "own" if keep_ratio is None else f"{keep_ratio:g}"
