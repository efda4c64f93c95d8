"""OSTrack (arXiv 2203.11991): template and search region go together through one ViT, then a centre head.

Pixels in, maps out; nothing is remembered between frames. Knows nothing of crops, boxes in frames or engines.

    template (B, 3, T, T) ──encode──> features (B, Nt, C) ─┐
    search   (B, 3, S, S) ─────────────────────────────────┴─locate──> score, size, offset on an (S/16)^2 grid

Early candidate elimination (section 3.2): inside some blocks, search tokens that the centre of the template
attends to least are dropped between attention and MLP; zeros take their places again before the head.

``ostrack-tiny`` is ours: the same joint attention and elimination, with a convolutional stem, a depth-wise
convolution on each grid before its first blocks as a sense of position, and the template's attention handed
to the head as additional channels. It is small enough to be trained from nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.errors import InputError
from singletrack.models.layers.towers import convolution_tower

TemplateRows = Literal["point", "rectangle", "all"]


@dataclass(frozen=True, kw_only=True)
class OSTrackConfig:
    """All that shapes the network. The defaults are OSTrack-256 with elimination.

    template_size, search_size: side of the square crops in pixels.
    eliminate_in: blocks (from 0) that drop search tokens, each keeping ``keep_ratio`` of those that reach it.
    template_rows: template tokens whose attention ranks the search tokens: the one token up-left of the
        centre ("point", CTR_POINT), the 2x2 around the centre ("rectangle", CTR_REC), or all.
    stem: "patch" is ViT's single strided convolution, "convolution" four of them with residual blocks between.
    grid_convolutions: so many first blocks are preceded by a depth-wise 3x3 convolution on each grid.
    attention_to_head: blocks whose template attention joins the head's input, one channel each.
    """

    template_size: int = 128
    search_size: int = 256
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    eliminate_in: tuple[int, ...] = (3, 6, 9)
    keep_ratio: float = 0.7
    template_rows: TemplateRows = "point"
    head_channels: int = 256
    stem: Literal["patch", "convolution"] = "patch"
    grid_convolutions: int = 0
    attention_to_head: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.grid_convolutions > min(self.eliminate_in, default=self.depth) + 1:
            raise InputError(
                f"expected grid_convolutions before tokens are eliminated in blocks {self.eliminate_in}; got "
                f"{self.grid_convolutions}; a thinned-out grid has no neighbours, so take fewer"
            )

    @property
    def template_shape(self) -> tuple[int, ...]:
        """Of what ``encode`` takes, without the batch: RGB, pixels."""
        return (3, self.template_size, self.template_size)

    @property
    def search_shape(self) -> tuple[int, ...]:
        """Of what ``locate`` takes beside the features, without the batch: RGB, pixels."""
        return (3, self.search_size, self.search_size)

    @property
    def template_grid(self) -> int:
        """Tokens along one side of the template."""
        return self.template_size // self.patch_size

    @property
    def search_grid(self) -> int:
        """Tokens along one side of the search region, and cells along one side of the maps."""
        return self.search_size // self.patch_size


CONFIGS: dict[str, OSTrackConfig] = {
    "ostrack-256": OSTrackConfig(),
    "ostrack-384": OSTrackConfig(template_size=192, search_size=384),
    "ostrack-tiny": OSTrackConfig(
        template_size=112,
        search_size=224,
        width=192,
        depth=8,
        heads=3,
        mlp_ratio=3.0,
        drop_path=0.0,
        eliminate_in=(2, 4, 6),
        template_rows="rectangle",
        head_channels=96,
        stem="convolution",
        grid_convolutions=3,
        attention_to_head=(2, 4, 6),
    ),
}


@dataclass
class Trace:
    """What happened inside one ``locate``, for losses, pictures and tests. Hand in an empty one to have it filled.

    scores: by eliminating or attending block, (B, n) attention of the template rows to the n search tokens that
        reached it, mean over rows, then heads (not renormalised).
    attention: by block of ``attention_to_head``, (B, Ns) the same on the whole grid, renormalised to sum 1 over
        the tokens present; 0 where a token is gone.
    kept, removed: by eliminating block, (B, k) places in the whole search grid, by descending score.
    blocks: output of each block, (B, Nt + k, C).
    tokens: (B, Nt + Ns, C) output of the backbone, search tokens back in their places.
    """

    scores: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
    kept: dict[int, Tensor] = field(default_factory=dict)
    removed: dict[int, Tensor] = field(default_factory=dict)
    blocks: list[Tensor] = field(default_factory=list)
    tokens: Tensor | None = None


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the whole residual branch of a sample with the given probability."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep).div_(keep)


class Attention(nn.Module):
    """Multi-head attention over template and search tokens together."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, N, C) -> (B, N, C), and the mean attention of the template ``rows`` to all N tokens, (B, N), if asked.

        Only the rows asked for are computed a second time; the rest stays in the fused kernel.
        """
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        out = self.mix(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        seen = None
        if rows is not None:
            logits = (q.index_select(2, rows) * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)
            seen = logits.softmax(-1).mean(2).mean(1)
        return self.proj(out), seen

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, C / heads) each -> the values, mixed by attention.

        Plainly when training in bf16 on a processor: there the fused kernel's backward pass takes two to three
        times as long (see BENCHMARKS.md).
        """
        if self.training and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            mixed: Tensor = logits.softmax(-1).to(v.dtype) @ v
            return mixed
        return F.scaled_dot_product_attention(q, k, v)


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm ViT block whose search tokens may be thinned out between attention and MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def attend(self, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The first half: attention and its residual; with ``rows``, also their mean attention (B, N)."""
        out, seen = self.attn(self.norm1(x), rows)
        return x + self.drop_path(out), seen

    def transform(self, x: Tensor) -> Tensor:
        """The second half: MLP and its residual."""
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class ResidualConvolution(nn.Module):
    """Depth-wise 3x3, then two 1x1 convolutions, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.project(F.relu(self.expand(self.norm(self.spatial(x)))))
        return out


def convolutional_stem(width: int) -> nn.Sequential:
    """(B, 3, H, W) -> (B, width, H/16, W/16): four strided 3x3 convolutions, residual blocks in the middle."""

    def strided(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    eighth, quarter, half = width // 8, width // 4, width // 2
    return nn.Sequential(
        *strided(3, eighth),
        *strided(eighth, quarter),
        ResidualConvolution(quarter),
        *strided(quarter, half),
        ResidualConvolution(half),
        ResidualConvolution(half),
        nn.Conv2d(half, width, 3, 2, 1),
    )


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

    def forward(
        self, template: Tensor, search: Tensor, keep_ratios: Sequence[float], trace: Trace
    ) -> tuple[Tensor, list[Tensor]]:
        """Template tokens (B, Nt, C) and search pixels -> search tokens (B, Ns, C) and attention channels (B, Ns)."""
        config = self.config
        x = self.embed(search, self.search_position)
        batch, places, width = x.shape
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
            heard = index in config.attention_to_head
            joint, seen = block.attend(joint, self.template_rows if heard or keep < remaining else None)
            if seen is not None:
                seen = trace.scores[index] = seen[:, asked:]
                if heard:
                    share = seen / seen.sum(1, keepdim=True)
                    trace.attention[index] = restore(share.unsqueeze(2), kept, places).squeeze(2)
                    # 0 for a token that is gone, about 1.2 for an average one, 2.5 for a strong peak
                    channels.append(0.25 * torch.log1p(100.0 * places * trace.attention[index]))
                if keep < remaining:
                    order = seen.argsort(dim=1, descending=True)
                    survivors = order[:, :keep]
                    trace.removed[index] = kept.gather(1, order[:, keep:])
                    kept = trace.kept[index] = kept.gather(1, survivors)
                    tokens = joint[:, asked:].gather(1, survivors.unsqueeze(2).expand(-1, -1, width))
                    joint = torch.cat([joint[:, :asked], tokens], 1)
            joint = block.transform(joint)
            trace.blocks.append(joint)
        joint = self.norm(joint)
        x = joint[:, asked:]
        if x.shape[1] < places:
            x = restore(x, kept, places)
        trace.tokens = torch.cat([joint[:, :asked], x], 1)
        return x, channels


def template_rows(grid: int, rows: TemplateRows) -> Tensor:
    """Flat places of the template tokens that rank the search tokens, on a grid x grid template (CE_TEMPLATE_RANGE).

    An even grid has no centre: "point" is then the token up-left of it; an odd grid has one, for "rectangle" too.
    """
    if rows == "all":
        return torch.arange(grid * grid)
    low, high = (grid - 1) // 2, grid // 2
    lines = torch.arange(low, (low if rows == "point" else high) + 1)
    return (lines[:, None] * grid + lines[None, :]).flatten()


def restore(tokens: Tensor, kept: Tensor, places: int) -> Tensor:
    """Survivors (B, k, C) back at their places ``kept`` (B, k) among ``places``; zeros elsewhere (section 3.2)."""
    batch, _, width = tokens.shape
    empty = tokens.new_zeros(batch, places, width)
    return empty.scatter(1, kept.unsqueeze(2).expand(-1, -1, width), tokens)


class CentreHead(nn.Module):
    """Three towers of 3x3 convolutions on the search grid: where the centre is, how large, and the rest of the cell."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.score = convolution_tower(inputs, channels, 1)
        self.size = convolution_tower(inputs, channels, 2)
        self.offset = convolution_tower(inputs, channels, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, h, w) -> score (B, h, w) and size (B, 2, h, w), both in [1e-4, 1 - 1e-4], and offset (B, 2, h, w)."""

        def squash(logits: Tensor) -> Tensor:
            return logits.sigmoid().clamp(1e-4, 1 - 1e-4)

        return {
            "score": squash(self.score(x)).squeeze(1),
            "size": squash(self.size(x)),
            "offset": self.offset(x),
        }


class OSTrack(nn.Module):
    """Backbone and head behind the two calls of every network: ``encode`` and ``locate``."""

    def __init__(self, backbone: Backbone, head: CentreHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = backbone.config

    def encode(self, template: Tensor) -> Tensor:
        """Normalised template crops (B, 3, T, T) -> features (B, Nt, C): all of the template that can be kept."""
        return self.backbone.embed(template, self.backbone.template_position)

    def locate(
        self,
        features: Tensor,
        search: Tensor,
        keep_ratios: Sequence[float] | None = None,
        trace: Trace | None = None,
    ) -> dict[str, Tensor]:
        """Features (B, Nt, C) and normalised search crops (B, 3, S, S) -> maps on the (S/16)^2 grid.

        score (B, h, w) in (0, 1); size (B, 2, h, w), width and height as fractions of the crop; offset
        (B, 2, h, w), x and y in cells. ``keep_ratios``, one for each eliminating block, replaces the config's.
        """
        config = self.config
        if keep_ratios is None:
            keep_ratios = [config.keep_ratio] * len(config.eliminate_in)
        x, channels = self.backbone(features, search, keep_ratios, Trace() if trace is None else trace)
        if channels:
            x = torch.cat([x, torch.stack(channels, 2)], 2)
        grid = config.search_grid
        maps: dict[str, Tensor] = self.head(x.transpose(1, 2).reshape(x.shape[0], -1, grid, grid))
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


def decode(maps: dict[str, Tensor], response: Tensor | None = None) -> Tensor:
    """Maps -> boxes (B, 4), cxcywh in [0, 1] of the search crop, read where ``response`` (B, h, w) peaks.

    Without ``response`` the score map itself is read, as in training. Cell i stands for coordinate i / w: no half
    cell is added (section 3.3 and the published code).
    """
    score = maps["score"] if response is None else response
    batch, height, width = score.shape
    peak = score.flatten(1).argmax(1)
    place = peak.view(batch, 1, 1).expand(-1, 2, 1)
    size = maps["size"].flatten(2).gather(2, place).squeeze(2)
    offset = maps["offset"].flatten(2).gather(2, place).squeeze(2)
    cell = torch.stack([peak % width, peak // width], 1).to(offset.dtype)
    scale = offset.new_tensor([width, height])
    return torch.cat([(cell + offset) / scale, size], 1)


def build_ostrack(config: OSTrackConfig, keep_ratio: float | None = None) -> OSTrack:
    """The network of ``config``, freshly initialised; ``keep_ratio=1.0`` turns elimination off."""
    if keep_ratio is not None:
        config = replace(config, keep_ratio=keep_ratio)
    model = OSTrack(Backbone(config), CentreHead(config.width + len(config.attention_to_head), config.head_channels))
    for name, parameter in model.head.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith(".4.bias"):
            nn.init.zeros_(parameter)
    for module in model.backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for position, grid in (
        (model.backbone.template_position, config.template_grid),
        (model.backbone.search_position, config.search_grid),
    ):
        nn.init.trunc_normal_(position, std=0.02)
        position.data += 0.3 * sine_positions(grid, config.width)
    return model


def start_from_similarity(model: OSTrack) -> None:
    """Ready a network for training from nothing: attention compares contents before anything is learned.

    Query and key of each block start as one shared orthonormal matrix (compare mimetic initialization, Trockman and
    Kolter 2023); the head starts by expecting no target in a cell, and targets of a quarter of the crop's side.
    """
    width = model.config.width
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        shared = torch.empty(width, width)
        nn.init.orthogonal_(shared)
        with torch.no_grad():
            block.attn.qkv.weight[: 2 * width] = torch.cat([shared, shared])
    for tower, value in ((model.head.score, 0.02), (model.head.size, 0.25)):
        last = tower[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.constant_(last.bias, math.log(value / (1 - value)))  # type: ignore[arg-type]
        nn.init.normal_(last.weight, std=0.01)


def sine_positions(grid: int, width: int) -> Tensor:
    """Fixed sine and cosine positions (1, grid * grid, width), centred on the grid; first half of the channels: x.

    One step is one token of a grid whose centre is the origin, so that template and search region of the same scale
    speak the same positions.
    """
    line = torch.arange(grid, dtype=torch.float32) - (grid - 1) / 2
    waves = line[:, None] / 100 ** (torch.arange(width // 4) / (width // 4))
    axis = torch.cat([waves.sin(), waves.cos()], 1)
    y, x = axis[:, None].expand(grid, grid, -1), axis[None].expand(grid, grid, -1)
    return torch.cat([x, y], 2).reshape(1, grid * grid, width)


def resize_positions(position: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, n * n, C) -> (1, grid * grid, C): bicubic, corners not aligned, no antialias."""
    before = math.isqrt(position.shape[1])
    image = position.transpose(1, 2).reshape(1, -1, before, before)
    resized = F.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)
