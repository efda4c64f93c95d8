"""The training tasks of the two-stream baselines, and of one stream under equal conditions.

Losses and tracker are those of OSTrack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.models import ostrack
from singletrack.models.configs import AlignedConfig
from singletrack.models.layers.center_head import decode
from singletrack.models.layers.vit import Block
from singletrack.models.pretrained import Pretraining, is_vision_transformer, load_pretrained
from singletrack.models.two_stream import Aligned, TwoStreamTrace, build_aligned, init_from_similarity
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.training.base import Batch, Stage, Task, counts_of, normalize
from singletrack.training.losses import LossWeights, ostrack_counts, ostrack_loss, to_xyxy
from singletrack.training.tasks.ostrack import OSTrackTask


@dataclass(frozen=True, kw_only=True)
class TwoStreamTask(Task):
    """Finds the target of a template in a search region, with two streams.

    Attributes:
        listen: encoder layers of the relation whose attention is trained, if the loss has a weight for it.
        from_similarity: initialize every attention with query = key, for training from scratch.
        pretraining: required kind of pre-trained backbone; None for any.
        settings: settings of the tracker for validation; its sizes are those of the stage.
    """

    config: AlignedConfig
    loss_weights: LossWeights = field(default_factory=LossWeights)
    listen: tuple[int, ...] = ()
    from_similarity: bool = False
    pretraining: Pretraining | None = None
    settings: OSTrackSettings = field(default_factory=OSTrackSettings)

    def build(self, stage: Stage) -> Aligned:
        config = replace(self.config, template_size=stage.template_size, search_size=stage.search_size)
        model = build_aligned(config)
        if self.from_similarity:
            init_from_similarity(model)
        return model

    def start(self, model: Aligned, path: Path, name: str) -> None:
        """A vision transformer fills only the backbone; a tracker file fills everything."""
        if is_vision_transformer(path):
            load_pretrained(cast(ostrack.OSTrack, model), path, self.pretraining)  # its backbone has the same names
        else:
            super().start(model, path, name)

    def groups(self, model: Aligned, stage: Stage) -> list[dict[str, Any]]:
        """Return the backbone and everything else, as for OSTrack."""
        rest = [part for name, part in model.named_parameters() if not name.startswith("backbone.")]
        return [
            {"params": list(model.backbone.parameters()), "lr": stage.lr, "peak": stage.lr},
            {"params": rest, "lr": stage.head_lr, "peak": stage.head_lr},
        ]

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        grid = batch["search"].shape[-1] // self.config.patch_size
        return ostrack_counts(batch["box"], grid, batch["present"])

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        return taught(network, batch, self.loss_weights, TwoStreamTrace(listen=self.listen))

    def boxes(self, model: Aligned, batch: Batch) -> Tensor:
        return to_xyxy(decode(model(normalize(batch["template"]), normalize(batch["search"]))))

    def tracker(self, model: Aligned, stage: Stage) -> OSTrackTracker:
        settings = replace(self.settings, template_size=stage.template_size, search_size=stage.search_size)
        return OSTrackTracker(TorchNetwork(model, str(next(model.parameters()).device)), settings)

    def looks(self, model: Aligned, batch: Batch) -> dict[str, Tensor]:
        """Return the score map."""
        return {"score": model(normalize(batch["template"]), normalize(batch["search"]))["score"]}

    def repeatable(self, model: Aligned) -> Iterable[nn.Module]:
        for block in model.backbone.blocks:
            assert isinstance(block, Block)
            yield from (block.attn, block.mlp)


@dataclass(frozen=True, kw_only=True)
class OneStreamTask(OSTrackTask):
    """OSTrack without elimination, trained like its baselines. ``listen``: blocks whose attention is trained."""

    listen: tuple[int, ...] = ()

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        ratios = [1.0] * len(self.config.eliminate_in)
        return taught(network, batch, self.loss_weights, ostrack.Trace(listen=self.listen), ratios)


def taught(
    network: Any, batch: Batch, weights: LossWeights, trace: TwoStreamTrace | ostrack.Trace, *more: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of OSTrack on the maps and the recorded attention. ``more``: arguments before these."""
    maps = network(normalize(batch["template"]), normalize(batch["search"]), *more, trace)
    attention = {layer: value.float() for layer, value in trace.attention.items()}
    return ostrack_loss(maps, batch["box"], weights, batch["present"], attention, counts_of(batch))
