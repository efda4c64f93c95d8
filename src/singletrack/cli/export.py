"""`singletrack export`: export a model to a file, then compare it with PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack import loading
from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import check_file, check_outputs, writing
from singletrack.install import docs_page
from singletrack.interrupts import terminate_as_interrupt
from singletrack.registry import find_model, make_tracker

ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}
CALIBRATION_LOOKS = 200


@click.command(short_help="Export a model to ONNX or OpenVINO and verify it.")
@click.argument("model")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(ENDINGS)),
    default="onnx",
    show_default=True,
    help="onnx (for all engines) or openvino (.xml with a .bin file next to it).",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output file (.onnx or .xml).")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file.  [default: bundled]")
@click.option("--keep-ratio", type=float, help="Share of search tokens that each elimination keeps; 1 turns it off.")
@click.option("--half", is_flag=True, help="Store 16-bit weights (half the file size); computation stays in 32 bits.")
@click.option(
    "--share-weights",
    is_flag=True,
    help="Leave the large weights in the --weights file, which must be beside --out and differ only in its ending "
    "(.safetensors). Usually with --half; the two files then belong together.",
)
@click.option("--decode", is_flag=True, help="Add outputs with the decoded boxes and their scores to the graph.")
@click.option(
    "--int8",
    is_flag=True,
    help=f"Quantize to 8 bits (a quarter of the file size). Needs --photos; see {docs_page('engines')}",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos for calibrating --int8 and for the comparison with PyTorch.",
)
@overwrite_option
def command(
    model: str,
    format_name: str,
    out: Path,
    weights: Path | None,
    keep_ratio: float | None,
    half: bool,
    share_weights: bool,
    decode: bool,
    int8: bool,
    photos: Path | None,
    overwrite: bool,
) -> None:
    """Export MODEL, such as ostrack-tiny, to one file that runs without PyTorch.

    The file takes any batch size. It is run in every installed engine and compared with PyTorch on generated images, on
    crops of a generated clip and on crops of --photos. The largest differences of each map and of the box are printed.
    A file that differs too much is not kept.
    """
    spec = find_model(model)
    if int8 and photos is None:
        raise InputError("--int8 needs --photos; got none; give a folder of photos for calibration")
    if photos is not None and not photos.is_dir():
        raise InputError(f"expected a folder of photos; there is no {photos}; check the path")
    shared = out.with_suffix(".safetensors")
    if share_weights and (weights is None or weights.absolute() != shared.absolute() or out.suffix != ".onnx"):
        raise InputError(
            f"--share-weights needs the weights beside an .onnx file, under the same name; got --weights {weights} "
            f"--out {out}; give --weights {shared}"
        )
    ratio = None if keep_ratio is None else loading.check_keep_ratio(keep_ratio)
    check_outputs([out, out.with_suffix(".bin")] if format_name == "openvino" else [out], [weights, photos])
    ask_to_overwrite([out], overwrite)
    check_file(out, (ENDINGS[format_name],), make_folders=True)
    require_packages("exporting", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import TorchNetwork
    from singletrack.export.calibration import RecordingNetwork, clip_looks, photo_looks
    from singletrack.export.to_onnx import export_onnx
    from singletrack.export.verify import compare_on_looks, compare_with_module

    path = loading.existing_file(weights) if weights else loading.bundled_file(model, ".safetensors")
    network = loading.build_model(model, path, ratio)
    normalization = loading.normalization_of(spec.network)
    listener = RecordingNetwork(TorchNetwork(network, "cpu", normalization=normalization))
    tracker = make_tracker(listener, loading.fit_settings(spec.tracker_settings, network.config))
    looks = {"generated clip": clip_looks(tracker, listener)}
    calibration = []
    if photos is not None:
        looks["photos"] = photo_looks(tracker, listener, photos, 50)
        if int8:
            calibration = photo_looks(tracker, listener, photos, CALIBRATION_LOOKS, seed=1)
    click.echo(f"largest differences from PyTorch{' with the same rounded weights' if half else ''}:")
    with terminate_as_interrupt(), writing(out):
        differences = export_onnx(
            network,
            out,
            name=model,
            half=half,
            decoded=decode,
            calibration=calibration,
            normalization=normalization,
            share=path if share_weights else None,
        )
    for difference in differences:
        click.echo(f"  {difference}")
    if half:
        click.echo("with unrounded weights:")
        for difference in compare_with_module(out, network):
            click.echo(f"  {difference}")
    for inputs, each in looks.items():
        for difference in compare_on_looks(out, network, each, inputs, normalization=normalization):
            click.echo(f"  {difference}")
    size = sum(file.stat().st_size for file in {out, out.with_suffix(".bin")} if file.is_file())
    click.echo(f"{out}: {model}, {size / 1e6:.1f} MB")
