"""The aligned two-stream baselines of OSTrack (arXiv 2203.11991, Table 5), with features related after the backbone.

ViT, head and sizes are those of OSTrack, so that only the point at which template and search region meet differs.

    template (B, 3, T, T) ──encode──> features (B, Nt, R) ─┐
    search   (B, 3, S, S) ─────────────────────────────────┴─locate──> score, size, offset on an (S/16)^2 grid

The ViT processes each crop separately, so the template is processed once, in ``encode``. A relation module follows:
the encoder-decoder of STARK (arXiv 2103.17154), or the encoder over all tokens and the decoder with search queries
of SwinTrack (arXiv 2112.00995, without its motion token).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from singletrack.models.configs import AlignedConfig, RelationConfig
from singletrack.models.layers.center_head import CenterHead, init_bias_prior, init_head
from singletrack.models.layers.encoder_decoder import (
    Attention,
    Decoder,
    Encoder,
    EncoderLayer,
    similarity,
    sine_positions,
)
from singletrack.models.layers.pos_embed import centered_positions, grid_steps, template_rows
from singletrack.models.layers.stems import convolutional_stem
from singletrack.models.layers.vit import MLP, Block, DropPath, init_linear_layers, tie_query_key


@dataclass
class TwoStreamTrace:
    """Intermediate results of one ``locate``, for losses.

    Attributes:
        listen: encoder layers of the relation to record.
        attention: by layer, (B, Ns) attention of the template center to the search tokens, averaged over its tokens,
            then heads, renormalized to sum 1.
    """

    listen: tuple[int, ...] = ()
    attention: dict[int, Tensor] = field(default_factory=dict)

    def note(self, layer: int, seen: Tensor, asked: int) -> None:
        """Record the attention (B, N) of a layer to the tokens after the first ``asked``, which are the template."""
        share = seen[:, asked:]
        self.attention[layer] = share / share.sum(1, keepdim=True)


class Backbone(nn.Module):
    """One stream: a ViT over one crop, with separate position embeddings for templates and search regions."""

    def __init__(self, config: AlignedConfig) -> None:
        super().__init__()
        width, patch = config.width, config.patch_size
        self.patch_embed: nn.Module = (
            nn.Conv2d(3, width, patch, patch) if config.stem == "patch" else convolutional_stem(width)
        )
        self.template_position = nn.Parameter(torch.zeros(1, config.template_grid**2, width))
        self.search_position = nn.Parameter(torch.zeros(1, config.search_grid**2, width))
        rates = torch.linspace(0.0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(width, config.heads, config.mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: Tensor, kind: Literal["template", "search"]) -> Tensor:
        """Compute tokens: (B, 3, H, W) -> (B, N, C), row by row."""
        position = self.template_position if kind == "template" else self.search_position
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + position
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.transform(block.attend(x, None)[0])
        out: Tensor = self.norm(x)
        return out


# --- relations: template tokens (B, Nt, R) and search tokens (B, Ns, R) -> head input (B, Ns, R) ---


class EncoderDecoder(nn.Module):
    """Relation of STARK: an encoder over all tokens and a decoder with one query, whose output weights the search
    tokens.
    """

    position: Tensor
    center: Tensor

    def __init__(self, config: RelationConfig, template_grid: int, search_grid: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        grids = [torch.zeros(1, grid, grid, dtype=torch.bool) for grid in (template_grid, search_grid)]
        position = torch.cat([sine_positions(nothing_padded, config.width) for nothing_padded in grids], 1)
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("center", template_rows(template_grid, "rectangle"), persistent=False)

    def forward(self, template: Tensor, search: Tensor, trace: TwoStreamTrace) -> Tensor:
        asked, x, position = template.shape[1], torch.cat([template, search], 1), self.position
        for index, layer in enumerate(self.encoder.layers):
            assert isinstance(layer, EncoderLayer)
            if index in trace.listen:
                placed = x + position
                trace.note(index, layer.self_attn.attention(placed[:, self.center], placed), asked)
            x = layer(x, position)
        seen = x[:, asked:]
        out: Tensor = seen * similarity(seen, self.decoder(x, position))
        return out


class UntiedPositions(nn.Module):
    """Attention bias from absolute and relative positions, independent of content.

    Absolute positions are compared by separate projections (untied positions, Ke et al. 2021), which all layers share.
    """

    steps: Tensor

    def __init__(self, config: RelationConfig, template_grid: int, search_grid: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.place = nn.Parameter(torch.zeros(template_grid**2 + search_grid**2, config.width))
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        steps, number = grid_steps(template_grid, search_grid)
        self.register_buffer("steps", steps, persistent=False)
        self.step = nn.Parameter(torch.zeros(config.heads, number))

    def forward(self) -> Tensor:
        """Compute the bias (1, heads, N, N) on the attention logits; template tokens first."""
        query, key = (
            project(self.place).unflatten(1, (self.heads, -1)).transpose(0, 1) for project in (self.query, self.key)
        )
        absolute = (query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)
        out: Tensor = (absolute + self.step[:, self.steps])[None]
        return out


class FusionLayer(nn.Module):
    """Pre-norm layer: cross-attention or self-attention, then an MLP."""

    def __init__(self, config: RelationConfig, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLP(config.width, config.hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, others: Tensor, bias: Tensor) -> Tensor:
        """Attend from (B, Q, C) to normalized (B, N, C): -> (B, Q, C). ``bias``: (1, heads, Q, N)."""
        x = x + self.drop_path(self.attn(self.norm1(x), others, others, bias))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class Concatenation(nn.Module):
    """Relation of SwinTrack: an encoder over all tokens, and a decoder in which the search tokens attend to all of
    them.
    """

    center: Tensor

    def __init__(self, config: RelationConfig, template_grid: int, search_grid: int) -> None:
        super().__init__()
        self.positions = UntiedPositions(config, template_grid, search_grid)
        layers = config.encoder_layers + config.decoder_layers
        rates = torch.linspace(0.0, config.drop_path, layers, device="cpu").tolist()
        self.encoder = nn.ModuleList(FusionLayer(config, rate) for rate in rates[: config.encoder_layers])
        self.decoder = nn.ModuleList(FusionLayer(config, rate) for rate in rates[config.encoder_layers :])
        self.memory_norm = nn.LayerNorm(config.width, eps=1e-6)
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.register_buffer("center", template_rows(template_grid, "rectangle"), persistent=False)

    def forward(self, template: Tensor, search: Tensor, trace: TwoStreamTrace) -> Tensor:
        asked, x, bias = template.shape[1], torch.cat([template, search], 1), self.positions()
        for index, layer in enumerate(self.encoder):
            assert isinstance(layer, FusionLayer)
            everyone = layer.norm1(x)
            if index in trace.listen:
                seen = layer.attn.attention(everyone[:, self.center], everyone, bias[:, :, self.center])
                trace.note(index, seen, asked)
            x = layer(x, everyone, bias)
        seen, memory = x[:, asked:], self.memory_norm(x)
        for layer in self.decoder:
            seen = layer(seen, memory, bias[:, :, asked:])
        out: Tensor = self.norm(seen)
        return out


class Aligned(nn.Module):
    """Two-stream network: backbone, relation and head."""

    def __init__(
        self,
        config: AlignedConfig,
        backbone: Backbone,
        reduce: nn.Linear,
        relation: EncoderDecoder | Concatenation,
        head: CenterHead,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.reduce = reduce
        self.relation = relation
        self.head = head

    def encode(self, template: Tensor) -> Tensor:
        """Compute template features (B, Nt, R) from normalized template crops (B, 3, T, T)."""
        out: Tensor = self.reduce(self.backbone(template, "template"))
        return out

    def locate(self, features: Tensor, search: Tensor, trace: TwoStreamTrace | None = None) -> dict[str, Tensor]:
        """Compute maps on the (S/16)^2 grid, as OSTrack does.

        Args:
            features: (B, Nt, R) from ``encode``.
            search: (B, 3, S, S) normalized search crops.
            trace: filled with intermediate results.

        Returns:
            ``score`` (B, h, w) in (0, 1); ``size`` (B, 2, h, w), width and height as fractions of the crop; ``offset``
            (B, 2, h, w), x and y in cells.
        """
        seen = self.reduce(self.backbone(search, "search"))
        x = self.relation(features, seen, TwoStreamTrace() if trace is None else trace)
        grid = self.config.search_grid
        maps: dict[str, Tensor] = self.head(x.transpose(1, 2).reshape(x.shape[0], -1, grid, grid))
        return maps

    def forward(self, template: Tensor, search: Tensor, trace: TwoStreamTrace | None = None) -> dict[str, Tensor]:
        """Run both calls, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search, trace)


