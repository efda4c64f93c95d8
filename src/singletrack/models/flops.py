"""What a network costs: its parameters, the products that it computes, and the time of its parts.

Counting computes nothing: it runs the network on PyTorch's `meta` device, where tensors have shapes alone.

A MAC is one multiplication with its addition; norms, activations, softmax and interpolation are not counted. The rule
of the papers, which is that of the tool `thop`, counts convolutions and linear layers alone: 21.5 G for OSTrack-256
and 29.0 G without elimination (arXiv 2203.11991, table 3); ours computes 0.34 G less, for its last block leaves out
what nothing reads. What attention multiplies beside, queries with keys and weights with values, is told apart.
"""

from __future__ import annotations

import copy
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from singletrack.models.build import AnyNetwork, build_network
from singletrack.models.configs import NetworkConfig

BLOCKS = re.compile(r"^(.*?)\.(\d+)(?:\.|$)")  # a part of one of several like blocks
GROUP = 3  # so many blocks are told as one: between two eliminations of OSTrack there are three


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Products of one call for a batch of 1."""

    convolution: int
    linear: int
    attention: int

    @property
    def published(self) -> int:
        """By the rule of the papers: without attention's products."""
        return self.convolution + self.linear

    @property
    def total(self) -> int:
        """All of them."""
        return self.published + self.attention


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a model: number of parameters, products of its two calls. A frame takes ``locate``, a template ``encode``."""

    parameters: int
    encode: Macs
    locate: Macs

    @property
    def published(self) -> int:
        """What papers state: both calls, without attention's products."""
        return self.encode.published + self.locate.published

    @property
    def total(self) -> int:
        """Both calls with all products."""
        return self.encode.total + self.locate.total


@torch.inference_mode()
def count(config: NetworkConfig, keep_ratio: float | None = None) -> Cost:
    """What the network of a model costs; raises InputError for a keep ratio without elimination."""
    with torch.device("meta"):
        network = (
            build_network(config, keep_ratio).eval().requires_grad_(False)
        )  # the counter minds what needs gradients
        template = torch.empty(1, *network.config.template_shape)
        search = torch.empty(1, *network.config.search_shape)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        features, encode = _counted(network.encode, template)
        _, locate = _counted(network.locate, features, search)
    return Cost(parameters=parameters, encode=encode, locate=locate)


def _counted(call: Callable[..., Any], *inputs: Any) -> tuple[Any, Macs]:
    with FlopCounterMode(display=False) as counter:
        outputs = call(*inputs)
    products: dict[str, int] = defaultdict(int)
    for operation, operations in counter.get_flop_counts().get("Global", {}).items():
        products[_kind_of(str(operation))] += operations // 2
    return outputs, Macs(**{kind: products[kind] for kind in ("convolution", "linear", "attention")})


def _kind_of(operation: str) -> str:
    """Of an operation as PyTorch calls it: linear layers multiply one matrix, attention a batch of them."""
    if "convolution" in operation:
        return "convolution"
    return "linear" if operation.removeprefix("aten.") in ("mm", "addmm") else "attention"


@torch.inference_mode()
def time_parts(network: nn.Module, features: Any, search: Tensor, repeats: int = 5) -> dict[str, float]:
    """Seconds that each part of ``locate`` takes, the median of the repeats, in the order in which they begin.

    Like blocks are told in groups of three, as "backbone.blocks 0-2". "rest" is what no part contains: residuals,
    eliminating tokens and putting them back.
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
    return {part: sorted(run[part] for run in runs[1:])[repeats // 2] for part in runs[0]}  # the first one warms up


def _holds_blocks(module: nn.Module) -> bool:
    """Whether a module is told by its blocks rather than as one part."""
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
    """A file of weights as they are before training, always the same, with which a model is as fast as with others."""
    torch.manual_seed(0)
    weights = {each: tensor.contiguous() for each, tensor in build_network(config).state_dict().items()}
    # one fact beside them at most: safetensors writes several in any order, and exports are known by the bytes
    path.write_bytes(safetensors.torch.save(weights, {"format": "pt"}))


def time_parts_of(network: AnyNetwork, batch: int = 1, repeats: int = 5) -> dict[str, float]:
    """``time_parts`` on noise, in PyTorch on the processor."""
    random = torch.Generator().manual_seed(0)
    template = torch.randn(batch, *network.config.template_shape, generator=random)
    search = torch.randn(batch, *network.config.search_shape, generator=random)
    with torch.inference_mode():
        features = network.eval().encode(template)
    return time_parts(network, features, search, repeats)
