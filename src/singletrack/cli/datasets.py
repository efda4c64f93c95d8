"""`singletrack datasets`: list the data sets, check a copy of one, or cut training crops from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from tqdm import tqdm

from singletrack.datasets.crop_writer import write_crops
from singletrack.datasets.registry import DatasetCheck, check_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.files import check_output_folder

PROBLEMS_SHOWN = 50


@click.group(short_help="List data sets, check a copy, or cut training crops.")
def command() -> None:
    """List data sets, check a copy of one, or cut training crops from it."""


@command.command("list")
def list_datasets() -> None:
    """List the data sets with their splits and numbers of sequences."""
    rows = [("NAME", "SPLITS", "DESCRIPTION")]
    for name, benchmark in BENCHMARKS.items():
        splits = {split: count for split, count in benchmark.splits.items() if not split.startswith("train_")}
        counts = ", ".join(f"{split} ({count})" if count else split for split, count in splits.items())
        rows.append((name, counts, benchmark.about))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command("check")
@click.argument("name", metavar="NAME", type=click.Choice(list(BENCHMARKS)))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder, .zip or .tar of the data set.")
@click.option("--split", default="", help="Split to check.  [default: the evaluation split]")
@click.option("--split-file", type=click.Path(path_type=Path), help="File with the sequence names of the split.")
@click.option("--exclude-file", type=click.Path(path_type=Path), help="File with sequence names to leave out.")
@click.option("--quick", is_flag=True, help="Decode only the first and last frame of each sequence.")
@click.option("--all", "show_all", is_flag=True, help=f"Show all problems instead of the first {PROBLEMS_SHOWN}.")
def check(
    name: str,
    root: Path,
    split: str,
    split_file: Path | None,
    exclude_file: Path | None,
    quick: bool,
    show_all: bool,
) -> int:
    """Check a copy of data set NAME for missing or damaged files.

    The check counts sequences, compares the numbers of boxes, flags and frames, and decodes every image. The exit code
    is 1 if there are problems.
    """

    def progress(names: Iterable[str]) -> Iterable[str]:
        return tqdm(names, unit=" sequences", disable=None, dynamic_ncols=True)

    report = check_dataset(
        name, root, split=split, split_file=split_file, exclude_file=exclude_file, quick=quick, progress=progress
    )
    show(report, len(report.problems) if show_all else PROBLEMS_SHOWN)
    return 1 if report.problems else 0


@command.command("crops")
@click.argument("name", metavar="NAME", type=click.Choice(list(BENCHMARKS)))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder, .zip or .tar of the data set.")
@click.option("--split", default="train", show_default=True, help="Split to take.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first N sequences.")
@click.option("--incomplete", is_flag=True, help="Skip what is missing from the copy.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for train.json and crop511/.")
def crops(name: str, root: Path, split: str, limit: int | None, incomplete: bool, out: Path) -> None:
    """Cut the training crops of Siamese trackers from data set NAME, equal to those of pysot.

    OUT is then a --data folder of the recipes siamrpnpp_r50 and dasiamrpn_vot_crops; the latter uses its categories.
    Stopped, the same command goes on with the missing crops.
    """

    def progress(indices: Iterable[int]) -> Iterable[int]:
        return tqdm(indices, unit=" sequences", disable=None, dynamic_ncols=True)

    check_output_folder(out, [root])
    count = write_crops(name, root, out, split=split, limit=limit, incomplete=incomplete, progress=progress)
    click.echo(f"{out}: {count} crops of {name} {split}")


def show(report: DatasetCheck, problems: int) -> None:
    """Print a report with at most ``problems`` of its problems."""
    of_expected = "" if report.expected is None else f" of {report.expected}"
    click.echo(f"{report.dataset} {report.split}: {report.sequences}{of_expected} sequences, {report.frames} frames")
    click.echo(f"names of the split: sha256 {report.digest}")
    for where, faults in list(report.problems.items())[:problems]:
        for fault in faults:
            click.echo(f"  {where}: {fault}")
    if len(report.problems) > problems:
        click.echo(f"  ... and {len(report.problems) - problems} more (--all shows them)")
    if report.problems:
        click.echo(f"INCOMPLETE: problems in {len(report.problems)} places")
    else:
        click.echo("complete: no problems found")