def build_aligned(config: AlignedConfig) -> Aligned:
    """Build the network of a config; each part is initialized as in its original model."""
    relation = config.relation
    relate = EncoderDecoder if relation.kind == "encoder-decoder" else Concatenation
    model = Aligned(
        config,
        backbone=Backbone(config),
        reduce=nn.Linear(config.width, relation.width),
        relation=relate(relation, config.template_grid, config.search_grid),
        head=CenterHead(relation.width, config.head_channels),
    )
    init_head(model.head)
    init_linear_layers(model.backbone)
    if isinstance(model.relation, EncoderDecoder):
        for part in (model.relation.encoder.layers, model.relation.decoder.layers):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
    else:
        init_linear_layers(model.relation.encoder)
        init_linear_layers(model.relation.decoder)
        for learned in (model.relation.positions.place, model.relation.positions.step):
            nn.init.trunc_normal_(learned, std=0.02)
    for position, grid in (
        (model.backbone.template_position, config.template_grid),
        (model.backbone.search_position, config.search_grid),
    ):
        nn.init.trunc_normal_(position, std=0.02)
        position.data += 0.3 * centered_positions(grid, config.width)
    return model


def init_from_similarity(model: Aligned) -> None:
    """Initialize for training from scratch, as for OSTrack, including the encoder of the relation."""
    for module in model.modules():
        if isinstance(module, Block):
            tie_query_key(module.attn.qkv)
        elif isinstance(module, Attention):
            tie_query_key(module.in_proj)
    init_bias_prior(model.head)
