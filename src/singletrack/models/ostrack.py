"""OSTrack (arXiv 2203.11991): template and search region go together through one ViT, then a center head.

Pixels in, maps out; nothing is remembered between frames. Knows nothing of crops, boxes in frames or engines.

    template (B, 3, T, T) ──encode──> features (B, Nt, C) ─┐
    search   (B, 3, S, S) ─────────────────────────────────┴─locate──> score, size, offset on an (S/16)^2 grid

Early candidate elimination (section 3.2): inside some blocks, search tokens that the center of the template
attends to least are dropped between attention and MLP; zeros take their places again before the head.

``ostrack-tiny`` is ours: the same joint attention and elimination, with a convolutional stem, a depth-wise
convolution on each grid before its first blocks as a sense of position, the template's attention handed to the
head as additional channels, a head on a finer grid, and a second template, the target's newest look. It is small
enough to be trained from nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.models.configs import OSTrackConfig
from singletrack.models.layers.center_head import CenterHead, init_bias_prior, init_head
from singletrack.models.layers.fine_head import FineHead, draw_fine_head
from singletrack.models.layers.pos_embed import centered_positions, template_rows
from singletrack.models.layers.stems import convolutional_stem
from singletrack.models.layers.vit import Block, init_linear_layers, tie_query_key


@dataclass
class Trace:
    """What happened inside one ``locate``, for losses, pictures and tests. Hand in an empty one to have it filled.

    listen: blocks whose ``attention`` is wanted, beside those of ``attention_to_head``.
    scores: by eliminating or attending block, (B, n) attention of the template rows to the n search tokens that
        reached it, mean over rows, then heads (not renormalized).
    attention: by block listened to, (B, Ns) the same on the whole grid, renormalized to sum 1 over
        the tokens present; 0 where a token is gone.
    kept, removed: by eliminating block, (B, k) places in the whole search grid, by descending score.
    blocks: output of each block, (B, Nt + k, C).
    tokens: (B, Nt + Ns, C) output of the backbone, search tokens back in their places.
    """

    listen: tuple[int, ...] = ()
    scores: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
    kept: dict[int, Tensor] = field(default_factory=dict)
    removed: dict[int, Tensor] = field(default_factory=dict)
    blocks: list[Tensor] = field(default_factory=list)
    tokens: Tensor | None = None


class GridConvolution(nn.Module):
    """Depth-wise 3x3 convolution on a square grid of tokens, added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor) -> Tensor:
        grid = math.isqrt(tokens.shape[1])
        image = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, grid, grid)
        out: Tensor = tokens + self.conv(image).flatten(2).transpose(1, 2)
        return out


