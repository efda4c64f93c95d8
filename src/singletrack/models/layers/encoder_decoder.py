"""A transformer encoder over the tokens of several crops, and a decoder with one query (STARK, after DETR)."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sizes(Protocol):
    """Config fields that the layers need. ``hidden``: inner width of a feed-forward part."""

    @property
    def width(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def hidden(self) -> int: ...

    @property
    def dropout(self) -> float: ...

    @property
    def encoder_layers(self) -> int: ...

    @property
    def decoder_layers(self) -> int: ...


def sine_positions(padding: Tensor, width: int) -> Tensor:
    """Compute sine and cosine position embeddings (B, h * w, width) from the padding of a grid (B, h, w), as in DETR
    (arXiv 2005.12872).

    Rows and columns are counted without padding, so that a complete crop spans 2 pi in each direction. The first half
    of the channels is y; even channels are sines.
    """
    axes = []
    pairs = torch.arange(width // 4, dtype=torch.float32, device=padding.device)
    waves = 10000.0 ** (pairs / (width // 4))
    for axis in (1, 2):
        count = (~padding).cumsum(axis, dtype=torch.float32)
        angle = count / (count.narrow(axis, -1, 1) + 1e-6) * (2 * math.pi)
        phase = angle[..., None] / waves
        axes.append(torch.stack([phase.sin(), phase.cos()], -1).flatten(3))
    return torch.cat(axes, 3).flatten(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with ReLU and dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return out


class Attention(nn.Module):
    """Multi-head attention with separate queries, keys and values."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.in_proj = nn.Linear(config.width, 3 * config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from (B, Q, C) to keys and values (B, N, C): -> (B, Q, C).

        Args:
            query: (B, Q, C).
            key: (B, N, C).
            value: (B, N, C).
            bias: (B or 1, heads or 1, Q or 1, N), added to the logits.
        """
        q, k, v = (self.project(x, part) for part, x in enumerate((query, key, value)))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def attention(self, query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute the mean attention (B, N) to each token, averaged over queries, then heads."""
        q, k = self.project(query, 0), self.project(key, 1)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        shares: Tensor = (logits if bias is None else logits + bias).softmax(-1)
        return shares.mean(2).mean(1)

    def project(self, x: Tensor, part: int) -> Tensor:
        """Project (B, N, C) -> (B, heads, N, C / heads) with one third of ``in_proj``."""
        batch, tokens, width = x.shape
        rows = slice(part * width, (part + 1) * width)
        y = F.linear(x, self.in_proj.weight[rows], self.in_proj.bias[rows])
        return y.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Post-norm layer: all tokens attend to all except padding. Positions are added to queries and keys only."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.feed_forward = FeedForward(config.width, config.hidden, config.dropout)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, position: Tensor, bias: Tensor | None = None) -> Tensor:
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x, bias)))
        out: Tensor = self.norm2(x + self.dropout(self.feed_forward(x)))
        return out


class DecoderLayer(nn.Module):
    """Post-norm layer: the queries attend to each other, then to the memory of the encoder."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.cross_attn = Attention(config)
        self.feed_forward = FeedForward(config.width, config.hidden, config.dropout)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.norm3 = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, answer: Tensor, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        asked = answer + query
        answer = self.norm1(answer + self.dropout(self.self_attn(asked, asked, answer)))
        heard = self.cross_attn(answer + query, keys, values, bias)
        answer = self.norm2(answer + self.dropout(heard))
        out: Tensor = self.norm3(answer + self.dropout(self.feed_forward(answer)))
        return out


class Encoder(nn.Module):
    """Encoder layers over the tokens of all crops."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, position: Tensor, bias: Tensor | None = None) -> Tensor:
        """Encode tokens with their positions (B, N, C) -> (B, N, C). ``bias``: (B, 1, 1, N), added to all logits."""
        for layer in self.layers:
            x = layer(x, position, bias)
        return x


class Decoder(nn.Module):
    """Decoder with one learned query over the memory of the encoder."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, config.width))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, memory: Tensor, position: Tensor, bias: Tensor | None = None) -> Tensor:
        """Decode the memory and positions of N tokens (B, N, C) -> (B, 1, C). ``bias``: (B, 1, 1, N)."""
        query = self.query.expand(memory.shape[0], 1, -1)
        keys = memory + position
        answer = torch.zeros_like(query)
        for layer in self.layers:
            answer = layer(answer, query, keys, memory, bias)
        out: Tensor = self.norm(answer)
        return out


def similarity(search: Tensor, answer: Tensor) -> Tensor:
    """Compute the dot product of the decoder output (B, 1, C) with each search token (B, N, C): -> (B, N, 1)."""
    return search @ answer.transpose(1, 2)
