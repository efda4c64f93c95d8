"""`singletrack plot-runs`: plots of training runs (convergence) or of evaluation runs (speed, accuracy and cost)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.cli.report import REPORT_EXTRA, read_report, split_label
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError, reason_of
from singletrack.evaluation.result_readers import is_run_folder
from singletrack.evaluation.run_store import RunFolder
from singletrack.files import check_file, check_outputs, writing
from singletrack.registry import MODELS

ENDINGS = (".png", ".svg", ".pdf")


@click.command("plot-runs", short_help="Plot training runs, or speed against accuracy.")
@click.argument("runs", metavar="[LABEL=]FOLDER...", nargs=-1, required=True)
@click.option("--root", type=click.Path(path_type=Path), help="Data set of evaluation runs: folder, .zip or .tar.")
@click.option("--measure", default="ao", show_default=True, help="Number of the training log to plot.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output file (.png, .svg or .pdf).")
@overwrite_option
def command(runs: tuple[str, ...], root: Path | None, measure: str, out: Path, overwrite: bool) -> None:
    """Plot several runs in one figure.

    Folders of `singletrack train` give the AO of their validations over the number of training samples (Figure 3 of
    OSTrack's paper). Folders of `singletrack evaluate`, with --root, give accuracy over speed, with the cost of each
    network as the size of its circle (Figure 1). Speeds are those of the machine where each run was made.
    """
    require_packages("plotting runs", *REPORT_EXTRA)
    from singletrack.evaluation import plots

    check_file(out, ENDINGS, make_folders=True)
    ask_to_overwrite([out], overwrite)
    check_outputs([out], [path for run in runs for path in split_label(run)[1].rglob("*")])
    labeled = [(label or folder.resolve().name, folder) for label, folder in map(split_label, runs)]
    if len({label for label, _ in labeled}) < len(labeled):
        raise InputError(f"labels must be unique; got {', '.join(label for label, _ in labeled)}; use LABEL=FOLDER")
    evaluated = [is_run_folder(folder) for _, folder in labeled]
    if all(evaluated):
        if root is None:
            raise InputError("folders of `singletrack evaluate` need --root, the data set, for their scores; add it")
        report = read_report([f"{label}={folder}" for label, folder in labeled], root)
        costs = {label: _cost(RunFolder.open(folder).facts) for label, folder in labeled}
        points = {
            each.label: (each.speed, each.total.measures[report.headline], costs[each.label])
            for each in report.trackers
        }
        if unknown := [label for label, (speed, _, _) in points.items() if math.isnan(speed)]:
            raise InputError(
                f"the speed of {', '.join(unknown)} is unknown, because its times are missing; leave it out"
            )
        figure = plots.draw_cost(points, measure=f"{report.headline} on {report.title}")
    elif not any(evaluated):
        figure = plots.draw_convergence(
            {label: _curve(folder, measure) for label, folder in labeled}, measure=measure.upper()
        )
    else:
        raise InputError(
            "expected folders of `singletrack train`, or of `singletrack evaluate`; got both; plot each alone"
        )
    with writing(out):
        plots.save(figure, out, out.suffix[1:])
    click.echo(f"wrote {out}")


def _cost(facts: Any) -> float:
    """Billions of multiply-adds of a template and a search region; NaN for a model that is not in the registry."""
    if facts.model not in MODELS:
        return math.nan
    require_packages("counting operations", *TRAIN_EXTRA)
    from singletrack.models.flops import count

    network = MODELS[facts.model].network
    return count(network, facts.keep_ratio if network.eliminates else None).total / 1e9


def _curve(folder: Path, measure: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Read the number of samples and the measure of each line of a training log that has it.

    Raises:
        InputError: the folder is not that of a training run, or its log never has the measure.
    """
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["recipe"]
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        stages: Sequence[Any] = recipe["stages"]
        before, starts, batches = 0, {}, {}
        for stage in stages:
            starts[stage["name"]], batches[stage["name"]] = before, stage["batch"]
            before += stage["steps"] * stage["batch"]
        points = {
            starts[line["stage"]] + line["step"] * batches[line["stage"]]: line[measure]
            for line in lines
            if measure in line
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} must be a folder of `singletrack train`, with recipe.json and log.jsonl, or of `singletrack "
            f"evaluate`; it cannot be read ({reason_of(error)}); check the path"
        ) from error
    if not points:
        known = sorted({name for line in lines for name in line} - {"stage", "step", "time"})
        raise InputError(f"the log of {folder} has no {measure!r}; it has {', '.join(known) or 'no lines'}")
    samples = sorted(points)
    return np.array(samples, float), np.array([points[each] for each in samples], float)
