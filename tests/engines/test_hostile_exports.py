"""Exported files that were made to do harm, or that are another model's: refused before anything is compiled."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from singletrack.engines import MOST_NODES, open_network
from singletrack.errors import CheckpointError
from singletrack.loading import bundled_file, load

ENGINES = ["openvino", "onnx"]


def change(source: Path, target: Path, *changes: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(str(source))
    for each in changes:
        each(model)
    onnx.save(model, str(target))
    return target


def rename_output(model: onnx.ModelProto) -> None:
    """The bundled model's `score` becomes `scores`."""
    graph = model.graph
    (node,) = (node for node in graph.node if "score" in node.output)
    node.output[list(node.output).index("score")] = "scores"
    (value,) = (value for value in graph.output if value.name == "score")
    value.name = "scores"
    for other in graph.node:
        for index, name in enumerate(other.input):
            if name == "score":
                other.input[index] = "scores"


def drop_output(model: onnx.ModelProto) -> None:
    (value,) = (value for value in model.graph.output if value.name == "offset")
    model.graph.output.remove(value)


def drop_all_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def claim(key: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        facts = {each.key: each.value for each in model.metadata_props} | {key: value}
        helper.set_model_props(model, facts)

    return change


def shrink_search(model: onnx.ModelProto) -> None:
    (value,) = (value for value in model.graph.input if value.name == "search")
    for size in value.type.tensor_type.shape.dim[-2:]:
        size.dim_value = 112


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([rename_output], "no score among"),
        ([drop_output], "no offset among"),
        ([drop_all_outputs], "is not a file written by"),
        ([shrink_search], "search has sizes|cannot read"),
        ([claim("model", "stark-st50")], "expected a file"),
        ([claim("model", "no such model")], "expected a file that holds"),
    ],
)
def test_files_that_are_another_models(engine: str, changes: list, message: str, tmp_path: Path) -> None:  # C7
    path = change(bundled_file("ostrack-tiny", ".onnx"), tmp_path / "file.onnx", *changes)
    with pytest.raises(Exception, match=message) as caught:
        load(path, engine=engine)
    assert type(caught.value).__module__ == "singletrack.errors"


def add_chain(model: onnx.ModelProto) -> None:
    names = ["twice", *(f"chain{number}" for number in range(MOST_NODES + 10))]
    for before, after in itertools.pairwise(names):
        model.graph.node.append(helper.make_node("Neg", [before], [after]))
    model.graph.output.append(helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["batch", 3, 4, 4]))


def add_loop(model: onnx.ModelProto) -> None:
    def scalar(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["total", "total"], ["more"]),
        ],
        "body",
        [scalar("step", TensorProto.INT64), scalar("go", TensorProto.BOOL), scalar("total", TensorProto.FLOAT)],
        [scalar("still", TensorProto.BOOL), scalar("more", TensorProto.FLOAT)],
    )
    graph = model.graph
    graph.initializer.append(helper.make_tensor("steps", TensorProto.INT64, [], [2**40]))
    graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    graph.node.append(helper.make_node("Loop", ["steps", "yes", "one"], ["looped"], body=body))
    graph.output.append(scalar("looped", TensorProto.FLOAT))


def add_vast_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("sizes", TensorProto.INT64, [1], [2**40]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sizes"], ["vast"]))
    model.graph.output.append(helper.make_tensor_value_info("vast", TensorProto.FLOAT, [2**40]))


def add_promised_weights(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "promised", TensorProto.FLOAT
    tensor.dims.extend([2**40])
    model.graph.node.append(helper.make_node("Neg", ["promised"], ["vast"]))
    model.graph.output.append(helper.make_tensor_value_info("vast", TensorProto.FLOAT, [2**40]))


def add_weights_elsewhere(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type, tensor.data_location = "elsewhere", TensorProto.FLOAT, TensorProto.EXTERNAL
    tensor.dims.extend([4])
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../../../etc/passwd"
    model.graph.node.append(helper.make_node("Neg", ["elsewhere"], ["read"]))
    model.graph.output.append(helper.make_tensor_value_info("read", TensorProto.FLOAT, [4]))


def set_weight(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (weight,) = (each for each in model.graph.initializer if each.name == "one")
        weight.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), value, np.float32), "one"))

    return change


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (add_chain, "nodes; at most"),
        (add_loop, "control flow"),
        (add_vast_constant, "makes a tensor of|cannot"),
        (add_promised_weights, "not complete|makes a tensor of|cannot"),
        (add_weights_elsewhere, "another file|cannot"),
        (set_weight(float("nan")), "hold NaN or infinity"),  # C29
        (set_weight(float("inf")), "hold NaN or infinity"),
    ],
)
def test_graphs_that_ask_for_too_much(
    engine: str, attack: Callable, message: str, toy_file: Path, tmp_path: Path
) -> None:  # C26
    path = change(toy_file, tmp_path / "file.onnx", attack)
    with pytest.raises(CheckpointError, match=message):
        open_network(engine, path)
