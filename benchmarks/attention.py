#!/usr/bin/env python3
"""What it gains to compute only those rows of attention that elimination ranks by, in each engine.

    python benchmarks/attention.py                                    # ostrack-256 and ostrack-tiny
    python benchmarks/attention.py ostrack-384 --rounds 5

Elimination needs the attention of a few template tokens to the search tokens. The published code computes the whole
matrix of every block and reads them from it ("whole"); ours leaves the matrix to the engine's fused kernel and computes
those rows once more ("rows"). Random weights, which change nothing about the time; rounds of both are interleaved.
Prints medians of ``locate``, their ratio, and the largest difference of any map in fp32: the two are equal but for
rounding. Needs the extra [train].
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch
from torch import Tensor

from singletrack.engines import installed_engines, open_network
from singletrack.engines.cpu import processor_name
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.export.simplify import SeparateAttention, simplify
from singletrack.export.to_onnx import trace
from singletrack.export.verify import made_input
from singletrack.models.build import AnyNetwork, build_network
from singletrack.models.layers.vit import Attention
from singletrack.models.ostrack import OSTrack
from singletrack.registry import MODELS
from singletrack.tracking import base


def whole(q: Tensor, k: Tensor, v: Tensor, rows: Tensor | None, first: int) -> tuple[Tensor, Tensor | None]:
    """Scaled queries, keys and values (B, heads, N, d) -> (B, N - first, C), and the rows read from the matrix."""
    attention = (q @ k.transpose(-2, -1)).softmax(-1)
    mixed = (attention @ v)[:, :, first:].transpose(1, 2).flatten(2)
    return mixed, None if rows is None else attention.index_select(2, rows).mean(2).mean(1)


class WholeAttention(Attention):
    """As published, in PyTorch."""

    def forward(self, x: Tensor, rows: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor | None]:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed, seen = whole(q * (width // self.heads) ** -0.5, k, v, rows, first)
        return self.proj(mixed), seen


class WholeSeparateAttention(SeparateAttention):
    """As published, in an exported graph."""

    def forward(self, x: Tensor, rows: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor | None]:
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        mixed, seen = whole(q, k, v, rows, first)
        return self.proj(mixed), seen


def made_whole(model: AnyNetwork) -> AnyNetwork:
    """A copy that computes whole matrices."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is Attention:
            module.__class__ = WholeAttention
        elif type(module) is SeparateAttention:
            module.__class__ = WholeSeparateAttention
    return model


def variants(model: AnyNetwork, folder: Path) -> dict[tuple[str, str], dict[str, base.Network]]:
    """By engine and precision, the network with whole matrices and with rows."""
    plain = simplify(copy.deepcopy(model))
    both = {"whole": (made_whole(model), made_whole(plain)), "rows": (model, plain)}
    found: dict[tuple[str, str], dict[str, base.Network]] = {}
    for name, (module, rewritten) in both.items():
        path = folder / f"{name}.onnx"
        onnx.save(trace(rewritten), str(path))
        for engine in installed_engines():
            for precision in ("fp32", "auto") if engine == "openvino" else ("fp32",):
                opened: base.Network = (
                    TorchNetwork(module, "cpu", precision="fp32")
                    if engine == "torch"
                    else open_network(engine, path, "cpu", precision=precision)
                )
                known = getattr(opened, "precision", precision)
                found.setdefault((engine, known), {})[name] = opened
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["ostrack-256", "ostrack-tiny"])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    print(f"{processor_name()}, {arguments.rounds} interleaved rounds\n")
    print("| model | engine | precision | whole ms | rows ms | times as fast | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.models:
        torch.manual_seed(0)
        model = build_network(MODELS[name].network)
        assert isinstance(model, OSTrack), "only OSTrack eliminates"
        model.eval()
        template, search = (
            made_input(1, shape, seed)
            for seed, shape in enumerate((model.config.template_shape, model.config.search_shape))
        )
        with tempfile.TemporaryDirectory() as folder:
            for (engine, precision), pair in variants(model, Path(folder)).items():
                features = {way: network.encode(template) for way, network in pair.items()}
                took: dict[str, list[float]] = {way: [] for way in pair}
                for number in range(2 + arguments.rounds):
                    for way, network in pair.items():
                        start = time.perf_counter()
                        network.locate(features[way], search)
                        if number >= 2:  # the first ones warm up
                            took[way].append(1000 * (time.perf_counter() - start))
                maps = [network.locate(features[way], search) for way, network in pair.items()]
                apart = max(float(np.abs(maps[0][key] - maps[1][key]).max()) for key in maps[0])
                one, other = (median(took[way]) for way in ("whole", "rows"))
                print(
                    f"| {name} | {engine} | {precision} | {one:.1f} | {other:.1f} | {one / other:.2f} | {apart:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
