"""`singletrack profile`: measure the cost and speed of models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from singletrack import profiling
from singletrack.cli.options import OPTIONS, ask_to_overwrite, overwrite_option
from singletrack.engines import ENGINES, PRECISIONS
from singletrack.engines.cpu import processor_name, usable_cores
from singletrack.files import check_file
from singletrack.loading import check_keep_ratio, existing_file

Value = TypeVar("Value")

PLOT_ENDINGS = (".png", ".pdf", ".svg")


def several(parse: Callable[[str], Value]) -> Callable[[click.Context, click.Parameter, str | None], list[Value]]:
    """Return a parser of comma-separated values."""

    def parse_all(context: click.Context, parameter: click.Parameter, text: str | None) -> list[Value]:
        try:
            return [parse(word.strip()) for word in (text or "").split(",") if word.strip()]
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return parse_all


def one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser that accepts one of ``known``."""

    def parse(word: str) -> str:
        if word not in known:
            raise ValueError(f"expected a comma-separated list of {', '.join(known)}; got {word!r}")
        return word

    return parse


@click.command(no_args_is_help=True)
@click.argument("models", nargs=-1, required=True)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file.  [default: bundled, else random]")
@click.option(
    "--keep-ratio",
    callback=several(check_keep_ratio),
    help="Keep ratios to compare, such as 1,0.7; 1 turns elimination off.",
)
@click.option(
    "--engines", callback=several(one_of(tuple(ENGINES))), help="Engines to compare.  [default: all installed]"
)
@click.option(
    "--precisions",
    default="auto",
    show_default=True,
    callback=several(one_of(PRECISIONS)),
    help="Precisions to compare, such as fp32,bf16.",
)
@click.option(
    "--batches",
    default="1",
    show_default=True,
    callback=several(int),
    help="Batch sizes (numbers of targets) to compare, such as 1,4,16.",
)
@click.option("--device", default="auto", show_default=True, help="Device name of the engine, such as cpu or cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the engine's]")
@OPTIONS["settings"]
@click.option("--frames", type=click.IntRange(min=1), default=20, show_default=True, help="Timed frames per row.")
@click.option("--count-only", is_flag=True, help="Count parameters and operations without timing.")
@click.option("--parts", is_flag=True, help="Also time the parts of each network in PyTorch.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Output file for the timings (.json).")
@click.option("--plot", type=click.Path(path_type=Path), help="Output file for a plot (.png, .pdf or .svg).")
@overwrite_option
def command(
    models: tuple[str, ...],
    weights: Path | None,
    keep_ratio: list[float],
    engines: list[str],
    precisions: list[str],
    batches: list[int],
    device: str,
    threads: int | None,
    settings: dict[str, Any],
    frames: int,
    count_only: bool,
    parts: bool,
    json_path: Path | None,
    plot: Path | None,
    overwrite: bool,
) -> None:
    """Measure MODELS: parameters, operations, time per stage, memory, frames per second.

    A MAC is one multiply-add. GMACs are those of convolutions and linear layers, for a template and a search region;
    the next column adds the matrix products of attention. Activations and softmax are not counted. "As the paper
    counts" is OSTrack's count: it includes norms, and tokens of the last block that nothing reads, which are skipped
    here. "Paper" is what the paper prints, not rounded up.

    Without --weights, a model that is not bundled runs with random weights, which takes the same time. To reproduce
    Table 3 of the OSTrack paper: singletrack profile ostrack-256 ostrack-384 --keep-ratio 1,0.7
    """
    if weights is not None:
        existing_file(weights)
    ratios: list[float | None] = [*keep_ratio] or [None]
    if count_only and (json_path or plot or parts):
        raise click.UsageError("--json, --plot and --parts show timings; leave them or --count-only out")
    ask_to_overwrite([path for path in (json_path, plot) if path], overwrite)
    if json_path:
        check_file(json_path, (".json",))
    if plot:
        check_file(plot, PLOT_ENDINGS)
    jobs = profiling.plan(
        models,
        weights=weights,
        keep_ratios=ratios,
        engines=engines,
        precisions=precisions,
        device=device,
        threads=threads,
        batches=batches,
        frames=frames,
        settings=settings,
    )
    click.echo(profiling.format_costs(models, ratios))
    if count_only:
        return
    click.echo(f"\n{processor_name()}, {usable_cores()} cores\n\n{profiling.ROW_HEADER}")
    rows = []
    for row in profiling.measure_each(jobs):
        rows.append(row)
        click.echo(profiling.format_row(row))
    for model in models if parts else ():
        for ratio in profiling.ratios_for(model, ratios):
            click.echo(f"\n{model}, keep ratio {ratio or 'own'}, torch\n")
            click.echo(profiling.format_parts(model, weights, ratio))
    if json_path:
        json_path.write_text(json.dumps(profiling.as_json(rows), indent=1) + "\n", encoding="utf-8")
    if plot:
        profiling.draw(rows, plot)
