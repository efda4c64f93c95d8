"""A network rewritten so that engines run its graph faster: the same maps, but for the rounding of floats.

What it is good for was seen in OpenVINO's executed graphs: query, key and value as three layers need no
five-dimensional transpose, scaling the query beforehand saves two multiplications a block, and a norm without
weights of its own is one node in place of two.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from singletrack.models.build import AnyNetwork
from singletrack.models.layers.fine_head import FineHead
from singletrack.models.layers.vit import Attention, Block
from singletrack.models.stark import FrozenBatchNorm


def simplify(network: AnyNetwork) -> AnyNetwork:
    """``network`` itself, in evaluation mode, changed for good: it can be exported, and trained no more."""
    fold_batch_norms(network)
    for module in network.modules():
        if isinstance(module, Block):
            separate(module)
        elif isinstance(module, FineHead):
            fold_norm_of_sum(module)
    return network


def fold_batch_norms(network: AnyNetwork) -> AnyNetwork:
    """``network`` itself, with each batch norm that follows a convolution made part of it: the same maps.

    What follows what is told by the order of a module's children, so a norm of a sum is declared before its parts.
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
    """Make the norm of what two convolutions give together part of both; one of them spreads a channel over four."""
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
    """``models.layers.vit.Attention`` with a layer each for query, key and value, the query scaled by its weights."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.proj = attention.proj
        width = attention.proj.in_features
        scale = (width // self.heads) ** -0.5  # a power of two for heads of 64: exact
        thirds = zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
        self.query, self.key, self.value = (
            linear(weight * factor, bias * factor)
            for (weight, bias), factor in zip(thirds, (scale, 1.0, 1.0), strict=True)
        )

    def forward(self, x: Tensor, rows: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor | None]:
        """As ``Attention``."""
        batch, tokens, width = x.shape
        q = self.split(self.query(x[:, first:]))
        k = self.split(self.key(x)).transpose(-2, -1)
        v = self.split(self.value(x))
        out = ((q @ k).softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens - first, width)
        seen = None if rows is None else (q.index_select(2, rows) @ k).softmax(-1).mean(2).mean(1)
        return self.proj(out), seen

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def separate(block: Block) -> None:
    """Take the block's attention apart, and make its norms' weights part of the layers that read them."""
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
    """The layer that has these."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer
