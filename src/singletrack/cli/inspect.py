"""`singletrack inspect`: pictures and arrays of what a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from singletrack.api import resolve_targets
from singletrack.cli.options import ask_to_fill, model_options, overwrite_option
from singletrack.cli.track import parse_box
from singletrack.errors import InputError
from singletrack.files import check_output_folder
from singletrack.geometry.boxes import Box
from singletrack.inspecting import InspectionFolder, inspect_video
from singletrack.loading import LoadOptions, choose_model, existing_file
from singletrack.registry import MODELS, unknown_model
from singletrack.video import open_video


def parse_one_box(context: click.Context, parameter: click.Parameter, text: str) -> Box:
    """Parse a box of four comma-separated numbers."""
    try:
        return parse_box(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_token(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Parse ROW,COLUMN."""
    if text is None:
        return None
    try:
        row, column = (int(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected ROW,COLUMN, such as 3,4; got {text!r}") from None
    return row, column


@click.command(no_args_is_help=True, short_help="Show what a network sees: attention, elimination, maps.")
@click.argument("source")
@click.option(
    "--box",
    required=True,
    callback=parse_one_box,
    metavar="X,Y,W,H",
    help="Box of the object in the first frame (or the --start frame): left, top, width, height in pixels.",
)
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True, help="Index of the first frame.")
@click.option("--end", type=click.IntRange(min=0), help="Index of the last frame.  [default: the last]")
@click.option(
    "--every", type=click.IntRange(min=1), default=10, show_default=True, help="Inspect every Nth frame after it."
)
@click.option(
    "--token",
    callback=parse_token,
    metavar="ROW,COLUMN",
    help="Template token whose attention is shown, from 0,0.  [default: those at the center]",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="MODEL[=WEIGHTS]",
    help="Another model to track and show beside the first, such as a two-stream network. Repeatable.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for pictures, arrays and video.")
@overwrite_option
@model_options
def command(
    source: str,
    box: Box,
    start: int,
    every: int,
    token: tuple[int, int] | None,
    beside: Sequence[str],
    end: int | None,
    out: Path,
    overwrite: bool,
    model: str,
    options: LoadOptions,
) -> None:
    """Track an object through SOURCE, and show what the network sees in every Nth frame.

    For each such frame: the attention of the template's center to the search region by layer (Figure 4 of OSTrack's
    paper), what each elimination drops (Figure 5), the length of the features by layer (Figure 6, with --beside), and
    the score, size and offset maps. Pictures are .png, their sequence .mp4, and the numbers .npz. Works for OSTrack,
    STARK (with the attention of its decoder) and the aligned networks, in PyTorch.
    """
    if end is not None and end <= start:
        raise click.UsageError(f"--end must be after the --start frame {start}; got {end}; give a higher one")
    if options.engine not in ("auto", "torch") or options.long_term:
        raise click.UsageError(
            "inspect runs in PyTorch, without the long-term search; leave --engine and --long-term out"
        )
    check_output_folder(out, [Path(source)])
    ask_to_fill(out, overwrite)
    models = {model: (model, options)}
    for text in beside:
        name, equals, weights = text.partition("=")
        if name not in MODELS:
            raise unknown_model(name)
        other = replace(options, weights=existing_file(weights) if equals else None, keep_ratio=None, settings=None)
        label = name if name not in models else f"{name}-{len(models) + 1}"
        models[label] = (str(choose_model(name, other)[0]), other)
    with open_video(source) as video:
        resolved = resolve_targets({start: [box]}, video)[start][0]
        with InspectionFolder(out) as folder:
            for frames in inspect_video(video, resolved, models, start=start, end=end, every=every, token=token):
                folder.write(frames)
    if not folder.files:
        first = start + every
        where = f"{source} ends" if end is None else f"{source} or --end comes"
        raise InputError(f"no frame was inspected: {where} before frame {first}; give a smaller --every")
    click.echo(f"{out}: {len(folder.files)} files")
