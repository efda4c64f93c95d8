"""`singletrack bulk`: track every target of a video library."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import TracebackType

import click

from singletrack.bulk.run import Progress, track_library
from singletrack.bulk.status import Status, read_status
from singletrack.cli.options import model_options
from singletrack.cli.progress import ProgressBar
from singletrack.geometry.box_formats import BOX_FORMATS, BoxFormat
from singletrack.loading import LoadOptions


class Bulk(click.Group):
    """A group whose first command is the default: `bulk MANIFEST` runs, `bulk status FOLDER` reports."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if arguments and arguments[0] not in self.commands and not Path(arguments[0]).exists():
            near = difflib.get_close_matches(arguments[0], self.commands, n=1)
            if near:
                raise click.UsageError(f"no command or manifest {arguments[0]!r}; did you mean {near[0]}?", context)
        if not arguments or arguments[0] not in self.commands:
            arguments = ["run", *(arguments or ["--help"])]
        return super().parse_args(context, arguments)


@click.group(cls=Bulk, short_help="Track every target of a video library.")
def command() -> None:
    """Track every target of a video library, or report how far that is."""


@command.command("run", short_help="Start or resume: `singletrack bulk MANIFEST` is short for this.")
@click.argument("manifest", metavar="MANIFEST")
@click.option("--out", required=True, metavar="FOLDER", help="Output folder, or its address.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Number of worker processes; with --ray, the most workers.  [default: CPUs, or what the cluster has room for]",
)
@click.option(
    "--ray", "cluster", metavar="ADDRESS", help="Run on a Ray cluster at this address; auto finds a running one."
)
@click.option(
    "--gpus",
    type=click.FloatRange(min=0),
    help="GPUs of each worker on a cluster, such as 0.25.  [default: 1 with --device cuda, else 0]",
)
@model_options
@click.option("--root", metavar="FOLDER", help="Where relative paths start.  [default: the folder of MANIFEST]")
@click.option(
    "--box-format",
    type=click.Choice(BOX_FORMATS),
    help="Order of the numbers of a box.  [default: xywh; boxes that look like two corners fail]",
)
@click.option(
    "--normalized/--pixels",
    default=None,
    help="Unit of boxes: fractions of the frame, or pixels.  [default: pixels; boxes like fractions fail]",
)
@click.option(
    "--part-rows",
    type=click.IntRange(min=1),
    help="Rows that are committed together, in one file.  [default: 1 to 256, by the number of rows]",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Further attempts after errors that may be temporary, and for a video whose process died.",
)
@click.option("--retry-failed", is_flag=True, help="Track the rows again that failed in an earlier run of this folder.")
def run(
    manifest: str,
    out: str,
    jobs: int | None,
    cluster: str | None,
    gpus: float | None,
    model: str,
    options: LoadOptions,
    root: str | None,
    box_format: BoxFormat | None,
    normalized: bool | None,
    part_rows: int | None,
    retries: int,
    retry_failed: bool,
) -> int:
    """Track every target of MANIFEST, a .csv, .jsonl or .parquet file with one target per row.

    Columns: video (path or address), start (frame of the box, from 0), box or x,y,w,h; optional are id, end (last
    frame) and model. Boxes go to FOLDER/boxes, and what happened to each row to FOLDER/rows, both as Parquet. The same
    command resumes an interrupted run, and nothing is tracked twice. `singletrack bulk status FOLDER` shows the
    progress of a run.

    A row that fails is listed with its reason; the exit code is then 1.
    """
    if gpus is not None and cluster is None:
        raise click.UsageError("--gpus goes with --ray; on this machine, --device names the GPU")
    with BulkProgress(out) as progress:
        track_library(
            manifest,
            out,
            model=model,
            options=options,
            jobs=jobs,
            cluster=cluster,
            gpus=gpus,
            root=root,
            box_format=box_format,
            normalized=normalized,
            part_rows=part_rows,
            retries=retries,
            retry_failed=retry_failed,
            on_progress=progress.show,
        )
    found = read_status(out)
    click.echo(f"{found.done} of {found.rows} rows done, {found.failed} failed; {found.frames} boxes in {out}")
    _list_failures(found)
    return 1 if found.failed else 0


@command.command("status", short_help="Report the progress of a run, also while it runs.")
@click.argument("folder", metavar="FOLDER")
def status(folder: str) -> None:
    """Report how far the run in FOLDER is, its rate and the time left."""
    found = read_status(folder)
    ended = found.done + found.failed
    click.echo(
        f"{ended} of {found.rows} rows ({100 * ended / found.rows:.1f} %): {found.done} done, {found.failed} failed; "
        f"{found.frames} boxes"
    )
    if found.rows_per_second:
        click.echo(f"{found.rows_per_second:.2f} rows/s, {found.frames_per_second:.1f} frames/s")
    if ended == found.rows:
        click.echo("finished")
    elif not found.running:
        click.echo("not running; the command that started it resumes it")
    else:
        left = "time left unknown" if found.seconds_left is None else f"{_duration(found.seconds_left)} left"
        click.echo(f"running, {left}")
    _list_failures(found)


def _list_failures(found: Status) -> None:
    for video, target, reason in found.failures:
        click.echo(f"failed: {video}, target {target}: {reason}", err=True)
    if found.failed > len(found.failures):
        click.echo(f"and {found.failed - len(found.failures)} more, see the column reason in rows", err=True)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    days, hours = minutes // 1440, minutes // 60 % 24
    return (
        f"{days} days {hours} hours"
        if days
        else f"{hours} hours {minutes % 60} minutes"
        if hours
        else f"{minutes} minutes"
    )


class BulkProgress:
    """Progress of a run on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, out: str) -> None:
        self._out, self._bar = out, ProgressBar(None)
        self._last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Show the next step."""
        if self._last is None and progress.ended:
            click.echo(f"{progress.ended} of {progress.rows} rows were already committed", err=True)
        failed = f", {progress.failed} failed" if progress.failed else ""
        frames = progress.frames - (self._last.frames if self._last else 0)
        self._bar.update(frames, f"{progress.ended} of {progress.rows} rows{failed}")
        self._last = progress

    def __enter__(self) -> BulkProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is KeyboardInterrupt and self._last:
            click.echo(
                f"{self._last.ended} of {self._last.rows} rows are in {self._out}; run the same command to resume",
                err=True,
            )