class Fusion(nn.Module):
    """Tokens of the target's first and newest look, (B, N, C) each -> as many tokens that tell of both.

    Both crops lie alike about the target, so it goes token by token, and costs the blocks nothing. A fresh one gives
    the first look as it is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.compare = nn.Linear(2 * width, 2 * width)
        self.change = nn.Linear(2 * width, width)

    def forward(self, first: Tensor, newest: Tensor) -> Tensor:
        out: Tensor = first + self.change(F.gelu(self.compare(torch.cat([first, newest], 2))))
        return out


class Backbone(nn.Module):
    """The one stream: tokens of both images through the same blocks, with candidate elimination."""

    template_rows: Tensor

    def __init__(self, config: OSTrackConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embed: nn.Module = (
            nn.Conv2d(3, width, patch, patch) if config.stem == "patch" else convolutional_stem(width)
        )
        self.template_position = nn.Parameter(torch.zeros(1, config.template_grid**2, width))
        self.search_position = nn.Parameter(torch.zeros(1, config.search_grid**2, width))
        self.fusion = Fusion(width) if config.num_templates > 1 else None
        rates = torch.linspace(0.0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(width, config.heads, config.mlp_ratio, rate) for rate in rates)
        self.grid_convolutions = nn.ModuleList(GridConvolution(width) for _ in range(config.grid_convolutions))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        rows = template_rows(config.template_grid, config.template_rows)
        self.register_buffer("template_rows", rows, persistent=False)

    def embed(self, image: Tensor, position: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, C) tokens, row by row, with their positions added."""
        tokens: Tensor = self.patch_embed(image).flatten(2).transpose(1, 2)
        return tokens + position

    def embed_template(self, templates: Tensor) -> Tensor:
        """Crops of ``template_shape``, the batch first -> (B, Nt, C) tokens."""
        if self.fusion is None:
            return self.embed(templates, self.template_position)
        tokens = self.embed(templates.flatten(0, 1), self.template_position)
        first, newest = tokens.reshape(-1, self.config.num_templates, *tokens.shape[1:]).unbind(1)
        fused: Tensor = self.fusion(first, newest)
        return fused

    def look(self, search: Tensor) -> tuple[Tensor, Tensor | None]:
        """The search region's tokens, as of ``embed``; and for a fine head what the stem sees at half their stride."""
        if self.config.head == "center":
            return self.embed(search, self.search_position), None
        assert isinstance(self.patch_embed, nn.Sequential)
        fine: Tensor = self.patch_embed[:-1](search)
        tokens: Tensor = self.patch_embed[-1](fine).flatten(2).transpose(1, 2)
        return tokens + self.search_position, fine

    def forward(
        self, template: Tensor, search: Tensor, keep_ratios: Sequence[float], trace: Trace | None
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Template tokens (B, Nt, C), search pixels -> search tokens (B, Ns, C), attention (B, Ns), ``look``'s other.

        Without a trace, the last block leaves out the template's tokens once they have been attended to: nobody
        reads them, and the search tokens stay the same.
        """
        config = self.config
        whole, trace = trace is not None, Trace() if trace is None else trace
        x, fine = self.look(search)
        batch, places, _ = x.shape
        asked = template.shape[1]
        kept = torch.arange(places, device=x.device).expand(batch, places)
        ratios = dict(zip(config.eliminate_in, keep_ratios, strict=True))
        channels: list[Tensor] = []
        joint = torch.cat([template, x], 1)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if index < len(self.grid_convolutions):
                convolve = self.grid_convolutions[index]
                joint = torch.cat([convolve(joint[:, :asked]), convolve(joint[:, asked:])], 1)
            remaining = joint.shape[1] - asked
            keep = math.ceil(ratios.get(index, 1.0) * remaining)
            noted = index in (*config.attention_to_head, *trace.listen)
            rows = self.template_rows if noted or keep < remaining else None
            if index + 1 == config.depth and rows is None and not whole:
                joint, asked = block.attend(joint, None, first=asked)[0], 0
                joint = block.transform(joint)
                break
            joint, seen = block.attend(joint, rows)
            if seen is not None:
                seen = trace.scores[index] = seen[:, asked:]
                if noted:
                    share = seen / seen.sum(1, keepdim=True)
                    trace.attention[index] = restore(share.unsqueeze(2), kept, places).squeeze(2)
                if index in config.attention_to_head:
                    # 0 for a token that is gone, about 1.2 for an average one, 2.5 for a strong peak
                    channels.append(0.25 * torch.log1p(100.0 * places * trace.attention[index]))
                if keep < remaining:
                    order = seen.argsort(dim=1, descending=True)
                    survivors = order[:, :keep]
                    trace.removed[index] = kept.gather(1, order[:, keep:])
                    kept = trace.kept[index] = kept.gather(1, survivors)
                    joint = torch.cat([joint[:, :asked], pick(joint[:, asked:], survivors)], 1)
            joint = block.transform(joint)
            trace.blocks.append(joint)
        joint = self.norm(joint)
        x = joint[:, asked:]
        if x.shape[1] < places:
            x = restore(x, kept, places)
        trace.tokens = torch.cat([joint[:, :asked], x], 1)
        return x, channels, fine


def pick(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens (B, N, C) at places (B, k) of their own sample: (B, k, C). Whole rows, which engines copy fastest."""
    batch, count, width = tokens.shape
    starts = torch.arange(batch, device=tokens.device).unsqueeze(1) * count
    return tokens.reshape(batch * count, width).index_select(0, (places + starts).flatten()).reshape(batch, -1, width)


def restore(tokens: Tensor, kept: Tensor, places: int) -> Tensor:
    """Survivors (B, k, C) back at their places ``kept`` (B, k) among ``places``; zeros elsewhere (section 3.2)."""
    batch, survivors, width = tokens.shape
    order = torch.arange(1, survivors + 1, device=kept.device).expand(batch, survivors)
    sources = torch.zeros_like(kept[:, :1]).expand(batch, places).scatter(1, kept, order)  # 0 where none survived
    return pick(torch.cat([tokens.new_zeros(batch, 1, width), tokens], 1), sources)


class OSTrack(nn.Module):
    """Backbone and head behind the two calls of every network: ``encode`` and ``locate``."""

    def __init__(self, backbone: Backbone, head: CenterHead | FineHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = backbone.config

    def encode(self, template: Tensor) -> Tensor:
        """Normalized template crops (B, 3, T, T) -> features (B, Nt, C): all of the template that can be kept.

        Of a network with two templates (B, 2, 3, T, T): the first look and the newest.
        """
        return self.backbone.embed_template(template)

    def locate(
        self,
        features: Tensor,
        search: Tensor,
        keep_ratios: Sequence[float] | None = None,
        trace: Trace | None = None,
    ) -> dict[str, Tensor]:
        """Features (B, Nt, C) and normalized search crops (B, 3, S, S) -> maps on a grid of S / ``cell_size`` a side.

        score (B, h, w) in (0, 1); size (B, 2, h, w), width and height as fractions of the crop; offset
        (B, 2, h, w), x and y in cells. ``keep_ratios``, one for each eliminating block, replaces the config's.
        """
        config = self.config
        if keep_ratios is None:
            keep_ratios = [config.keep_ratio] * len(config.eliminate_in)
        x, channels, fine = self.backbone(features, search, keep_ratios, trace)
        if channels:
            x = torch.cat([x, torch.stack(channels, 2)], 2)
        grid = config.search_grid
        tokens = x.transpose(1, 2).reshape(x.shape[0], -1, grid, grid)
        maps: dict[str, Tensor] = self.head(tokens) if fine is None else self.head(tokens, fine)
        return maps

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        keep_ratios: Sequence[float] | None = None,
        trace: Trace | None = None,
    ) -> dict[str, Tensor]:
        """Both calls in one, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search, keep_ratios, trace)


def build_ostrack(config: OSTrackConfig, keep_ratio: float | None = None) -> OSTrack:
    """The network of ``config``, freshly initialized; ``keep_ratio=1.0`` turns elimination off."""
    if keep_ratio is not None:
        config = replace(config, keep_ratio=keep_ratio)
    model = OSTrack(Backbone(config), build_head(config))
    init_linear_layers(model.backbone)
    if model.backbone.fusion is not None:
        nn.init.zeros_(model.backbone.fusion.change.weight)
    for position, grid in (
        (model.backbone.template_position, config.template_grid),
        (model.backbone.search_position, config.search_grid),
    ):
        nn.init.trunc_normal_(position, std=0.02)
        position.data += 0.3 * centered_positions(grid, config.width)
    return model


def build_head(config: OSTrackConfig) -> CenterHead | FineHead:
    """The head of ``config``, freshly initialized."""
    inputs = config.width + len(config.attention_to_head)
    if config.head == "fine":
        fine = FineHead(inputs, config.width // 2, config.head_channels)
        draw_fine_head(fine)
        return fine
    head = CenterHead(inputs, config.head_channels)
    init_head(head)
    return head


def init_from_similarity(model: OSTrack) -> None:
    """Ready a network for training from nothing: attention compares contents, and the head expects little."""
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        tie_query_key(block.attn.qkv)
    if isinstance(model.head, CenterHead):  # a fine head does from its start
        init_bias_prior(model.head)
