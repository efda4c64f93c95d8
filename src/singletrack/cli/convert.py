"""`singletrack convert`: weights, official or ours, as safetensors under our names."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.files import check_file, writing


@click.command(short_help="Turn weights, official or ours, into safetensors.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--model", "model_name", required=True, help="The model it holds, such as ostrack-256.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .safetensors file to write.")
@click.option(
    "--blend",
    "other",
    type=click.Path(path_type=Path),
    help="Mix in other weights: what SOURCE was trained on from, or what was from it.",
)
@click.option("--share", type=click.FloatRange(0, 1), help="Of --blend's weights in the result.  [default: 0.5]")
@click.option("--half", is_flag=True, help="Round the weights to 16 bits: half the size.")
def command(source: Path, model_name: str, out: Path, other: Path | None, share: float | None, half: bool) -> None:
    """Turn SOURCE, an official checkpoint such as OSTrack_ep0300.pth.tar or weights of ours, into safetensors.

    No code from the file is run. Every tensor must be there, with the shape that the model expects.
    """
    if share is not None and other is None:
        raise click.UsageError(f"expected --blend with --share; got --share {share} alone; give both, or neither")
    check_file(out, (".safetensors",), make_folders=True)
    require_packages("converting", *TRAIN_EXTRA)
    from singletrack.models.checkpoints import convert

    with writing(out):
        convert(source, model_name, out, half=half, other=other, share=0.5 if share is None else share)
    click.echo(f"{out}: weights of {model_name}, {out.stat().st_size / 1e6:.1f} MB")
