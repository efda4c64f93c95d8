"""The training tasks of STARK: corners in the first stage, the score head in the second.

Losses, frames and trained parameters are the published ones (researchmm/Stark). Where that code has an accidental
behavior, ours does what was intended, see docs/stark.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import CheckpointError
from singletrack.models.checkpoints import load_weights, read_weights
from singletrack.models.configs import STARKConfig
from singletrack.models.stark import STARK, build_stark, decode
from singletrack.tracking.stark import STARKSettings, STARKTracker
from singletrack.training.base import Batch, Stage, Task, counts_of, normalize
from singletrack.training.losses import clamped_xyxy, giou, to_xyxy

# parts of a torchvision classifier that the tracker does not use
UNUSED = ("layer4.", "fc.")
COUNT = "num_batches_tracked"


def crops(batch: Batch, templates: int) -> tuple[Tensor, Tensor]:
    """Convert a batch to the input of STARK: (B, K, 4, T, T) and (B, 4, S, S), normalized RGB and padding.

    A single template is repeated for each slot. Samples without padding masks have no padding.
    """
    template, search = batch["template"], batch["search"]
    beyond, beyond_search = batch.get("template_padding"), batch.get("search_padding")
    if template.dim() == 4:
        template = template[:, None].expand(-1, templates, -1, -1, -1)
    if beyond is None:
        beyond = template.new_zeros(template[:, :, 0].shape)
    if beyond_search is None:
        beyond_search = search.new_zeros(search[:, 0].shape)
    return (
        torch.cat([normalize(template), beyond[:, :, None].float()], 2),
        torch.cat([normalize(search), beyond_search[:, None].float()], 1),
    )


# --- the first stage ---


@dataclass(frozen=True, kw_only=True)
class CornerTask(Task):
    """The first stage, and all of STARK-S: finds the two corners of the target.

    Attributes:
        giou: weight of the GIoU loss.
        l1: weight of the L1 loss.
        settings: settings of the tracker for validation; its sizes are those of the stage.
    """

    config: STARKConfig
    giou: float = 2.0
    l1: float = 5.0
    settings: STARKSettings = field(default_factory=lambda: STARKSettings(num_templates=1, update_interval=None))

    def build(self, stage: Stage) -> STARK:
        return build_stark(replace(self.config, template_size=stage.template_size, search_size=stage.search_size))

    def start(self, model: STARK, path: Path, name: str) -> None:
        """A torchvision ImageNet classifier fills only the backbone; a tracker file fills everything."""
        weights = read_weights(path)
        if "fc.weight" in weights:
            fill_backbone(model, weights, path)
        else:
            super().start(model, path, name)

    def groups(self, model: STARK, stage: Stage) -> list[dict[str, Any]]:
        """Return the second and third stage of the backbone, and everything after it; stem and first stage are
        frozen.
        """
        learning = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
        backbone = [part for name, part in learning if name.startswith("backbone.")]
        rest = [part for name, part in learning if not name.startswith("backbone.")]
        return [
            {"params": backbone, "lr": stage.lr, "peak": stage.lr},
            {"params": rest, "lr": stage.head_lr, "peak": stage.head_lr},
        ]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"present": batch["present"].sum().float()}

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        maps = network(*crops(batch, self.config.num_templates))
        counts = counts_of(batch) or {"present": batch["present"].sum().clamp(min=1)}
        return corner_loss(maps, batch["box"], batch["present"], counts["present"], giou_weight=self.giou, l1=self.l1)

    def boxes(self, model: STARK, batch: Batch) -> Tensor:
        return to_xyxy(decode(model(*crops(batch, self.config.num_templates))))

    def tracker(self, model: STARK, stage: Stage) -> STARKTracker:
        settings = replace(
            self.settings,
            template_size=stage.template_size,
            search_size=stage.search_size,
            num_templates=self.config.num_templates,
        )
        return STARKTracker(TorchNetwork(model, str(next(model.parameters()).device)), settings)

    def looks(self, model: STARK, batch: Batch) -> dict[str, Tensor]:
        """Return the probability maps of the two corners."""
        chances = model(*crops(batch, self.config.num_templates))["corners"]
        top = chances.amax((2, 3), keepdim=True)
        return {"top left": (chances / top)[:, 0], "bottom right": (chances / top)[:, 1]}

    def repeatable(self, model: STARK) -> Iterable[nn.Module]:
        return model.encoder.layers


def corner_loss(
    maps: dict[str, Tensor], boxes_xywh: Tensor, present: Tensor, count: Tensor, *, giou_weight: float, l1: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute GIoU and L1 of the boxes between the corners, and for the log their IoU and the share of inverted boxes.

    An inverted box has no GIoU: it counts as 1 without gradient, and L1 corrects it. (The published code then uses 0
    for the complete batch.)

    Args:
        boxes_xywh: (B, 4) as fractions of the search crop.
        present: (B,) bool; other boxes are ignored.
        count: number of boxes to divide by.
    """
    predicted, truth = to_xyxy(decode(maps))[present], clamped_xyxy(boxes_xywh[present])
    upright = (predicted[:, 2:] > predicted[:, :2]).all(1)
    each, overlap = giou(predicted[upright], truth[upright])
    inverted = (~upright).sum()
    parts = {
        "giou": ((1 - each).sum() + inverted) / count,
        "l1": (predicted - truth).abs().mean(1).sum() / count,
    }
    total = giou_weight * parts["giou"] + l1 * parts["l1"]
    log = {name: value.detach() for name, value in parts.items()}
    return total, {**log, "iou": overlap.detach().sum() / count, "inverted": inverted / count}


