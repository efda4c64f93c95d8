"""Exports a network to one ONNX graph, with elimination inside, any batch size if possible, and no control flow.

The inputs ``template`` and ``search`` are crops as network input. The outputs are the maps of ``locate`` by name.
Engines split the graph in two at the inner tensor ``features``.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from singletrack.engines import write_ir
from singletrack.engines.beside import ENDING
from singletrack.engines.preprocessing import Normalization
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import InputError
from singletrack.export.calibration import CropPair
from singletrack.export.decoded import Decoded, Exportable
from singletrack.export.quantize import quantize
from singletrack.export.share import share_weights
from singletrack.export.simplify import simplify
from singletrack.export.verify import OutputDifference, compare_networks, compare_with_module, require_agreement
from singletrack.files import unfinished_name
from singletrack.models.build import AnyNetwork

OPSET = 20  # first opset with Gelu as an operator
# Smaller weights stay in full precision, since they take little space.
LEAST_VALUES_TO_HALVE = 256


def export_onnx(
    model: AnyNetwork,
    path: str | Path,
    *,
    name: str,
    half: bool = False,
    decoded: bool = False,
    calibration: Sequence[CropPair] = (),
    normalization: Normalization | None = None,
    tolerance: float = 1e-4,
    share: Path | None = None,
) -> list[OutputDifference]:
    """Export a network and compare the file with PyTorch in each installed engine.

    The file is created only if it is complete and agrees.

    Args:
        model: the network.
        path: output file: .onnx, or .xml for OpenVINO IR with a .bin file next to it.
        name: name of the model, stored in the metadata.
        half: store the weights in 16 bits; computation stays in 32 bits.
        decoded: decode the maps inside the graph, see ``export.decoded``.
        calibration: realistic crops. If given, weights and activations are quantized to 8 bits.
        normalization: normalization of the pixels in ``calibration``; None for that of ImageNet.
        tolerance: largest allowed difference of any map from PyTorch, with the same rounded weights for ``half``. It
            does not apply to 8-bit integers, whose effect must be measured.
        share: the .safetensors file of the network, next to ``path`` with the same name. If given, the graph takes its
            large weights from there, see ``export.share``.

    Returns:
        The measured differences.

    Raises:
        ExportError: the file does not agree with PyTorch.
        InputError: both ``half`` and ``calibration`` are given, or ``share`` is not next to an .onnx file.
    """
    if half and calibration:
        raise InputError("half and 8-bit integers cannot be combined; leave one of them out")
    path = Path(path)
    if share is not None and (path.suffix != ".onnx" or share.absolute() != path.with_suffix(ENDING).absolute()):
        raise InputError(
            f"weights can be shared with the file of the same name beside an .onnx file; got {share} for {path}; "
            f"choose {share.with_suffix('.onnx')}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = copy.deepcopy(model).cpu().eval()
    network = simplify(copy.deepcopy(exact))
    if half or calibration:  # the written file is not compared with the exact network in these cases
        require_agreement(compare_networks({"simplified": TorchNetwork(network, "cpu")}, exact, [1]), tolerance)
    if half:
        round_to_half(network)
    graph = trace(Decoded(network) if decoded else network)
    if half:
        store_in_half(graph)
    if calibration:
        graph = quantize(graph, calibration, normalization or Normalization())
    config = model.config
    facts = {
        "model": name,
        **config.metadata,
        "template_size": config.template_size,
        "search_size": config.search_size,
        "weights": "int8" if calibration else "float16" if half else "float32",
    }
    helper.set_model_props(graph, {key: str(value) for key, value in facts.items()})
    if share is not None:
        share_weights(graph, share, exact)
    with _unfinished_place(path, share) as unfinished:
        written = [unfinished]
        onnx.save(graph, str(unfinished))
        if path.suffix == ".xml":
            written = [unfinished.with_suffix(".bin"), unfinished.with_suffix(".xml"), unfinished]
            write_ir(unfinished, written[1])
        checked = written[1] if path.suffix == ".xml" else unfinished
        truth = network if half else exact
        differences = compare_with_module(checked, Decoded(truth) if decoded else truth)
        require_agreement(differences, math.inf if calibration else tolerance)
        for each in written[:2]:
            each.replace(path.with_suffix(each.suffix))
    return differences


@contextmanager
def _unfinished_place(path: Path, share: Path | None) -> Iterator[Path]:
    """A name for an .onnx file until it has been checked; it and files of other endings beside it are then removed.

    One that shares weights is checked under its own name beside a copy of them, as engines take them from nowhere else.
    """
    if share is not None:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.stem}-", dir=path.parent, ignore_cleanup_errors=True
        ) as folder:
            shutil.copy(share, folder)
            yield Path(folder, path.name)
        return
    unfinished = unfinished_name(path.with_suffix(".onnx"))
    try:
        yield unfinished
    finally:
        for ending in (".onnx", ".xml", ".bin"):
            unfinished.with_suffix(ending).unlink(missing_ok=True)


class _Whole(nn.Module):
    """Both calls, with the features as an additional output, so that their tensor is named."""

    def __init__(self, network: Exportable) -> None:
        super().__init__()
        self.network = network

    def forward(self, template: Tensor, search: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(template)
        return *self.network.locate(features, search).values(), features


def trace(network: Exportable) -> onnx.ModelProto:
    """Trace the graph of a network, which must be in evaluation mode on the CPU."""
    config = network.config
    # Two samples, because a batch of one would be treated as a constant.
    samples = 1 if config.fixed_batch else 2
    crops = torch.zeros(samples, *config.template_shape), torch.zeros(samples, *config.search_shape)
    with _quiet_exporter(), torch.no_grad():
        maps = list(network(*crops))
        program = torch.onnx.export(
            _Whole(network).eval(),
            crops,
            dynamo=True,
            opset_version=OPSET,
            input_names=["template", "search"],
            output_names=[*maps, "features"],
            dynamic_shapes=free_axes(network),
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    features = model.graph.output.pop()
    kept = [value for value in model.graph.value_info if value.name != "features"]
    del model.graph.value_info[:]
    model.graph.value_info.extend([*kept, features])
    for node in model.graph.node:  # source locations: large, and they contain local paths
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def free_axes(network: Exportable) -> tuple[dict[int, torch.export.Dim], dict[int, torch.export.Dim]]:
    """Return the dynamic axes of template and search.

    The batch is dynamic except for SiamRPN++, whose correlation is a convolution with one group per channel of one
    sample. Engines then run several samples one by one.
    """
    batch: dict[int, torch.export.Dim] = {} if network.config.fixed_batch else {0: torch.export.Dim("batch")}
    sides: dict[int, torch.export.Dim] = {}
    if network.config.free_search_size:
        sides = dict.fromkeys((2, 3), torch.export.Dim("side", min=127, max=4095))
    return batch, batch | sides


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the internal warnings of the exporter of PyTorch 2.13, and nothing else."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # "torchvision is not installed"
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", r"# The axis name: (batch|side) will not be used", UserWarning)
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def round_to_half(network: AnyNetwork) -> None:
    """Round all weights to the nearest 16-bit value; they remain float32 tensors."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())


def store_in_half(model: onnx.ModelProto) -> None:
    """Store each large weight that fits exactly as float16, followed by a Cast to float32."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST_VALUES_TO_HALVE:
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = weight.name
        stored = f"{name}.half"
        weight.CopyFrom(numpy_helper.from_array(halved, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
