"""Takes the large weights of a graph from a .safetensors file beside it, instead of storing them a second time.

A graph holds weights as engines read them best: transposed, with query, key and value apart, and with the weights of
norms and the scale of the query multiplied in. Where what the .safetensors file holds gives the same bytes by these
steps, the graph names the place in that file and does the steps itself. Engines do them once, while they compile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from singletrack.errors import ExportError
from singletrack.export.simplify import norm_factors
from singletrack.files import safetensors_header
from singletrack.models.build import AnyNetwork

# Smaller weights stay in the graph: naming their place takes almost as much room.
LEAST_BYTES = 2048
KINDS = {"F16": "<f2", "F32": "<f4"}


@dataclass(frozen=True)
class Stored:
    """Values that are made from a part of a .safetensors file.

    Attributes:
        values: the values as they are stored.
        offset: where they begin in the file, in bytes.
        factors: what each column is multiplied with, in 32 bits; None for nothing.
    """

    values: NDArray[np.floating]
    offset: int
    factors: NDArray[np.float32] | None = None

    def made(self) -> NDArray[np.floating]:
        """The values after the multiplication, rounded to the stored type."""
        if self.factors is None:
            return self.values
        return (self.values.astype(np.float32) * self.factors).astype(self.values.dtype)


def share_weights(graph: onnx.ModelProto, weights: Path, network: AnyNetwork) -> int:
    """Rewrite a graph, in place, to take its large weights from a .safetensors file in the same folder.

    Args:
        graph: the exported graph.
        weights: the .safetensors file, with the name that the graph's file has with another ending.
        network: the network before ``simplify``.

    Returns:
        How many bytes are no longer in the graph.

    Raises:
        ExportError: the file holds none of the weights as the graph has them.
    """
    places: dict[tuple[object, ...], tuple[Stored, bool]] = {}
    for stored in _parts(weights, network):
        made = stored.made()
        for turned in (False, True) if made.ndim == 2 else (False,):
            places.setdefault(_identity(made.T if turned else made), (stored, turned))
    steps, kept, bytes_shared = [], [], 0
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        place = places.get(_identity(values)) if values.nbytes >= LEAST_BYTES else None
        if place is None:
            kept.append(weight)
            continue
        stored, turned = place
        made_by, tensors = _make(weight, stored, turned, weights.name)
        steps.extend(made_by)
        kept.extend(tensors)
        bytes_shared += values.nbytes
    if not bytes_shared:
        raise ExportError(
            f"expected weights of the graph in {weights}; got none that are equal to the bit; export from this very "
            "file, with --half if it holds 16 bits"
        )
    nodes = list(graph.graph.node)
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend([*steps, *nodes])
    graph.graph.initializer.extend(kept)
    return bytes_shared


def _parts(weights: Path, network: AnyNetwork) -> Iterator[Stored]:
    """All tensors of a file, and those parts of them that ``simplify`` multiplies with something."""
    header, begin = safetensors_header(weights)
    content = np.memmap(weights, np.uint8, "r")
    tensors: dict[str, Stored] = {}
    for name, facts in header.items():
        if name == "__metadata__" or facts["dtype"] not in KINDS:
            continue
        first, last = (begin + place for place in facts["data_offsets"])
        values = content[first:last].view(KINDS[facts["dtype"]]).reshape(facts["shape"])
        tensors[name] = Stored(values, first)
        yield tensors[name]
    for name, start, end, factors in norm_factors(network):
        if name in tensors:
            whole = tensors[name]
            yield Stored(whole.values[start:end], whole.offset + whole.values[:start].nbytes, factors.numpy())


def _identity(values: NDArray[np.generic]) -> tuple[object, ...]:
    return values.shape, values.dtype.str, values.tobytes()


def _make(
    weight: onnx.TensorProto, stored: Stored, turned: bool, location: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that make a weight from stored values, and the tensors that they need."""
    tensor = onnx.TensorProto(
        name=weight.name,
        data_type=weight.data_type,
        dims=stored.values.shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in {"location": location, "offset": stored.offset, "length": stored.values.nbytes}.items():
        tensor.external_data.add(key=key, value=str(value))
    tensors = [tensor]
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if stored.factors is not None:
        tensors.append(numpy_helper.from_array(stored.factors, f"{weight.name}.factors"))
        # in 32 bits and back, as `simplify` and `round_to_half` did
        steps += [
            ("Cast", [], {"to": onnx.TensorProto.FLOAT}),
            ("Mul", [tensors[1].name], {}),
            ("Cast", [], {"to": weight.data_type}),
        ]
    if turned:
        steps.append(("Transpose", [], {"perm": [1, 0]}))
    if steps:
        tensor.name = f"{weight.name}.stored"
    nodes, before = [], tensor.name
    for number, (kind, others, options) in enumerate(steps, 1):
        after = weight.name if number == len(steps) else f"{weight.name}.{kind.lower()}{number}"
        nodes.append(helper.make_node(kind, [before, *others], [after], name=f"{after}.{kind.lower()}", **options))
        before = after
    return nodes, tensors
