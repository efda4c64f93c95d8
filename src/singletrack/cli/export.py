"""`singletrack export`: a model as one ONNX file, run after writing and compared with PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack import zoo
from singletrack.errors import InputError
from singletrack.runtimes import TRAIN_EXTRA, require_packages
from singletrack.video.files import check_file, writing


@click.command(short_help="Write a model as ONNX and check its numbers.")
@click.argument("model")
@click.option("--format", "format_name", type=click.Choice(["onnx"]), default="onnx", help="What to write: onnx.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .onnx file to write.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights; without it, the bundled ones.")
@click.option("--keep-ratio", type=float, help="Share of tokens an elimination keeps; 1 turns it off.")
@click.option("--half", is_flag=True, help="Round the weights to 16 bits: half the size, still computed in 32.")
def command(
    model: str, format_name: str, out: Path, weights: Path | None, keep_ratio: float | None, half: bool
) -> None:
    """Write MODEL, a name such as ostrack-tiny, as one file that needs no PyTorch.

    The file takes any batch size. It is run in every installed engine and compared with PyTorch; the largest
    difference of each map and of the box is printed. A file that disagrees is not kept.
    """
    if model not in zoo.ZOO:
        raise InputError(f"expected a model among {', '.join(zoo.ZOO)}; got {model!r}; give one of these")
    ratio = None if keep_ratio is None else zoo.check_keep_ratio(keep_ratio)
    check_file(out, (".onnx",), make_folders=True)
    require_packages("exporting", *TRAIN_EXTRA)
    from singletrack.export.to_onnx import export_onnx
    from singletrack.export.verify import compare_with_module

    path = zoo.existing_file(weights) if weights else zoo.bundled_file(model, ".safetensors")
    network = zoo.build_model(model, path, ratio)
    click.echo(f"largest differences from PyTorch{' with weights rounded alike' if half else ''}:")
    with writing(out):
        differences = export_onnx(network, out, name=model, half=half)
    for difference in differences:
        click.echo(f"  {difference}")
    if half:
        click.echo("and with weights not rounded:")
        for difference in compare_with_module(out, network):
            click.echo(f"  {difference}")
    click.echo(f"{out}: {model}, {out.stat().st_size / 1e6:.1f} MB")
