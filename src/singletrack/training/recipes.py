"""Training recipes: each is a function that returns every number of one run. Knows nothing of how a run is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from singletrack.datasets.scenes import PairSettings
from singletrack.models.ostrack import CONFIGS, OSTrackConfig
from singletrack.training.losses import LossWeights


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of a run at one size.

    template_size, search_size: pixels; positions are resized when they change between stages.
    batch: pairs a step, over all processes. lr, head_lr: peak learning rates of backbone and head.
    warmup: steps from 0 to the peak. schedule: "cosine" down to ``last_lr`` of the peak, or "step": a tenth of it
        after ``drop_at`` of the steps (the published run: 0.8).
    keep_ratio: share of search tokens kept at the end; all are kept for the first ``keep_from`` of the steps, then a
        cosine leads down over ``keep_over`` of them.
    """

    name: str
    template_size: int
    search_size: int
    steps: int
    batch: int
    lr: float
    head_lr: float
    warmup: int = 0
    schedule: Literal["cosine", "step"] = "cosine"
    last_lr: float = 0.02
    drop_at: float = 0.8
    keep_ratio: float = 1.0
    keep_from: float = 0.0
    keep_over: float = 0.2
    loss: LossWeights = field(default_factory=LossWeights)
    pairs: PairSettings = field(default_factory=PairSettings)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a run depends on.

    from_similarity: start the blocks with query = key (see ``start_from_similarity``).
    clip: largest norm of the whole gradient. ema: decay of the averaged weights, which are the result; 0 for none.
    """

    name: str
    config: OSTrackConfig
    stages: tuple[Stage, ...]
    weight_decay: float = 1e-4
    clip: float = 0.1
    ema: float = 0.0
    from_similarity: bool = False
    seed: int = 42


def ostrack_tiny() -> Recipe:
    """The bundled model, from nothing, on pairs made from photos.

    Command: ``torchrun --nproc-per-node 2 -m singletrack train ostrack_tiny --photos DIR --out runs/tiny``.
    Most pairs at 64/128 pixels, where they are cheap, the rest at the final size with elimination. Cost and score
    stand on the model card, ``weights/ostrack-tiny.md``.
    """
    small = Stage(
        name="small",
        template_size=64,
        search_size=128,
        steps=2400,
        batch=48,
        lr=7e-4,
        head_lr=1e-3,
        warmup=150,
        last_lr=0.1,
        keep_ratio=0.7,
        keep_from=0.25,
        keep_over=0.25,
        loss=LossWeights(attention=1.0, dense=True),
    )
    full = Stage(
        name="full",
        template_size=112,
        search_size=224,
        steps=1800,
        batch=24,
        lr=3e-4,
        head_lr=4e-4,
        warmup=50,
        keep_ratio=0.7,
        keep_over=0.0,
        loss=LossWeights(attention=0.5, dense=True),
    )
    return Recipe(
        name="ostrack_tiny",
        config=CONFIGS["ostrack-tiny"],
        stages=(small, full),
        weight_decay=0.05,
        clip=1.0,
        ema=0.998,
        from_similarity=True,
    )


def ostrack_tiny_on() -> Recipe:
    """The bundled model, longer: from the weights of ``ostrack_tiny``, at the final size throughout.

    Command: as ``ostrack_tiny``, with ``--weights`` the file that it left.
    """
    before = ostrack_tiny()
    full = replace(before.stages[-1], name="longer", steps=7500, batch=32, lr=4e-4, head_lr=5e-4, warmup=200)
    return replace(before, name="ostrack_tiny_on", stages=(full,), ema=0.999)


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with ``steps`` in all, shared by its stages as before; each stage keeps one at least."""
    whole = sum(stage.steps for stage in recipe.stages)
    stages = tuple(
        replace(stage, steps=max(1, round(stage.steps * steps / whole)), warmup=round(stage.warmup * steps / whole))
        for stage in recipe.stages
    )
    return replace(recipe, stages=stages)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "ostrack_tiny": ostrack_tiny,
    "ostrack_tiny_on": ostrack_tiny_on,
}
