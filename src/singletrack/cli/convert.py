"""`singletrack convert`: convert a checkpoint to safetensors with the tensor names of this package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from singletrack.cli.options import ask_to_overwrite, overwrite_option, parse_keep_ratio
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.files import check_file, check_outputs, writing
from singletrack.loading import existing_file
from singletrack.registry import find_model


@click.command(short_help="Convert a checkpoint to safetensors.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--model", "model_name", required=True, help="Model of the weights, such as ostrack-256.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output file (.safetensors).")
@click.option(
    "--blend",
    "other",
    type=click.Path(path_type=Path),
    help="Second weights file to blend in, such as the weights that SOURCE was fine-tuned from.",
)
@click.option(
    "--blend-weight", type=click.FloatRange(0, 1), help="Share of the --blend weights in the result.  [default: 0.5]"
)
@overwrite_option
@click.option(
    "--keep-ratio",
    callback=parse_keep_ratio,
    metavar="RATIO",
    help="Keep ratio that the file carries; 1 for weights trained without elimination.  [default: that of SOURCE]",
)
@click.option("--half", is_flag=True, help="Round the weights to 16 bits (half the file size).")
def command(
    source: Path,
    model_name: str,
    out: Path,
    other: Path | None,
    blend_weight: float | None,
    keep_ratio: float | None,
    half: bool,
    overwrite: bool,
) -> None:
    """Convert SOURCE to safetensors.

    SOURCE is an official checkpoint such as OSTrack_ep0300.pth.tar, or a weights file of this package. No code from the
    file is run. Every tensor must be present with the shape that the model expects.
    """
    if blend_weight is not None and other is None:
        raise click.UsageError(
            f"--blend-weight needs --blend; got --blend-weight {blend_weight} alone; give both or neither"
        )
    for path in (source, other):
        if path is not None:
            existing_file(path)
    check_outputs([out], [source, other])
    ask_to_overwrite([out], overwrite)
    check_file(out, (".safetensors",), make_folders=True)
    require_packages("converting", *TRAIN_EXTRA)
    from singletrack.models.checkpoints import convert

    spec = find_model(model_name)
    with writing(out):
        convert(
            source,
            spec.network,
            out,
            name=model_name,
            half=half,
            other=other,
            share=0.5 if blend_weight is None else blend_weight,
            keep_ratio=keep_ratio,
        )
    if spec.published_digest:
        same = hashlib.sha256(source.read_bytes()).hexdigest().startswith(spec.published_digest)
        click.echo(
            f"{source} {'is' if same else 'is not'} the published file, {spec.checkpoint.rpartition('/')[2]}"
            + ("" if same else f"; get that from {spec.checkpoint} for the published scores")
        )
    click.echo(f"{out}: weights of {model_name}, {out.stat().st_size / 1e6:.1f} MB")
