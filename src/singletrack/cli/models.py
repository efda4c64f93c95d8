"""`singletrack models`: what can be loaded."""

from __future__ import annotations

import click

from singletrack.registry import MODELS


@click.command()
def command() -> None:
    """List the models that can be loaded, where their weights come from, and how well they score."""
    rows = [("MODEL", "WEIGHTS", "WHAT", "SCORES")]
    for name, entry in MODELS.items():
        weights = "in the package" if entry.bundled else "--weights PATH"
        rows.append((name, weights, entry.description, entry.reported_results))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
