"""16 bits: asked of the machine, given back as 32, and fp16's gradients scaled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.toys import NOTHING, one_stage
from torch import Tensor, nn

from singletrack.errors import InputError
from singletrack.training import amp
from singletrack.training.amp import Autocast, choose_precision, in_float
from singletrack.training.trainer import RunSettings, train

CPU = torch.device("cpu")


def test_auto_is_what_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(amp, "native", lambda name, device, has=has: has and name == "bf16")
        assert choose_precision("auto", CPU) == wanted
        assert choose_precision("fp32", CPU) == "fp32"
    with pytest.raises(InputError, match="cpu does not support precision bf16; choose fp32"):
        choose_precision("bf16", CPU)


def test_the_machine_is_asked() -> None:
    assert amp.native("bf16", CPU) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert amp.native("fp16", CPU) == torch.ops.mkldnn._is_mkldnn_fp16_supported()
    assert not amp.native("bf16", torch.device("meta"))


def test_16_bits_inside_and_32_outside() -> None:
    seen: list[torch.dtype] = []

    class Layer(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(super().forward(x).dtype)
            return super().forward(x)

    for name, inside in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        out = Autocast(Layer(2, 3), name, CPU)(torch.ones(1, 2))  # type: ignore[arg-type]
        assert (seen.pop(), out.dtype) == (inside, torch.float32)


def test_containers_are_given_back_in_32_bits() -> None:
    half, whole = torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.int64)
    values = in_float({"maps": [half, whole], "pair": (half, None)})
    assert [each.dtype for each in values["maps"]] == [torch.float32, torch.int64]
    assert values["pair"][0].dtype == torch.float32
    assert values["pair"][1] is None


def test_fp16_scales_its_gradients_and_keeps_the_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amp, "native", lambda name, device: True)  # slow here, but right
    recipe, settings = one_stage(steps=3), RunSettings(precision="fp16")
    train(recipe, NOTHING, tmp_path / "whole", settings=settings)
    train(recipe, NOTHING, tmp_path / "cut", settings=settings, stop_after=2)
    state = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)
    assert state["scaler"]["scale"] > 1
    assert state["scaler"]["_growth_tracker"] + 2 * (state["scaler"]["scale"] < 65536) >= 1
    train(recipe, NOTHING, tmp_path / "cut", settings=settings, resume_run=True)
    whole, cut = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "cut"))
    assert whole["scaler"] == cut["scaler"]
    assert all(torch.equal(value, cut["model"][name]) for name, value in whole["model"].items())
    assert all(torch.isfinite(value).all() for value in whole["model"].values())
