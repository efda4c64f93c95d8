"""OSTrack (arXiv 2203.11991): one ViT over template and search tokens, then a center head.

    template (B, 3, T, T) ──encode──> features (B, Nt, C) ─┐
    search   (B, 3, S, S) ─────────────────────────────────┴─locate──> score, size, offset on an (S/16)^2 grid

Early candidate elimination (Section 3.2): some blocks drop the search tokens that the center of the template attends
to least, between attention and MLP. Before the head, zeros fill their places.

``ostrack-tiny`` is ours: the same joint attention and elimination, with a convolutional stem, a depth-wise
convolution on each grid before its first blocks as position encoding, the template attention as additional channels
of the head, a head on a finer grid, and a second, dynamic template. It is small enough to be trained from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.models.configs import OSTrackConfig
from singletrack.models.layers.center_head import CenterHead, init_bias_prior, init_head
from singletrack.models.layers.fine_head import FineHead, draw_fine_head
from singletrack.models.layers.one_box_head import OneBoxHead
from singletrack.models.layers.pos_embed import centered_positions, grid_steps, template_rows, tokens_in_boxes
from singletrack.models.layers.stems import convolutional_stem
from singletrack.models.layers.vit import Block, init_linear_layers, tie_query_key


@dataclass
class Trace:
    """Intermediate results of one ``locate``, for losses, plots and tests. Pass an empty one to have it filled.

    Attributes:
        listen: blocks whose ``attention`` is recorded, in addition to those of ``attention_to_head``.
        scores: by eliminating or recorded block, (B, n) attention of the template rows to the n remaining search
            tokens, averaged over rows, then heads (not renormalized).
        attention: by recorded block, (B, Ns) the same on the full grid, renormalized to sum 1 over the remaining
            tokens; 0 for removed tokens.
        kept: by eliminating block, (B, k) positions in the full search grid, by descending score.
        removed: by eliminating block, the removed positions, as ``kept``.
        blocks: output of each block, (B, Nt + k, C).
        tokens: (B, Nt + Ns, C) output of the backbone, with search tokens at their positions.
    """

    listen: tuple[int, ...] = ()
    scores: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
    kept: dict[int, Tensor] = field(default_factory=dict)
    removed: dict[int, Tensor] = field(default_factory=dict)
    blocks: list[Tensor] = field(default_factory=list)
    tokens: Tensor | None = None


class GridConvolution(nn.Module):
    """Residual depth-wise 3x3 convolution on a square grid of tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor) -> Tensor:
        grid = math.isqrt(tokens.shape[1])
        image = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, grid, grid)
        out: Tensor = tokens + self.conv(image).flatten(2).transpose(1, 2)
        return out


