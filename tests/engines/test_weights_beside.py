"""Files that take their weights from the .safetensors file beside them, and from nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper

from singletrack.engines import open_network
from singletrack.engines.beside import files_of
from singletrack.engines.preprocessing import UNCHANGED
from singletrack.errors import CheckpointError
from singletrack.files import safetensors_header

ENGINES = ["openvino", "onnx"]
ONE = np.array([[[[1.5]], [[2.5]], [[3.5]]]], np.float32)
Entries = dict[str, str]


@pytest.fixture
def place(toy_file: Path, tmp_path: Path) -> Path:
    """The toy as ``place/toy.onnx``, with what it adds to the template in ``place/toy.safetensors``."""
    folder = tmp_path / "place"
    folder.mkdir()
    safetensors.numpy.save_file({"first": np.zeros(100, np.float32), "one": ONE}, folder / "toy.safetensors")
    header, begin = safetensors_header(folder / "toy.safetensors")
    start, end = header["one"]["data_offsets"]
    entries = {"location": "toy.safetensors", "offset": str(begin + start), "length": str(end - start)}
    write(onnx.load(str(toy_file)), entries, folder / "toy.onnx")
    return folder


def write(model: onnx.ModelProto, entries: Entries | list[tuple[str, str]], path: Path) -> None:
    """Write a model whose weight ``one`` lies elsewhere."""
    (weight,) = (each for each in model.graph.initializer if each.name == "one")
    weight.Clear()
    weight.name, weight.data_type, weight.data_location = "one", TensorProto.FLOAT, TensorProto.EXTERNAL
    weight.dims.extend(ONE.shape)
    for key, value in entries.items() if isinstance(entries, dict) else entries:
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def change(path: Path, **changes: str | None) -> None:
    """Change entries of the weight; None removes one."""
    model = onnx.load(str(path), load_external_data=False)
    (weight,) = (each for each in model.graph.initializer if each.name == "one")
    entries = {each.key: each.value for each in weight.external_data} | changes
    write(model, {key: value for key, value in entries.items() if value is not None}, path)


def features(path: Path, engine: str) -> np.ndarray:
    network = open_network(engine, path, "cpu", threads=1)
    return np.asarray(network.encode(np.zeros((1, 3, 4, 4), np.float32)))[0, :, 0, 0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["as it is", "by a link", "hard links", "a folder that is a link", "from its folder"])
def test_weights_are_taken_from_the_file_beside(
    engine: str, way: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "toy.onnx"
    assert files_of(path) == [path, place / "toy.safetensors"]
    if way == "by a link":
        path = tmp_path / "mine.onnx"
        path.symlink_to(place / "toy.onnx")
    elif way == "a folder that is a link":
        (tmp_path / "linked").symlink_to(place)
        path = tmp_path / "linked" / "toy.onnx"
    elif way == "hard links":  # as uv installs packages
        os.link(place / "toy.safetensors", tmp_path / "toy.safetensors")
    elif way == "from its folder":
        monkeypatch.chdir(place)
        path = Path("toy.onnx")
    np.testing.assert_array_equal(features(path, engine), ONE.ravel())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "other.safetensors"}, r"another file, 'other\.safetensors'.*only toy\.safetensors"),
        ({"location": "../toy.safetensors"}, "another file"),
        ({"location": "./toy.safetensors"}, "another file"),
        ({"location": "inner/toy.safetensors"}, "another file"),
        ({"location": "/etc/passwd"}, "another file"),
        ({"location": "*/_ORT_MEM_ADDR_/*", "offset": "4096"}, "another file"),  # engines read their own memory then
        ({"location": None, "checksum": "location"}, "another file, None"),
        ({"offset": "100000"}, "no part of toy.safetensors"),
        ({"length": "100000"}, "no part of toy.safetensors"),
        ({"length": "0"}, "no part of toy.safetensors"),
        ({"length": None}, "no part of toy.safetensors"),
        ({"offset": "-4"}, "no part of toy.safetensors"),
        ({"offset": str(2**64)}, "no part of toy.safetensors"),
        ({"checksum": "0"}, "no part of toy.safetensors"),
        ({"length": "8"}, "not complete|cannot read it"),
    ],
)
def test_nothing_else_is_read(engine: str, changes: dict, message: str, place: Path) -> None:
    (place / "inner").mkdir()
    for copy in ("other.safetensors", "../toy.safetensors", "inner/toy.safetensors"):
        (place / copy).write_bytes((place / "toy.safetensors").read_bytes())
    change(place / "toy.onnx", **changes)
    with pytest.raises(CheckpointError, match=message):
        open_network(engine, place / "toy.onnx", "cpu")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["missing", "a link that leads out", "a pipe", "a folder"])
def test_the_file_beside_is_a_file_there(engine: str, kind: str, place: Path, tmp_path: Path) -> None:
    beside = place / "toy.safetensors"
    beside.rename(tmp_path / "kept")
    if kind == "a link that leads out":
        beside.symlink_to(tmp_path / "kept")
    elif kind == "a pipe":
        os.mkfifo(beside)
    elif kind == "a folder":
        beside.mkdir()
    message = r"expected the weights of .*toy\.onnx in .*toy\.safetensors, which (is not there|leads out).*copy both"
    with pytest.raises(CheckpointError, match=message):
        open_network(engine, place / "toy.onnx", "cpu")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_renamed_file_says_what_is_wrong(engine: str, place: Path) -> None:
    (place / "toy.onnx").rename(place / "mine.onnx")
    with pytest.raises(CheckpointError, match=r"only mine\.safetensors .* renamed needs its old name back"):
        open_network(engine, place / "mine.onnx", "cpu")


def two_locations(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def a_constant(model: onnx.ModelProto) -> None:
    """A node's own tensor lies elsewhere, which ONNX Runtime would look for in the current folder."""
    node = helper.make_node(
        "Constant", [], ["constant"], value=helper.make_tensor("value", TensorProto.FLOAT, [1], [1])
    )
    node.attribute[0].t.CopyFrom(model.graph.initializer[0])
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info("constant", TensorProto.FLOAT, ONE.shape))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("attack", "message"),
    [(two_locations, "two entries 'location'"), (a_constant, "other than a weight of the graph")],
)
def test_graphs_that_readers_take_differently(engine: str, attack: Callable, message: str, place: Path) -> None:
    model = onnx.load(str(place / "toy.onnx"), load_external_data=False)
    attack(model)
    (place / "toy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=message):
        open_network(engine, place / "toy.onnx", "cpu")


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_file_cut_short_is_refused(cut: int, place: Path) -> None:
    content = (place / "toy.onnx").read_bytes()
    (place / "toy.onnx").write_bytes(content[:-cut])
    with pytest.raises(CheckpointError, match="not ONNX, or cut short"):
        files_of(place / "toy.onnx")


def test_an_ir_and_a_name_that_holds_the_word_take_nothing(toy_file: Path, tmp_path: Path) -> None:
    model = onnx.load(str(toy_file))
    model.graph.name = "location"
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "toy.xml").write_text("<net name='location'/>")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("toy.onnx", "toy.xml", "empty.onnx"):
        assert files_of(tmp_path / name) == [tmp_path / name]


def test_compiled_networks_know_the_weights_beside(place: Path, tmp_path: Path) -> None:
    """The cache notices changed weights even where the size and the time of the file are as before."""
    path, beside, cache = place / "toy.onnx", place / "toy.safetensors", tmp_path / "compiled"
    cache.mkdir()
    for factor in (1, 2, 1):
        before = beside.stat()
        beside.unlink()  # a network may still have it mapped
        safetensors.numpy.save_file({"first": np.zeros(100, np.float32), "one": ONE * factor}, beside)
        os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert beside.stat().st_size == before.st_size
        for _ in range(2):  # the second time from the cache
            network = open_network("openvino", path, "cpu", threads=1, normalization=UNCHANGED, cache=cache)
            got = np.asarray(network.encode(np.zeros((1, 4, 4, 3), np.uint8)))[0, :, 0, 0]
            np.testing.assert_allclose(got, ONE.ravel() * factor, rtol=0.01)  # in bf16, where the CPU has it
    assert len(list(cache.glob("*/*.blob"))) == 3  # two for the template, and one for the search
