"""Tracks a library: starts or resumes a run, hands out its parts, and reports how it ended."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from singletrack import loading
from singletrack.bulk.manifest import ADDRESS, Manifest, open_address, resolve
from singletrack.bulk.packages import require_package
from singletrack.bulk.parts import Part, choose_part_rows, plan_parts, rows_of
from singletrack.bulk.store import RunFacts, Store
from singletrack.bulk.worker import TrackParts, model_place
from singletrack.cache import digest
from singletrack.engines import EXPORTED_ENDINGS, require_packages
from singletrack.errors import InputError, SingletrackError
from singletrack.geometry.box_formats import BoxFormat
from singletrack.install import install_command
from singletrack.loading import LoadOptions, choose_model
from singletrack.workers import Died
from singletrack.workers.cluster import run_on_ray
from singletrack.workers.processes import run_in_processes

MOST_EARLY_DEATHS = 20  # of workers in one part that had no video in hand yet


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        rows: number of rows of the manifest.
        ended: rows that are done or failed.
        failed: rows that failed in this process.
        frames: frames that were tracked in this process.
    """

    rows: int
    ended: int
    failed: int = 0
    frames: int = 0


def track_library(
    manifest: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    options: LoadOptions | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    gpus: float | None = None,
    root: str | Path | None = None,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
    part_rows: int | None = None,
    retries: int = 2,
    retry_failed: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Track every target of a manifest, and write the boxes to Parquet files.

    The next call with the same arguments resumes. The boxes do not depend on ``jobs``, ``cluster`` or interruptions.
    The calling program must be importable (``if __name__ == "__main__"``).

    Args:
        manifest: path or address of a .csv, .jsonl or .parquet file, see docs/scale.md for its columns.
        out: folder, or address of a folder.
        model: model of rows that name none.
        options: how models are loaded; one thread per process by default.
        jobs: number of processes; on a cluster, the most workers. None for the number of CPUs, or what the cluster
            has room for.
        cluster: address of a Ray cluster to run on; "auto" for the one of this machine.
        gpus: GPUs of each worker of the cluster; None for 1 if the device is CUDA, else 0.
        root: folder or address from which relative paths of videos start; None for that of the manifest.
        box_format: order of the numbers of a box, see ``geometry.box_formats.resolve_box``.
        normalized: whether boxes are fractions of the frame, see the same.
        part_rows: rows that are committed together; None for a choice by the number of rows.
        retries: further attempts after errors that may be temporary, and for a video whose process died.
        retry_failed: track the rows again that failed in an earlier call.
        on_progress: called after every step.

    Returns:
        The progress at the end.

    Raises:
        InputError: an invalid manifest, with the line; an unknown model; or a folder that holds another run.
        MissingDependencyError: a package is not installed.
        SingletrackError: another process runs in the folder, no worker can start, or the folder cannot be written.
    """
    require_package("pyarrow")
    require_package("fsspec")
    if cluster is not None:
        require_packages("running on a cluster", ("ray",), install_command("ray"))
    if part_rows is not None and part_rows < 1:
        raise InputError(f"a part must have at least 1 row; got {part_rows}")
    address, store = _absolute(manifest), Store(_absolute(out))
    read = Manifest(address)
    chosen, options = choose_model(model, options or LoadOptions())
    options = dataclasses.replace(
        options, weights=Path(options.weights).resolve() if options.weights else None, threads=options.threads or 1
    )
    name = str(Path(chosen).resolve()) if Path(chosen).suffix in EXPORTED_ENDINGS else str(chosen)
    if cluster is None:
        loading.load_with(name, options)  # here first, so that errors appear before the workers start
    start = _absolute(root) if root else address.rpartition("/")[0]
    settings = {**options.arguments, "weights": None, "box_format": box_format, "normalized": normalized}
    with store.lock():
        facts = _survey(read, store, name, options, start, settings, part_rows)
        facts = store.start(facts)
        committed = store.repair(facts.key)
        work = TrackParts(
            store=store,
            key=facts.key,
            model=name,
            options=options,
            digests=facts.models,
            root=start,
            box_format=box_format,
            normalized=normalized,
            retries=retries,
        )
        failed = store.failed_rows() if retry_failed else set[int]()
        planned = plan_parts(read.rows(), facts.rows, facts.part_rows)
        run = _Run(store, facts, retries, committed, on_progress, len(failed))
        parts = run.left(planned, failed)
        if cluster is not None:
            share = float(options.device.startswith("cuda")) if gpus is None else gpus
            ended: Any = run_on_ray(
                parts,
                work,
                address=cluster,
                jobs=jobs,
                threads=options.threads or 1,
                gpus=share,
                again=run.again,
                on_count=run.count,
            )
        else:
            ended = run_in_processes(
                parts,
                work,
                jobs=jobs or os.cpu_count() or 1,
                threads=options.threads or 1,
                again=run.again,
                on_count=run.count,
            )
        return run.finish(ended)


def _absolute(place: str | Path) -> str:
    text = str(place)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    return text.rstrip("/") if ADDRESS.match(text) else str(Path(text).absolute())


def _survey(
    manifest: Manifest,
    store: Store,
    model: str,
    options: LoadOptions,
    root: str,
    settings: dict[str, Any],
    part_rows: int | None,
) -> RunFacts:
    """Check every row, and count rows and parts, unless an earlier start did."""
    found, held = manifest.digest(), store.facts()
    if held is not None and held.digest == found:
        rows, names, part_rows = held.rows, [each for each in held.models if each], part_rows or held.part_rows
        parts = held.parts if part_rows == held.part_rows else 0
    else:
        rows, named, protocols = 0, dict[str, int](), set[str]()
        for row in manifest.rows():
            rows += 1
            if row.model:
                named.setdefault(row.model, row.row)
            place = resolve(row.video, root)
            if ADDRESS.match(place) and (protocol := place.partition("://")[0]) not in protocols:
                open_address(place)
                protocols.add(protocol)
        if not rows:
            raise InputError(f"{manifest.path} has no rows; give at least one target")
        names = sorted(named)
        for each in names:
            _check_model(each, named[each], root)
        part_rows = part_rows or choose_part_rows(rows)
        parts = sum(1 for _ in plan_parts(manifest.rows(), rows, part_rows))
    unweighted = dataclasses.replace(options, weights=None)
    models = {"": weights_digest(model, options)}
    models |= {each: weights_digest(model_place(each, root), unweighted) for each in names}
    return RunFacts(
        manifest=manifest.path,
        digest=found,
        root=root,
        rows=rows,
        parts=parts,
        part_rows=part_rows,
        models=models,
        options={**settings, "model": model},
        version=version("singletrack"),
    )


def _check_model(model: str, row: int, root: str) -> None:
    try:
        weights_digest(model_place(model, root), LoadOptions())
    except SingletrackError as error:
        raise InputError(f"row {row + 1} of the manifest: {error}") from error


def weights_digest(model: str, options: LoadOptions) -> str:
    """Return the digest of the weights that a model is loaded from; raises InputError if they do not exist."""
    if options.weights is not None:
        return digest(*loading.weights_files(options.weights))
    if Path(model).suffix in EXPORTED_ENDINGS:
        return digest(*loading.weights_files(model))
    return digest(loading.bundled_file(model, ".safetensors"))


class _Run:
    """The head of a run: counts, and decides about parts whose worker died."""

    def __init__(
        self,
        store: Store,
        facts: RunFacts,
        retries: int,
        committed: set[str],
        on_progress: Callable[[Progress], None],
        failed: int = 0,
    ) -> None:
        self._store, self._retries, self._on_progress = store, retries, on_progress
        self._committed = committed
        self._again: dict[str, int] = {}  # rows that are tracked again, by part
        self._deaths: dict[int, int] = {}  # by the number of the first row of a video
        self._lost: dict[str, int] = {}  # workers that had no video in hand, by part
        self.progress = Progress(rows=facts.rows, ended=sum(map(rows_of, committed)) - failed)
        on_progress(self.progress)

    def left(self, planned: Iterable[Part], failed: Collection[int]) -> Iterator[Part]:
        """Give the parts that are to be tracked, in full or for the rows that failed."""
        for part in planned:
            if part.name not in self._committed:
                yield part
            elif again := frozenset(row.row for row in part.rows if row.row in failed):
                self._again[part.name] = len(again)
                yield dataclasses.replace(part, failed=again)

    def count(self, frames: int) -> None:
        """Add tracked frames."""
        self._show(frames=self.progress.frames + frames)

    def again(self, died: Died[Part]) -> Part | None:
        """Return the part to run after a worker died in it.

        The first time it is run again carefully. Then the store names the video that the worker had in hand; after
        too many deaths it is left out.
        """
        part = died.task
        self._lost.setdefault(part.name, 0)
        row = self._store.last_attempt(part.name) if part.careful else None
        if row is None:
            self._lost[part.name] += 1
            return part.after_death() if self._lost[part.name] <= MOST_EARLY_DEATHS else None
        self._deaths[row] = self._deaths.get(row, 0) + 1
        if self._deaths[row] <= self._retries:
            return part
        advice = "check the available memory, and track this video alone"
        reason = f"{died.reason} while it was tracked, {self._deaths[row]} times; {advice}"
        return dataclasses.replace(part, poisoned={**part.poisoned, row: reason})

    def finish(self, ended: Generator[tuple[str, Any]]) -> Progress:
        """Run to the end."""
        with closing(ended):
            for name, result in ended:
                if isinstance(result, Died):
                    result = SingletrackError(f"rows {name} cannot be tracked: {result.reason}")
                if isinstance(result, SingletrackError):
                    raise result
                if name in self._lost:
                    self._store.remove("attempts", f"{name}.json")
                failed = result.count("failed")
                rows = self._again.get(name, rows_of(name))
                self._show(ended=self.progress.ended + rows, failed=self.progress.failed + failed)
        return self.progress

    def _show(self, **changes: int) -> None:
        self.progress = dataclasses.replace(self.progress, **changes)
        self._on_progress(self.progress)
