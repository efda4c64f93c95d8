"""The block of a vision transformer (arXiv 2010.11929)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: drops the residual branch of a sample with a given probability, in training only."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep).div_(keep)


class Attention(nn.Module):
    """Multi-head attention over template and search tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, rows: Tensor | None = None, first: int = 0, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend among all tokens (B, N, C).

        Only the requested rows of the attention matrix are computed separately; the rest stays in the fused kernel.

        Args:
            x: (B, N, C).
            rows: template tokens whose mean attention is returned: their indices, or a weight (B, R) for each of the
                first R tokens of each sample.
            first: tokens before this index are attended to but produce no output.
            bias: (B or 1, heads, N, N), added to the logits.

        Returns:
            (B, N - first, C), and the mean attention (B, N) of ``rows`` to all tokens, or None.
        """
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        out = (
            self.mix(q[:, :, first:], k, v, None if bias is None else bias[:, :, first:])
            .transpose(1, 2)
            .reshape(batch, tokens - first, width)
        )
        seen = None
        if rows is not None:
            logits = (pick_rows(q, rows) * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)
            if bias is not None:
                logits = logits + pick_rows(bias, rows)
            seen = mean_of_rows(logits.softmax(-1), rows)
        return self.proj(out), seen

    def mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute attention over (B, heads, N, C / heads).

        When training in bf16 on a CPU, the fused kernel is not used, because its backward pass takes two to three times
        as long (see docs/training-log.md).
        """
        if self.training and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            if bias is not None:
                logits = logits + bias
            mixed: Tensor = logits.softmax(-1).to(v.dtype) @ v
            return mixed
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def pick_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Select ``rows`` as of ``Attention.forward`` from (B, heads, N, C): those that have a weight or are listed."""
    return x.index_select(2, rows) if rows.dim() == 1 else x[:, :, : rows.shape[1]]


def mean_of_rows(attention: Tensor, rows: Tensor) -> Tensor:
    """Average the attention (B, heads, R, N) of ``pick_rows`` over rows, then heads: -> (B, N)."""
    if rows.dim() == 1:
        return attention.mean(2).mean(1)
    shares = rows / rows.sum(1, keepdim=True).clamp(min=1e-6)
    return (attention * shares[:, None, :, None]).sum(2).mean(1)


class MLP(nn.Module):
    """Two linear layers with an exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm ViT block that allows removing search tokens between attention and MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def attend(
        self, x: Tensor, rows: Tensor | None, first: int = 0, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the first half: attention with its residual; with ``rows``, also their mean attention (B, N).

        Tokens before ``first`` are attended to and then dropped. ``bias``: as for ``Attention``.
        """
        more = () if bias is None else (bias,)
        out, seen = self.attn(self.norm1(x), rows, first, *more)
        return x[:, first:] + self.drop_path(out), seen

    def transform(self, x: Tensor) -> Tensor:
        """Run the second half: MLP with its residual."""
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


def init_linear_layers(module: nn.Module) -> None:
    """Initialize all linear layers as in ViT: small weights, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def tie_query_key(projection: nn.Linear) -> None:
    """Initialize query and key of an attention, two thirds of its projection, with the same orthonormal matrix.

    Attention then compares contents from the start (compare mimetic initialization, Trockman and Kolter 2023).
    """
    width = projection.in_features
    shared = torch.empty(width, width)
    nn.init.orthogonal_(shared)
    projection.weight[: 2 * width] = torch.cat([shared, shared])
