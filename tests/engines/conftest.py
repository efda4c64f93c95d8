"""A network with the two calls, small enough to be exported in no time, and its file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn


class Toy(nn.Module):
    """features = template + 1; double = features + 2 search; first = sum of the features over their columns."""

    def encode(self, template: Tensor) -> Tensor:
        return template + 1

    def locate(self, features: Tensor, search: Tensor) -> dict[str, Tensor]:
        return {"double": features + 2 * search, "first": features.sum(3)}


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of ``Toy`` for crops of 3 x 4 x 4, any batch size."""

    def crops(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 4, *sizes])

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["template", "one"], ["features"]),
            helper.make_node("Add", ["search", "search"], ["twice"]),
            helper.make_node("Add", ["features", "twice"], ["double"]),
            helper.make_node("ReduceSum", ["features", "columns"], ["first"], keepdims=0),
        ],
        "toy",
        [crops("template", 4), crops("search", 4)],
        [crops("double", 4), crops("first")],
        [
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("columns", TensorProto.INT64, [1], [3]),
        ],
        value_info=[crops("features", 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"model": "toy", "keep_ratio": "0.7"})
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture
def toy_module() -> nn.Module:
    torch.manual_seed(0)
    return Toy()
