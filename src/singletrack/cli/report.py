"""`singletrack report`: score results of one or more trackers as tables, plots and an HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from tqdm import tqdm

from singletrack.cli.options import ask_to_fill, is_given, overwrite_option
from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.engines import require_packages
from singletrack.errors import InputError
from singletrack.evaluation.protocols import PROTOCOLS
from singletrack.evaluation.report import (
    BenchmarkScores,
    Report,
    build_report,
    difference_table,
    main_table,
    published_table,
    several_table,
)
from singletrack.evaluation.result_readers import TrackerResults, is_run_folder, read_tracker_results
from singletrack.evaluation.run_store import RunFolder
from singletrack.evaluation.vot import CHALLENGES, Scores, open_workspace, robustness_of, score, vot_table
from singletrack.files import check_output_folder
from singletrack.install import install_command

REPORT_EXTRA = (("matplotlib", "jinja2"), install_command("report"))


@click.command(short_help="Score results: tables, plots and an HTML page.")
@click.argument("runs", metavar="[LABEL=]FOLDER...", nargs=-1, required=True)
@click.option(
    "--root",
    "roots",
    required=True,
    multiple=True,
    metavar="[DATA=]PATH",
    help="Folder, .zip or .tar of the data set; once for each, such as lasot=PATH, for a table over several.",
)
@click.option(
    "--data",
    type=click.Choice([*BENCHMARKS, *CHALLENGES]),
    help="Name of the data set, also of a VOT challenge.  [default: from the run folder]",
)
@click.option("--split", default="", help="Split, or experiment of a VOT challenge.  [default: from the run; baseline]")
@click.option("--split-file", type=click.Path(path_type=Path), help="File with the sequence names of the split.")
@click.option(
    "--attributes", type=click.Path(path_type=Path), help="Challenge attributes of the sequences: a folder or .json."
)
@click.option(
    "--protocol", type=click.Choice(list(PROTOCOLS)), help="Scoring rules.  [default: those of the data set's papers]"
)
@click.option("--common-only", is_flag=True, help="Score only sequences that every tracker has results for.")
@click.option("--published", is_flag=True, help="Add what papers report on this benchmark, with the sources.")
@click.option("--out", type=click.Path(path_type=Path), help="Output folder for report.html, tables and plots.")
@click.option(
    "--strips",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Number of best and of worst sequences to show.",
)
@overwrite_option
def command(
    runs: tuple[str, ...],
    roots: tuple[str, ...],
    data: str | None,
    split: str,
    split_file: Path | None,
    attributes: Path | None,
    protocol: str | None,
    common_only: bool,
    published: bool,
    out: Path | None,
    strips: int,
    overwrite: bool,
) -> None:
    """Score the results of trackers on a data set, and compare the first tracker with the others.

    FOLDER is a run of `singletrack evaluate`, or a folder with the .txt results of another tracker in the format of
    PyTracking, got10k or pysot, such as published raw results. LABEL= sets its name in the report. The table is
    printed. --out writes everything, including a single self-contained HTML page.

    With a VOT challenge as --data, FOLDER is that of a tracker in the results of a VOT toolkit workspace, and --root
    is the workspace. EAO, accuracy and robustness are those of the toolkit.

    With several --root DATA=PATH, runs of `singletrack evaluate` on several data sets become one table, with a row for
    each tracker; runs with the same LABEL, or model, share a row. DATA may be a VOT challenge, for trackers in the
    results of that workspace.
    """
    if out is None and is_given("strips"):
        raise click.UsageError("--strips goes with --out FOLDER; add it, or leave --strips out")
    if out is not None:
        check_output_folder(out, [_named_root(root)[1] for root in roots])
        ask_to_fill(out, overwrite)
    if len(roots) > 1:
        if data or split or split_file or attributes or protocol:
            raise click.UsageError("several --root go without --data, --split, --split-file, --attributes, --protocol")
        _require_report_packages(out)
        report_several(runs, roots, common_only=common_only, published=published, out=out)
        return
    named, root = _named_root(roots[0])
    data = data or (named if named in CHALLENGES else None)
    _require_report_packages(out)
    if data in CHALLENGES:
        report_vot(runs, root, data, experiment=split or "baseline", published=published, out=out)
        return
    report = read_report(
        runs,
        root,
        data=data,
        split=split,
        split_file=split_file,
        attributes=attributes,
        protocol=protocol,
        common_only=common_only,
        published=published,
    )
    show(report)
    if out is not None:
        from singletrack.evaluation.html_report import write_report

        click.echo(f"wrote {write_report(report, out, strips=strips)}")


def _require_report_packages(out: Path | None) -> None:
    if out is not None:
        require_packages("writing a report", *REPORT_EXTRA)


def _named_root(root: str) -> tuple[str, Path]:
    """Split DATA=PATH into data set ("" if absent) and path; an existing path may have = in its name."""
    name, mark, path = root.partition("=")
    return (
        (name, Path(path))
        if mark and name in {**BENCHMARKS, **CHALLENGES} and not Path(root).exists()
        else ("", Path(root))
    )


def report_several(
    runs: Iterable[str], roots: Iterable[str], *, common_only: bool, published: bool, out: Path | None
) -> None:
    """Score runs on several data sets, print one table over all of them, and write a page with it."""
    named = dict(map(_named_root, roots))
    if "" in named:
        raise InputError(
            f"expected several data sets as --root DATA=PATH; got {named['']}; name it, such as lasot=PATH"
        )
    by_data: dict[str, list[str]] = {}
    for run in runs:
        by_data.setdefault(_data_of(split_label(run)[1], named), []).append(run)
    if wrong := by_data.keys() ^ named.keys():
        raise InputError(
            f"expected a --root for each data set of the runs ({', '.join(by_data)}), and no other; got "
            f"{', '.join(named)}; add or remove {', '.join(sorted(wrong))}"
        )
    scores = []
    for name, root in named.items():
        if name in CHALLENGES:
            trackers = {label: each.measures for label, each in _vot_scores(by_data[name], root, name).items()}
            less = () if CHALLENGES[name].anchors else ("robustness",)
            scores.append(BenchmarkScores(benchmark=name, trackers=trackers, less=less))
        else:
            scores.append(BenchmarkScores.of(read_report(by_data[name], root, common_only=common_only)))
    table = several_table(scores, with_published=published)
    click.echo(table.text())
    if out is not None:
        from singletrack.evaluation.html_report import write_tables

        about = "Measures are in percent, as papers on each data set compute them."
        click.echo(f"wrote {write_tables(', '.join(named), about, [table], {}, out)}")


def _data_of(folder: Path, roots: Mapping[str, Path]) -> str:
    """Find the data set of a folder of results among those with a root."""
    if is_run_folder(folder):
        return RunFolder.open(folder).facts.dataset
    inside = [
        name for name, root in roots.items() if name in CHALLENGES and folder.resolve().is_relative_to(root.resolve())
    ]
    if not inside:
        raise InputError(
            f"expected a run of `singletrack evaluate`, which names its data set, or a tracker's folder below the "
            f"root of a VOT challenge; got {folder}; report others alone"
        )
    return inside[0]


def report_vot(
    runs: Iterable[str], root: Path, challenge: str, *, experiment: str, published: bool, out: Path | None
) -> None:
    """Score results of the VOT toolkit, print the table, and write a page with it."""
    scores = _vot_scores(runs, root, challenge, experiment)
    table = vot_table(scores, challenge, published)
    click.echo(table.text())
    if out is not None:
        from singletrack.evaluation import plots
        from singletrack.evaluation.html_report import write_tables

        title, year = challenge.upper(), CHALLENGES[challenge]
        figures = {
            "expected_overlap": plots.draw_expected_overlap(
                {label: each.curve for label, each in scores.items()},
                {label: each.eao for label, each in scores.items()},
                low=year.low,
                high=year.high,
                title=title,
            ),
            "accuracy_robustness": plots.draw_accuracy_robustness(
                {label: (each.measures["robustness"], each.measures["accuracy"]) for label, each in scores.items()},
                title=title,
                robustness=robustness_of(challenge),
            ),
        }
        about = f"From the result files of the VOT toolkit (experiment {experiment}), as the toolkit computes them."
        labels = ", ".join(scores)
        click.echo(f"wrote {write_tables(f'{title}: {labels}', about, [table], figures, out)}")


def _vot_scores(runs: Iterable[str], root: Path, challenge: str, experiment: str = "baseline") -> dict[str, Scores]:
    """Score trackers of a workspace, [LABEL=]FOLDER each; raises InputError as ``vot.score``."""
    sequences, scores = open_workspace(root), dict[str, Scores]()
    for label, folder in map(split_label, runs):
        name = label or folder.resolve().name
        if name in scores:
            raise InputError(f"two trackers are named {name}; name them with LABEL=FOLDER")
        scores[name] = score(sequences, folder, challenge, experiment)
    return scores


def read_report(
    runs: Iterable[str],
    root: Path,
    *,
    data: str | None = None,
    split: str = "",
    split_file: Path | None = None,
    attributes: Path | None = None,
    protocol: str | None = None,
    common_only: bool = False,
    published: bool = False,
) -> Report:
    """Read results, [LABEL=]FOLDER each, and score them; raises InputError as ``build_report``."""
    labeled = [split_label(run) for run in runs]
    for _, folder in labeled:
        if not folder.is_dir():
            raise InputError(f"folder of results not found: {folder}; check the path")
    data, split, names = _what_ran([folder for _, folder in labeled if is_run_folder(folder)], data, split)
    sequences = open_dataset(
        data,
        root,
        split=split,
        split_file=split_file,
        attributes=attributes,
        names=None if split_file else names,
        incomplete=common_only,
    )
    return build_report(
        _read_all(labeled, sequences),
        sequences,
        benchmark=data,
        split=split,
        title=root.resolve().stem if data == "folder" else "",
        protocol=protocol,
        common=common_only,
        with_published=published,
        sequence_count=BENCHMARKS[data].splits[split] or len(names or sequences),
        progress=lambda results: tqdm(results, unit=" trackers", disable=None, dynamic_ncols=True),
    )


def show(report: Report) -> None:
    """Print the main tables."""
    click.echo(main_table(report).text())
    if report.with_published:
        click.echo(published_table(report).text())
    if len(report.trackers) > 1:
        click.echo(difference_table(report).text())
    click.echo(report.about_protocol)


def split_label(run: str) -> tuple[str, Path]:
    """Split LABEL=FOLDER into label ("" if absent) and folder; an existing folder may have = in its name."""
    label, mark, folder = run.partition("=")
    return ("", Path(run)) if not mark or Path(run).exists() else (label, Path(folder))


def _what_ran(run_folders: Iterable[Path], data: str | None, split: str) -> tuple[str, str, list[str] | None]:
    """Find the data set, split and sequences from the options and the runs; the sequences are None without a run.

    Raises InputError if they disagree, or if nothing names the data set.
    """
    names: dict[str, None] = {}
    named = [("the options", data or "", split)]
    for folder in run_folders:
        facts = RunFolder.open(folder).facts
        named.append((str(folder), facts.dataset, facts.split))
        names |= dict.fromkeys(facts.sequences)
    data, split = (next(filter(None, values), "") for values in list(zip(*named, strict=True))[1:])
    if not data:
        raise InputError(
            "cannot tell the data set of these results: no folder is a run of `singletrack evaluate`; "
            f"give --data ({', '.join(BENCHMARKS)})"
        )
    for where, other, other_split in named:
        if (other or data, other_split or split) != (data, split):
            raise InputError(
                f"expected results on one data set; got {data} {split} and, in {where}, {other} {other_split}; "
                "report them separately"
            )
    return data, split or next(iter(BENCHMARKS[data].splits)), list(names) or None


def _read_all(labeled: list[tuple[str, Path]], sequences: list[VideoSequence]) -> list[TrackerResults]:
    """Read the results of each folder; trackers with equal labels are named after their folders."""
    results = [read_tracker_results(folder, sequences, label=label) for label, folder in labeled]
    count = Counter(each.label for each in results)
    return [
        read_tracker_results(folder, sequences, label=folder.resolve().name)
        if not label and count[each.label] > 1
        else each
        for each, (label, folder) in zip(results, labeled, strict=True)
    ]
