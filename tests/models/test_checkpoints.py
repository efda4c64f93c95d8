"""Reading weights: whole, broken, foreign and hostile files. The network is OSTrack's with narrow layers."""

from __future__ import annotations

import builtins
import hashlib
import os
import pickle
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import Tensor

from singletrack.cli.convert import command
from singletrack.errors import CheckpointError, InputError
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.checkpoints import convert, load_weights, read_weights, save_safetensors
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.registry import MODELS, find_model, network_config


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ostrack-256", "ostrack-384"):
        narrow = replace(network_config(name, OSTrackConfig), width=48, heads=2, mlp_ratio=1.0, head_channels=16)
        monkeypatch.setitem(MODELS, name, replace(MODELS[name], network=narrow))


@pytest.fixture
def model() -> OSTrack:
    return build_ostrack(MODELS["ostrack-256"].network)


@pytest.fixture
def official(model: OSTrack) -> dict[str, Tensor]:
    """The weights of `model` as the published code would name them, with its two unused tensors."""
    ours = model.state_dict()
    unused = {"backbone.cls_token": torch.zeros(1, 1, 48), "backbone.pos_embed": torch.zeros(1, 197, 48)}
    return {
        official: unused[official] if name is None else ours[name]
        for official, name in official_keys(MODELS["ostrack-256"].network).items()
    }


