"""Exported files: the same numbers in every engine, any batch size, and nothing kept that is wrong."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from singletrack.engines import installed_engines
from singletrack.errors import ExportError
from singletrack.export.simplify import simplify
from singletrack.export.to_onnx import export_onnx, trace
from singletrack.export.verify import OutputDifference, compare_with_module, made_crops, made_input, require_agreement
from singletrack.models.configs import OSTrackConfig, STARKConfig
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.models.stark import FrozenBatchNorm, build_stark
from singletrack.registry import MODELS

# as ostrack-tiny in kind, and small
LITTLE = OSTrackConfig(
    template_size=48,
    search_size=96,
    width=32,
    depth=4,
    heads=2,
    mlp_ratio=2.0,
    drop_path=0.0,
    eliminate_in=(1, 2),
    template_rows="rectangle",
    head_channels=16,
    stem="convolution",
    grid_convolutions=1,
    attention_to_head=(1, 2),
)


LITTLE_STARK = STARKConfig(
    template_size=32,
    search_size=64,
    blocks=(1, 1, 1),
    resnet_width=4,
    width=16,
    heads=2,
    hidden=16,
    encoder_layers=1,
    decoder_layers=1,
    score_head=True,
)

# tracing takes a second for each block
LEAST = replace(LITTLE, depth=1, eliminate_in=(), attention_to_head=(), grid_convolutions=0)


def little_network(config: OSTrackConfig = LITTLE) -> OSTrack:
    torch.manual_seed(0)
    network = build_ostrack(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return network


def test_same_numbers_in_every_engine(tmp_path: Path) -> None:
    path = tmp_path / "new" / "little.onnx"
    differences = export_onnx(little_network(), path, name="little")
    engines = [engine for engine in installed_engines() if engine != "torch"]
    assert [(each.engine, each.batch) for each in differences] == [(e, b) for b in (1, 3) for e in engines]
    assert all(max(*each.maps.values(), each.box) < 1e-4 for each in differences)
    assert "batch 3: score" in str(differences[-1])
    assert [file.name for file in path.parent.iterdir()] == ["little.onnx"]

    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["template", "search"]
    assert [value.name for value in graph.output] == ["score", "size", "offset"]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} == {"batch"}
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in graph.node}
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts == {
        "model": "little",
        "keep_ratio": "0.7",
        "mark_template": "False",
        "num_templates": "1",
        "template_size": "48",
        "search_size": "96",
        "weights": "float32",
    }


@pytest.mark.parametrize("templates", [1, 2])
def test_several_templates_and_padding(templates: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_stark(replace(LITTLE_STARK, num_templates=templates)).eval()
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path / "stark.onnx"
    differences = export_onnx(network, path, name="stark")
    assert all(max(*each.maps.values(), each.box) < 1e-4 for each in differences)
    model = onnx.load(path)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)
    }
    assert {name: shapes[name] for name in ("template", "search", "features", "corners", "score")} == {
        "template": ["batch", templates, 4, 32, 32],
        "search": ["batch", 4, 64, 64],
        "features": ["batch", 4 * templates, 33],
        "corners": ["batch", 2, 4, 4],
        "score": ["batch"],
    }
    assert not {"If", "Loop", "Scan", "BatchNormalization"} & {node.op_type for node in model.graph.node}
    assert "keep_ratio" not in {entry.key for entry in model.metadata_props}


def test_made_input_of_every_shape() -> None:
    assert made_input(2, (3, 48, 48), seed=1).shape == (2, 3, 48, 48)
    templates = made_input(3, (2, 4, 32, 32), seed=1)
    assert templates.shape == (3, 2, 4, 32, 32)
    assert set(np.unique(templates[:, :, 3])) == {0.0, 1.0}
    assert len({mask.tobytes() for mask in templates[:, :, 3].reshape(6, -1)}) == 6


def test_half_stores_the_same_numbers_in_less_room(tmp_path: Path) -> None:
    network = little_network(LEAST)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = tmp_path / "half.onnx"
    differences = export_onnx(network, path, name="little", half=True)
    assert all(max(each.maps.values()) < 1e-4 for each in differences)  # from the rounded network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(max(each.maps.values()) < 0.02 for each in compare_with_module(path, network))

    stored = {value.name: value.data_type for value in onnx.load(path).graph.initializer}
    halves = sum(kind == onnx.TensorProto.FLOAT16 for kind in stored.values())
    assert halves >= 20
    weights = sum(value.numel() for value in network.parameters())
    assert path.stat().st_size < 4 * weights  # little: the graph itself is half of it


def test_file_that_disagrees_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="maps must be within 0 of PyTorch; got"):
        export_onnx(little_network(LEAST), tmp_path / "little.onnx", name="little", tolerance=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [2e-4, float("nan"), float("inf")])
def test_agreement_is_required_of_every_map(value: float) -> None:
    good = OutputDifference(engine="onnx", batch=1, maps={"score": 1e-4, "size": 0.0}, box=0.0)
    bad = OutputDifference(engine="onnx", batch=3, maps={"score": 0.0, "size": value}, box=0.0)
    require_agreement([good], 1e-4)
    with pytest.raises(ExportError, match="batch 3: score"):
        require_agreement([good, bad], 1e-4)


def test_simplified_network_gives_the_same_maps() -> None:
    network = little_network()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:  # norms and biases, which start as ones and zeros
                parameter.add_(0.3 * torch.randn_like(parameter))
    simplified = simplify(copy.deepcopy(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in simplified.modules())
    crops = [torch.from_numpy(made_crops(2, size, seed=0)) for size in (48, 96)]
    with torch.no_grad():
        for name, values in network(*crops).items():
            torch.testing.assert_close(simplified(*crops)[name], values, atol=1e-5, rtol=0)


def test_simplified_graph_has_no_needless_nodes(tmp_path: Path) -> None:
    kinds = [node.op_type for node in trace(simplify(little_network())).graph.node]
    assert not {"BatchNormalization", "Sqrt"} & set(kinds)
    # of places alone, never of tokens: one for each elimination after the first, and for each that is restored
    assert kinds.count("GatherElements") == len(LITTLE.eliminate_in)
    attentions = len(LITTLE.eliminate_in) + LITTLE.depth  # once for all tokens, and for the rows that are asked for
    assert kinds.count("Softmax") == attentions


def test_made_crops_look_normalized_and_are_the_same_each_time() -> None:
    crops = made_crops(3, 64, seed=1)
    assert crops.shape == (3, 3, 64, 64)
    assert crops.dtype == "float32"
    assert abs(crops.mean()) < 1
    assert 0.3 < crops.std() < 1.5
    assert (crops == made_crops(3, 64, seed=1)).all()


def test_published_network_with_elimination(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B, deterministic weights: OpenVINO and ONNX Runtime agree with PyTorch."""
    monkeypatch.syspath_prepend(str(shared / "fixtures"))
    import detweights  # type: ignore[import-not-found]

    network = build_ostrack(MODELS["ostrack-256"].network).eval()
    state = network.state_dict()
    network.load_state_dict(detweights.det_state_dict({name: value.shape for name, value in state.items()}))
    sys.modules.pop("detweights")
    path = tmp_path / "vit.onnx"
    onnx.save(trace(network), str(path))
    differences = compare_with_module(path, network, batches=[1])
    require_agreement(differences, 1e-4)
    assert all(each.box < 0.01 for each in differences)
