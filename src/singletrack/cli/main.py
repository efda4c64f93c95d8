"""The command `singletrack`: a table of commands, and how errors are printed.

Exit codes: 0 success, 1 failure, 2 invalid usage or input (a file that is not there, too), 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from singletrack.errors import InputError, SingletrackError
from singletrack.install import DOCS
from singletrack.interrupts import STOPPED, quit_on_interrupt

# name -> where the command is defined, and its line in the help; a command is imported only when it is used
VERBS = {
    "track": ("singletrack.cli.track:command", "Track one or more objects through a video."),
    "live": ("singletrack.cli.live:command", "Follow targets of a camera or stream in the browser."),
    "bulk": ("singletrack.cli.bulk:command", "Track every target of a video library."),
    "label": ("singletrack.cli.label:command", "Draw, track and correct boxes in the browser."),
    "labels": ("singletrack.cli.labels:command", "Convert labels from one format to another."),
    "plot": ("singletrack.cli.plot:command", "Plot way, speed, size and score of tracked targets."),
    "demo": ("singletrack.cli.demo:command", "Track an object in a generated clip with known boxes."),
    "models": ("singletrack.cli.models:command", "List the available models."),
    "convert": ("singletrack.cli.convert:command", "Convert a checkpoint to safetensors."),
    "train": ("singletrack.cli.train:command", "Train a model with a recipe."),
    "finetune": ("singletrack.cli.finetune:command", "Fine-tune a model on your own videos."),
    "export": ("singletrack.cli.export:command", "Export a model to ONNX or OpenVINO and verify it."),
    "datasets": ("singletrack.cli.datasets:command", "List data sets, check a copy, or cut training crops."),
    "evaluate": ("singletrack.cli.evaluate:command", "Run a tracker on a benchmark."),
    "submit": ("singletrack.cli.submit:command", "Pack a run for a benchmark server."),
    "report": ("singletrack.cli.report:command", "Score results: tables, plots and an HTML page."),
    "plot-runs": ("singletrack.cli.plot_runs:command", "Plot training runs, or speed against accuracy."),
    "doctor": ("singletrack.cli.doctor:command", "Check the installation."),
    "inspect": ("singletrack.cli.inspect:command", "Show what a network sees: attention, elimination, maps."),
    "profile": ("singletrack.cli.profile:command", "Measure the cost and speed of a model."),
    "vot": ("singletrack.cli.vot:command", "Run a tracker in the VOT toolkit."),
}


class Verbs(click.Group):
    """A command group that imports a command only when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, attribute = VERBS[name][0].split(":")
        with quit_on_interrupt():
            command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=Verbs, epilog=f"Documentation: {DOCS}/", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="singletrack", message="%(prog)s %(version)s")
def singletrack() -> None:
    """Track one or more objects through a video, given their boxes in one frame."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default that of the process) and return its exit code."""
    try:
        code = singletrack.main(arguments, prog_name="singletrack", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):  # Ctrl-C
        click.echo(STOPPED, nl=False, err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SingletrackError as error:
        click.echo(f"singletrack: {error}", err=True)
        return 2 if isinstance(error, InputError) else 1
    return code if isinstance(code, int) else 0