@pytest.fixture
def foreign_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of a module that exists while the file is written only."""
    module = types.ModuleType("lib_of_the_training_code")
    made = type("Settings", (), {"__module__": module.__name__})
    module.Settings = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)


def test_name_table_covers_the_official_keys(shared: Path) -> None:
    import json

    for size in ("256", "384"):
        for elimination in ("ce_", ""):
            path = shared / "fixtures" / "keys" / f"ostrack_vitb_{size}_mae_{elimination}32x4_ep300.json"
            assert json.loads(path.read_text()).keys() == official_keys(MODELS[f"ostrack-{size}"].network).keys()


def test_name_table_covers_the_network(model: OSTrack) -> None:
    names = official_keys(MODELS["ostrack-256"].network).values()
    assert set(names) - {None} == model.state_dict().keys()
    assert len(names) == 242


@pytest.mark.parametrize("zipped", [True, False])
def test_official_checkpoint_with_foreign_objects(
    official: dict[str, Tensor],
    foreign_class: type,
    zipped: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = foreign_class()
    settings.history = [foreign_class()]
    path = tmp_path / "OSTrack_ep0300.pth.tar"
    content = {"epoch": 300, "net": official, "stats": {"loss": settings}, "settings": settings}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "lib_of_the_training_code")
    assert_same(read_weights(path), official)


def test_the_recorded_official_layout(shared: Path) -> None:
    weights = read_weights(shared / "fixtures" / "official_like_OSTrack_ep0300.pth.tar")
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == {
        "backbone.cls_token": (1, 1, 768),
        "backbone.norm.weight": (768,),
        "box_head.conv4_ctr.1.num_batches_tracked": (),
        "box_head.conv5_ctr.weight": (1, 32, 1, 1),
        "box_head.conv5_ctr.bias": (1,),
    }
    trusted = torch.serialization.get_unsafe_globals_in_checkpoint(
        shared / "fixtures" / "official_like_OSTrack_ep0300.pth.tar"
    )
    assert trusted  # torch itself would refuse this file
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_every_kind_of_number_and_shape(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
    weights = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    weights |= {
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }
    weights["parameter"] = torch.nn.Parameter(torch.ones(2))
    for zipped in (True, False):
        torch.save(weights, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
        assert_same(read_weights(tmp_path / "weights.pth"), {k: v.detach() for k, v in weights.items()})


@pytest.mark.parametrize("length", [b"\x80", b"PK"])
def test_a_length_of_safetensors_may_look_like_another_kind(length: bytes, tmp_path: Path) -> None:
    """The file starts with the length of its header, little-endian, which is a multiple of 8."""
    wanted = int.from_bytes(length, "little")
    weights = {"a": torch.ones(2)}
    size = len(safetensors.torch.save(weights, {"pad": ""})) - 16  # the header alone
    path = tmp_path / "weights"
    path.write_bytes(safetensors.torch.save(weights, {"pad": "x" * (wanted - size)}))
    assert path.read_bytes().startswith(length)
    assert_same(read_weights(path), weights)


def test_load_takes_official_and_our_names_alike(model: OSTrack, official: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"net": official}, tmp_path / "official.pth.tar")
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    convert(
        tmp_path / "official.pth.tar",
        MODELS["ostrack-256"].network,
        tmp_path / "deep" / "ours.safetensors",
        name="ostrack-256",
    )
    for path in ("official.pth.tar", "ours.pth", "deep/ours.safetensors"):
        fresh = build_ostrack(MODELS["ostrack-256"].network)
        load_weights(fresh, tmp_path / path, "ostrack-256")
        assert_same(fresh.state_dict(), model.state_dict())


def test_tiny_is_loaded_by_our_names(tmp_path: Path) -> None:
    tiny = build_ostrack(MODELS["ostrack-tiny"].network)
    save_safetensors(tiny.state_dict(), tmp_path / "tiny.safetensors", "ostrack-tiny")
    fresh = build_ostrack(MODELS["ostrack-tiny"].network)
    load_weights(fresh, tmp_path / "tiny.safetensors", "ostrack-tiny")
    assert_same(fresh.state_dict(), tiny.state_dict())


def test_mismatches_are_named(model: OSTrack, official: dict[str, Tensor], tmp_path: Path) -> None:
    del official["backbone.norm.bias"]
    official["box_head.conv5_ctr.bias"] = torch.zeros(7)
    official["backbone.extra"] = torch.zeros(1)
    torch.save({"net": official}, tmp_path / "wrong.pth.tar")
    with pytest.raises(CheckpointError) as error:
        load_weights(model, tmp_path / "wrong.pth.tar", "ostrack-256")
    message = str(error.value)
    assert "missing backbone.norm.bias" in message
    assert "unexpected backbone.extra" in message
    assert "head.score.4.bias (officially box_head.conv5_ctr.bias) is (7,) instead of (1,)" in message


def test_weights_of_another_model_are_named(tmp_path: Path, official: dict[str, Tensor]) -> None:
    torch.save({"net": official}, tmp_path / "256.pth.tar")
    with pytest.raises(
        CheckpointError, match=r"backbone.template_position .* is \(1, 64, 48\) instead of \(1, 144, 48\)"
    ):
        convert(
            tmp_path / "256.pth.tar", MODELS["ostrack-384"].network, tmp_path / "out.safetensors", name="ostrack-384"
        )
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(CheckpointError, match="and 239 more"):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "256.pth.tar", "ostrack-tiny")


def test_convert_refuses_a_model_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "any").write_bytes(b"weights")
    arguments = [str(tmp_path / "any"), "--model", "ostrack-huge", "--out", str(tmp_path / "out.safetensors")]
    with pytest.raises(InputError, match=r"unknown model 'ostrack-huge'; choose one of .*ostrack-256, ostrack-384"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_convert_halves_our_own_weights(tmp_path: Path) -> None:
    tiny = build_ostrack(MODELS["ostrack-tiny"].network)
    save_safetensors(tiny.state_dict(), tmp_path / "full.safetensors", "ostrack-tiny")
    convert(
        tmp_path / "full.safetensors",
        MODELS["ostrack-tiny"].network,
        tmp_path / "half.safetensors",
        name="ostrack-tiny",
        half=True,
    )
    assert (tmp_path / "half.safetensors").stat().st_size < 0.51 * (tmp_path / "full.safetensors").stat().st_size
    again = build_ostrack(MODELS["ostrack-tiny"].network)
    load_weights(again, tmp_path / "half.safetensors", "ostrack-tiny")
    for name, value in tiny.state_dict().items():
        loaded = again.state_dict()[name]
        torch.testing.assert_close(loaded, value, rtol=1e-3, atol=1e-6)
        assert value.dim() > 1 or torch.equal(loaded, value)


# --- broken files ---


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated_files(official: dict[str, Tensor], kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "whole"
    if kind == "safetensors":
        save_safetensors(official, path, "ostrack-256")
    else:
        torch.save({"net": official}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"expected .*; .*fetch the file again"):
        read_weights(path)


def test_damaged_bytes_in_a_zip_are_noticed(official: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    torch.save({"net": official}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="CRC"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "which is empty"),
        (b"<html>404 not found</html>", "which starts with b'<html>"),
        (b"PK\x03\x04 but no archive", "cannot be read to its end"),
        (pickle.dumps({"net": 1}), "got another pickle"),
    ],
)
def test_files_of_another_kind(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(path)


def test_absent_files(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CheckpointError, match="which is no file"):
            read_weights(path)


@pytest.mark.parametrize(
    "content",
    [{"weights": {"a": torch.zeros(1)}}, {}, [torch.zeros(1)], torch.zeros(1), {"net": {}}, {"net": None}],
)
def test_checkpoints_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file")
    with pytest.raises(CheckpointError, match='holds them under "net"'):
        read_weights(tmp_path / "file")


def test_other_things_among_the_weights(tmp_path: Path) -> None:
    torch.save({"net": {"a": torch.zeros(1), "b": 3}}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="expected only named tensors as weights; got 'b'"):
        read_weights(tmp_path / "file")


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="at most 1 elements"):
        read_weights(tmp_path / "file")


# --- hostile files ---


class Hostile:
    """Unpickling it, with a reader that allows it, calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def attacks(mark: Path) -> list[Hostile]:
    """Each of them creates the file `mark` when it is unpickled without care."""
    code = f"open({str(mark)!r}, 'w').close()"
    return [
        Hostile(os.system, f"touch {mark}"),
        Hostile(builtins.eval, code),
        Hostile(builtins.exec, code),
        Hostile(open, str(mark), "w"),
        Hostile(subprocess.call, ["touch", str(mark)]),
        Hostile(Path.touch, mark),
        Hostile(os.mkdir, str(mark)),
        Hostile(getattr(os, "mknod", os.mkdir), str(mark)),
        Hostile(map, Hostile(builtins.eval, code)),
    ]


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_stay_without_effect(number: int, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    attack = attacks(mark)[number]
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(attack, protocol))
    with pytest.raises(CheckpointError):
        read_weights(path)
    for zipped in (True, False):
        beside = {"net": {"a": torch.ones(2)}, "settings": attack}
        torch.save(beside, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        assert_same(read_weights(path), {"a": torch.ones(2)})
        for within in ({"net": {"a": torch.ones(2), "b": attack}}, {"net": attack}, attack):
            torch.save(within, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            with pytest.raises(CheckpointError):
                read_weights(path)
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    for number in (0, 1, 2, 3, 4, 5, 6, 7):
        mark = tmp_path / f"mark{number}"
        made = pickle.loads(pickle.dumps(attacks(mark)[number]))
        if number == 3:
            made.close()
        assert mark.exists()


# --- command ---


def test_convert_command(model: OSTrack, official: dict[str, Tensor], tmp_path: Path) -> None:
    source, out = tmp_path / "OSTrack_ep0300.pth.tar", tmp_path / "ostrack-256.safetensors"
    torch.save({"net": official}, source)
    result = CliRunner().invoke(command, [str(source), "--model", "ostrack-256", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "weights of ostrack-256" in result.output
    assert_same(read_weights(out), model.state_dict())
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".unfinished"] == []


def test_convert_command_blends_two_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, two = (build_ostrack(MODELS["ostrack-tiny"].network) for _ in range(2))
    for name, network in (("one", one), ("two", two)):
        save_safetensors(network.state_dict(), tmp_path / f"{name}.safetensors", "ostrack-tiny")
    arguments = [str(tmp_path / "one.safetensors"), "--model", "ostrack-tiny", "--out"]
    arguments += [
        str(tmp_path / "both.safetensors"),
        "--blend",
        str(tmp_path / "two.safetensors"),
        "--blend-weight",
        "0.25",
    ]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    both = read_weights(tmp_path / "both.safetensors")
    for name, value in one.state_dict().items():
        other = two.state_dict()[name]
        expected = 0.75 * value + 0.25 * other if value.is_floating_point() else value
        assert torch.allclose(both[name], expected, atol=1e-6), name


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    arguments = [
        "weights",
        "--model",
        "ostrack-tiny",
        "--out",
        str(tmp_path / "out.safetensors"),
        "--blend-weight",
        "0.3",
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "--blend-weight needs --blend" in result.output


def test_convert_command_fails_loudly(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        command, [str(tmp_path / "absent"), "--model", "ostrack-256", "--out", str(tmp_path / "out.safetensors")]
    )
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("weights file not found")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(model: OSTrack, value: float, tmp_path: Path) -> None:  # C29
    weights = model.state_dict()
    name = next(name for name, tensor in weights.items() if tensor.dim() > 1)
    weights[name].view(-1)[5] = value
    save_safetensors(weights, tmp_path / "weights.safetensors", "ostrack-256")
    for use in (
        lambda: load_weights(model, tmp_path / "weights.safetensors", "ostrack-256"),
        lambda: convert(
            tmp_path / "weights.safetensors",
            MODELS["ostrack-256"].network,
            tmp_path / "out.safetensors",
            name="ostrack-256",
        ),
    ):
        with pytest.raises(CheckpointError, match=f"not finite: .*{name}"):
            use()
    assert not (tmp_path / "out.safetensors").exists()


# --- relatives of OSTrack and of MMTracking ---


@pytest.mark.parametrize("prefix", ["temporal", "segment"])
def test_an_embedding_of_the_frame_becomes_part_of_the_positions(
    prefix: str, official: dict[str, Tensor], model: OSTrack, tmp_path: Path
) -> None:
    """DropTrack's checkpoints are OSTrack's with one embedding more for each of the two parts."""
    names = {
        "temporal": ("backbone.temporal_pos_embed_z", "backbone.temporal_pos_embed_x"),
        "segment": ("backbone.template_segment_pos_embed", "backbone.search_segment_pos_embed"),
    }[prefix]
    added = [torch.randn(1, 1, 48) for _ in names]
    torch.save({"net": {**official, **dict(zip(names, added, strict=True))}}, tmp_path / "drop.pth")
    other = build_ostrack(MODELS["ostrack-256"].network)
    load_weights(other, tmp_path / "drop.pth", "ostrack-256")
    for position, embedding in zip(("template_position", "search_position"), added, strict=True):
        expected = model.get_parameter(f"backbone.{position}") + embedding
        torch.testing.assert_close(other.get_parameter(f"backbone.{position}"), expected)
    torch.testing.assert_close(other.backbone.norm.weight, model.backbone.norm.weight)
    torch.save({"net": {**official, names[0]: torch.randn(1, 2, 48)}}, tmp_path / "drop.pth")
    with pytest.raises(CheckpointError, match="unexpected backbone"):
        load_weights(other, tmp_path / "drop.pth", "ostrack-256")


def test_droptrack_is_ostrack_384() -> None:
    ours, theirs = MODELS["droptrack-384"], find_model("ostrack-384")
    assert ours.network.search_size == theirs.network.search_size == 384
    assert ours.tracker_settings == theirs.tracker_settings


def test_mmtrackings_configurations_are_models_with_its_settings() -> None:
    for name, interval in (("lasot", 300), ("trackingnet", 25), ("got10k", 200)):
        second, first = MODELS[f"stark_st2_r50_50e_{name}"], MODELS[f"stark_st1_r50_500e_{name}"]
        settings: Any = second.tracker_settings
        assert (settings.unrounded_crops, settings.keep_size_at_border, settings.update_interval) == (
            True,
            True,
            interval,
        )
        assert second.network == MODELS["stark-st50"].network
        assert first.network == MODELS["stark-st50-stage1"].network
        assert first.tracker_settings.update_interval is None  # type: ignore[union-attr]
    assert MODELS["stark_st2_r50_50e_lasot"].published_digest == "b1484149"
    assert MODELS["stark_st2_r50_50e_lasot"].checkpoint == (
        "https://download.openmmlab.com/mmtracking/sot/stark/stark_st2_r50_50e_lasot/"
        "stark_st2_r50_50e_lasot_20220416_170201-b1484149.pth"
    )
    assert MODELS["ostrack-256"].published_digest == ""


def test_converting_compares_the_digest(model: OSTrack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "weights.safetensors"
    save_safetensors(model.state_dict(), source, "ostrack-256")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]

    def said(checkpoint: str) -> str:
        monkeypatch.setitem(MODELS, "ostrack-256", replace(MODELS["ostrack-256"], checkpoint=checkpoint))
        arguments = [str(source), "--model", "ostrack-256", "--out", str(tmp_path / "out.safetensors"), "--overwrite"]
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    assert "is the published file, ostrack-" in said(f"https://example.org/ostrack-{digest}.pth")
    assert "is not the published file, a-00000000.pth; get that from https://example.org/a-00000000.pth" in said(
        "https://example.org/a-00000000.pth"
    )
    assert "published file" not in said("")
