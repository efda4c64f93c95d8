"""Runs an exported file in each installed engine and compares the numbers with PyTorch's."""

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
    """How far an engine's numbers are from PyTorch's, for one batch size.

    inputs: what was looked at. maps: by name, the largest absolute difference.
    box: the largest difference of a decoded side or center, in pixels of the search crop.
    """

    engine: str
    batch: int
    maps: dict[str, float]
    box: float
    inputs: str = "made pictures"

    def __str__(self) -> str:
        maps = ", ".join(f"{name} {value:.1e}" for name, value in self.maps.items())
        where = "" if self.inputs == "made pictures" else f", {self.inputs}"
        return f"{self.engine}, batch {self.batch}{where}: {maps}; box {self.box:.1e} px"


def compare_with_module(path: str | Path, model: Exportable, batches: Iterable[int] = (1, 3)) -> list[OutputDifference]:
    """Run the file at ``path`` and ``model`` on the same made pictures, in every installed engine."""
    return compare_networks(open_all_exactly(path), model, batches)


def compare_networks(
    networks: Mapping[str, OpenVINONetwork | ONNXRuntimeNetwork | TorchNetwork],
    model: Exportable,
    batches: Iterable[int],
) -> list[OutputDifference]:
    """As ``compare_with_module``, of networks that are open, by their engines' names."""
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
    """Run the file and ``model`` on real crops, one by one; the largest differences of each installed engine.

    precision: that OpenVINO computes in. Raises InputError without a look.
    """
    if not looks:
        raise InputError("expected crops to compare on; got none; is there a photo or frame in which anything shows?")
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
    """The largest differences of each map, and of the boxes in pixels; raises ExportError for maps of other shapes."""
    shapes = {name: (got[name].shape, expected[name].shape) for name in expected}
    if any(ours != theirs for ours, theirs in shapes.values()):
        raise ExportError(f"expected maps shaped as PyTorch's; got {shapes} (here, there) in {engine}; report this")
    maps = {name: float(np.abs(got[name] - expected[name]).max()) for name in expected}
    shift = read_boxes(got, expected, search_size) - read_boxes(expected, expected, search_size)
    return maps, float(shift.abs().max())


def read_boxes(maps: Mapping[str, FloatArray], expected: Mapping[str, FloatArray], search_size: int) -> Tensor:
    """Boxes (B, 4), center and size in pixels of the search crop; the center from its corner or from its middle.

    Where a peak is read, it is that of ``expected``: two cells that are equal but for rounding are equally right.
    """
    tensors = {name: torch.from_numpy(values) for name, values in maps.items()}
    if "cls" in maps:
        anchors = anchor_grid(maps["cls"].shape[-1])
        best = [int(proposal_scores(cls).argmax()) for cls in expected["cls"]]
        pairs = zip(maps["loc"], best, strict=True)
        return torch.from_numpy(np.stack([decode_proposals(loc, anchors)[place] for loc, place in pairs]))
    if "corners" in maps:
        return stark.decode(tensors) * search_size
    return center_head.decode(tensors, torch.from_numpy(expected["score"])) * search_size


def require_agreement(differences: Iterable[OutputDifference], tolerance: float) -> None:
    """Raise ExportError if a map differs by more than ``tolerance``, or is not a number."""
    bad = [each for each in differences if not all(value <= tolerance for value in each.maps.values())]
    if bad:
        lines = "\n".join(f"  {each}" for each in bad)
        raise ExportError(
            f"expected maps within {tolerance:g} of PyTorch's; got\n{lines}\nThe file was not kept; "
            "look for weights that are not finite, or update the engine"
        )


def made_input(batch: int, shape: tuple[int, ...], seed: int) -> FloatArray:
    """Made pictures (batch, ..., 3 or 4, size, size); a fourth channel is 1 along two edges and 0 elsewhere."""
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
    """Made pictures (batch, 3, size, size), about normalized: colored shapes on a slope, and noise."""
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
    """The file on each installed engine that reads it, on the processor, even where bf16 is the default in fp32.

    precision: that OpenVINO computes in.
    """
    networks: dict[str, OpenVINONetwork | ONNXRuntimeNetwork] = {}
    for engine in installed_engines():
        if engine == "openvino" or (engine == "onnx" and Path(path).suffix == ".onnx"):
            chosen: Precision = precision if engine == "openvino" else "fp32"
            networks[engine] = open_network(engine, path, "cpu", precision=chosen, normalization=normalization)
    return networks
