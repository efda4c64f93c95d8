"""A network on PyTorch: the module itself, fed and read with numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from singletrack.runtimes import unknown_device

FloatArray = NDArray[np.float32]


class TwoCalls(Protocol):
    """What a module needs to run here, beside being an ``nn.Module``."""

    def encode(self, template: Tensor) -> Tensor: ...

    def locate(self, features: Tensor, search: Tensor) -> Mapping[str, Tensor]: ...


class TorchNetwork:
    """Runs ``module`` in evaluation mode and without gradients on ``device``, to which it is moved.

    device: "auto" (the first graphics processor, else "cpu") or a name that PyTorch knows, such as "cuda:1".
    threads: of the processor; PyTorch has one number for the whole process, which is set here. None leaves it.
    Features are a Tensor on that device.
    """

    def __init__(self, module: nn.Module, device: str = "auto", threads: int | None = None) -> None:
        self.device = find_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.module = module.to(self.device).eval()
        self._calls = cast(TwoCalls, self.module)

    @torch.inference_mode()
    def encode(self, template: FloatArray) -> Tensor:
        """Template crops, batch first, as the network takes them -> features (B, Nt, C)."""
        return self._calls.encode(torch.from_numpy(template).to(self.device))

    @torch.inference_mode()
    def join(self, features: Sequence[Tensor]) -> Tensor:
        """Features of several calls of ``encode``, as one call would give them."""
        return torch.cat(list(features))

    @torch.inference_mode()
    def locate(self, features: Tensor, search: FloatArray) -> dict[str, FloatArray]:
        """Features and search crops -> maps by name, the batch first."""
        maps = self._calls.locate(features, torch.from_numpy(search).to(self.device))
        return {name: values.float().cpu().numpy() for name, values in maps.items()}


def find_device(device: str) -> torch.device:
    """The device of that name; raises InputError, listing what there is, where it is unknown or absent."""
    present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    asked = device.lower()
    if asked == "auto":
        return torch.device(present[1] if len(present) > 1 else "cpu")
    if asked not in present and f"{asked}:0" not in present:
        raise unknown_device("PyTorch", device, present)
    return torch.device(asked)
