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

from singletrack import engines
from singletrack.engines import installed_engines, open_network, require_engine
from singletrack.engines.onnx_engine import find_provider, providers_for
from singletrack.engines.openvino_engine import OpenVINONetwork, write_ir
from singletrack.engines.preprocessing import Normalization
from singletrack.engines.torch_engine import TorchNetwork, download
from singletrack.errors import CheckpointError, InputError, MissingDependencyError
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, normalize
from singletrack.install import install_command

Open = Callable[..., Any]


@pytest.fixture(params=["openvino", "onnx", "torch"])
def open_toy(request: pytest.FixtureRequest, toy_file: Path, toy_module: nn.Module) -> Open:
    """Opens the toy on one engine."""
    if request.param == "torch":
        return lambda device="auto": TorchNetwork(toy_module, device)
    return lambda device="auto": open_network(request.param, toy_file, device)


def crops(batch: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(batch, 3, 4, 4)).astype(np.float32)


def pixels(batch: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (batch, 4, 4, 3), dtype=np.uint8)


def test_pixels_are_normalized(open_toy: Open) -> None:
    network = open_toy("cpu")
    template, search = pixels(2, 1), pixels(2, 2)
    seen, sought = (
        np.concatenate([normalize(crop, IMAGENET_MEAN, IMAGENET_STD) for crop in each]) for each in (template, search)
    )
    for batch in (1, 2):
        maps = network.locate(network.encode(template[:batch]), search[:batch])
        np.testing.assert_allclose(maps["double"], (seen + 1 + 2 * sought)[:batch], atol=1e-5)
    np.testing.assert_allclose(network.encode(template), network.encode(seen), atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
def test_several_templates_whose_fourth_channel_stays(
    engine: str, toy_file: Path, toy_module: nn.Module, tmp_path: Path
) -> None:
    """The toy for templates of 2 x 4 x 5 x 5, and mean and std of its own."""
    normalization = Normalization(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    if engine == "torch":
        network: Any = TorchNetwork(toy_module, "cpu", normalization=normalization)
    else:
        model = onnx.load(toy_file)
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            sizes = ["batch", 2, 4, 5, 5] if value.name != "first" else ["batch", 2, 4, 5]
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, sizes))
        onnx.save(model, str(tmp_path / "toy.onnx"))
        network = open_network(engine, tmp_path / "toy.onnx", "cpu", precision="fp32", normalization=normalization)
    draw = np.random.default_rng(0)
    crops = draw.integers(0, 256, (3, 2, 5, 5, 4), dtype=np.uint8)
    crops[..., 3] = draw.integers(0, 2, (3, 2, 5, 5))
    expected = crops.transpose(0, 1, 4, 2, 3).astype(np.float32)
    for channel, (mean, std) in enumerate(zip(normalization.mean, normalization.std, strict=True)):
        expected[:, :, channel] = (expected[:, :, channel] / 255 - mean) / std
    np.testing.assert_allclose(np.asarray(network.encode(crops)), expected + 1, atol=1e-5)


def test_what_was_compiled_is_kept_for_the_next_process(toy_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = open_network("openvino", toy_file, precision="fp32", cache=folder)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.blob")}
    assert len(kept) == 2
    again = open_network("openvino", toy_file, precision="fp32", cache=folder)
    again.encode(pixels(3, 0))  # more crops at once: compiled, and not kept
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.blob")} == kept
    again.encode(pixels(2, 0))
    assert len(list(folder.glob("*/*.blob"))) == 3
    np.testing.assert_array_equal(again.encode(pixels(1, 0)), first.encode(pixels(1, 0)))


def test_what_was_compiled_for_one_precision_is_not_taken_for_another(toy_file: Path, tmp_path: Path) -> None:
    """OpenVINO's own key does not hold the precision; bf16 ran ten times slower with what was compiled for fp32."""
    for number, precision in enumerate(dict.fromkeys(["fp32", OpenVINONetwork(toy_file).precision]), start=1):
        open_network("openvino", toy_file, precision=precision, cache=tmp_path)
        assert len(list((tmp_path / precision).glob("*.blob"))) == 2
        assert len(list(tmp_path.iterdir())) == number


def test_other_weights_are_not_taken_from_the_cache(toy_file: Path, tmp_path: Path) -> None:
    model = onnx.load(toy_file)
    model.graph.initializer[0].CopyFrom(helper.make_tensor("one", TensorProto.FLOAT, [], [2.0]))
    onnx.save(model, str(tmp_path / "other.onnx"))
    networks = [
        open_network("openvino", path, precision="fp32", cache=tmp_path) for path in (toy_file, tmp_path / "other.onnx")
    ]
    one, two = (network.encode(pixels(1, 0)) for network in networks)
    np.testing.assert_allclose(two, one + 1, atol=1e-6)


def test_a_damaged_cache_is_made_anew(toy_file: Path, tmp_path: Path) -> None:
    open_network("openvino", toy_file, precision="fp32", cache=tmp_path)
    for path in tmp_path.glob("*/*.blob"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:100])
    network = open_network("openvino", toy_file, precision="fp32", cache=tmp_path)
    expected = open_network("openvino", toy_file, precision="fp32").encode(pixels(1, 0))
    np.testing.assert_array_equal(network.encode(pixels(1, 0)), expected)


