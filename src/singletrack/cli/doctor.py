"""`singletrack doctor`: what is installed here, whether it works and how fast."""

from __future__ import annotations

import json
import sys

import click

from singletrack.doctor import examine, format_facts


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="How long the speed check may take; 0 leaves it out.",
)
def command(as_json: bool, seconds: float) -> None:
    """Tell what is installed here, whether it works and how fast, ready to paste into a bug report.

    Engines with their devices and precisions, processor, threads, versions, the cache, the bundled weights, and a
    made clip followed on each engine. Nothing is changed. Ends with exit code 1 where something does not work.
    """
    facts = examine(seconds=seconds)
    click.echo(json.dumps(facts, indent=1) if as_json else format_facts(facts))
    if facts["faults"]:
        sys.exit(1)
