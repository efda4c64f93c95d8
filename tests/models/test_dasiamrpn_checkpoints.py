"""DaSiamRPN's weights as they were published: by PyTorch 0.3 under Python 2, without counts of batches."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from singletrack.errors import CheckpointError
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.checkpoints import LEGACY_MAGIC, convert, load_weights, read_weights
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.dasiamrpn import DaSiamRPN, build_dasiamrpn, correlate
from singletrack.registry import MODELS

NARROW = (4, 6, 6, 6, 4)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spec in list(MODELS.items()):
        if isinstance(spec.network, DaSiamRPNConfig):
            monkeypatch.setitem(MODELS, name, replace(spec, network=replace(spec.network, widths=NARROW)))


@pytest.fixture
def model() -> DaSiamRPN:
    return build_dasiamrpn(MODELS["dasiamrpn-vot"].network)


def published(model: DaSiamRPN) -> OrderedDict[str, Tensor]:
    """The 40 tensors of an official file, by its names."""
    ours = model.state_dict()
    names = official_keys(MODELS["dasiamrpn-vot"].network)
    return OrderedDict((theirs, ours[str(name)]) for theirs, name in names.items() if "num_batches" not in theirs)


class Storage:
    """What PyTorch 0.3 wrote in a tensor's place; it stands for the bytes at the end of the file."""

    def __init__(self, key: str, tensor: Tensor) -> None:
        self.key, self.tensor = key, tensor


class Global:
    """Pickled as the name of a function or class, whether or not there is one here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes text as Python 2 wrote its ``str``: as bytes, which Python 3 must be told to read as latin1."""

    write: Any
    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_str(self, value: str) -> None:
        content = value.encode("latin1")
        self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)

    dispatch[str] = save_str

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            kind = Global("torch.cuda", "FloatStorage")
            return ("storage", kind, value.key, "cuda:0", value.tensor.numel(), None)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(value, Global):
            return self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        if isinstance(value, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor"))
            self.save((Storage(f"94{id(value)}", value), 0, tuple(value.shape), value.stride()))
            return self.write(pickle.REDUCE)
        return super().save(value, save_persistent_id)  # type: ignore[misc]


def write_as_python2(weights: OrderedDict[str, Tensor], path: Path) -> None:
    stream = io.BytesIO()
    for content in (LEGACY_MAGIC, 1001, {"little_endian": True}, weights):
        Python2Pickler(stream, 2).dump(content)
    Python2Pickler(stream, 2).dump([f"94{id(tensor)}" for tensor in weights.values()])
    for tensor in weights.values():
        stream.write(tensor.numel().to_bytes(8, "little") + tensor.detach().numpy().tobytes())
    path.write_bytes(stream.getvalue())


@pytest.mark.parametrize("name", ["SiamRPNvot", "SiamRPNotb", "SiamRPNBIG"])
def test_table_covers_the_official_keys(name: str, shared: Path) -> None:
    keys = json.loads((shared / "fixtures" / "keys" / f"dasiamrpn_{name}.json").read_text())
    assert keys.keys() == official_keys(MODELS[f"dasiamrpn-{name.removeprefix('SiamRPN').lower()}"].network).keys()


def test_table_covers_the_network(model: DaSiamRPN) -> None:
    assert set(official_keys(MODELS["dasiamrpn-big"].network).values()) == model.state_dict().keys()


def test_a_file_of_python2_loads(model: DaSiamRPN, tmp_path: Path) -> None:
    weights = published(model)
    assert len(weights) == 40
    path = tmp_path / "SiamRPNVOT.model"
    write_as_python2(weights, path)
    assert b"featureExtract.0.weight" in path.read_bytes()
    assert read_weights(path).keys() == weights.keys()
    fresh = build_dasiamrpn(MODELS["dasiamrpn-vot"].network)
    load_weights(fresh, path, "dasiamrpn-vot")
    convert(path, MODELS["dasiamrpn-vot"].network, tmp_path / "ours.safetensors", name="dasiamrpn-vot")
    ours = read_weights(tmp_path / "ours.safetensors")
    assert ours.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
        assert torch.equal(ours[key], value), key


def test_other_tensors_may_not_be_missing(model: DaSiamRPN, tmp_path: Path) -> None:
    weights = published(model)
    del weights["regress_adjust.bias"]
    torch.save(weights, tmp_path / "SiamRPNVOT.model")
    with pytest.raises(CheckpointError, match=r"missing adjust.bias \(officially regress_adjust.bias\)"):
        load_weights(model, tmp_path / "SiamRPNVOT.model", "dasiamrpn-vot")


def test_correlation_is_a_convolution_of_each_sample() -> None:
    draw = torch.Generator().manual_seed(3)
    kernels, images = torch.randn(2, 5, 3, 4, 4, generator=draw), torch.randn(2, 3, 9, 7, generator=draw)
    expected = [torch.conv2d(image[None], kernel)[0] for kernel, image in zip(kernels, images, strict=True)]
    torch.testing.assert_close(correlate(kernels, images), torch.stack(expected), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_the_same_pixels_give_the_same_numbers_anywhere_in_a_crop_of_any_size(model: DaSiamRPN) -> None:
    search = 255 * torch.rand(1, 3, 159, 143, generator=torch.Generator().manual_seed(4))
    features = model.eval().encode(search[..., :127, :127])
    whole = model.locate(features, search)
    part = model.locate(features, search[..., 16:, 8:])
    assert whole["cls"].shape == (1, 10, 5, 3)
    for name, values in part.items():
        torch.testing.assert_close(values, whole[name][..., 2:, 1:], rtol=1e-4, atol=1e-4)
