"""`singletrack models`: list the available models."""

from __future__ import annotations

import click

from singletrack.registry import MODELS


@click.command()
def command() -> None:
    """List the available models, the source of their weights, and their scores."""
    rows = [("MODEL", "WEIGHTS", "DESCRIPTION", "SCORES")]
    for name, entry in MODELS.items():
        weights = "bundled" if entry.bundled else "--weights PATH"
        rows.append((name, weights, entry.description, entry.reported_results))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
