"""Rewrites a network so that engines run its graph faster, with the same maps up to rounding.

The changes were chosen from the executed graphs of OpenVINO: query, key and value as three layers need no
five-dimensional transpose, scaling the query beforehand saves two multiplications per block, and a norm without
weights is one node instead of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from singletrack.models.build import AnyNetwork
from singletrack.models.layers.fine_head import FineHead
from singletrack.models.layers.vit import Attention, Block, mean_of_rows, pick_rows
from singletrack.models.stark import FrozenBatchNorm


def simplify(network: AnyNetwork) -> AnyNetwork:
    """Rewrite a network in place, in evaluation mode. Afterwards it can be exported but not trained."""
    fold_batch_norms(network)
    for module in network.modules():
        if isinstance(module, Block):
            separate(module)
        elif isinstance(module, FineHead):
            fold_norm_of_sum(module)
    return network


def fold_batch_norms(network: AnyNetwork) -> AnyNetwork:
    """Fold each batch norm into the preceding convolution, in place, with the same maps.

    Order is taken from the children of a module, so a norm of a sum must be declared before the parts.
    """
    for module in network.modules():
        children = list(module.named_children())
        for (before, convolution), (after, norm) in itertools.pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, (nn.BatchNorm2d, FrozenBatchNorm)):
                setattr(module, before, fuse_conv_bn_eval(convolution, norm))  # type: ignore[arg-type]
                setattr(module, after, nn.Identity())
    return network


@torch.no_grad()
def fold_norm_of_sum(head: FineHead) -> None:
    """Fold the norm of the sum of two convolutions into both; one of them expands each channel to four."""
    norm = head.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    for convolution, factor in ((head.fine, scale), (head.spread, scale.repeat_interleave(4))):
        assert convolution.bias is not None
        convolution.weight.mul_(factor[:, None, None, None])
        convolution.bias.mul_(factor)
    assert head.fine.bias is not None
    head.fine.bias.add_(norm.bias - norm.running_mean * scale)
    head.norm = nn.Identity()  # type: ignore[assignment]


class SeparateAttention(nn.Module):
    """``models.layers.vit.Attention`` with separate layers for query, key and value, and the scale in the query
    weights.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.proj = attention.proj
        width = attention.proj.in_features
        scale = (width // self.heads) ** -0.5  # a power of two for heads of width 64, hence exact
        thirds = zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
        self.query, self.key, self.value = (
            linear(weight * factor, bias * factor)
            for (weight, bias), factor in zip(thirds, (scale, 1.0, 1.0), strict=True)
        )

    def forward(
        self, x: Tensor, rows: Tensor | None = None, first: int = 0, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See ``Attention.forward``."""
        batch, tokens, width = x.shape
        q = self.split(self.query(x[:, first:]))
        k = self.split(self.key(x)).transpose(-2, -1)
        v = self.split(self.value(x))
        logits = q @ k if bias is None else q @ k + bias[:, :, first:]
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens - first, width)
        seen = None
        if rows is not None:
            ranked = pick_rows(q, rows) @ k
            ranked = ranked if bias is None else ranked + pick_rows(bias, rows)
            seen = mean_of_rows(ranked.softmax(-1), rows)
        return self.proj(out), seen

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def norm_factors(network: AnyNetwork) -> Iterator[tuple[str, int, int, Tensor]]:
    """What ``separate`` multiplies the columns of weights with: name of the weight, first and last row, and factors.

    network: before ``simplify``.
    """
    for name, block in network.named_modules():
        if isinstance(block, Block):
            width = block.attn.proj.in_features
            scale = (width // block.attn.heads) ** -0.5
            first, second = (norm.weight.detach() for norm in (block.norm1, block.norm2))
            for third, factors in enumerate((scale * first, first, first)):
                yield f"{name}.attn.qkv.weight", third * width, (third + 1) * width, factors
            yield f"{name}.mlp.fc1.weight", 0, len(block.mlp.fc1.weight), second


def separate(block: Block) -> None:
    """Split the attention of a block, and fold the weights of its norms into the following layers."""
    attention = SeparateAttention(block.attn)
    block.attn = attention  # type: ignore[assignment]
    readers: list[tuple[str, list[nn.Linear]]] = [
        ("norm1", [attention.query, attention.key, attention.value]),
        ("norm2", [block.mlp.fc1]),
    ]
    for name, layers in readers:
        norm = getattr(block, name)
        for layer in layers:
            layer.load_state_dict({"weight": layer.weight * norm.weight, "bias": layer.bias + layer.weight @ norm.bias})
        setattr(block, name, nn.LayerNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Build a linear layer from weight and bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer
