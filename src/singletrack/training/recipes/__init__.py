"""Training recipes by name. Each is a function that returns all numbers of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.training.base import Recipe
from singletrack.training.recipes.dasiamrpn import DASIAMRPN
from singletrack.training.recipes.ostrack import OSTRACK
from singletrack.training.recipes.ostrack_tiny import OSTRACK_TINY
from singletrack.training.recipes.siamrpn import SIAMRPN
from singletrack.training.recipes.stark import STARK
from singletrack.training.recipes.two_stream import TWO_STREAM

RECIPES: dict[str, Callable[[], Recipe]] = {
    **OSTRACK_TINY,
    **OSTRACK,
    **STARK,
    **TWO_STREAM,
    **DASIAMRPN,
    **SIAMRPN,
}


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with ``steps`` in total, divided among its stages in proportion, at least one each."""
    whole = sum(stage.steps for stage in recipe.stages)
    stages = tuple(
        replace(stage, steps=max(1, round(stage.steps * steps / whole)), warmup=round(stage.warmup * steps / whole))
        for stage in recipe.stages
    )
    return replace(recipe, stages=stages)
