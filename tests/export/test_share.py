"""Graphs that take their weights from the .safetensors file beside them: the same numbers to the bit, in less room."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from singletrack.errors import ExportError, InputError
from singletrack.export import share
from singletrack.export.share import share_weights
from singletrack.export.to_onnx import export_onnx, round_to_half
from singletrack.export.verify import made_input, open_all_exactly
from singletrack.files import safetensors_header
from singletrack.loading import bundled_file
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.registry import MODELS

LITTLE = OSTrackConfig(
    template_size=48,
    search_size=96,
    width=32,
    depth=1,
    heads=2,
    mlp_ratio=2.0,
    drop_path=0.0,
    eliminate_in=(),
    head_channels=16,
    stem="convolution",
)


@pytest.fixture(scope="module")
def network() -> OSTrack:
    """Weights of 16 bits, and norms whose weights matter."""
    torch.manual_seed(0)
    network = build_ostrack(LITTLE).eval()
    round_to_half(network)
    for block in network.backbone.blocks:
        for norm in (block.norm1, block.norm2):
            torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
            torch.nn.init.normal_(norm.bias, std=0.1)
    return network


def save(network: OSTrack, path: Path) -> Path:
    halved = {name: value.half() if value.dim() > 1 else value for name, value in network.state_dict().items()}
    save_safetensors(halved, path, "little", network.config)
    return path


@pytest.fixture(scope="module")
def plain(network: OSTrack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with its weights inside."""
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    export_onnx(network, path, name="little", half=True)
    return path


def shared_bytes(model: onnx.ModelProto) -> int:
    tensors = [each for each in model.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    return sum(int(place["length"]) for place in places)


def test_weights_are_shared_without_a_change_of_any_number(network: OSTrack, plain: Path, tmp_path: Path) -> None:
    weights = save(network, tmp_path / "little.safetensors")
    path = tmp_path / "little.onnx"
    export_onnx(network, path, name="little", half=True, share=weights)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["little.onnx", "little.safetensors"]
    model = onnx.load(str(path), load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Mul") - [node.op_type for node in onnx.load(str(plain)).graph.node].count("Mul") == 4
    block = network.backbone.blocks[0]
    layers = [block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2]
    sizes = [layer.weight.numel() for layer in layers]
    assert shared_bytes(model) >= 2 * np.sum(sizes)
    assert path.stat().st_size + shared_bytes(model) < plain.stat().st_size + 20_000

    template, search = made_input(1, (3, 48, 48), seed=1), made_input(1, (3, 96, 96), seed=2)
    for (engine, ours), theirs in zip(open_all_exactly(path).items(), open_all_exactly(plain).values(), strict=True):
        got, expected = (each.locate(each.encode(template), search) for each in (ours, theirs))
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values, err_msg=f"{engine} {name}")


def test_weights_of_another_network_are_not_shared(network: OSTrack, plain: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = save(build_ostrack(LITTLE), tmp_path / "other.safetensors")
    graph = onnx.load(str(plain))
    before = graph.SerializeToString(deterministic=True)
    with pytest.raises(ExportError, match=r"got none that are equal to the bit; export from this very file"):
        share_weights(graph, weights, network)
    assert graph.SerializeToString(deterministic=True) == before


def test_a_weight_that_differs_in_one_value_stays_inside(network: OSTrack, plain: Path, tmp_path: Path) -> None:
    weights = save(network, tmp_path / "little.safetensors")
    whole = share_weights(onnx.load(str(plain)), weights, network)
    header, begin = safetensors_header(weights)
    facts = header["backbone.blocks.0.mlp.fc2.weight"]
    content = bytearray(weights.read_bytes())
    content[begin + facts["data_offsets"][0] + 100] ^= 1
    weights.write_bytes(content)
    size = 2 * network.backbone.blocks[0].mlp.fc2.weight.numel()
    assert share_weights(onnx.load(str(plain)), weights, network) == whole - size


def test_queries_whose_scale_rounds_are_made_to_the_bit_or_kept(tmp_path: Path) -> None:
    """Heads of width 24: the scale is no power of two."""
    network = build_ostrack(replace(LITTLE, width=48)).eval()
    weights = save(network, tmp_path / "odd.safetensors")
    stored = [each for each in share._parts(weights, network) if each.factors is not None]
    assert [each.values.shape for each in stored] == [(48, 48)] * 3 + [(96, 48)]
    scale = float(stored[0].factors[0])  # norms begin with ones
    np.testing.assert_array_equal(
        stored[0].made(), (stored[0].values.astype(np.float32) * np.float32(scale)).astype("<f2")
    )
    assert scale == pytest.approx(24**-0.5)


@pytest.mark.parametrize("name", ["other.safetensors", "inner/little.safetensors"])
def test_the_file_must_be_beside(name: str, network: OSTrack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the file of the same name beside an \.onnx file; got .*little\.onnx"):
        export_onnx(network, tmp_path / "little.onnx", name="little", half=True, share=tmp_path / name)
    beside = tmp_path / "little.safetensors"
    with pytest.raises(InputError, match=r"beside an \.onnx file"):
        export_onnx(network, tmp_path / "little.xml", name="little", half=True, share=beside)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.bundled])
def test_bundled_graphs_hold_no_weights_twice(name: str, tmp_path: Path) -> None:
    """Each large weight lies beside the graph, and the pair works wherever both files are copied."""
    for ending in (".onnx", ".safetensors"):
        shutil.copy(bundled_file(name, ending), tmp_path)
    path = tmp_path / f"{name}.onnx"
    model = onnx.load(str(path), load_external_data=False)
    assert path.stat().st_size < 1e6
    assert shared_bytes(model) > 0.9 * path.with_suffix(".safetensors").stat().st_size
    for network in open_all_exactly(path).values():
        assert network.metadata["model"] == name
