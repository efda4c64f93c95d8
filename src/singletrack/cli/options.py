"""Options that several commands share: those of a model, and folders of data sets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from singletrack.engines import ENGINES, PRECISIONS
from singletrack.errors import InputError
from singletrack.files import is_stream
from singletrack.install import install_command
from singletrack.loading import DEFAULT_MODEL, LoadOptions, check_keep_ratio, choose_model

WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}


def parse_settings(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Parse repeated NAME=VALUE options; a value is a number, true, false or none."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            settings[name.strip()] = _parse_value(value.strip().lower())
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(
                f"expected NAME=VALUE with a number, true, false or none as VALUE; got {text!r}; "
                "example: update_interval=25"
            )
    return settings


def parse_changes(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Parse repeated NAME=VALUE options; a value is a word, number, true, false or none, or several with commas."""
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise click.BadParameter(f"expected NAME=VALUE; got {text!r}; example: template_rows=all")
        parts = [_parse_word(part.strip()) for part in value.split(",") if part.strip()]
        changes[name.strip()] = parts[0] if len(parts) == 1 and "," not in value else parts
    return changes


def _parse_word(text: str) -> str | int | float | bool | None:
    try:
        return _parse_value(text.lower())
    except ValueError:
        return text


def _parse_value(text: str) -> int | float | bool | None:
    if text in WORDS:
        return WORDS[text]
    return float(text) if "." in text else int(text)


def parse_keep_ratio(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Parse a keep ratio, above 0 and at most 1."""
    try:
        return None if text is None else check_keep_ratio(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


OPTIONS = {
    "model": click.option(
        "--model",
        help="Model name; `singletrack models` lists them. auto: the most accurate bundled model that reaches "
        f"--min-fps here.  [default: that of --weights, else {DEFAULT_MODEL}]",
    ),
    "weights": click.option("--weights", type=click.Path(path_type=Path), help="Weights file.  [default: bundled]"),
    "engine": click.option(
        "--engine",
        type=click.Choice(["auto", *ENGINES]),
        default="auto",
        show_default=True,
        help="Engine that runs the network.",
    ),
    "device": click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Device name of the engine: cpu for all; GPU for openvino; cuda for torch and onnx.",
    ),
    "precision": click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="Number format of the computation. auto: bf16 with openvino on CPUs that support it, else fp32.",
    ),
    "keep_ratio": click.option(
        "--keep-ratio",
        callback=parse_keep_ratio,
        metavar="RATIO",
        help="Share of search tokens that each elimination keeps, above 0 and at most 1.  [default: the model's]",
    ),
    "threads": click.option(
        "--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: the engine's choice]"
    ),
    "long_term": click.option(
        "--long-term/--short-term",
        default=None,
        help="Search the complete frame for a lost target, or only around its last box.  [default: the model's]",
    ),
    "min_fps": click.option(
        "--min-fps",
        type=click.FloatRange(min=0, min_open=True),
        help="With --model auto: frames per second to reach on this machine.  [default: 30]",
    ),
    "settings": click.option(
        "--set",
        "settings",
        multiple=True,
        callback=parse_settings,
        metavar="NAME=VALUE",
        help="Change a setting of the tracker, such as update_interval=25. Repeatable.",
    ),
}


WEB_EXTRA = (("starlette", "uvicorn", "websockets"), install_command("web"))
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def group_options(
    options: Iterable[Decorator], gather: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: {}
) -> Decorator:
    """Make a decorator that adds several options to a command, in this order.

    Args:
        options: the options, as made by ``click.option``.
        gather: takes their values out of the arguments of the command, and returns those that it gets instead.
    """
    decorators = list(options)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **given: Any) -> Any:
            gathered = gather(given)
            return function(*arguments, **gathered, **given)

        decorated: Callable[..., Any] = call
        for option in reversed(decorators):
            decorated = option(decorated)
        return decorated

    return decorate


def _gather_model(given: dict[str, Any]) -> dict[str, Any]:
    options = LoadOptions(**{name: given.pop(name) for name in OPTIONS if name != "model"})
    model, options = choose_model(given.pop("model"), options)
    return {"model": str(model), "options": options}


# which model runs and how; the command gets ``model`` and ``options: LoadOptions``
model_options = group_options(OPTIONS.values(), _gather_model)

# of the commands that serve a page; the command gets ``browser``, ``host``, ``port`` and ``allow_remote``
page_options = group_options(
    [
        click.option("--browser/--no-browser", default=True, help="Open the page in a browser.  [default: open it]"),
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            help="Port to listen on (0: any free port).  [default: 8713, else a free one]",
        ),
        click.option(
            "--allow-remote",
            is_flag=True,
            help="Allow other machines to connect; needs a --host that they can reach. The connection is not "
            "encrypted.",
        ),
    ]
)


def is_given(name: str) -> bool:
    """Whether an option of the running command was given, be it with the value of its default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def parse_folders(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """Parse repeated NAME=DIR values into a folder for each data set."""
    folders = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            raise click.BadParameter(f"expected NAME=DIR, such as lasot=/data/LaSOT; got {value!r}")
        if not Path(folder).is_dir():
            raise click.BadParameter(f"folder of {name} not found: {folder}")
        folders[name] = Path(folder)
    return folders


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing files.")


def ask_to_overwrite(paths: Sequence[Path], overwrite: bool) -> None:
    """Ask before files are replaced, where there is a terminal; raises InputError without one, or if the answer is no.

    Pipes and devices are written to, not replaced.
    """
    existing = [path for path in paths if path.is_file() and not is_stream(path)]
    if overwrite or not existing:
        return
    names = " and ".join(map(str, existing)) + (" exist" if len(existing) > 1 else " exists")
    them = "them" if len(existing) > 1 else "it"
    if not _confirmed(f"{names} already; replace {them}?"):
        raise InputError(f"{names} already; add --overwrite to replace {them}, or choose another name")


def ask_to_fill(folder: Path, overwrite: bool) -> None:
    """As ``ask_to_overwrite``, for a command that writes files of many names: their folder must be new or empty."""
    if overwrite or not folder.is_dir() or not any(folder.iterdir()):
        return
    if not _confirmed(f"{folder} has files already; replace those of the same names?"):
        raise InputError(
            f"{folder} must be a new or empty folder; it has files already; add --overwrite to replace those of the "
            "same names, or choose another --out"
        )


def _confirmed(question: str) -> bool:
    """Whether the answer on a terminal is yes; without one, no."""
    return sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(question, err=True)
