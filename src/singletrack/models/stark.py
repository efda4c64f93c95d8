"""STARK (arXiv 2103.17154): a ResNet for each crop, an encoder-decoder that relates them, and a corner head.

    templates (B, K, 4, T, T) ──encode──> features (B, K * Nt, 2C + 1) ─┐
    search    (B, 4, S, S)    ──────────────────────────────────────────┴─locate──> corners, score

The fourth channel of a crop is 1 outside the frame and 0 inside. Padding is excluded from position encoding and
attention. The encoder mixes the tokens of all crops. The decoder uses one learned query, and its output weights the
search tokens, from which the two corners are computed. STARK-ST has a second template, which its tracker updates
while a small score head is confident.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.models.configs import RESNET_STRIDE, STARKConfig
from singletrack.models.layers.encoder_decoder import Decoder, Encoder, similarity, sine_positions
from singletrack.models.layers.towers import convolution_tower


class Tokens(NamedTuple):
    """Tokens of one or more crops, row by row.

    Attributes:
        content: (B, N, C).
        position: (B, N, C).
        padding: (B, N) bool, True outside the frame.
    """

    content: Tensor
    position: Tensor
    padding: Tensor

    def bias(self) -> Tensor:
        """Return the attention bias that masks padding: (B, 1, 1, N), minus infinity for padding and 0 elsewhere."""
        silence = torch.zeros_like(self.content[..., 0]).masked_fill(self.padding, -math.inf)
        return silence[:, None, None]


# --- the ResNet ---


class FrozenBatchNorm(nn.Module):
    """Batch norm with constant statistics and scale, also in training."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.eps = 1e-5
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3 (with the stride) and 1x1 convolutions, the last to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = FrozenBatchNorm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = FrozenBatchNorm(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), FrozenBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(nn.Module):
    """The first three stages of a ResNet: (B, 3, H, W) -> (B, 16 width, H / 16, W / 16)."""

    def __init__(self, blocks: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.layer1 = self.stage(width, width, blocks[0], stride=1)
        self.layer2 = self.stage(4 * width, 2 * width, blocks[1], stride=2)
        self.layer3 = self.stage(8 * width, 4 * width, blocks[2], stride=2)

    @staticmethod
    def stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        """Build a stage of equally wide blocks, with the stride in the first."""
        rest = (Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))
        return nn.Sequential(Bottleneck(inputs, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        out: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return out


# --- the heads ---


class CornerHead(nn.Module):
    """Weights search tokens by their similarity to the decoder output, and passes them through one tower per corner."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.top_left = convolution_tower(width, width, 1)
        self.bottom_right = convolution_tower(width, width, 1)

    def forward(self, search: Tensor, answer: Tensor) -> Tensor:
        """Compute logits (B, 2, n, n), top-left and bottom-right, from search tokens (B, n * n, C) and the answer
        (B, 1, C).
        """
        grid = math.isqrt(search.shape[1])
        weighed = search * similarity(search, answer)
        image = weighed.transpose(1, 2).reshape(*weighed.shape[::2], grid, grid)
        return torch.cat([self.top_left(image), self.bottom_right(image)], 1)


def build_score_head(width: int) -> nn.Sequential:
    """Build the score head, (B, 1, width) -> logit (B, 1, 1): three linear layers with ReLU."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


class STARK(nn.Module):
    """STARK network: ResNet, encoder, decoder and heads."""

    def __init__(
        self,
        config: STARKConfig,
        backbone: ResNet,
        reduce: nn.Conv2d,
        encoder: Encoder,
        decoder: Decoder,
        corner_head: CornerHead,
        score_head: nn.Module | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.reduce = reduce
        self.encoder = encoder
        self.decoder = decoder
        self.corner_head = corner_head
        self.score_head = score_head

    def encode(self, template: Tensor) -> Tensor:
        """Compute template features.

        Args:
            template: (B, K, 4, T, T), normalized RGB and padding mask.

        Returns:
            (B, K * Nt, 2C + 1): content, position and padding, concatenated.
        """
        tokens = self.see(template.flatten(0, 1))
        parts = [tokens.content, tokens.position, tokens.padding[..., None].to(tokens.content.dtype)]
        return torch.cat(parts, 2).reshape(template.shape[0], self.config.template_tokens, -1)

    def locate(self, features: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Compute maps.

        Args:
            features: (B, K * Nt, 2C + 1) from ``encode``.
            search: (B, 4, S, S), normalized RGB and padding mask.

        Returns:
            ``corners`` (B, 2, n, n), probabilities of the top-left and bottom-right corner, each map with sum 1;
            ``score`` (B,) in [0, 1], if the network has a score head.
        """
        seen, answer = self.relate(self.kept(features), self.see(search))
        logits = self.corner_head(seen, answer)
        maps = {"corners": logits.flatten(2).softmax(2).view_as(logits)}
        if self.score_head is not None:
            maps["score"] = self.score_head(answer).flatten().sigmoid()
        return maps

    def kept(self, features: Tensor) -> Tokens:
        """Split the features into content, position and padding."""
        width = self.config.width
        content, position, flags = torch.split(features, [width, width, 1], 2)
        return Tokens(content, position, flags.squeeze(2) > 0.5)

    def see(self, crops: Tensor) -> Tokens:
        """Compute the tokens of each crop, (B, 4, H, W)."""
        content = self.reduce(self.backbone(crops[:, :3])).flatten(2).transpose(1, 2)
        padding = (
            crops[:, 3, ::RESNET_STRIDE, ::RESNET_STRIDE] > 0.5
        )  # first pixel of each token: nearest interpolation, as published
        return Tokens(content, sine_positions(padding, self.config.width), padding.flatten(1))

    def relate(self, templates: Tokens, search: Tokens) -> tuple[Tensor, Tensor]:
        """Relate the tokens of all templates and the search region: -> encoded search tokens (B, N, C), decoder
        output (B, 1, C).
        """
        tokens = Tokens(*(torch.cat(pair, 1) for pair in zip(templates, search, strict=True)))
        bias = tokens.bias()
        memory = self.encoder(tokens.content, tokens.position, bias)
        return memory[:, -search.content.shape[1] :], self.decoder(memory, tokens.position, bias)

    def forward(self, template: Tensor, search: Tensor, *, trust_alone: bool = False) -> dict[str, Tensor]:
        """Run both calls, as in training: crops in, maps out.

        Args:
            template: as for ``encode``.
            search: as for ``locate``.
            trust_alone: run only the score head, and return only its "logit" (B,).
        """
        if not trust_alone:
            return self.locate(self.encode(template), search)
        assert self.score_head is not None
        _, answer = self.relate(self.kept(self.encode(template)), self.see(search))
        return {"logit": self.score_head(answer).flatten()}


def decode(maps: dict[str, Tensor]) -> Tensor:
    """Decode boxes (B, 4), cxcywh as fractions of the search crop: each corner is the expected position under its map.

    Cell i is at coordinate i / n, without adding half a cell, as in the published code. The second corner is not forced
    to be right of and below the first, so width and height may be negative.
    """
    chances = maps["corners"]
    grid = chances.shape[-1]
    cells = torch.arange(grid, dtype=chances.dtype, device=chances.device) / grid
    corners = torch.stack([(chances.sum(2) * cells).sum(2), (chances.sum(3) * cells).sum(2)], 2)  # (B, corner, xy)
    first, second = corners.unbind(1)
    return torch.cat([(first + second) / 2, second - first], 1)


def build_stark(config: STARKConfig) -> STARK:
    """Build the network of a config, freshly initialized; the stem and first stage of the ResNet are frozen."""
    model = STARK(
        config,
        backbone=ResNet(config.blocks, config.resnet_width),
        reduce=nn.Conv2d(16 * config.resnet_width, config.width, 1),
        encoder=Encoder(config),
        decoder=Decoder(config),
        corner_head=CornerHead(config.width),
        score_head=build_score_head(config.width) if config.score_head else None,
    )
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for part in (model.encoder.layers, model.decoder.layers):
        for parameter in part.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
    for still in (model.backbone.conv1, model.backbone.layer1):
        still.requires_grad_(False)
    return model
