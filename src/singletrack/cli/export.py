"""`singletrack export`: a model as a file for engines, run after writing and compared with PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack import loading, registry
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import check_file, writing

ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}
CALIBRATION_LOOKS = 200


@click.command(short_help="Write a model as ONNX or OpenVINO IR and check its numbers.")
@click.argument("model")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(ENDINGS)),
    default="onnx",
    show_default=True,
    help="onnx for every engine; openvino for its own, .xml with a .bin beside it.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .onnx or .xml file to write.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights; without it, the bundled ones.")
@click.option("--keep-ratio", type=float, help="Share of tokens an elimination keeps; 1 turns it off.")
@click.option("--half", is_flag=True, help="Round the weights to 16 bits: half the size, still computed in 32.")
@click.option("--decode", is_flag=True, help="Put the window, the peak and the box into the graph, beside the maps.")
@click.option(
    "--int8", is_flag=True, help="8-bit integers: a quarter of the size. Needs --photos; see docs/engines.md."
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos, to calibrate --int8 and compare on their crops.",
)
def command(
    model: str,
    format_name: str,
    out: Path,
    weights: Path | None,
    keep_ratio: float | None,
    half: bool,
    decode: bool,
    int8: bool,
    photos: Path | None,
) -> None:
    """Write MODEL, a name such as ostrack-tiny, as one file that needs no PyTorch.

    The file takes any batch size. It is run in every installed engine and compared with PyTorch, on made pictures, on
    the crops of a made clip and on those of --photos; the largest difference of each map and of the box is printed.
    A file that disagrees is not kept.
    """
    if model not in registry.MODELS:
        raise InputError(f"expected a model among {', '.join(registry.MODELS)}; got {model!r}; give one of these")
    if int8 and photos is None:
        raise InputError("expected --photos with --int8; got none; give a folder of photos to calibrate on")
    ratio = None if keep_ratio is None else loading.check_keep_ratio(keep_ratio)
    check_file(out, (ENDINGS[format_name],), make_folders=True)
    require_packages("exporting", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import TorchNetwork
    from singletrack.export.calibration import RecordingNetwork, clip_looks, photo_looks
    from singletrack.export.to_onnx import export_onnx
    from singletrack.export.verify import compare_on_looks, compare_with_module

    path = loading.existing_file(weights) if weights else loading.bundled_file(model, ".safetensors")
    network = loading.build_model(model, path, ratio)
    settings = registry.MODELS[model].settings
    normalization = loading.normalization_of(settings)
    listener = RecordingNetwork(TorchNetwork(network, "cpu", normalization=normalization))
    tracker = registry.make_tracker(listener, settings)
    looks = {"made clip": clip_looks(tracker, listener)}
    calibration = []
    if photos is not None:
        looks["photos"] = photo_looks(tracker, listener, photos, 50)
        if int8:
            calibration = photo_looks(tracker, listener, photos, CALIBRATION_LOOKS, seed=1)
    click.echo(f"largest differences from PyTorch{' with weights rounded alike' if half else ''}:")
    with writing(out):
        differences = export_onnx(
            network,
            out,
            name=model,
            half=half,
            decoded=decode,
            calibration=calibration,
            normalization=normalization,
        )
    for difference in differences:
        click.echo(f"  {difference}")
    if half:
        click.echo("and with weights not rounded:")
        for difference in compare_with_module(out, network):
            click.echo(f"  {difference}")
    for inputs, each in looks.items():
        for difference in compare_on_looks(out, network, each, inputs, normalization=normalization):
            click.echo(f"  {difference}")
    size = sum(file.stat().st_size for file in {out, out.with_suffix(".bin")} if file.is_file())
    click.echo(f"{out}: {model}, {size / 1e6:.1f} MB")
