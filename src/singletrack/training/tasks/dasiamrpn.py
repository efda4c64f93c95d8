"""The training task of DaSiamRPN. Its published code has no training; the losses are those of pysot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.dasiamrpn import DaSiamRPN, build_dasiamrpn
from singletrack.models.layers import alexnet
from singletrack.tracking.dasiamrpn import DaSiamRPNSettings, DaSiamRPNTracker
from singletrack.training.anchor_losses import AnchorLabels, anchor_counts, anchor_loss, best_boxes, label_anchors
from singletrack.training.base import Batch, Stage, Task, counts_of


@dataclass(frozen=True, kw_only=True)
class DaSiamRPNTask(Task):
    """Finds the target of a template in a search region, or nothing if another object is in its place.

    Attributes:
        frozen: number of convolutions of the AlexNet, with their norms, that are frozen. The paper starts from ImageNet
            and freezes three; from scratch, all must be trained.
        settings: settings of the tracker for validation; its sizes are those of the stage.
    """

    config: DaSiamRPNConfig
    frozen: int = 0
    settings: DaSiamRPNSettings = field(default_factory=DaSiamRPNSettings)

    def build(self, stage: Stage) -> DaSiamRPN:
        return build_dasiamrpn(replace(self.config, template_size=stage.template_size, search_size=stage.search_size))

    def groups(self, model: DaSiamRPN, stage: Stage) -> list[dict[str, Any]]:
        """Return the trained part of the backbone, and everything else."""
        still = alexnet.CONVOLUTIONS[self.frozen] if self.frozen < len(alexnet.CONVOLUTIONS) else len(model.backbone)
        rest = [part for name, part in model.named_parameters() if not name.startswith("backbone.")]
        return [
            {"params": list(model.backbone[still:].parameters()), "lr": stage.lr, "peak": stage.lr},
            {"params": rest, "lr": stage.head_lr, "peak": stage.head_lr},
        ]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return anchor_counts(self._labels(batch))

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        maps = network(_pixels(batch["template"]), _pixels(batch["search"]))
        return anchor_loss(maps, self._labels(batch), counts_of(batch))

    def boxes(self, model: DaSiamRPN, batch: Batch) -> Tensor:
        maps = model(_pixels(batch["template"]), _pixels(batch["search"]))
        return best_boxes(maps, batch["search"].shape[-1])

    def tracker(self, model: DaSiamRPN, stage: Stage) -> DaSiamRPNTracker:
        settings = replace(self.settings, template_size=stage.template_size, search_size=stage.search_size)
        device = str(next(model.parameters()).device)
        return DaSiamRPNTracker(TorchNetwork(model, device, normalization=UNCHANGED), settings)

    def looks(self, model: DaSiamRPN, batch: Batch) -> dict[str, Tensor]:
        """Return the highest score of the anchors in each cell."""
        cls = model(_pixels(batch["template"]), _pixels(batch["search"]))["cls"]
        against, towards = cls.chunk(2, 1)
        return {"score": (towards - against).amax(1).sigmoid()}

    def _labels(self, batch: Batch) -> AnchorLabels:
        size = batch["search"].shape[-1]
        cells = (size - batch["template"].shape[-1]) // alexnet.STRIDE + 1
        return label_anchors(batch["box"], batch["present"], size, cells)


def _pixels(crops: Tensor) -> Tensor:
    """Convert (B, 3, H, W) uint8 RGB to float32 BGR, 0 to 255."""
    return crops.flip(1).to(torch.float32)
