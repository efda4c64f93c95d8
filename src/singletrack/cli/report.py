"""`singletrack report`: results of one or more trackers as tables, pictures and one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
from tqdm import tqdm

from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.engines import require_packages
from singletrack.errors import InputError
from singletrack.evaluation.protocols import PROTOCOLS
from singletrack.evaluation.report import Report, build_report, difference_table, main_table
from singletrack.evaluation.result_readers import TrackerResults, is_run_folder, read_tracker_results
from singletrack.evaluation.run_store import RunFolder

REPORT_EXTRA = (("matplotlib", "jinja2"), 'pip install "singletrack[report]"')


@click.command(short_help="Score results: tables, plots, one page.")
@click.argument("runs", metavar="[LABEL=]FOLDER...", nargs=-1, required=True)
@click.option("--root", required=True, type=click.Path(path_type=Path), help="The data set's folder, .zip or .tar.")
@click.option("--data", type=click.Choice(list(BENCHMARKS)), help="The data set; run folders name theirs.")
@click.option("--split", default="", help="One of its splits; run folders name theirs.")
@click.option("--split-file", type=click.Path(path_type=Path), help="A list of the split's sequences.")
@click.option("--attributes", type=click.Path(path_type=Path), help="Challenges of the sequences: a folder or .json.")
@click.option("--protocol", type=click.Choice(list(PROTOCOLS)), help="Whose rules; else those of its papers.")
@click.option("--common", is_flag=True, help="Score the sequences that all have, not insist on every one.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.html, tables and pictures.")
@click.option("--strips", type=click.IntRange(min=0), default=3, help="Best and worst sequences to show, each.")
def command(
    runs: tuple[str, ...],
    root: Path,
    data: str | None,
    split: str,
    split_file: Path | None,
    attributes: Path | None,
    protocol: str | None,
    common: bool,
    out: Path | None,
    strips: int,
) -> None:
    """Score what trackers gave on a data set, and compare the first one with the others.

    A FOLDER is a run of `singletrack evaluate`, or holds the .txt files of another tracker as PyTracking, got10k or
    pysot write them: published raw results stand in the same table. LABEL= gives it a name there. The table is
    printed; with --out everything is written, also as one page that needs no other file.
    """
    if out is not None:
        require_packages("a report with pictures", *REPORT_EXTRA)
    labeled = [_parted(run) for run in runs]
    data, split, names = _what_ran([folder for _, folder in labeled if is_run_folder(folder)], data, split)
    sequences = open_dataset(
        data,
        root,
        split=split,
        split_file=split_file,
        attributes=attributes,
        names=None if split_file else names,
        incomplete=common,
    )
    report = build_report(
        _read_all(labeled, sequences),
        sequences,
        benchmark=data,
        split=split,
        title=root.resolve().stem if data == "folder" else "",
        protocol=protocol,
        common=common,
        sequence_count=BENCHMARKS[data].splits[split] or len(names or sequences),
        progress=lambda results: tqdm(results, unit=" trackers", disable=None, dynamic_ncols=True),
    )
    show(report)
    if out is not None:
        from singletrack.evaluation.html_report import write_report

        click.echo(f"wrote {write_report(report, out, strips=strips)}")


def show(report: Report) -> None:
    """Print the tables that fit on a screen."""
    click.echo(main_table(report).text())
    if len(report.trackers) > 1:
        click.echo(difference_table(report).text())
    click.echo(report.about_protocol)


def _parted(run: str) -> tuple[str, Path]:
    """LABEL=FOLDER or FOLDER -> label, or "", and folder; a folder that is there may have = in its name."""
    label, mark, folder = run.partition("=")
    return ("", Path(run)) if not mark or Path(run).exists() else (label, Path(folder))


def _what_ran(run_folders: Iterable[Path], data: str | None, split: str) -> tuple[str, str, list[str] | None]:
    """The data set, split and sequences that the user and the runs name; the sequences are None without a run.

    Raises InputError where two of these differ, or nothing names the data set.
    """
    names: dict[str, None] = {}
    told = [("the options", data or "", split)]
    for folder in run_folders:
        facts = RunFolder.open(folder).facts
        told.append((str(folder), facts.dataset, facts.split))
        names |= dict.fromkeys(facts.sequences)
    data, split = (next(filter(None, values), "") for values in list(zip(*told, strict=True))[1:])
    if not data:
        raise InputError(
            "expected to know the data set of these results; got no run of `singletrack evaluate`, which would name "
            f"it; give --data ({', '.join(BENCHMARKS)})"
        )
    for where, other, other_split in told:
        if (other or data, other_split or split) != (data, split):
            raise InputError(
                f"expected results on one data set; got {data} {split} and, in {where}, {other} {other_split}; "
                "report them apart"
            )
    return data, split or next(iter(BENCHMARKS[data].splits)), list(names) or None


def _read_all(labeled: list[tuple[str, Path]], sequences: list[VideoSequence]) -> list[TrackerResults]:
    """The results of each folder; of several that would be called alike, by the name of the folder."""
    results = [read_tracker_results(folder, sequences, label=label) for label, folder in labeled]
    count = Counter(each.label for each in results)
    return [
        read_tracker_results(folder, sequences, label=folder.resolve().name)
        if not label and count[each.label] > 1
        else each
        for each, (label, folder) in zip(results, labeled, strict=True)
    ]
