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
    """To find the target of one template in one search region, and nothing where something else stands in its place.

    frozen: so many of the AlexNet's convolutions, with their norms, stay as they start. The paper's start from
        ImageNet and keep the first three; from nothing, all must learn.
    settings: of the tracker that validates it; its sizes are the stage's.
    """

    config: DaSiamRPNConfig
    frozen: int = 0
    settings: DaSiamRPNSettings = field(default_factory=DaSiamRPNSettings)

    def build(self, stage: Stage) -> DaSiamRPN:
        return build_dasiamrpn(replace(self.config, template_size=stage.template_size, search_size=stage.search_size))

    def groups(self, model: DaSiamRPN, stage: Stage) -> list[dict[str, Any]]:
        """The part of the backbone that learns, and the rest."""
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
        """The highest score of the anchors in each cell."""
        cls = model(_pixels(batch["template"]), _pixels(batch["search"]))["cls"]
        against, towards = cls.chunk(2, 1)
        return {"score": (towards - against).amax(1).sigmoid()}

    def _labels(self, batch: Batch) -> AnchorLabels:
        size = batch["search"].shape[-1]
        cells = (size - batch["template"].shape[-1]) // alexnet.STRIDE + 1
        return label_anchors(batch["box"], batch["present"], size, cells)


def _pixels(crops: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB -> float32 BGR, 0 to 255."""
    return crops.flip(1).to(torch.float32)
