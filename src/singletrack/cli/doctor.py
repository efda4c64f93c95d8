"""`singletrack doctor`: check the installation and measure its speed."""

from __future__ import annotations

import json
import sys

import click

from singletrack import cache
from singletrack.doctor import examine, format_facts


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Time limit of the speed check; 0 skips it.",
)
@click.option("--clear-cache", is_flag=True, help="Remove cached exports and compiled models, and do nothing else.")
def command(as_json: bool, seconds: float, clear_cache: bool) -> None:
    """Check the installation and print a report for bug reports.

    The report covers engines with their devices and precisions, CPU, threads, versions, the cache, the bundled weights,
    and the speed of tracking a generated clip on each engine. Nothing is changed without --clear-cache. The exit code
    is 1 if a check fails.
    """
    if clear_cache:
        folder = cache.cache_folder()
        count, size = cache.clear_cache(folder)
        click.echo(f"removed {count} files, {size / 1e6:.1f} MB, from {folder}")
        return
    facts = examine(seconds=seconds)
    click.echo(json.dumps(facts, indent=1) if as_json else format_facts(facts))
    if facts["faults"]:
        sys.exit(1)
