"""`singletrack vot`: the VOT toolkit's tracker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from singletrack.cli.options import precision_option, settings_option
from singletrack.engines import ENGINES, require_packages
from singletrack.integrations.vot import VOT_EXTRA, VOTTracker, add_entry, make_entry, serve


def model_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say which model runs, and on what."""
    for option in (
        settings_option,
        precision_option,
        click.option("--device", default="auto", show_default=True, help="Where it runs, as the engine calls it."),
        click.option("--engine", type=click.Choice(["auto", *ENGINES]), default="auto", show_default=True),
        click.option("--weights", type=click.Path(path_type=Path), help="Weights to use instead of the model's own."),
        click.option(
            "--model", default="ostrack-tiny", show_default=True, help="One of those that `singletrack models` lists."
        ),
    ):
        function = option(function)
    return function


@click.group(no_args_is_help=True)
def command() -> None:
    """Run a model in the VOT toolkit (pip install "singletrack[vot]").

    In a workspace: `singletrack vot register`, then `vot test ostrack-tiny` and `vot evaluate ostrack-tiny`.
    """


@command.command(short_help="Add a model to a workspace's trackers.ini.")
@model_options
@click.option("--name", help="What the toolkit shall call it.  [default: the model's name]")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Folder of the trackers.ini.  [default: this folder]",
)
@click.option("--in-process", is_flag=True, help="Run in a process of the toolkit's own interpreter, without TraX.")
def register(name: str | None, workspace: Path, in_process: bool, model: str, **options: Any) -> None:
    """Add a model to a workspace's trackers.ini.

    The model is loaded once, so that weights that do not fit are found now, and what is exported or compiled only
    once is there when the toolkit's clock runs.
    """
    name = name or model
    entry = make_entry(name, model=model, in_process=in_process, **options)
    if not in_process:
        require_packages("speaking TraX", *VOT_EXTRA)
    VOTTracker(model, **options)
    add_entry(workspace / "trackers.ini", name, entry)
    click.echo(entry.strip())


@command.command(name="serve", short_help="Speak TraX; the toolkit runs this.")
@model_options
def serve_command(model: str, **options: Any) -> None:
    """Speak TraX on standard input and output. The toolkit runs this; `singletrack vot register` tells it to."""
    serve(VOTTracker(model, **options))
