"""Runs an exported file in each installed engine and compares the numbers with PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from singletrack.engines import Precision, installed_engines, open_network
from singletrack.engines.preprocessing import Normalization
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import ExportError, InputError
from singletrack.export.calibration import CropPair
from singletrack.export.decoded import Exportable
from singletrack.models import stark
from singletrack.models.layers import center_head
from singletrack.tracking.anchors import anchor_grid, decode_proposals, proposal_scores

if TYPE_CHECKING:
    from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
    from singletrack.engines.openvino_engine import OpenVINONetwork

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """Largest differences between an engine and PyTorch for one batch size.

    Attributes:
        engine: name of the engine.
        batch: batch size.
        maps: largest absolute difference by map name.
        box: largest difference of a decoded side or center, in search crop pixels.
        inputs: description of the inputs.
    """

    engine: str
    batch: int
    maps: dict[str, float]
    box: float
    inputs: str = "generated images"

    def __str__(self) -> str:
        maps = ", ".join(f"{name} {value:.1e}" for name, value in self.maps.items())
        where = "" if self.inputs == "generated images" else f", {self.inputs}"
        return f"{self.engine}, batch {self.batch}{where}: {maps}; box {self.box:.1e} px"


def compare_with_module(path: str | Path, model: Exportable, batches: Iterable[int] = (1, 3)) -> list[OutputDifference]:
    """Compare a file with a network on generated images, in every installed engine."""
    return compare_networks(open_all_exactly(path), model, batches)


def compare_networks(
    networks: Mapping[str, OpenVINONetwork | ONNXRuntimeNetwork | TorchNetwork],
    model: Exportable,
    batches: Iterable[int],
) -> list[OutputDifference]:
    """Compare open networks, by engine name, like ``compare_with_module``."""
    config = model.config
    reference = TorchNetwork(model, "cpu")
    differences = []
    for batch in batches:
        template = made_input(batch, config.template_shape, seed=batch)
        search = made_input(batch, config.search_shape, seed=100 + batch)
        if config.raw_pixels:
            template, search = (np.clip(50 * crops + 127, 0, 255).round() for crops in (template, search))
        expected = reference.locate(reference.encode(template), search)
        for engine, network in networks.items():
            got = network.locate(network.encode(template), search)
            maps, box = differ(got, expected, config.search_size, engine)
            differences.append(OutputDifference(engine=engine, batch=batch, maps=maps, box=box))
    return differences


def compare_on_looks(
    path: str | Path,
    model: Exportable,
    looks: Sequence[CropPair],
    inputs: str,
    *,
    normalization: Normalization | None = None,
    precision: Precision = "fp32",
) -> list[OutputDifference]:
    """Compare a file with a network on realistic crops, one by one, in every installed engine.

    Args:
        path: the exported file.
        model: the network.
        looks: pairs of template and search crops.
        inputs: description of the crops.
        normalization: normalization of pixels; None for that of ImageNet.
        precision: precision of OpenVINO.

    Raises:
        InputError: there are no crops.
    """
    if not looks:
        raise InputError("no crops to compare on; check that the photos or frames are not of a single color")
    reference = TorchNetwork(model, "cpu", normalization=normalization)
    networks = open_all_exactly(path, normalization, precision)
    maps: dict[str, dict[str, float]] = {engine: {} for engine in networks}
    boxes = dict.fromkeys(networks, 0.0)
    for template, search in looks:
        expected = reference.locate(reference.encode(template), search)
        for engine, network in networks.items():
            got = network.locate(network.encode(template), search)
            new, box = differ(got, expected, model.config.search_size, engine)
            maps[engine] = {name: max(value, maps[engine].get(name, 0.0)) for name, value in new.items()}
            boxes[engine] = max(box, boxes[engine])
    return [
        OutputDifference(engine=engine, batch=1, maps=maps[engine], box=boxes[engine], inputs=inputs)
        for engine in networks
    ]


def differ(
    got: Mapping[str, FloatArray], expected: Mapping[str, FloatArray], search_size: int, engine: str
) -> tuple[dict[str, float], float]:
    """Compute the largest differences of maps and boxes; raises ExportError for different shapes."""
    shapes = {name: (got[name].shape, expected[name].shape) for name in expected}
    if any(ours != theirs for ours, theirs in shapes.values()):
        raise ExportError(
            f"maps of {engine} must have the shapes of PyTorch; got {shapes} ({engine}, PyTorch); report this"
        )
    maps = {name: float(np.abs(got[name] - expected[name]).max()) for name in expected}
    shift = read_boxes(got, expected, search_size) - read_boxes(expected, expected, search_size)
    return maps, float(shift.abs().max())


def read_boxes(maps: Mapping[str, FloatArray], expected: Mapping[str, FloatArray], search_size: int) -> Tensor:
    """Decode boxes (B, 4), center and size in search crop pixels.

    Peaks are those of ``expected``, because two cells that are equal up to rounding are equally right. Maps of another
    family have no boxes here: they are compared as they are, and the boxes are all 0.
    """
    tensors = {name: torch.from_numpy(values) for name, values in maps.items()}
    if "cls" in maps:
        anchors = anchor_grid(maps["cls"].shape[-1])
        best = [int(proposal_scores(cls).argmax()) for cls in expected["cls"]]
        pairs = zip(maps["loc"], best, strict=True)
        return torch.from_numpy(np.stack([decode_proposals(loc, anchors)[place] for loc, place in pairs]))
    if "corners" in maps:
        return stark.decode(tensors) * search_size
    if not {"score", "size", "offset"} <= maps.keys():
        return torch.zeros(len(next(iter(maps.values()))), 4)
    return center_head.decode(tensors, torch.from_numpy(expected["score"])) * search_size


def require_agreement(differences: Iterable[OutputDifference], tolerance: float) -> None:
    """Raise ExportError if a map differs by more than ``tolerance``, or is not a number."""
    bad = [each for each in differences if not all(value <= tolerance for value in each.maps.values())]
    if bad:
        lines = "\n".join(f"  {each}" for each in bad)
        raise ExportError(
            f"maps must be within {tolerance:g} of PyTorch; got\n{lines}\nThe file was not kept; "
            "check for weights that are not finite, or update the engine"
        )


def made_input(batch: int, shape: tuple[int, ...], seed: int) -> FloatArray:
    """Generate images (batch, ..., 3 or 4, size, size); a fourth channel is 1 along two edges and 0 elsewhere."""
    *several, channels, size, _ = shape
    pixels = made_crops(batch * math.prod(several), size, seed)
    if channels == 4:
        padding = np.zeros_like(pixels[:, :1])
        widths = np.random.default_rng(seed).integers(0, size // 2, (len(padding), 2))
        for mask, (above, right) in zip(padding, widths, strict=True):
            mask[0, :above] = mask[0, :, size - right :] = 1.0
        pixels = np.concatenate([pixels, padding], 1)
    return pixels.reshape(batch, *shape)


def made_crops(batch: int, size: int, seed: int) -> FloatArray:
    """Generate images (batch, 3, size, size), roughly normalized: colored shapes on a gradient, and noise."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    crops = np.empty((batch, 3, size, size))
    for crop in crops:
        slope = draw.uniform(-1, 1, (3, 2))
        crop[:] = draw.uniform(-0.5, 0.5, (3, 1, 1)) + slope[:, :1, None] * x + slope[:, 1:, None] * y
        for _ in range(12):
            cx, cy, width, height = draw.uniform(0, 1, 4)
            power = draw.choice([2, 8])  # an ellipse, or almost a rectangle
            inside = np.abs(x - cx) ** power < (0.4 * width) ** power * (
                1 - np.minimum(1, (np.abs(y - cy) / (0.02 + 0.4 * height)) ** power)
            )
            crop[:, inside] = draw.uniform(-2, 2, (3, 1))
        crop += draw.normal(0, 0.1, crop.shape)
    return crops.astype(np.float32)


def open_all_exactly(
    path: str | Path, normalization: Normalization | None = None, precision: Precision = "fp32"
) -> dict[str, OpenVINONetwork | ONNXRuntimeNetwork]:
    """Open a file on each installed engine that reads it, on the CPU.

    Args:
        path: the exported file.
        normalization: normalization of pixels; None for that of ImageNet.
        precision: precision of OpenVINO; fp32 by default, even if the CPU supports bf16.
    """
    networks: dict[str, OpenVINONetwork | ONNXRuntimeNetwork] = {}
    for engine in installed_engines():
        if engine == "openvino" or (engine == "onnx" and Path(path).suffix == ".onnx"):
            chosen: Precision = precision if engine == "openvino" else "fp32"
            networks[engine] = open_network(engine, path, "cpu", precision=chosen, normalization=normalization)
    return networks
