"""`singletrack datasets`: which benchmarks can be read, and whether a copy of one is whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from tqdm import tqdm

from singletrack.datasets.registry import DatasetCheck, check_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS

PROBLEMS_SHOWN = 50


@click.group(short_help="List the benchmarks, or check a copy of one.")
def command() -> None:
    """The benchmarks that can be read, and whether a copy of one is whole."""


@command.command("list")
def list_datasets() -> None:
    """List the data sets: their names, splits and numbers of sequences."""
    rows = [("NAME", "SPLITS", "WHAT")]
    for name, benchmark in BENCHMARKS.items():
        splits = {split: count for split, count in benchmark.splits.items() if not split.startswith("train_")}
        told = ", ".join(f"{split} ({count})" if count else split for split, count in splits.items())
        rows.append((name, told, benchmark.about))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command("check")
@click.argument("name", metavar="NAME", type=click.Choice(list(BENCHMARKS)))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Its folder, .zip or .tar.")
@click.option("--split", default="", help="One of its splits; without it, the one that is evaluated.")
@click.option("--split-file", type=click.Path(path_type=Path), help="A list of the split's sequences.")
@click.option("--exclude-file", type=click.Path(path_type=Path), help="A list of sequences to leave out.")
@click.option("--quick", is_flag=True, help="Decode only the first and the last frame of each sequence.")
@click.option("--all", "show_all", is_flag=True, help=f"Show every problem, not only the first {PROBLEMS_SHOWN}.")
def check(
    name: str,
    root: Path,
    split: str,
    split_file: Path | None,
    exclude_file: Path | None,
    quick: bool,
    show_all: bool,
) -> int:
    """Walk a copy of data set NAME and say what is missing or wrong with it.

    It counts sequences, holds boxes and flags against frames and decodes every picture. The exit code is 1 where
    something is amiss.
    """

    def progress(names: Iterable[str]) -> Iterable[str]:
        return tqdm(names, unit=" sequences", disable=None, dynamic_ncols=True)

    report = check_dataset(
        name, root, split=split, split_file=split_file, exclude_file=exclude_file, quick=quick, progress=progress
    )
    show(report, len(report.problems) if show_all else PROBLEMS_SHOWN)
    return 1 if report.problems else 0


def show(report: DatasetCheck, problems: int) -> None:
    """Print a report, with so many of its problems."""
    of_expected = "" if report.expected is None else f" of {report.expected}"
    click.echo(f"{report.dataset} {report.split}: {report.sequences}{of_expected} sequences, {report.frames} frames")
    click.echo(f"names of the split: sha256 {report.digest}")
    for where, faults in list(report.problems.items())[:problems]:
        for fault in faults:
            click.echo(f"  {where}: {fault}")
    if len(report.problems) > problems:
        click.echo(f"  ... and {len(report.problems) - problems} more (--all shows them)")
    if report.problems:
        click.echo(f"NOT WHOLE: something is missing or wrong in {len(report.problems)} places")
    else:
        click.echo("whole: nothing is missing or wrong")
