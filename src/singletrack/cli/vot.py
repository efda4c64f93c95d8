"""`singletrack vot`: run a tracker in the VOT toolkit."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.cli.options import model_options
from singletrack.engines import require_packages
from singletrack.install import docs_page
from singletrack.integrations.vot import VOT_EXTRA, VOTTracker, add_entry, make_entry, serve
from singletrack.loading import LoadOptions


@click.group(no_args_is_help=True, epilog=f"Documentation: {docs_page('vot')}")
def command() -> None:
    """Run a tracker in the VOT toolkit (extra [vot]).

    In a workspace, run `singletrack vot register`, then `vot test ostrack-tiny` and `vot evaluate ostrack-tiny`.
    """


@command.command(short_help="Add a model to the trackers.ini of a workspace.")
@model_options
@click.option("--name", help="Tracker name in the toolkit.  [default: the model name]")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Workspace folder, with trackers.ini.  [default: current folder]",
)
@click.option("--in-process", is_flag=True, help="Run in the toolkit's own interpreter, without TraX.")
def register(name: str | None, workspace: Path, in_process: bool, model: str, options: LoadOptions) -> None:
    """Add a model to the trackers.ini of a workspace.

    The model is loaded once. This detects wrong weights early, and completes the one-time export and compilation before
    the toolkit measures time.
    """
    name = name or model
    entry = make_entry(name, model=model, in_process=in_process, **options.arguments)
    if not in_process:
        require_packages("using TraX", *VOT_EXTRA)
    VOTTracker(model, **options.arguments)
    add_entry(workspace / "trackers.ini", name, entry)
    click.echo(entry.strip())


@command.command(name="serve", short_help="TraX server; started by the toolkit.")
@model_options
def serve_command(model: str, options: LoadOptions) -> None:
    """Serve TraX on standard input and output. The toolkit starts this command; see `singletrack vot register`."""
    serve(VOTTracker(model, **options.arguments))
