"""Runs a PyTorch module, with NumPy arrays as input and output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from singletrack.engines import Precision, unknown_device, unknown_precision
from singletrack.engines.cpu import computes_in_bf16, usable_cores
from singletrack.engines.preprocessing import CropArray, Normalization
from singletrack.engines.processes import ProcessBound

FloatArray = NDArray[np.float32]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class EncodeLocate(Protocol):
    """The methods that a module needs to run here."""

    def encode(self, template: Tensor) -> Any: ...

    def locate(self, features: Any, search: Tensor) -> Mapping[str, Tensor]: ...


class TorchNetwork(ProcessBound):
    """Runs a module in evaluation mode without gradients. Features stay on the device.

    Args:
        module: the network; it is moved to the device and converted to the precision.
        device: "auto" (the first GPU, else "cpu") or a PyTorch device such as "cuda:1".
        threads: CPU threads. PyTorch has one number for the whole process, which is set here. None keeps it, or lowers
            it to a container's CPU quota.
        precision: "auto" is fp32. bf16 is refused on CPUs without bf16 instructions, fp16 on all CPUs.
        compiled: use ``torch.compile``, once per shape; the first call of each shape compiles.
        graphs: on CUDA, record each shape as a CUDA graph and replay it; None to do so if features are tensors.
        normalization: normalization of pixels, which runs on the device; None for that of ImageNet.
    """

    engine = "torch"

    def __init__(
        self,
        module: nn.Module,
        device: str = "auto",
        threads: int | None = None,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
        graphs: bool | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(
            module=module,
            device=device,
            threads=threads,
            precision=precision,
            compiled=compiled,
            graphs=graphs,
            normalization=normalization,
        )
        self.device = find_device(device)
        known = known_precisions(self.device)
        if precision not in known:
            raise unknown_precision(f"PyTorch on {self.device}", precision, known)
        self.precision = "fp32" if precision == "auto" else precision
        if threads is not None or torch.get_num_threads() > usable_cores():
            torch.set_num_threads(threads or usable_cores())
        self.dtype = TYPES[self.precision]
        self.module = module.to(self.device, self.dtype).eval()
        self._normalization = normalization or Normalization()
        calls = cast(EncodeLocate, self.module)
        self._encode, self._locate = calls.encode, calls.locate
        if compiled:
            self._encode = torch.compile(calls.encode, dynamic=False)
            self._locate = torch.compile(calls.locate, dynamic=False)
        self._graphs = self.device.type == "cuda" and graphs is not False
        self._recorded: dict[tuple[Any, ...], CUDAGraph] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def encode(self, template: CropArray) -> Any:
        """Compute the features (B, Nt, C) of template crops, pixels or network input, batch first."""
        self.check_process()
        return self._encode(self.see(self._upload(template)))

    @torch.inference_mode()
    def join(self, features: Sequence[Tensor]) -> Tensor:
        """Concatenate the features of several calls of ``encode``."""
        return torch.cat(list(features))

    @torch.inference_mode()
    def locate(self, features: Any, search: CropArray) -> dict[str, FloatArray]:
        """Compute maps by name, batch first, from features and search crops (pixels or network input)."""
        self.check_process()
        crops = self._upload(search)
        if not (self._graphs and isinstance(features, Tensor)):
            return download(self._look(features, crops))
        key = (features.shape, crops.shape, crops.dtype)
        with self._lock:  # a recorded call has one input buffer
            if key not in self._recorded:
                self._recorded[key] = CUDAGraph(self._look, (features, crops))
            return download(self._recorded[key](features, crops))

    def see(self, crops: Tensor) -> Tensor:
        """Normalize pixels to network input; convert network input to the precision."""
        if crops.dtype != torch.uint8:
            return crops.to(self.dtype)
        mean, std = self._normalization.of_channels(crops.shape[-1])
        # constants are created on the device, since a recorded CUDA graph must not copy from the host
        scaled = torch.stack([(crops[..., i].float() - mean[i]) / std[i] for i in range(len(mean))], -3)
        return scaled.to(self.dtype)

    def _look(self, features: Any, crops: Tensor) -> Mapping[str, Tensor]:
        return self._locate(features, self.see(crops))

    def _upload(self, crops: CropArray) -> Tensor:
        return torch.from_numpy(crops).to(self.device)


class CUDAGraph:
    """A call recorded as a CUDA graph for fixed input shapes: one launch instead of hundreds, with the same results."""

    def __init__(self, call: Callable[..., Mapping[str, Tensor]], inputs: Sequence[Tensor]) -> None:
        self._inputs = [values.clone() for values in inputs]
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # warm-up: kernel selection, compilation
            for _ in range(3):
                call(*self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = call(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        """Return the outputs, which the next call overwrites."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._outputs


def download(maps: Mapping[str, Tensor]) -> dict[str, FloatArray]:
    """Convert maps to float32 NumPy arrays, with a single transfer from the device."""
    flat = torch.cat([values.reshape(len(values), -1).float() for values in maps.values()], 1).cpu().numpy()
    ends = np.cumsum([values[0].numel() for values in maps.values()])
    pieces = np.split(flat, ends[:-1], axis=1)
    return {name: piece.reshape(maps[name].shape) for name, piece in zip(maps, pieces, strict=True)}


def known_precisions(device: torch.device) -> tuple[Precision, ...]:
    """List the precisions that a device supports without emulation."""
    if device.type != "cpu":
        return ("auto", "fp32", "bf16", "fp16")
    return ("auto", "fp32", "bf16") if computes_in_bf16() else ("auto", "fp32")


def find_device(device: str) -> torch.device:
    """Return a PyTorch device; raises InputError for an unknown or unavailable device."""
    present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    asked = device.lower()
    if asked == "auto":
        return torch.device(present[1] if len(present) > 1 else "cpu")
    if asked not in present and f"{asked}:0" not in present:
        raise unknown_device("PyTorch", device, present)
    return torch.device(asked)
