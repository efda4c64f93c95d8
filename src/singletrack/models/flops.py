"""The cost of a network: parameters, operations, and the time of its parts.

Counting runs the network on PyTorch's `meta` device, where tensors have only shapes.

A MAC is one multiply-add. Norms, activations, softmax and interpolation are not counted. Papers count only
convolutions and linear layers; the matrix products of attention are counted separately.

OSTrack's paper (arXiv 2203.11991, Table 3) reports 29.0, 21.5, 65.3 and 48.3 G: what the tool `thop` counts in the
published code, without rounding up. ``Cost.paper`` is that count. Ours is smaller, because the last block skips the
template tokens, which nothing reads after it, and because `thop` counts four operations for each input of a norm.
"""

from __future__ import annotations

import copy
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from singletrack.models.build import AnyNetwork, build_network
from singletrack.models.configs import NetworkConfig
from singletrack.models.ostrack import OSTrack, Trace

BLOCKS = re.compile(r"^(.*?)\.(\d+)(?:\.|$)")  # a part of one of several equal blocks
THOP_NORM = 4  # operations that thop counts for each input of a norm with weights
GROUP = 3  # blocks reported together: there are three between two eliminations of OSTrack


@dataclass(frozen=True, kw_only=True)
class Macs:
    """MACs of one call for a batch of 1."""

    convolution: int
    linear: int
    attention: int

    @property
    def published(self) -> int:
        """MACs as counted in papers, without the matrix products of attention."""
        return self.convolution + self.linear

    @property
    def total(self) -> int:
        """All MACs."""
        return self.published + self.attention


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Number of parameters, and MACs of both calls. A frame runs ``locate``, a template ``encode``.

    Attributes:
        paper: MACs of both calls as counted in OSTrack's paper, with `thop` on the published code; None for networks
            that it was not used for.
    """

    parameters: int
    encode: Macs
    locate: Macs
    paper: int | None = None

    @property
    def published(self) -> int:
        """MACs of both calls as counted in papers."""
        return self.encode.published + self.locate.published

    @property
    def total(self) -> int:
        """All MACs of both calls."""
        return self.encode.total + self.locate.total


@torch.inference_mode()
def count(config: NetworkConfig, keep_ratio: float | None = None) -> Cost:
    """Count the cost of a network; raises InputError for a keep ratio without elimination."""
    with torch.device("meta"):
        network = build_network(config, keep_ratio).eval().requires_grad_(False)  # the counter is affected by gradients
        template = torch.empty(1, *network.config.template_shape)
        search = torch.empty(1, *network.config.search_shape)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        features, encode = _counted(network.encode, template)
        _, locate = _counted(network.locate, features, search)
        paper = None
        if isinstance(network, OSTrack):
            norms = _count_norm_inputs(network)
            # a trace makes the last block compute all tokens, as in the published code
            _, complete = _counted(partial(network.locate, trace=Trace()), features, search)
            paper = encode.published + complete.published + THOP_NORM * sum(norms)
    return Cost(parameters=parameters, encode=encode, locate=locate, paper=paper)


def _count_norm_inputs(network: nn.Module) -> list[int]:
    """Return a list that grows by the number of inputs of each norm whenever the network runs."""
    counts: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda module, inputs: counts.append(inputs[0].numel()))
    return counts


def _counted(call: Callable[..., Any], *inputs: Any) -> tuple[Any, Macs]:
    with FlopCounterMode(display=False) as counter:
        outputs = call(*inputs)
    products: dict[str, int] = defaultdict(int)
    for operation, operations in counter.get_flop_counts().get("Global", {}).items():
        products[_kind_of(str(operation))] += operations // 2
    return outputs, Macs(**{kind: products[kind] for kind in ("convolution", "linear", "attention")})


def _kind_of(operation: str) -> str:
    """Classify a PyTorch operation: linear layers multiply one matrix, attention a batch of them."""
    if "convolution" in operation:
        return "convolution"
    return "linear" if operation.removeprefix("aten.") in ("mm", "addmm") else "attention"


@torch.inference_mode()
def time_parts(network: nn.Module, features: Any, search: Tensor, repeats: int = 5) -> dict[str, float]:
    """Measure the seconds of each part of ``locate``, as the median of the repeats.

    Blocks are reported in groups of three, such as "backbone.blocks 0-2". "rest" is everything outside the parts:
    residuals, and removing and restoring tokens.
    """
    network = copy.deepcopy(network).eval()
    spent: dict[str, float] = defaultdict(float)
    depth, began = 0, 0.0

    def enter(module: nn.Module, inputs: Any) -> None:
        nonlocal depth, began
        depth += 1
        if depth == 1:
            _wait(search)
            began = time.perf_counter()

    def leave_as(part: str) -> Callable[..., None]:
        def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
            nonlocal depth
            depth -= 1
            if depth == 0:
                _wait(search)
                spent[part] += time.perf_counter() - began

        return leave

    for name, module in network.named_modules():
        if name and not _holds_blocks(module):
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave_as(_part_of(name)))
    call: Any = network
    runs: list[dict[str, float]] = []
    for _ in range(repeats + 1):
        spent.clear()
        start = time.perf_counter()
        call.locate(features, search)
        _wait(search)
        total = time.perf_counter() - start
        runs.append({**spent, "rest": total - sum(spent.values())})
    return {part: sorted(run[part] for run in runs[1:])[repeats // 2] for part in runs[0]}  # the first one is warm-up


def _holds_blocks(module: nn.Module) -> bool:
    """Check whether a module is reported by its blocks."""
    return any(isinstance(child, nn.ModuleList) and len(child) > 1 for child in module.modules())


def _part_of(name: str) -> str:
    found = BLOCKS.match(name)
    if found is None:
        return name
    first = int(found[2]) // GROUP * GROUP
    return f"{found[1]} {first}-{first + GROUP - 1}"


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def write_untrained(config: NetworkConfig, path: Path) -> None:
    """Write a file of initial weights, always the same, to measure speed without trained weights."""
    torch.manual_seed(0)
    weights = {each: tensor.contiguous() for each, tensor in build_network(config).state_dict().items()}
    # one metadata entry at most, because safetensors writes several in any order, and exports are cached by content
    path.write_bytes(safetensors.torch.save(weights, {"format": "pt"}))


def time_parts_of(network: AnyNetwork, batch: int = 1, repeats: int = 5) -> dict[str, float]:
    """Run ``time_parts`` on noise, in PyTorch on the CPU."""
    random = torch.Generator().manual_seed(0)
    template = torch.randn(batch, *network.config.template_shape, generator=random)
    search = torch.randn(batch, *network.config.search_shape, generator=random)
    with torch.inference_mode():
        features = network.eval().encode(template)
    return time_parts(network, features, search, repeats)
