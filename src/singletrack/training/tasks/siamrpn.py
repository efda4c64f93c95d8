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
from singletrack.models.siamrpn import AlexNet, MobileNet, ResNet, SiamRPN, build_siamrpn
from singletrack.tracking.anchors import STRIDE
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker
from singletrack.training.anchor_losses import AnchorLabels, anchor_counts, anchor_loss, best_boxes, label_anchors
from singletrack.training.base import Batch, Stage, Task, counts_of

# trained parts of a backbone: everything except the stem and the first stage of a ResNet, as published
LEARNING_FROM = {"resnet": 1, "mobilenet": 3, "alexnet": 3}


@dataclass(frozen=True, kw_only=True)
class SiamRPNTask(Task):
    """Finds the target of a template in a search region, with anchors.

    A stage with ``lr`` 0 freezes the backbone, including its statistics.

    Attributes:
        settings: settings of the tracker for validation; its sizes are those of the stage.
    """

    config: SiamRPNConfig
    settings: SiamRPNSettings = field(default_factory=SiamRPNSettings)

    def build(self, stage: Stage) -> SiamRPN:
        config = replace(self.config, template_size=stage.template_size, search_size=stage.search_size)
        return build_siamrpn(config)

    def groups(self, model: SiamRPN, stage: Stage) -> list[dict[str, Any]]:
        """Return the later parts of the backbone, if trained, and everything after the backbone."""
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
        """Compute the anchor labels of each sample."""
        size, template_size = batch["search"].shape[-1], batch["template"].shape[-1]
        # after a neck, the kernels are the center of the template, so there are more positions
        cells = (size - template_size) // STRIDE + (1 if self.config.backbone == "alexnet" else 1 + STRIDE)
        return label_anchors(batch["box"], batch["present"], size, cells)

    def boxes(self, model: SiamRPN, batch: Batch) -> Tensor:
        """Decode the best proposal of each sample, without window and penalty."""
        return best_boxes(model(pixels(batch["template"]), pixels(batch["search"])), batch["search"].shape[-1])

    def start(self, model: SiamRPN, path: Path, name: str) -> None:
        """Weights of a network for ImageNet fill only the backbone; a tracker file fills everything."""
        weights = read_weights(path)
        if isinstance(model.backbone, ResNet) and "conv1.weight" in weights:
            start_from_imagenet(model.backbone, weights, path)
        elif isinstance(model.backbone, AlexNet) and "features.0.weight" in weights:
            start_from_imagenet(model.backbone, weights, path, "an AlexNet with batch norms", "pysot's alexnet-bn.pth")
        elif isinstance(model.backbone, MobileNet) and "layer0.0.weight" in weights:
            kind = "a MobileNetV2 of width 1.4"
            start_from_imagenet(model.backbone, weights, path, kind, f"{kind} with the tensor names of pysot")
        else:
            super().start(model, path, name)

    def tracker(self, model: SiamRPN, stage: Stage) -> SiamRPNTracker:
        settings = replace(self.settings, template_size=stage.template_size, search_size=stage.search_size)
        device = str(next(model.parameters()).device)
        return SiamRPNTracker(TorchNetwork(model, device, normalization=UNCHANGED), settings)

    def looks(self, model: SiamRPN, batch: Batch) -> dict[str, Tensor]:
        """Return the probability of the most confident anchor in each cell."""
        against, towards = model(pixels(batch["template"]), pixels(batch["search"]))["cls"].chunk(2, 1)
        return {"score": (towards - against).sigmoid().amax(1)}


def pixels(crops: Tensor) -> Tensor:
    """Convert (B, 3, H, W) uint8 RGB to float32 BGR, 0 to 255."""
    return crops.flip(1).float()


def start_from_imagenet(
    backbone: ResNet | AlexNet | MobileNet,
    weights: Mapping[str, Tensor],
    path: Path,
    kind: str = "a ResNet-50",
    file: str = "pysot's resnet50.model",
) -> None:
    """Load weights with torchvision names into the backbone, without the classifier.

    The published file of the ResNet has the 3x3 shortcuts of this backbone. For files with 1x1 shortcuts, their kernels
    become the centers of ours. kind, file: the network, and a file of it, for the error.

    Raises:
        CheckpointError: the weights are of another network.
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
            raise CheckpointError(f"expected {name} of {tuple(own.shape)} of {kind}; got {got} in {path}; give {file}")
        filled[name] = given
    backbone.load_state_dict(filled)
