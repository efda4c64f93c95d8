"""STARK's weights from the two places that publish them, under their names; with narrow layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from singletrack.errors import CheckpointError, InputError
from singletrack.models.build import build_network
from singletrack.models.checkpoint_keys import Table, mmtracking_keys, official_keys
from singletrack.models.checkpoints import convert, load_weights, read_weights
from singletrack.models.configs import STARKConfig
from singletrack.models.stark import STARK, build_stark
from singletrack.registry import MODELS, find_model

STARKS = [name for name, spec in MODELS.items() if isinstance(spec.network, STARKConfig)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STARKS:
        network = replace(MODELS[name].network, resnet_width=4, width=16, heads=2, hidden=8)  # type: ignore[call-arg]
        monkeypatch.setitem(MODELS, name, replace(MODELS[name], network=network))


def under(names: Table, model: STARK) -> dict[str, Tensor]:
    """The weights of `model` as others name them; what they carry along unused is zero."""
    ours = model.state_dict()
    return {theirs: torch.zeros(3) if name is None else ours[name] for theirs, name in names.items()}


@pytest.mark.parametrize("name", ["stark-s50", "stark-st50", "stark-st101"])
def test_table_covers_the_official_keys(name: str, shared: Path) -> None:
    keys = json.loads((shared / "fixtures" / "keys" / f"{name.replace('-', '_')}.json").read_text())
    assert keys.keys() == official_keys(MODELS[name].network).keys()


@pytest.mark.parametrize("name", STARKS)
def test_tables_cover_the_network(name: str) -> None:
    expected = build_stark(MODELS[name].network).state_dict().keys()
    for table in MODELS[name].checkpoint_keys:
        ours = [our_name for our_name in table.values() if our_name is not None]
        assert len(ours) == len(set(ours))
        assert set(ours) == expected


def test_names_of_mmtracking() -> None:
    """Some of each kind, as its modules make them."""
    names = mmtracking_keys(MODELS["stark-st50"].network)
    assert names["backbone.layer3.5.bn2.running_var"] == "backbone.layer3.5.bn2.running_var"
    assert names["backbone.layer2.0.downsample.1.num_batches_tracked"] is None
    assert names["neck.convs.0.conv.bias"] == "reduce.bias"
    encoder, decoder = "head.transformer.encoder.layers.5", "head.transformer.decoder.layers.5"
    assert names[f"{encoder}.attentions.0.attn.in_proj_weight"] == "encoder.layers.5.self_attn.in_proj.weight"
    assert names[f"{encoder}.ffns.0.layers.0.0.weight"] == "encoder.layers.5.feed_forward.linear1.weight"
    assert names[f"{encoder}.ffns.0.layers.1.bias"] == "encoder.layers.5.feed_forward.linear2.bias"
    assert names[f"{encoder}.norms.1.weight"] == "encoder.layers.5.norm2.weight"
    assert names[f"{decoder}.attentions.1.attn.out_proj.bias"] == "decoder.layers.5.cross_attn.out_proj.bias"
    assert names["head.transformer.decoder.post_norm.weight"] == "decoder.norm.weight"
    assert names["head.query_embedding.weight"] == "decoder.query"
    assert names["head.bbox_head.tl_corner_pred.0.conv.weight"] == "corner_head.top_left.0.0.weight"
    assert names["head.bbox_head.br_corner_pred.3.bn.num_batches_tracked"] == (
        "corner_head.bottom_right.3.1.num_batches_tracked"
    )
    assert names["head.bbox_head.br_corner_pred.4.bias"] == "corner_head.bottom_right.4.bias"
    assert names["head.cls_head.layers.2.weight"] == "score_head.4.weight"
    assert not any("cls_head" in name for name in mmtracking_keys(MODELS["stark-st50-stage1"].network))


@pytest.mark.parametrize("name", ["stark-s50", "stark-st50"])
def test_all_three_sources_load_alike(name: str, tmp_path: Path) -> None:
    model = build_stark(MODELS[name].network)
    torch.save(
        {"net": under(official_keys(MODELS[name].network), model), "epoch": 50}, tmp_path / "STARK_ep0050.pth.tar"
    )
    torch.save(
        {"meta": {"epoch": 50}, "state_dict": under(mmtracking_keys(MODELS[name].network), model)}, tmp_path / "mm.pth"
    )
    convert(tmp_path / "mm.pth", MODELS[name].network, tmp_path / "ours.safetensors", name=name)
    for file in ("STARK_ep0050.pth.tar", "mm.pth", "ours.safetensors"):
        fresh = build_stark(MODELS[name].network)
        load_weights(fresh, tmp_path / file, name)
        for key, value in model.state_dict().items():
            assert torch.equal(fresh.state_dict()[key], value), f"{file}: {key}"
    assert read_weights(tmp_path / "ours.safetensors").keys() == model.state_dict().keys()


def test_the_score_head_of_the_first_stage_is_left_out(tmp_path: Path) -> None:
    """The official first stage has one that nothing has trained; MMTracking's has none."""
    whole = build_stark(MODELS["stark-st50"].network)
    torch.save({"net": under(official_keys(MODELS["stark-st50"].network), whole)}, tmp_path / "stage1.pth.tar")
    model = build_stark(MODELS["stark-st50-stage1"].network)
    load_weights(model, tmp_path / "stage1.pth.tar", "stark-st50-stage1")
    assert model.score_head is None
    first = under(mmtracking_keys(MODELS["stark-st50-stage1"].network), model)
    torch.save({"state_dict": first}, tmp_path / "stage1.pth")
    with pytest.raises(
        CheckpointError, match=r"missing score_head\.0\.weight \(officially cls_head\.layers\.0\.weight"
    ):
        load_weights(whole, tmp_path / "stage1.pth", "stark-st50")


def test_another_starks_weights_are_refused(tmp_path: Path) -> None:
    model = build_stark(MODELS["stark-st101"].network)
    torch.save({"net": under(official_keys(MODELS["stark-st101"].network), model)}, tmp_path / "st101.pth.tar")
    with pytest.raises(CheckpointError, match="unexpected"):
        convert(
            tmp_path / "st101.pth.tar", MODELS["stark-st50"].network, tmp_path / "out.safetensors", name="stark-st50"
        )


def test_networks_by_name() -> None:
    with pytest.raises(InputError, match=r"unknown model 'stark'; choose one of .*stark-s50"):
        find_model("stark")
    with pytest.raises(InputError, match=r"a keep ratio needs a network that eliminates tokens; got 0\.7"):
        build_network(MODELS["stark-s50"].network, 0.7)