def fill_backbone(model: STARK, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights of an ImageNet classifier into the ResNet; raises CheckpointError unless they fit."""
    taken = {name: value for name, value in weights.items() if not (name.startswith(UNUSED) or name.endswith(COUNT))}
    expected = model.backbone.state_dict()
    wrong = sorted(taken.keys() ^ expected.keys())
    wrong += [name for name in taken.keys() & expected.keys() if taken[name].shape != expected[name].shape]
    if wrong:
        raise CheckpointError(
            f"expected the {len(expected)} tensors of this network's ResNet; got {path}, in which {len(wrong)} are "
            f"missing, left over or of another shape, as {wrong[0]}; give torchvision's file of the same depth"
        )
    model.backbone.load_state_dict(taken)


# --- the second stage ---


@dataclass(frozen=True, kw_only=True)
class ScoreTask(CornerTask):
    """The second stage: trains only the score head, to tell whether the search region shows the target."""

    def start(self, model: STARK, path: Path, name: str) -> None:
        """Load the weights of the first stage, which must be complete, without anything else."""
        first = build_stark(replace(model.config, score_head=False))
        load_weights(first, path, f"{name}-stage1")
        model.load_state_dict(self.fitted(first.state_dict(), model))

    def fitted(self, weights: Mapping[str, Tensor], model: STARK) -> Mapping[str, Tensor]:
        """Weights of the first stage have no score head; that of the model is kept."""
        assert model.score_head is not None
        head = {f"score_head.{name}": value for name, value in model.score_head.state_dict().items()}
        return {**head, **weights}

    def groups(self, model: STARK, stage: Stage) -> list[dict[str, Any]]:
        assert model.score_head is not None
        return [{"params": list(model.score_head.parameters()), "lr": stage.head_lr, "peak": stage.head_lr}]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the binary cross-entropy, and for the log also the accuracy."""
        logit = network(*crops(batch, self.config.num_templates), trust_alone=True)["logit"]
        loss = F.binary_cross_entropy_with_logits(logit, batch["present"].float())
        right = ((logit > 0) == batch["present"]).float().mean()
        return loss, {"right": right.detach()}
