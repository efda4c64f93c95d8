"""The command `singletrack`: its verbs, and what its errors look like. Knows nothing of what a verb does.

Exit codes: 0 done, 1 failed, 2 asked for something that cannot be meant, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from singletrack.errors import InputError, SingletrackError

# verb -> where its command stands, and its line in the help; a verb is imported only when it is called
VERBS = {
    "track": ("singletrack.cli.track:command", "Follow one object or many through a video."),
    "label": ("singletrack.cli.label:command", "Draw, track and correct boxes in the browser."),
    "labels": ("singletrack.cli.labels:command", "Convert labels from one format to another."),
    "demo": ("singletrack.cli.demo:command", "Follow an object in a made clip whose boxes are known."),
    "models": ("singletrack.cli.models:command", "List the models that can be loaded."),
    "convert": ("singletrack.cli.convert:command", "Turn weights, official or ours, into safetensors."),
    "train": ("singletrack.cli.train:command", "Train a model by a recipe."),
    "finetune": ("singletrack.cli.finetune:command", "Teach a model one's own kind of video."),
    "export": ("singletrack.cli.export:command", "Write a model as ONNX and check its numbers."),
    "datasets": ("singletrack.cli.datasets:command", "List the benchmarks, or check a copy of one."),
    "evaluate": ("singletrack.cli.evaluate:command", "Follow the sequences of a benchmark."),
    "submit": ("singletrack.cli.submit:command", "Pack a run for a benchmark's server."),
    "report": ("singletrack.cli.report:command", "Score results: tables, plots, one page."),
    "doctor": ("singletrack.cli.doctor:command", "Tell what is installed here, and whether it works."),
    "profile": ("singletrack.cli.profile:command", "Count and time what a model does."),
    "vot": ("singletrack.cli.vot:command", "Run a model in the VOT toolkit."),
}


class Verbs(click.Group):
    """A group that reads the table of verbs."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, attribute = VERBS[name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="singletrack", message="%(prog)s %(version)s")
def singletrack() -> None:
    """Follow one object through a video, given only its box in the first frame."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process, if None) and give its exit code."""
    try:
        code = singletrack.main(arguments, prog_name="singletrack", standalone_mode=False)
    except click.exceptions.Abort:  # Ctrl-C
        click.echo("singletrack: stopped", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SingletrackError as error:
        click.echo(f"singletrack: {error}", err=True)
        return 2 if isinstance(error, InputError) else 1
    return code if isinstance(code, int) else 0
