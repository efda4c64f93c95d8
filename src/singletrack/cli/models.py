"""`singletrack models`: what can be loaded."""

from __future__ import annotations

import click

from singletrack.zoo import ZOO


@click.command()
def command() -> None:
    """List the models that can be loaded."""
    width = max(map(len, ZOO))
    for name, entry in ZOO.items():
        click.echo(f"{name:{width}}  {entry}")
