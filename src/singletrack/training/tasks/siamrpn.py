"""The training task of SiamRPN++: classification and regression of anchors.

``datasets.pysot_crops`` draws the spatial shifts that the paper relies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import CheckpointError
from singletrack.models.checkpoints import read_weights
from singletrack.models.configs import SiamRPNConfig
from singletrack.models.siamrpn import ResNet, SiamRPN, build_siamrpn
from singletrack.tracking.anchors import STRIDE
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker
from singletrack.training.anchor_losses import AnchorLabels, anchor_counts, anchor_loss, best_boxes, label_anchors
from singletrack.training.base import Batch, Stage, Task, counts_of

# the parts of a backbone that learn once it does: all but the stem and the first stage of a ResNet, as published
LEARNING_FROM = {"resnet": 1, "mobilenet": 3, "alexnet": 3}


@dataclass(frozen=True, kw_only=True)
class SiamRPNTask(Task):
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

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return anchor_counts(self.labels(batch))

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        maps = network(pixels(batch["template"]), pixels(batch["search"]))
        return anchor_loss(maps, self.labels(batch), counts_of(batch))

    def labels(self, batch: Batch) -> AnchorLabels:
        """What the anchors of each sample should say."""
        size, template_size = batch["search"].shape[-1], batch["template"].shape[-1]
        # behind a neck the kernels are those of the template's middle: there are more places to look from
        cells = (size - template_size) // STRIDE + (1 if self.config.backbone == "alexnet" else 1 + STRIDE)
        return label_anchors(batch["box"], batch["present"], size, cells)

    def boxes(self, model: SiamRPN, batch: Batch) -> Tensor:
        """The best proposal of each sample, without window and penalty."""
        return best_boxes(model(pixels(batch["template"]), pixels(batch["search"])), batch["search"].shape[-1])

    def start(self, model: SiamRPN, path: Path, name: str) -> None:
        """From weights of a ResNet for ImageNet the backbone alone is filled; a tracker's file fills all."""
        if isinstance(model.backbone, ResNet) and "conv1.weight" in (weights := read_weights(path)):
            start_from_imagenet(model.backbone, weights, path)
        else:
            super().start(model, path, name)

    def tracker(self, model: SiamRPN, stage: Stage) -> SiamRPNTracker:
        settings = replace(self.settings, template_size=stage.template_size, search_size=stage.search_size)
        device = str(next(model.parameters()).device)
        return SiamRPNTracker(TorchNetwork(model, device, normalization=UNCHANGED), settings)

    def looks(self, model: SiamRPN, batch: Batch) -> dict[str, Tensor]:
        """In each cell the chance of the anchor that is surest of the target."""
        against, towards = model(pixels(batch["template"]), pixels(batch["search"]))["cls"].chunk(2, 1)
        return {"score": (towards - against).sigmoid().amax(1)}


def pixels(crops: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB -> float32 BGR, 0 to 255, as the network takes it."""
    return crops.flip(1).float()


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
