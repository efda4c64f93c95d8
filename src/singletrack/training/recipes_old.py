"""Training recipes: each is a function that returns every number of one run. Knows nothing of how a run is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.registry import MODELS
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training.base import Recipe, Stage
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.losses import LossWeights
from singletrack.training.recipes.ostrack import PUBLISHED
from singletrack.training.recipes.siamrpn import SIAMRPN_RECIPES
from singletrack.training.recipes.stark import STARK
from singletrack.training.tasks.dasiamrpn import DASIAMRPN
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.tasks.two_stream import ALIGNED

# The first box is drawn into the template, and boxes sit more or less loosely on their targets: what a user means by a
# box is to be read from the box, not guessed. Pairs in place are mostly of whole objects, for a rectangle without one
# teaches little about extent.
TINY_PAIRS = PairSettings(
    search_factor=3.5,
    fit=0.04,
    mark_template=True,
    occluded=0.35,
    num_templates=2,
    in_place=0.45,
    whole=0.9,
    tries=4,
)


def ostrack_tiny() -> Recipe:
    """The bundled model, from nothing, on pairs made from photos.

    Command: ``torchrun --nproc-per-node 2 -m singletrack train ostrack_tiny --photos DIR --out runs/tiny``.
    Most pairs at 64/128 pixels, where they are cheap, the rest at the final size with elimination. Cost and score
    stand on the model card, ``weights/ostrack-tiny.md``.
    """
    config = MODELS["ostrack-tiny"].network
    source = SyntheticPairs(pairs=TINY_PAIRS)
    task = OSTrackTask(
        config=config,
        settings=OSTrackSettings(
            search_factor=TINY_PAIRS.search_factor,
            mark_template=TINY_PAIRS.mark_template,
            num_templates=TINY_PAIRS.num_templates,
            update_interval=5,
        ),
        loss_weights=LossWeights(attention=1.0, dense=True),
        keep_ratio=config.keep_ratio,
        keep_from=251,
        keep_over=250,
        from_similarity=True,
    )
    small = Stage(
        name="small",
        task=task,
        source=source,
        template_size=64,
        search_size=128,
        steps=2400,
        batch=48,
        lr=7e-4,
        head_lr=1e-3,
        warmup=150,
        last_lr=0.1,
    )
    full = Stage(
        name="full",
        task=replace(task, loss_weights=LossWeights(giou=3.0, attention=0.5, dense=True), keep_from=0, keep_over=0),
        source=source,
        template_size=112,
        search_size=224,
        steps=1800,
        batch=24,
        lr=3e-4,
        head_lr=4e-4,
        warmup=50,
    )
    return Recipe(
        name="ostrack_tiny",
        model="ostrack-tiny",
        stages=(small, full),
        weight_decay=0.05,
        clip=1.0,
        ema=0.998,
    )


def ostrack_tiny_on() -> Recipe:
    """The bundled model, longer: from weights it has already, at the final size throughout.

    Command: as ``ostrack_tiny``, with ``--weights`` the file to go on from.
    """
    before = ostrack_tiny()
    full = replace(
        before.stages[-1],
        name="longer",
        steps=3900,
        batch=32,
        lr=3e-4,
        head_lr=4e-4,
        warmup=100,
    )
    return replace(before, name="ostrack_tiny_on", stages=(full,), ema=0.999, whole_batch=False)


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
    **PUBLISHED,
    **STARK,
    **ALIGNED,
    **DASIAMRPN,
    **SIAMRPN_RECIPES,
}
