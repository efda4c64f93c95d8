"""SiamRPN++ (arXiv 1812.11703): depth-wise correlation of template and search features.

    template (B, 3, 127, 127) ──encode──> features (B, kernels, k, k) ─┐
    search   (B, 3, S, S)     ─────────────────────────────────────────┴─locate──> cls, loc

The backbone, whose later stages use dilation instead of stride, processes both crops at a stride of eight pixels.
Heads on up to three of its stages compute kernels from the template, one per channel, and correlate them with the
search region. Their outputs are averaged with learned weights. Crops are BGR, 0 to 255, not normalized.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.models.configs import SiamRPNConfig
from singletrack.models.dasiamrpn import KERNEL_SIDE
from singletrack.models.dasiamrpn import correlate as correlate_all
from singletrack.models.layers.alexnet import alexnet

ANCHORS = 5  # per cell
CLS, LOC = 2 * ANCHORS, 4 * ANCHORS  # channels of the two maps
KEPT = 7  # central template cells that are kept after a padded backbone; the others are affected by padding


# --- the ResNet ---

RESNET_BLOCKS = (3, 4, 6, 3)
RESNET_DILATIONS = (1, 1, 2, 4)
RESNET_STAGES = (512, 1024, 2048)  # channels of the three stages that feed the heads


def around(stride: int, dilation: int) -> int:
    """Compute the padding of a 3x3 convolution: none with a stride, which keeps the cells of both crops aligned."""
    return dilation if dilation > 1 else 2 - stride


def entering(dilation: int) -> int:
    """Compute the dilation of the first block of a stage: half of that of the stage."""
    return max(1, dilation // 2)


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3 (with stride or dilation) and 1x1 convolutions, the last to four times the width.

    Args:
        widens: first block of a stage, whose shortcut is a convolution: 3x3 if the stage has a stride or dilation
            (without padding for a stride), else 1x1.
    """

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, *, widens: bool) -> None:
        super().__init__()
        outputs = 4 * width
        inner = entering(dilation) if widens else dilation
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, around(stride, inner), inner, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if widens:
            size = 3 if stride > 1 or dilation > 1 else 1
            shortcut = nn.Conv2d(inputs, outputs, size, stride, inner if dilation > 1 else 0, inner, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(nn.Module):
    """ResNet-50 at a stride of eight pixels: (B, 3, H, W) -> its last three stages with 512, 1024 and 2048 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, (blocks, dilation) in enumerate(zip(RESNET_BLOCKS, RESNET_DILATIONS, strict=True)):
            width = 64 << stage
            first = Bottleneck(inputs, width, 2 if stage == 1 else 1, dilation, widens=True)
            inputs = 4 * width
            rest = (Bottleneck(inputs, width, 1, dilation, widens=False) for _ in range(blocks - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        seen = []
        for stage in self.stages():
            x = stage(x)
            seen.append(x)
        return seen[1:]

    def stages(self) -> list[nn.Module]:
        """Return the four stages in order."""
        return [self.get_submodule(f"layer{stage + 1}") for stage in range(len(RESNET_BLOCKS))]


# --- the MobileNet ---

# expansion, channels, blocks, stride and dilation of each stage; channels are multiplied by 1.4
MOBILENET = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 1, 2),
    (6, 96, 3, 1, 2),
    (6, 160, 3, 1, 4),
    (6, 320, 1, 1, 4),
)
MOBILENET_STAGES = (44, 134, 448)  # channels of stages 3, 5 and 7, which feed the heads


def inverted_width(channels: int) -> int:
    """Multiply the number of channels by 1.4, truncated to an integer."""
    return channels * 14 // 10


class InvertedResidual(nn.Module):
    """Inverted residual: 1x1 expansion, depth-wise 3x3, 1x1 projection; the input is added if the shape stays the
    same.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        inner = inputs * expansion
        padding = around(stride, dilation)
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, padding, dilation, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class MobileNet(nn.Module):
    """MobileNetV2 at a stride of eight pixels: (B, 3, H, W) -> stages 3, 5 and 7 with 44, 134 and 448 channels."""

    def __init__(self) -> None:
        super().__init__()
        inputs = inverted_width(32)
        self.layer0 = nn.Sequential(nn.Conv2d(3, inputs, 3, 2, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6())
        before = 1
        for number, (expansion, channels, blocks, stride, dilation) in enumerate(MOBILENET, start=1):
            outputs = inverted_width(channels)
            first = dilation if dilation == before else entering(dilation)
            stage = [InvertedResidual(inputs, outputs, expansion, stride, first)]
            stage += [InvertedResidual(outputs, outputs, expansion, 1, dilation) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs, before = outputs, dilation

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = []
        for stage in self.stages():
            x = stage(x)
            seen.append(x)
        return seen[3::2]

    def stages(self) -> list[nn.Module]:
        """Return the stem and the seven stages in order."""
        return [self.get_submodule(f"layer{number}") for number in range(1 + len(MOBILENET))]


class AlexNet(nn.Module):
    """AlexNet with the same interface: (B, 3, H, W) -> one output with 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = alexnet()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.features(x)]

    def stages(self) -> list[nn.Module]:
        """Return the five convolutions, each with its norm and activation."""
        ends = [index for index, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
        return [self.features[a:b] for a, b in zip(ends, [*ends[1:], len(self.features)], strict=True)]


Backbone = ResNet | MobileNet | AlexNet
BACKBONES: dict[str, tuple[type[Backbone], tuple[int, ...]]] = {
    "resnet": (ResNet, RESNET_STAGES),
    "mobilenet": (MobileNet, MOBILENET_STAGES),
    "alexnet": (AlexNet, ()),  # no neck: the head takes its channels directly
}

# --- heads ---


def correlate(kernels: Tensor, seen: Tensor) -> Tensor:
    """Correlate depth-wise: (B, C, k, k), (B, C, h, w) -> (B, C, h - k + 1, w - k + 1)."""
    batch, channels = kernels.shape[:2]
    if batch == 1:  # gives an exported graph with one group per channel for any size of the search crop
        return F.conv2d(seen, kernels.transpose(0, 1), groups=channels)
    flat = F.conv2d(seen.flatten(0, 1)[None], kernels.flatten(0, 1)[:, None], groups=batch * channels)
    return flat.view(batch, channels, *flat.shape[2:])


class Branch(nn.Module):
    """Computes one map: kernels from the template, features from the search region, and a head on their correlation."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.search = nn.Sequential(nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.read = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1),
        )


class UpChannelBranch(nn.Module):
    """Branch of SiamRPN, for an ablation: the template gives a kernel for each output, over all channels."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(width, outputs * width, 3)
        self.search = nn.Conv2d(width, width, 3)
        self.read: nn.Module = nn.Conv2d(outputs, outputs, 1) if outputs == LOC else nn.Identity()

    def match(self, kernels: Tensor, stage: Tensor) -> Tensor:
        """Correlate kernels (B, outputs * C, k, k) with search features: -> (B, outputs, n, n)."""
        seen = self.search(stage)
        outputs = kernels.shape[1] // seen.shape[1]
        each = kernels.reshape(len(kernels), outputs, *seen.shape[1:2], *kernels.shape[2:])
        out: Tensor = self.read(correlate_all(each, seen))
        return out


class Head(nn.Module):
    """The two branches of one stage."""

    def __init__(self, width: int, kind: type[Branch | UpChannelBranch] = Branch) -> None:
        super().__init__()
        self.cls = kind(width, CLS)
        self.loc = kind(width, LOC)


class SiamRPN(nn.Module):
    """SiamRPN++ network: backbone, neck and heads."""

    def __init__(self, config: SiamRPNConfig, backbone: Backbone, neck: nn.ModuleList, heads: nn.ModuleList) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.neck = neck
        self.heads = heads
        if config.weighted:
            self.cls_weight = nn.Parameter(torch.ones(len(heads)))
            self.loc_weight = nn.Parameter(torch.ones(len(heads)))

    def encode(self, template: Tensor) -> Tensor:
        """Compute kernels (B, C, k, k) from template crops (B, 3, T, T), BGR in 0 to 255.

        The channels are those of cls of the first stage, its loc, cls of the second stage, and so on.
        """
        stages = self.see(template)
        if self.neck:  # the outer cells are affected by padding
            first = (stages[0].shape[-1] - KEPT) // 2
            stages = [stage[..., first : first + KEPT, first : first + KEPT] for stage in stages]
        return torch.cat([branch.kernel(stage) for branch, stage in self.branches(stages)], 1)

    def locate(self, features: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Compute maps with n cells per side, 25 for 255 pixels.

        Args:
            features: kernels (B, C, k, k) from ``encode``.
            search: (B, 3, S, S) search crops, BGR in 0 to 255.

        Returns:
            ``cls`` (B, 10, n, n), the background logits of five anchors, then their target logits; ``loc`` (B, 20, n,
            n), dx, dy, dw, dh of five anchors each. ``tracking.anchors`` decodes both.
        """
        pairs = list(self.branches(self.see(search)))
        if self.config.correlation == "up-channel":
            sizes = [outputs * width for width in self.config.stage_widths for outputs in (CLS, LOC)]
            kernels = torch.split(features, sizes, 1)
            maps = [branch.match(part, stage) for (branch, stage), part in zip(pairs, kernels, strict=True)]
            return {"cls": self.fuse("cls", maps[0::2]), "loc": self.fuse("loc", maps[1::2])}
        matched = correlate(features, torch.cat([branch.search(stage) for branch, stage in pairs], 1))
        parts = torch.split(matched, [width for width in self.config.stage_widths for _ in range(2)], 1)
        maps = [branch.read(part) for (branch, _), part in zip(pairs, parts, strict=True)]
        return {"cls": self.fuse("cls", maps[0::2]), "loc": self.fuse("loc", maps[1::2])}

    def see(self, crops: Tensor) -> list[Tensor]:
        """Compute the stages that feed the heads, each (B, width, h, w) with one cell per eight pixels."""
        stages = self.backbone(crops)
        if self.neck:
            stages = [stages[number - 2] for number in self.config.stages]
        return [reduce(stage) for reduce, stage in zip(self.neck, stages, strict=True)] if self.neck else stages

    def branches(self, stages: list[Tensor]) -> Iterator[tuple[Any, Tensor]]:
        """Iterate over the branches with their stages, in the order of ``features``."""
        for head, stage in zip(self.heads, stages, strict=True):
            assert isinstance(head, Head)
            yield head.cls, stage
            yield head.loc, stage

    def fuse(self, name: str, maps: list[Tensor]) -> Tensor:
        """Average one map over the stages with learned weights."""
        together = torch.stack(maps)
        if not self.config.weighted:
            return together.mean(0)
        weights = self.get_parameter(f"{name}_weight").softmax(0)
        return (together * weights.view(-1, 1, 1, 1, 1)).sum(0)

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Run both calls, as in training: crops in, maps out."""
        return self.locate(self.encode(template), search)


def build_siamrpn(config: SiamRPNConfig) -> SiamRPN:
    """Build the network of a config, freshly initialized."""
    kind, channels = BACKBONES[config.backbone]
    if channels:
        channels = tuple(channels[number - 2] for number in config.stages)
    reduces = (
        nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width))
        for inputs, width in zip(channels, config.stage_widths, strict=True)
    )
    model = SiamRPN(
        config,
        backbone=kind(),
        neck=nn.ModuleList(reduces if channels else ()),
        heads=nn.ModuleList(
            Head(width, Branch if config.correlation == "depthwise" else UpChannelBranch)
            for width in config.stage_widths
        ),
    )
    for branch in model.modules():
        if isinstance(branch, UpChannelBranch):  # so that the maps start at about 1, see ``models.dasiamrpn``
            nn.init.normal_(branch.kernel.weight, std=1 / (branch.search.out_channels * 9 * KERNEL_SIDE))
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
