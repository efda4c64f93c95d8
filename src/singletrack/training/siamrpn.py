"""What SiamRPN++ is trained for: to tell its anchors on the target from those beside it, and to move them onto it.

The targets, the losses and their weights are those of the published code (STVIR/pysot). Knows nothing of where samples
come from; the shifts that the paper rests on are drawn in ``datasets.pysot_sources``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from singletrack.errors import CheckpointError
from singletrack.models.checkpoints import read_weights
from singletrack.models.siamrpn import ResNet, SiamRPN, SiamRPNConfig, build_siamrpn
from singletrack.runtimes.torch_runtime import TorchNetwork
from singletrack.tracking.anchors import STRIDE, anchor_grid
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker
from singletrack.training.objectives import Batch, Objective, Stage

# Published: overlap over which an anchor is on the target, and under which it is beside it; how many of each count in a
# sample, and how many in one that shows another thing, from the cells round it.
ON, BESIDE = 0.6, 0.3
MOST_ON, MOST_BESIDE, MOST_OTHER = 16, 48, 16
OTHER_REACH = 3  # cells on each side of the other thing's middle
LOC_WEIGHT = 1.2
# the parts of a backbone that learn once it does: all but the stem and the first stage of a ResNet, as published
LEARNING_FROM = {"resnet": 1, "mobilenet": 3, "alexnet": 3}


class AnchorTargets(NamedTuple):
    """What each anchor should say: labels (B, N), 1 on the target, 0 beside it and -1 where it does not count.

    shifts (B, 4, N): what would move the anchor onto the target. weights (B, N): how much that counts, of sum 1 for a
    sample in which any anchor is on the target.
    """

    labels: Tensor
    shifts: Tensor
    weights: Tensor


def anchor_targets(box: Tensor, present: Tensor, cells: int, search_size: int) -> AnchorTargets:
    """Targets for maps of cells x cells, with anchors chosen at random.

    box: (B, 4) xywh in [0, 1] of the search crop, of the target or of the other thing that is there. present: (B,).
    """
    anchors = box.new_tensor(anchor_grid(cells))  # float32 here: two overlaps that near are equally right
    top_left, size = box[:, :2] * search_size - search_size // 2, box[:, 2:] * search_size
    center = top_left + size / 2
    shifts = torch.cat(
        [
            (center[:, None] - anchors[:, :2]) / anchors[:, 2:],
            (size.clamp(min=1e-3)[:, None] / anchors[:, 2:]).log(),
        ],
        2,
    )
    overlap = overlaps(torch.cat([center, size], 1), anchors)
    near = ((anchors[:, :2] / STRIDE - (center / STRIDE).round()[:, None]).abs() <= OTHER_REACH).all(2)
    there = present[:, None]
    on = choose((overlap > ON) & there, MOST_ON)
    beside = choose((overlap < BESIDE) & there, MOST_BESIDE) | choose(near & ~there, MOST_OTHER)
    labels = on.long() - (~on & ~beside).long()
    return AnchorTargets(labels, shifts.transpose(1, 2), on / on.sum(1, keepdim=True).clamp(min=1))


def overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of each box (B, 4) with each anchor (N, 4), both cxcywh: (B, N)."""
    low = torch.maximum((boxes[:, :2] - boxes[:, 2:] / 2)[:, None], anchors[:, :2] - anchors[:, 2:] / 2)
    high = torch.minimum((boxes[:, :2] + boxes[:, 2:] / 2)[:, None], anchors[:, :2] + anchors[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(2)
    return shared / (boxes[:, 2:].prod(1)[:, None] + anchors[:, 2:].prod(1) - shared)


def choose(candidates: Tensor, count: int) -> Tensor:
    """At most ``count`` of the candidates (B, N) of each sample, at random: (B, N) bool."""
    order = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, -1.0)
    first = order.topk(min(count, candidates.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter(1, first, True) & candidates


def siamrpn_loss(maps: Mapping[str, Tensor], targets: AnchorTargets) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy, half of it over all anchors on the targets and half over those beside, and 1.2 times L1 of shifts.

    Gives the sum, and its detached parts.
    """
    batch = len(maps["cls"])
    logits, shifts = maps["cls"].reshape(batch, 2, -1), maps["loc"].reshape(batch, 4, -1)
    entropy = F.cross_entropy(logits, targets.labels.clamp(min=0), reduction="none")
    cls = logits.new_zeros(())
    for label in (1, 0):
        chosen = targets.labels == label
        cls = cls + 0.5 * (entropy * chosen).sum() / chosen.sum().clamp(min=1)
    loc = ((shifts - targets.shifts).abs().sum(1) * targets.weights).sum() / batch
    total = cls + LOC_WEIGHT * loc
    return total, {"loss": total.detach(), "cls": cls.detach(), "loc": loc.detach()}


@dataclass(frozen=True, kw_only=True)
class SiamRPNObjective(Objective):
    """To find the target of one template in one search region, by anchors.

    A stage whose ``lr`` is 0 leaves the backbone as it is, statistics too. settings: of the tracker that validates it;
    its sizes are the stage's.
    """

    config: SiamRPNConfig
    settings: SiamRPNSettings = field(default_factory=SiamRPNSettings)

    def build(self, stage: Stage) -> SiamRPN:
        config = replace(self.config, template_size=stage.template_size, search_size=stage.search_size)
        return build_siamrpn(config)

    def groups(self, model: SiamRPN, stage: Stage) -> list[dict[str, Any]]:
        """The backbone's later parts, where they learn; and all that is behind the backbone."""
        seen = {id(parameter) for parameter in model.backbone.parameters()}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in seen]
        groups = [{"params": rest, "lr": stage.head_lr, "peak": stage.head_lr}]
        if stage.lr:
            later = model.backbone.stages()[LEARNING_FROM[self.config.backbone] :]
            learning = [parameter for part in later for parameter in part.parameters()]
            groups.insert(0, {"params": learning, "lr": stage.lr, "peak": stage.lr})
        return groups

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        maps = network(pixels(batch["template"]), pixels(batch["search"]))
        cells, size = maps["cls"].shape[-1], batch["search"].shape[-1]
        return siamrpn_loss(maps, anchor_targets(batch["box"], batch["present"], cells, size))

    def boxes(self, model: SiamRPN, batch: Batch) -> Tensor:
        """The best proposal of each sample, without window and penalty."""
        maps = model(pixels(batch["template"]), pixels(batch["search"]))
        size = batch["search"].shape[-1]
        return decode(maps) / size + (size // 2) / size

    def start(self, model: SiamRPN, path: Path, name: str) -> None:
        """From weights of a ResNet for ImageNet the backbone alone is filled; a tracker's file fills all."""
        if isinstance(model.backbone, ResNet) and "conv1.weight" in (weights := read_weights(path)):
            start_from_imagenet(model.backbone, weights, path)
        else:
            super().start(model, path, name)

    def tracker(self, model: SiamRPN, stage: Stage) -> SiamRPNTracker:
        settings = replace(self.settings, template_size=stage.template_size, search_size=stage.search_size)
        return SiamRPNTracker(TorchNetwork(model, str(next(model.parameters()).device)), settings)

    def looks(self, model: SiamRPN, batch: Batch) -> dict[str, Tensor]:
        """In each cell the chance of the anchor that is surest of the target."""
        maps = model(pixels(batch["template"]), pixels(batch["search"]))
        return {"score": chances(maps["cls"]).amax(1)}


def pixels(crops: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB -> float32 BGR, 0 to 255, as the network takes it."""
    return crops.flip(1).float()


def chances(cls: Tensor) -> Tensor:
    """(B, 10, n, n) logits -> (B, 5, n, n), the chance of the target."""
    against, towards = cls.chunk(2, 1)
    return (towards - against).sigmoid()


def decode(maps: Mapping[str, Tensor]) -> Tensor:
    """The best proposal of each sample: (B, 4) xyxy, pixels of the search crop from its middle pixel."""
    loc = maps["loc"].reshape(len(maps["loc"]), 4, -1)
    anchors = loc.new_tensor(anchor_grid(maps["cls"].shape[-1])).T
    best = chances(maps["cls"]).flatten(1).argmax(1)
    moved = loc.gather(2, best.view(-1, 1, 1).expand(-1, 4, 1)).squeeze(2)
    anchor = anchors[:, best].T
    center = moved[:, :2] * anchor[:, 2:] + anchor[:, :2]
    size = moved[:, 2:].clamp(max=10).exp() * anchor[:, 2:]
    return torch.cat([center - size / 2, center + size / 2], 1)


def start_from_imagenet(backbone: ResNet, weights: Mapping[str, Tensor], path: Path) -> None:
    """Fill the backbone with weights under torchvision's names; what classifies is left out.

    The published file has the 3x3 shortcuts of this backbone. Of others, whose shortcuts are 1x1, the kernels become
    the middles of ours. Raises CheckpointError for the weights of another network.
    """
    filled = {}
    for name, own in backbone.state_dict().items():
        given = weights.get(name)
        if given is None and name.endswith("num_batches_tracked"):
            given = own
        if given is not None and given.dim() == 4 and own.shape[2:] == (3, 3) and given.shape[2:] == (1, 1):
            given = F.pad(given, (1, 1, 1, 1))
        if given is None or given.shape != own.shape:
            got = "none" if given is None else tuple(given.shape)
            advice = "give pysot's resnet50.model"
            raise CheckpointError(
                f"expected {name} of {tuple(own.shape)} of a ResNet-50; got {got} in {path}; {advice}"
            )
        filled[name] = given
    backbone.load_state_dict(filled)
