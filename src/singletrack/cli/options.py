"""Options that several verbs have: `--set`, settings of a tracker, and `--precision`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from singletrack.engines import PRECISIONS

WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}


def parse_settings(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Texts of NAME=VALUE -> what to change; a value is a number, true, false or none."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            settings[name.strip()] = _parse_value(value.strip().lower())
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(
                f"expected NAME=VALUE with a number, true, false or none, as update_interval=25; got {text!r}"
            )
    return settings


def _parse_value(text: str) -> int | float | bool | None:
    if text in WORDS:
        return WORDS[text]
    return float(text) if "." in text else int(text)


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    callback=parse_settings,
    metavar="NAME=VALUE",
    help="Change a setting of the model's tracker, as update_interval=25; may be given several times.",
)

precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="What it computes in; auto is bf16 with openvino on processors that have it, else fp32.",
)
