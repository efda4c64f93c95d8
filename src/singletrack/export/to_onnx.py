"""A network as one ONNX graph: elimination inside, any batch size where the network allows it, no control flow.

Inputs ``template`` and ``search`` are crops as the network takes them; outputs are the maps of its ``locate``,
by their names. The inner tensor ``features`` is where the runtimes cut the graph in two.
"""

from __future__ import annotations

import copy
import logging
import math
import os
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
from singletrack.engines.preprocessing import Normalization
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import InputError
from singletrack.export.calibration import CropPair
from singletrack.export.decoded import Decoded, Exportable
from singletrack.export.quantize import quantize
from singletrack.export.simplify import simplify
from singletrack.export.verify import OutputDifference, compare_networks, compare_with_module, require_agreement
from singletrack.models.build import AnyNetwork

OPSET = 20  # the first with Gelu as one operator
# Weights of fewer values stay in full precision: there is nothing to save.
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
) -> list[OutputDifference]:
    """Write ``model`` to ``path`` and run the file in each installed engine; returns what was compared.

    path: ends in .onnx; or in .xml for OpenVINO's own format, with a .bin beside it.
    name: the model's name in the zoo, kept in the file's metadata.
    half: round the weights to 16 bits and store them so; computing stays in 32 bits.
    decoded: the graph reads its maps, too: see ``export.decoded``.
    calibration: real crops; where there are some, weights and activations become 8-bit integers by them.
    normalization: what is done to pixels among them; None for ImageNet's.
    tolerance: the largest difference of any map from the model's in PyTorch (where weights are rounded, that
        of the rounded ones) that is let pass. Of 8-bit integers none is required: what they cost is to be measured.

    The file appears only when it is whole and agrees. Raises ExportError if it does not agree, InputError for both
    kinds of smaller numbers at once.
    """
    if half and calibration:
        raise InputError("expected half or 8-bit integers; got both; leave one of them out")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = copy.deepcopy(model).cpu().eval()
    network = simplify(copy.deepcopy(exact))
    if half or calibration:  # what is written then is compared with this, or with nothing
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
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.onnx")
    written = [unfinished]
    try:
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
    finally:
        for each in written:
            each.unlink(missing_ok=True)
    return differences


class _Whole(nn.Module):
    """Both calls in one. The features come out as well, so that their tensor has its name."""

    def __init__(self, network: Exportable) -> None:
        super().__init__()
        self.network = network

    def forward(self, template: Tensor, search: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(template)
        return *self.network.locate(features, search).values(), features


def trace(network: Exportable) -> onnx.ModelProto:
    """The graph of ``network``, which must be in evaluation mode on the CPU."""
    config = network.config
    # Two samples: with one, the batch would be taken for a constant.
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
    for node in model.graph.node:  # where in our source each node came from: large, and the writer's own paths
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def free_axes(network: Exportable) -> tuple[dict[int, torch.export.Dim], dict[int, torch.export.Dim]]:
    """The axes of template and search whose sizes the graph leaves open, by their names.

    Always the batch, but for SiamRPN++: its kernels are a convolution of as many groups as channels of one sample, and
    an engine takes several samples one by one.
    """
    batch: dict[int, torch.export.Dim] = {} if network.config.fixed_batch else {0: torch.export.Dim("batch")}
    sides: dict[int, torch.export.Dim] = {}
    if network.config.free_search_size:
        sides = dict.fromkeys((2, 3), torch.export.Dim("side", min=127, max=4095))
    return batch, batch | sides


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter of PyTorch 2.13 says about itself, and nothing else."""
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
    """Round every weight of ``network`` to the nearest 16-bit value; they stay float32 tensors."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())


def store_in_half(model: onnx.ModelProto) -> None:
    """Keep as float16 each large weight that loses nothing by it, with a Cast to float32 behind it."""
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
