"""The training task of OSTrack: its three losses, gradual elimination, and its tracker for validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import InputError
from singletrack.geometry.crops import fill_boxes
from singletrack.models.checkpoints import load_weights, read_weights
from singletrack.models.configs import OSTrackConfig
from singletrack.models.layers.center_head import decode
from singletrack.models.layers.pos_embed import resize_positions
from singletrack.models.ostrack import OSTrack, Trace, build_ostrack, grow, init_from_similarity, restore
from singletrack.registry import network_config
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.training.base import Batch, Stage, Task, counts_of, epoch_at, normalize
from singletrack.training.labels import keep_ratio_at
from singletrack.training.losses import LossWeights, ostrack_counts, ostrack_loss, to_xyxy


@dataclass(frozen=True, kw_only=True)
class OSTrackTask(Task):
    """Finds the target of a template in a search region.

    Attributes:
        keep_ratio: share of search tokens that each eliminating block keeps at the end of the stage, which is divided
            into ``epochs``, from 1. All are kept up to epoch ``keep_from``, then fewer on a cosine schedule over
            ``keep_over`` epochs.
        from_similarity: initialize the blocks with query = key, see ``init_from_similarity``.
        frozen: names of frozen parameters, or of modules that contain them, such as "backbone.patch_embed";
            normalizations in them keep their statistics.
        start_model: another model whose weights the task may start from: the same network, or a shallower one, with
            crops of any size; empty for none.
        settings: settings of the tracker for validation; its sizes are those of the stage, and its templates those of
            the network.
    """

    config: OSTrackConfig
    loss_weights: LossWeights = field(default_factory=LossWeights)
    keep_ratio: float = 1.0
    keep_from: int = 0
    keep_over: int = 0
    epochs: int = 1000
    from_similarity: bool = False
    frozen: tuple[str, ...] = ()
    start_model: str = ""
    settings: OSTrackSettings = field(default_factory=OSTrackSettings)

    def build(self, stage: Stage) -> OSTrack:
        config = replace(self.config, template_size=stage.template_size, search_size=stage.search_size)
        model = build_ostrack(config, None if config.keep_ratios else self.keep_ratio)
        if self.from_similarity:
            init_from_similarity(model)
        return model

    def start(self, model: OSTrack, path: Path, name: str) -> None:
        """Load weights of the model, or of ``start_model``, whose position embeddings are resized; see ``grow``."""
        held = read_weights(path).get("backbone.search_position")
        own = held is not None and held.shape[1] == model.config.search_grid**2
        name = name if own else self.start_model or name
        if own or not self.start_model:
            load_weights(model, path, name)
            return
        smaller = network_config(name, OSTrackConfig)
        other = build_ostrack(smaller)
        load_weights(other, path, name)
        model.load_state_dict(grow(self.fitted(other.state_dict(), model), smaller, model))

    def groups(self, model: OSTrack, stage: Stage) -> list[dict[str, Any]]:
        """Return the two published groups, backbone and head, without frozen parameters."""
        named = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if not any(name == frozen or name.startswith(f"{frozen}.") for frozen in self.frozen)
        ]
        return [
            {"params": [value for name, value in named if name.startswith(f"{part}.")], "lr": rate, "peak": rate}
            for part, rate in (("backbone", stage.lr), ("head", stage.head_lr))
        ]

    def kept_share(self, progress: float, last: float | None = None) -> float:
        """Compute the share of search tokens that an eliminating block keeps at this progress of the stage.

        ``last``: its share at the end; None for ``keep_ratio``.
        """
        last = self.keep_ratio if last is None else last
        return keep_ratio_at(epoch_at(progress, self.epochs), self.keep_from, self.keep_over, last)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        grid = batch["search"].shape[-1] // self.config.cell_size
        return ostrack_counts(batch["box"], grid, batch["present"])

    def loss(self, network: Any, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        trace = Trace()
        keep = self.kept_share(progress)
        ratios = [self.kept_share(progress, last) for last in self.config.keep_ratios]
        ratios = ratios or [keep] * len(self.config.eliminate_in)
        maps = network(self.templates(batch), normalize(batch["search"]), ratios, trace)
        attention = {block: value.float() for block, value in trace.attention.items()}
        counts = counts_of(batch)
        weights = self.loss_weights
        if self.config.head in ("corner", "mlp"):  # their score is the same everywhere
            weights = replace(weights, focal=0.0)
        total, log = ostrack_loss(maps, batch["box"], weights, batch["present"], attention, counts)
        return total, log | {"keep": batch["box"].new_tensor(keep)}

    def templates(self, batch: Batch) -> Tensor:
        """Return the template input; a single template is repeated for each slot.

        Raises:
            InputError: the network needs the targets' boxes in their templates, and the batch lacks them.
        """
        crops = normalize(batch["template"])
        if self.config.box_channel:
            if "template_box" not in batch:
                raise InputError(
                    f"template_rows=box needs template_box in a batch, xywh as fractions of the template; got "
                    f"{', '.join(batch)}; add it to the data source, or choose other rows"
                )
            size = crops.shape[-1]
            inside = torch.from_numpy(fill_boxes(batch["template_box"].cpu().double().numpy() * size, size))
            inside = inside.to(crops).reshape(-1, *(1,) * (crops.dim() - 4), size, size)
            crops = torch.cat([crops, inside.expand(*crops.shape[:-3], size, size).unsqueeze(-3)], -3)
        if crops.dim() == 4 and self.config.num_templates > 1:
            crops = crops.unsqueeze(1).expand(-1, self.config.num_templates, -1, -1, -1)
        return crops

    def boxes(self, model: OSTrack, batch: Batch) -> Tensor:
        return to_xyxy(decode(model(self.templates(batch), normalize(batch["search"]))))

    def fitted(self, weights: Mapping[str, Tensor], model: OSTrack) -> dict[str, Tensor]:
        """Only the position embeddings change with the size."""
        grids = {
            "backbone.template_position": model.config.template_grid,
            "backbone.search_position": model.config.search_grid,
        }
        return {n: resize_positions(v, grids[n]) if n in grids else v for n, v in weights.items()}

    def tracker(self, model: OSTrack, stage: Stage) -> OSTrackTracker:
        settings = replace(
            self.settings,
            template_size=stage.template_size,
            search_size=stage.search_size,
            mark_template=self.config.mark_template,
            num_templates=self.config.num_templates,
            box_channel=self.config.box_channel,
        )
        device = str(next(model.parameters()).device)
        return OSTrackTracker(TorchNetwork(model, device), settings)

    def looks(self, model: OSTrack, batch: Batch) -> dict[str, Tensor]:
        """Return the score map, the attention of the central template tokens (maximum 1), and the elimination.

        The attention is that of the last recorded block. A token that is kept to the end is 1, one removed at the first
        elimination 0.
        """
        trace = Trace()
        grid = model.config.search_grid
        looks = {"score": model(self.templates(batch), normalize(batch["search"]), trace=trace)["score"]}
        if trace.scores:
            block = max(trace.scores)
            scores = trace.scores[block]
            if earlier := [each for each in trace.kept if each < block]:
                scores = restore(scores.unsqueeze(2), trace.kept[max(earlier)], grid**2).squeeze(2)
            looks["attention"] = (scores / scores.amax(1, keepdim=True)).view(-1, grid, grid)
        if trace.kept:
            times = looks["score"].new_zeros(len(batch["search"]), grid**2)
            for kept in trace.kept.values():
                times = times.scatter_add(1, kept, torch.ones_like(kept, dtype=times.dtype))
            looks["kept"] = (times / len(trace.kept)).view(-1, grid, grid)
        return looks

    def repeatable(self, model: OSTrack) -> Iterable[nn.Module]:
        for block in model.backbone.blocks:
            yield from (block.attn, block.mlp)  # type: ignore[misc]