class Fusion(nn.Module):
    """Fuses the tokens of the first and the dynamic template, (B, N, C) each, token by token.

    Both crops have the target at the same place, so this works token by token and adds no cost to the blocks. At
    initialization, it returns the first template.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.compare = nn.Linear(2 * width, 2 * width)
        self.change = nn.Linear(2 * width, width)

    def forward(self, first: Tensor, newest: Tensor) -> Tensor:
        out: Tensor = first + self.change(F.gelu(self.compare(torch.cat([first, newest], 2))))
        return out


class Backbone(nn.Module):
    """One-stream backbone: the tokens of template and search region pass the same blocks, with candidate
    elimination.
    """

    template_rows: Tensor | None
    steps: Tensor

    def __init__(self, config: OSTrackConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embed: nn.Module = (
            nn.Conv2d(3, width, patch, patch) if config.stem == "patch" else convolutional_stem(width)
        )
        if config.positions != "none":
            self.template_position = nn.Parameter(torch.zeros(1, config.template_grid**2, width))
            self.search_position = nn.Parameter(torch.zeros(1, config.search_grid**2, width))
        if config.positions == "segment":
            self.template_segment = nn.Parameter(torch.zeros(1, 1, width))
            self.search_segment = nn.Parameter(torch.zeros(1, 1, width))
        if config.positions == "relative":
            steps, number = grid_steps(config.template_grid, config.search_grid)
            self.register_buffer("steps", steps, persistent=False)
            self.step_bias = nn.Parameter(torch.zeros(config.heads, number))
        self.fusion = Fusion(width) if config.num_templates > 1 else None
        rates = torch.linspace(0.0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(width, config.heads, config.mlp_ratio, rate) for rate in rates)
        self.grid_convolutions = nn.ModuleList(GridConvolution(width) for _ in range(config.grid_convolutions))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        rows = None if config.template_rows == "box" else template_rows(config.template_grid, config.template_rows)
        self.register_buffer("template_rows", rows, persistent=False)

    def embed(self, image: Tensor, part: Literal["template", "search"]) -> Tensor:
        """Embed an image: (B, 3, H, W) -> (B, N, C) tokens, row by row, with the embeddings of its part."""
        tokens: Tensor = self.patch_embed(image).flatten(2).transpose(1, 2)
        return self.placed(tokens, part)

    def placed(self, tokens: Tensor, part: Literal["template", "search"]) -> Tensor:
        """Add the embeddings of a part to its tokens (B, N, C)."""
        in_template = part == "template"
        if self.config.positions != "none":
            tokens = tokens + (self.template_position if in_template else self.search_position)
        if self.config.positions == "segment":
            tokens = tokens + (self.template_segment if in_template else self.search_segment)
        return tokens

    def bias(self, asked: int, kept: Tensor) -> Tensor | None:
        """Compute the attention bias (B, heads, N, N) of the template's tokens and of the search tokens at ``kept``
        (B, n); None without relative positions.
        """
        if self.config.positions != "relative":
            return None
        template = torch.arange(asked, device=kept.device).expand(len(kept), asked)
        places = torch.cat([template, asked + kept], 1)
        return self.step_bias[:, self.steps[places[:, :, None], places[:, None]]].transpose(0, 1)

    def embed_template(self, templates: Tensor) -> Tensor:
        """Embed template crops of ``template_shape``, batch first: -> (B, Nt, C) tokens.

        With a box channel, they have one more value: 1 for tokens in the target's box (of the first template), else 0.
        """
        if not self.config.box_channel:
            return self.fused(templates)
        inside = templates[..., 3, :, :] if self.fusion is None else templates[:, 0, 3]
        tokens = self.fused(templates[..., :3, :, :])
        return torch.cat([tokens, tokens_in_boxes(inside, self.config.patch_size).unsqueeze(2)], 2)

    def fused(self, templates: Tensor) -> Tensor:
        """Embed template crops without a box channel, and fuse them if there are two."""
        if self.fusion is None:
            return self.embed(templates, "template")
        tokens = self.embed(templates.flatten(0, 1), "template")
        first, newest = tokens.reshape(-1, self.config.num_templates, *tokens.shape[1:]).unbind(1)
        fused: Tensor = self.fusion(first, newest)
        return fused

    def split_box(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Split what ``embed_template`` returns with a box channel: tokens (B, Nt, C), and whether each is in the box
        (B, Nt).
        """
        return features[..., :-1], features[..., -1]

    def look(self, search: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embed the search region, and return for a fine head the stem features at half their stride."""
        if self.config.head != "fine":
            return self.embed(search, "search"), None
        assert isinstance(self.patch_embed, nn.Sequential)
        fine: Tensor = self.patch_embed[:-1](search)
        tokens: Tensor = self.patch_embed[-1](fine).flatten(2).transpose(1, 2)
        return self.placed(tokens, "search"), fine

    def forward(
        self, template: Tensor, search: Tensor, keep_ratios: Sequence[float], trace: Trace | None
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Process template tokens (B, Nt, C) and search pixels.

        Without a trace, the last block drops the template tokens after attention, because they are not used after it;
        the search tokens stay the same.

        Returns:
            Search tokens (B, Ns, C), attention channels (B, Ns), and the second output of ``look``.
        """
        config, ranking = self.config, self.template_rows
        if config.box_channel:
            template, ranking = self.split_box(template)
        whole, trace = trace is not None, Trace() if trace is None else trace
        x, fine = self.look(search)
        batch, places, _ = x.shape
        asked = template.shape[1]
        kept = torch.arange(places, device=x.device).expand(batch, places)
        ratios = dict(zip(config.eliminate_in, keep_ratios, strict=True))
        channels: list[Tensor] = []
        joint = torch.cat([template, x], 1)
        bias = self.bias(asked, kept)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if index < len(self.grid_convolutions):
                convolve = self.grid_convolutions[index]
                joint = torch.cat([convolve(joint[:, :asked]), convolve(joint[:, asked:])], 1)
            remaining = joint.shape[1] - asked
            keep = math.ceil(ratios.get(index, 1.0) * remaining)
            noted = index in (*config.attention_to_head, *trace.listen)
            rows = ranking if noted or keep < remaining else None
            if index + 1 == config.depth and rows is None and not whole:
                joint, asked = block.attend(joint, None, asked, bias)[0], 0
                joint = block.transform(joint)
                break
            joint, seen = block.attend(joint, rows, bias=bias)
            if seen is not None:
                seen = trace.scores[index] = seen[:, asked:]
                if noted:
                    share = seen / seen.sum(1, keepdim=True)
                    trace.attention[index] = restore(share.unsqueeze(2), kept, places).squeeze(2)
                if index in config.attention_to_head:
                    # 0 for a removed token, about 1.2 for an average one, 2.5 for a strong peak
                    channels.append(0.25 * torch.log1p(100.0 * places * trace.attention[index]))
                if keep < remaining:
                    order = seen.argsort(dim=1, descending=True)
                    survivors = order[:, :keep]
                    trace.removed[index] = kept.gather(1, order[:, keep:])
                    kept = trace.kept[index] = kept.gather(1, survivors)
                    joint = torch.cat([joint[:, :asked], pick(joint[:, asked:], survivors)], 1)
                    bias = self.bias(asked, kept)
            joint = block.transform(joint)
            trace.blocks.append(joint)
        joint = self.norm(joint)
        x = joint[:, asked:]
        if x.shape[1] < places:
            x = restore(x, kept, places)
        trace.tokens = torch.cat([joint[:, :asked], x], 1)
        return x, channels, fine


def pick(tokens: Tensor, places: Tensor) -> Tensor:
    """Select tokens (B, N, C) at positions (B, k) of each sample: -> (B, k, C). Copies complete rows, which is
    fastest in engines.
    """
    batch, count, width = tokens.shape
    starts = torch.arange(batch, device=tokens.device).unsqueeze(1) * count
    return tokens.reshape(batch * count, width).index_select(0, (places + starts).flatten()).reshape(batch, -1, width)


def restore(tokens: Tensor, kept: Tensor, places: int) -> Tensor:
    """Place the remaining tokens (B, k, C) at their positions ``kept`` (B, k) among ``places``; zeros elsewhere
    (Section 3.2).
    """
    batch, survivors, width = tokens.shape
    order = torch.arange(1, survivors + 1, device=kept.device).expand(batch, survivors)
    sources = torch.zeros_like(kept[:, :1]).expand(batch, places).scatter(1, kept, order)  # 0 for removed tokens
    return pick(torch.cat([tokens.new_zeros(batch, 1, width), tokens], 1), sources)


class OSTrack(nn.Module):
    """OSTrack network: backbone and head."""

    def __init__(self, backbone: Backbone, head: CenterHead | FineHead | OneBoxHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = backbone.config

    def encode(self, template: Tensor) -> Tensor:
        """Compute template features.

        Args:
            template: (B, 3, T, T) normalized; (B, 2, 3, T, T), the first and the dynamic template, for networks with
                two. With a box channel, it is the fourth of the channels.

        Returns:
            (B, Nt, C), or (B, Nt, C + 1) with a box channel.
        """
        return self.backbone.embed_template(template)

    def locate(
        self,
        features: Tensor,
        search: Tensor,
        keep_ratios: Sequence[float] | None = None,
        trace: Trace | None = None,
    ) -> dict[str, Tensor]:
        """Compute maps on a grid with S / ``cell_size`` cells per side.

        Args:
            features: from ``encode``.
            search: (B, 3, S, S) normalized search crops.
            keep_ratios: keep ratio of each eliminating block; None for those of the config.
            trace: filled with intermediate results.

        Returns:
            ``score`` (B, h, w) in (0, 1); ``size`` (B, 2, h, w), width and height as fractions of the crop; ``offset``
            (B, 2, h, w), x and y in cells.
        """
        config = self.config
        if keep_ratios is None:
            keep_ratios = config.kept_shares
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
        """Run both calls, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search, keep_ratios, trace)


def build_ostrack(config: OSTrackConfig, keep_ratio: float | None = None) -> OSTrack:
    """Build the network of a config, freshly initialized; ``keep_ratio=1.0`` turns elimination off."""
    if keep_ratio is not None:
        config = replace(config, keep_ratio=keep_ratio, keep_ratios=())
    model = OSTrack(Backbone(config), build_head(config))
    init_linear_layers(model.backbone)
    if model.backbone.fusion is not None:
        nn.init.zeros_(model.backbone.fusion.change.weight)
    grids = {"template_position": config.template_grid, "search_position": config.search_grid}
    for name, position in model.backbone.named_parameters(recurse=False):
        nn.init.trunc_normal_(position, std=0.02)
        if name in grids:
            position.data += 0.3 * centered_positions(grids[name], config.width)
    return model


def build_head(config: OSTrackConfig) -> CenterHead | FineHead | OneBoxHead:
    """Build the head of a config, freshly initialized."""
    inputs = config.width + len(config.attention_to_head)
    if config.head == "fine":
        fine = FineHead(inputs, config.width // 2, config.head_channels, config.head_depth)
        draw_fine_head(fine)
        return fine
    if config.head in ("corner", "mlp"):
        return OneBoxHead(inputs, config.head_channels if config.head == "corner" else None)
    head = CenterHead(inputs, config.head_channels)
    init_head(head)
    return head


def grow(weights: Mapping[str, Tensor], smaller: OSTrackConfig, model: OSTrack) -> dict[str, Tensor]:
    """Return weights with which a network that is deeper, or wider inside its MLPs, computes what a smaller one does.

    The smaller network's blocks are spread over the larger one, see ``spread_blocks``. The added blocks and hidden
    units contribute nothing at first, because their last layers are zero (after Net2Net, arXiv 1511.05641). The result
    is the same where both keep all tokens.

    Args:
        weights: the smaller network's.
        smaller: its config, with crops of the same size.
        model: the larger network, freshly initialized; it is not changed.
    """
    old = {place: index for index, place in enumerate(spread_blocks(smaller, model.config))}
    grown: dict[str, Tensor] = {}
    for name, fresh in model.state_dict().items():
        source = name
        if name.startswith("backbone.blocks."):
            _, _, index, rest = name.split(".", 3)
            source = f"backbone.blocks.{old.get(int(index), 'added')}.{rest}"
        known, value = weights.get(source), fresh.clone()
        if any(f".{layer}." in name for layer in ("attn.proj", "mlp.fc2", "project")):
            value.zero_()
        if known is not None:
            value[tuple(slice(size) for size in known.shape)] = known
        grown[name] = value
    return grown


def spread_blocks(smaller: OSTrackConfig, larger: OSTrackConfig) -> list[int]:
    """Return the place of each of the smaller network's blocks in the larger one.

    Blocks up to the last one with a grid convolution stay; the others spread evenly, and the last one stays the last.
    """
    first = max(0, smaller.grid_convolutions - 1)
    old, new = smaller.depth - 1 - first, larger.depth - 1 - first
    return [*range(first), *(first + (2 * index * new + old) // (2 * old) for index in range(old + 1))]


def init_from_similarity(model: OSTrack) -> None:
    """Initialize for training from scratch: attention compares contents, and the head starts with low scores."""
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        tie_query_key(block.attn.qkv)
    if isinstance(model.head, CenterHead):  # a fine head is initialized this way
        init_bias_prior(model.head)