def test_the_same_file_as_ir(toy_file: Path, tmp_path: Path) -> None:
    write_ir(toy_file, tmp_path / "toy.xml")
    network = open_network("openvino", tmp_path / "toy.xml", precision="fp32")
    assert network.metadata == {"model": "toy", "keep_ratio": "0.7"}
    template, search = pixels(2, 1), pixels(2, 2)
    same = open_network("openvino", toy_file, precision="fp32")
    maps, expected = (each.locate(each.encode(template), search) for each in (network, same))
    assert maps.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(maps[name], values)
    with pytest.raises(
        CheckpointError, match=r"toy\.xml is not a file written by .*: ONNX Runtime reads \.onnx, and OpenVINO both"
    ):
        open_network("onnx", tmp_path / "toy.xml")


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
from singletrack.engines import open_network
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
    with pytest.raises(InputError, match=r"(?i)no device 'abacus' here; choose auto or cpu.*or another engine"):
        open_toy("abacus")


@pytest.mark.parametrize("name", ["cpu", "CPU", "auto", "AUTO"])
def test_device_names_in_any_case(open_toy: Open, name: str) -> None:
    open_toy(name)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_metadata(engine: str, toy_file: Path) -> None:
    assert open_network(engine, toy_file).metadata == {"model": "toy", "keep_ratio": "0.7"}


