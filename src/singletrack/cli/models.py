"""`singletrack models`: list the available models."""

from __future__ import annotations

import click

from singletrack import loading
from singletrack.auto import measure_rate
from singletrack.cli.options import OPTIONS
from singletrack.registry import MODELS


@click.command()
@click.option("--measure", is_flag=True, help="Also measure the speed of the bundled models on this machine.")
@OPTIONS["engine"]
@OPTIONS["threads"]
def command(measure: bool, engine: str, threads: int | None) -> None:
    """List the available models: size, cost, the source of their weights, and their scores.

    PARAMETERS is in millions. GMACS, billions of multiply-adds, is the cost of a frame. --measure adds the updates per
    second of the bundled models, without the reading of video; --engine and --threads are for that.
    """
    heads = ["MODEL", "WEIGHTS", "PARAMETERS", "GMACS", "DESCRIPTION", "SCORES"]
    rows = []
    for name, entry in MODELS.items():
        weights = "bundled" if entry.bundled else "--weights PATH"
        cells = [name, weights, f"{entry.parameters:.1f}", f"{entry.gmacs:.2f}"]
        if measure:
            rate = measure_rate(loading.load(name, engine=engine, threads=threads)) if entry.bundled else None
            cells.append("" if rate is None else f"{rate:.0f}")
        rows.append([*cells, entry.description, entry.reported_results])
    if measure:
        heads.insert(4, "UPDATES/S")
    numbers = {index for index, head in enumerate(heads) if head in ("PARAMETERS", "GMACS", "UPDATES/S")}
    table = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            f"{cell:>{width}}" if index in numbers else f"{cell:{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
