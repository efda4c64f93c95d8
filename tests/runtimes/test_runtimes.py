"""The same two calls on each engine: numbers, batches, devices, broken files, missing packages."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from singletrack import runtimes
from singletrack.errors import CheckpointError, InputError, MissingDependencyError
from singletrack.runtimes import installed_engines, open_network, require_engine
from singletrack.runtimes.openvino_runtime import OpenVINONetwork
from singletrack.runtimes.torch_runtime import TorchNetwork

Open = Callable[..., Any]


@pytest.fixture(params=["openvino", "onnx", "torch"])
def open_toy(request: pytest.FixtureRequest, toy_file: Path, toy_module: nn.Module) -> Open:
    """Opens the toy on one engine."""
    if request.param == "torch":
        return lambda device="auto": TorchNetwork(toy_module, device)
    return lambda device="auto": open_network(request.param, toy_file, device)


def crops(batch: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(batch, 3, 4, 4)).astype(np.float32)


def test_both_calls_for_every_batch_size(open_toy: Open) -> None:
    network = open_toy("cpu")
    for batch in (1, 3, 1, 2):
        template, search = crops(batch, 1), crops(batch, 2)
        maps = network.locate(network.encode(template), search)
        assert set(maps) == {"double", "first"}
        assert {values.dtype for values in maps.values()} == {np.dtype(np.float32)}
        np.testing.assert_allclose(maps["double"], template + 1 + 2 * search, atol=1e-6)
        np.testing.assert_allclose(maps["first"], (template + 1).sum(3), atol=1e-5)


def test_answers_stay_when_the_next_ones_come(open_toy: Open) -> None:
    network = open_toy()
    first = network.encode(crops(1, 1))
    maps = network.locate(first, crops(1, 2))
    kept = maps["double"].copy()
    network.locate(network.encode(crops(1, 3)), crops(1, 4))
    np.testing.assert_array_equal(maps["double"], kept)
    np.testing.assert_array_equal(network.locate(first, crops(1, 2))["double"], kept)


def test_threads_may_share_a_network(open_toy: Open) -> None:
    network = open_toy()
    wrong: list[int] = []

    def work(seed: int) -> None:
        template, search = crops(1, seed), crops(1, seed + 100)
        for _ in range(50):
            got = network.locate(network.encode(template), search)["double"]
            if not np.allclose(got, template + 1 + 2 * search, atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


DROPPED = """
import gc, signal, sys
from singletrack.runtimes import open_network
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
older, newer = open_network("openvino", sys.argv[1]), open_network("openvino", sys.argv[1])
del older
gc.collect()
del newer
gc.collect()
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_networks_were_dropped_is_survived(toy_file: Path) -> None:
    command = [sys.executable, "-c", DROPPED, str(toy_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_unknown_device_lists_those_there_are(open_toy: Open) -> None:
    with pytest.raises(InputError, match=r"(?i)got 'abacus'; give auto or cpu.*or choose another engine"):
        open_toy("abacus")


@pytest.mark.parametrize("name", ["cpu", "CPU", "auto", "AUTO"])
def test_device_names_in_any_case(open_toy: Open, name: str) -> None:
    open_toy(name)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_metadata(engine: str, toy_file: Path) -> None:
    assert open_network(engine, toy_file).metadata == {"model": "toy", "keep_ratio": "0.7"}


def test_precision(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenVINONetwork(toy_file, precision="f32", threads=1).precision == "f32"
    assert OpenVINONetwork(toy_file).precision in ("f32", "bf16")
    with pytest.raises(InputError, match="expected a precision among auto, f32 and bf16; got 'f8'"):
        OpenVINONetwork(toy_file, precision="f8")  # type: ignore[arg-type]


def test_one_crop_needs_no_compiling_after_opening(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[str, int]] = []
    compile_half = OpenVINONetwork._compile

    def note(self: OpenVINONetwork, call: str, batch: int) -> Any:
        compiled.append((call, batch))
        return compile_half(self, call, batch)

    monkeypatch.setattr(OpenVINONetwork, "_compile", note)
    network = OpenVINONetwork(toy_file)
    assert compiled == [("encode", 1), ("locate", 1)]
    for batch in (1, 2, 2):
        network.locate(network.encode(crops(batch, 1)), crops(batch, 2))
    assert compiled[2:] == [("encode", 2), ("locate", 2)]


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_one_thread(engine: str, toy_file: Path) -> None:
    template = crops(1, 0)
    features = open_network(engine, toy_file, threads=1).encode(template)
    np.testing.assert_allclose(features, template + 1)


def test_threads_of_openvino_are_those_of_the_processor(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.runtimes.openvino_runtime.find_device", lambda device: "GPU")
    with pytest.raises(InputError, match="expected device cpu with a number of threads; got GPU; leave one of them"):
        OpenVINONetwork(toy_file, device="gpu", threads=1)


def test_networks_of_few_threads_are_not_all_pinned_to_the_first_core(toy_file: Path) -> None:
    network = OpenVINONetwork(toy_file, threads=1)
    compiled = network._requests["locate", 1].get_compiled_model()
    assert not compiled.get_property("ENABLE_CPU_PINNING")


def test_threads_of_torch_are_those_of_the_process(toy_module: nn.Module) -> None:
    before = torch.get_num_threads()
    try:
        TorchNetwork(toy_module, "cpu", threads=before + 1)
        assert torch.get_num_threads() == before + 1
        TorchNetwork(toy_module, "cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
@pytest.mark.parametrize("content", ["absent", "empty", "text", "cut", "other"])
def test_a_file_that_is_no_export(engine: str, content: str, toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    whole = toy_file.read_bytes()
    if content == "other":
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [value], [result])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    elif content != "absent":
        path.write_bytes({"empty": b"", "text": b"hello " * 50, "cut": whole[: len(whole) // 2]}[content])
    with pytest.raises(CheckpointError, match=r"expected a file written by `singletrack export`; got .*bad\.onnx"):
        open_network(engine, path)


def test_engine_names(toy_file: Path) -> None:
    assert set(installed_engines()) == {"openvino", "onnx", "torch"}
    with pytest.raises(InputError, match="expected an engine among openvino, onnx, torch; got 'tensorrt'"):
        open_network("tensorrt", toy_file)
    with pytest.raises(InputError, match="expected an engine that reads ONNX files; got 'torch'"):
        open_network("torch", toy_file)


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("openvino", "pip install openvino"),
        ("onnx", 'pip install "singletrack[onnx]"'),
        ("torch", 'pip install "singletrack[train]"'),
    ],
)
def test_missing_packages_name_the_command(engine: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda package: None)
    assert installed_engines() == []
    with pytest.raises(MissingDependencyError) as caught:
        require_engine(engine)
    assert str(caught.value).endswith(f"run: {command}")
