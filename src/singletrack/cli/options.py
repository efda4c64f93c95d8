"""Options that several commands share: those of a model, and folders of data sets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from singletrack.engines import ENGINES, PRECISIONS
from singletrack.errors import InputError
from singletrack.files import is_stream
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
        help=f"Model name; `singletrack models` lists them.  [default: that of --weights, else {DEFAULT_MODEL}]",
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
    "settings": click.option(
        "--set",
        "settings",
        multiple=True,
        callback=parse_settings,
        metavar="NAME=VALUE",
        help="Change a setting of the tracker, such as update_interval=25. Repeatable.",
    ),
}


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model runs and how; the command gets ``model`` and ``options: LoadOptions``."""
    names = [name for name in OPTIONS if name != "model"]

    @functools.wraps(function)
    def call(*arguments: Any, **given: Any) -> Any:
        options = LoadOptions(**{name: given.pop(name) for name in names})
        model, options = choose_model(given.pop("model"), options)
        return function(*arguments, model=str(model), options=options, **given)

    decorated: Callable[..., Any] = call
    for option in reversed(OPTIONS.values()):
        decorated = option(decorated)
    return decorated


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
    asked = sys.stdin.isatty() and sys.stderr.isatty()
    if not (asked and click.confirm(f"{names} already; replace {them}?", err=True)):
        raise InputError(f"{names} already; add --overwrite to replace {them}, or choose another name")
