"""Mixed precision for training: weights in 32 bits, forward and backward passes in 16 bits where supported.

Emulated 16-bit types are a hundred times slower than 32 bits, so hardware support is checked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from singletrack.engines import Precision
from singletrack.errors import InputError

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def native(precision: str, device: torch.device) -> bool:
    """Check whether a device supports "bf16" or "fp16" without emulation."""
    if device.type == "cuda":
        return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        supported = {
            "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
            "fp16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
        }
        return bool(supported[precision]())
    return False


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolve a precision: "auto" is bf16 if the device supports it, else fp32.

    Raises:
        InputError: a 16-bit type that the device does not support.
    """
    if precision == "auto":
        return "bf16" if native("bf16", device) else "fp32"
    if precision != "fp32" and not native(precision, device):
        have = [name for name in TYPES if native(name, device)]
        raise InputError(
            f"{device} does not support precision {precision}; choose fp32{''.join(f' or {name}' for name in have)}, "
            "or "
            "auto"
        )
    return precision


class Autocast(nn.Module):
    """A network whose passes run in 16 bits, with float32 output."""

    def __init__(self, network: nn.Module, precision: Precision, device: torch.device) -> None:
        super().__init__()
        self.network, self.kind, self.bits = network, device.type, TYPES.get(precision)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        with torch.autocast(self.kind, self.bits, enabled=self.bits is not None):
            return in_float(self.network(*inputs, **options))


def in_float(values: Any) -> Any:
    """Convert 16-bit tensors, also in containers, to 32 bits; everything else is unchanged."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in TYPES.values() else values
    if isinstance(values, dict):
        return {name: in_float(value) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        return type(values)(in_float(value) for value in values)
    return values