def test_precision(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenVINONetwork(toy_file, precision="fp32", threads=1).precision == "fp32"
    assert OpenVINONetwork(toy_file).precision in ("fp32", "bf16")
    with pytest.raises(
        InputError, match="OpenVINO on cpu does not support precision 'f8'; choose one of auto, fp32, bf16"
    ):
        OpenVINONetwork(toy_file, precision="f8")  # type: ignore[arg-type]
    assert open_network("onnx", toy_file).precision == "fp32"
    with pytest.raises(
        InputError, match="ONNX Runtime on cpu does not support precision 'bf16'; choose one of auto, fp32"
    ):
        open_network("onnx", toy_file, precision="bf16")


def test_precision_of_torch(toy_module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.engines.torch_engine.computes_in_bf16", lambda: True)
    network = TorchNetwork(toy_module, "cpu", precision="bf16")
    template, search = crops(1, 1), crops(1, 2)
    features = network.encode(template)
    assert features.dtype == torch.bfloat16
    maps = network.locate(features, search)
    np.testing.assert_allclose(maps["double"], template + 1 + 2 * search, atol=0.1)
    assert maps["double"].dtype == np.float32
    monkeypatch.setattr("singletrack.engines.torch_engine.computes_in_bf16", lambda: False)
    for precision in ("bf16", "fp16"):
        with pytest.raises(
            InputError, match=rf"PyTorch on cpu does not support precision '{precision}'; choose one of auto, fp32, or"
        ):
            TorchNetwork(toy_module, "cpu", precision=precision)  # type: ignore[arg-type]


def test_compiled_gives_the_same(toy_module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def note(call: Callable[..., Any], *, dynamic: bool) -> Callable[..., Any]:  # the compiler itself takes a minute
        assert not dynamic
        compiled.append(call.__name__)
        return call

    monkeypatch.setattr(torch, "compile", note)
    network = TorchNetwork(toy_module, "cpu", compiled=True)
    assert compiled == ["encode", "locate"]
    for batch in (1, 2):
        template, search = crops(batch, 1), crops(batch, 2)
        maps = network.locate(network.encode(template), search)
        np.testing.assert_allclose(maps["double"], template + 1 + 2 * search, atol=1e-6)


def test_maps_of_several_sizes_come_in_one_piece() -> None:
    maps = {"score": torch.arange(2.0), "size": torch.arange(12.0).reshape(2, 2, 3), "more": torch.zeros(2, 1)}
    got = download(maps)
    assert list(got) == list(maps)
    for name, values in maps.items():
        np.testing.assert_array_equal(got[name], values.numpy())


@pytest.mark.parametrize(("device", "advice"), [("cuda", "onnxruntime-gpu"), ("tensorrt", "onnxruntime-gpu tensorrt")])
def test_graphics_processors_that_are_not_there(device: str, advice: str, toy_file: Path) -> None:
    if device in find_provider("cpu")[1]:
        pytest.skip(f"this ONNX Runtime has {device}")
    with pytest.raises(InputError, match=rf"no device '{device}' here; choose auto or cpu.*pip install {advice}"):
        open_network("onnx", toy_file, device)


def test_providers_help_each_other(tmp_path: Path) -> None:
    present = ["tensorrt", "cuda", "cpu"]
    chain = providers_for("tensorrt", present, "fp16", tmp_path)
    assert [name for name, _ in chain] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert chain[0][1] == {
        "trt_fp16_enable": "True",
        "trt_bf16_enable": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path),
    }
    assert providers_for("cuda", present, "fp32", None)[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert [name for name, _ in providers_for("cpu", ["cpu"], "auto", None)] == ["CPUExecutionProvider"]


def test_one_crop_needs_no_compiling_after_opening(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[str, int]] = []
    compile_half = OpenVINONetwork._compile

    def note(self: OpenVINONetwork, call: str, kinds: Any, *, keep: bool) -> Any:
        compiled.append((call, next(iter(kinds.values()))[0][0]))
        return compile_half(self, call, kinds, keep=keep)

    monkeypatch.setattr(OpenVINONetwork, "_compile", note)
    network = OpenVINONetwork(toy_file)
    assert compiled == [("encode", 1), ("locate", 1)]
    for batch in (1, 2, 2):
        network.locate(network.encode(pixels(batch, 1)), pixels(batch, 2))
    assert compiled[2:] == [("encode", 2), ("locate", 2)]


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_one_thread(engine: str, toy_file: Path) -> None:
    template = crops(1, 0)
    features = open_network(engine, toy_file, threads=1).encode(template)
    np.testing.assert_allclose(features, template + 1)


def test_threads_of_openvino_are_those_of_the_processor(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.engines.openvino_engine.find_device", lambda device: "GPU")
    with pytest.raises(InputError, match="threads are for device cpu only; got device GPU; leave"):
        OpenVINONetwork(toy_file, device="gpu", threads=1)


def test_networks_of_few_threads_are_not_all_pinned_to_the_first_core(toy_file: Path) -> None:
    network = OpenVINONetwork(toy_file, threads=1)
    assert len(network._requests) == 2
    for request in network._requests.values():
        assert not request.get_compiled_model().get_property("ENABLE_CPU_PINNING")


def test_a_quota_of_time_lowers_the_number_of_threads(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "singletrack.engines.openvino_engine"
    for granted, threads in ((3, 3), (64, 0)):
        monkeypatch.setattr(f"{module}.usable_cores", lambda granted=granted: granted)
        monkeypatch.setattr(f"{module}.allowed_cores", lambda: 64)
        settings = OpenVINONetwork(toy_file)._settings
        assert settings.get("INFERENCE_NUM_THREADS", 0) == threads


def test_threads_of_torch_are_those_of_the_process(toy_module: nn.Module) -> None:
    before = torch.get_num_threads()
    try:
        TorchNetwork(toy_module, "cpu", threads=1)
        assert torch.get_num_threads() == 1
        TorchNetwork(toy_module, "cpu")
        assert torch.get_num_threads() == 1
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
    with pytest.raises(CheckpointError, match=r"bad\.onnx is not a file written by `singletrack export`"):
        open_network(engine, path)


def test_engine_names(toy_file: Path) -> None:
    assert set(installed_engines()) == {"openvino", "onnx", "torch"}
    with pytest.raises(InputError, match="unknown engine 'tensorrt'; choose one of openvino, onnx, torch"):
        open_network("tensorrt", toy_file)
    with pytest.raises(InputError, match="engine 'torch' cannot read exported files"):
        open_network("torch", toy_file)


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("openvino", "pip install openvino"),
        ("onnx", install_command("onnx")),
        ("torch", install_command("train")),
    ],
)
def test_missing_packages_name_the_command(engine: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda package: None)
    assert installed_engines() == []
    with pytest.raises(MissingDependencyError) as caught:
        require_engine(engine)
    assert str(caught.value).endswith(f"run: {command}")
