"""Variants of a recipe: what an ablation changes, one value at a time or several, by name.

Fields of the network are those that its config lists as ``VARIABLE``; the weights carry them. The others change what a
network starts from or what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from singletrack.errors import InputError, show_value
from singletrack.models.configs import NetworkConfig, change_config
from singletrack.training.base import DataSource, Recipe, Stage
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.recipes.ostrack import STARTS_FROM, PretrainedOSTrack
from singletrack.training.tasks.ostrack import OSTrackTask

# What the papers compare, and other values to try. The first one is published as the best.
VALUES: dict[str, tuple[Any, ...]] = {
    "eliminate_in": ((3, 6, 9), (3,), (6,), (9,), (3, 6), (2, 5, 8), None),
    "keep_ratio": (0.7, 0.5, 0.6, 0.8, 0.9, 1.0),
    "keep_ratios": (None, (0.9, 0.7, 0.5), (0.5, 0.7, 0.9)),
    "positions": ("separate", "none", "segment", "relative"),
    "head": ("center", "corner", "mlp"),
    "stages": ((2, 3, 4), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4)),
    "correlation": ("depthwise", "up-channel"),
    "template_rows": ("point", "center", "rectangle", "box", "all"),
    "pretraining": ("mae", "deit", "augreg", None),
    "search_shift": (64.0, 32.0, 16.0, 0.0),
}
MEANINGS = {
    "eliminate_in": "blocks, from 0, that eliminate tokens; none: no elimination",
    "keep_ratio": "share of search tokens that each of them keeps, in training and after it",
    "keep_ratios": "keep ratio of each of these blocks; none: keep_ratio in all",
    "positions": "position embeddings of template and search region",
    "head": "what predicts the box",
    "stages": "stages of the ResNet that feed heads",
    "correlation": "kernels: one per channel, or one per output and channel",
    "template_rows": "template tokens whose attention ranks the search tokens",
    "pretraining": "weights that the backbone starts from; none: from scratch",
    "search_shift": "largest shift of the target in the search crop, in pixels",
}


def variants(recipe: Recipe) -> dict[str, tuple[Any, ...]]:
    """Return what can be changed in a recipe, with the values that are compared in papers, the published first."""
    stage = recipe.stages[-1]
    config = getattr(stage.task, "config", None)
    names = list(config.VARIABLE) if isinstance(config, NetworkConfig) else []
    names += [name for name, (applies, _) in OTHERS.items() if applies(stage)]
    return {name: VALUES[name] for name in names}


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some of its ``variants`` changed, in all stages.

    Raises:
        InputError: the recipe has no such variant, or the value is of the wrong kind.
    """
    known = variants(recipe)
    for name in changes:
        if name not in known:
            raise InputError(
                f"{recipe.name} has no variant {show_value(name)}; choose among {', '.join(known) or 'none'}"
            )
    fields = {name: value for name, value in changes.items() if name not in OTHERS}
    if fields:
        recipe = _each_stage(recipe, lambda stage: _with_network(stage, fields))
    for name in changes.keys() - fields.keys():
        recipe = OTHERS[name][1](recipe, changes[name])
    return recipe


def _each_stage(recipe: Recipe, change: Callable[[Stage], Stage]) -> Recipe:
    return replace(recipe, stages=tuple(map(change, recipe.stages)))


def _with_network(stage: Stage, fields: Mapping[str, Any]) -> Stage:
    task: Any = stage.task
    task = replace(task, config=change_config(task.config, fields))
    if "keep_ratio" in fields and isinstance(task, OSTrackTask):
        task = replace(task, keep_ratio=task.config.keep_ratio)
    return replace(stage, task=task)


def _with_pretraining(recipe: Recipe, value: Any) -> Recipe:
    if value not in STARTS_FROM:
        wanted = ", ".join(str(each or "none") for each in STARTS_FROM)
        raise InputError(f"pretraining must be one of {wanted}; got {show_value(value)}; change it")
    task: Any = recipe.stages[-1].task
    recipe = _each_stage(recipe, lambda stage: replace(stage, task=replace(task, pretraining=value)))
    return replace(recipe, starts_from=STARTS_FROM[value])


def _with_search_shift(recipe: Recipe, value: Any) -> Recipe:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 64:
        raise InputError(f"search_shift must be a number of pixels from 0 to 64; got {show_value(value)}; change it")

    def shifted(source: DataSource) -> DataSource:
        assert isinstance(source, CroppedPairs)
        return replace(source, views=replace(source.views, search_shift=float(value)))

    return _each_stage(recipe, lambda stage: replace(stage, source=shifted(stage.source)))


# variant -> whether a stage has it, and the change
OTHERS: dict[str, tuple[Callable[[Stage], bool], Callable[[Recipe, Any], Recipe]]] = {
    "pretraining": (lambda stage: isinstance(stage.task, PretrainedOSTrack), _with_pretraining),
    "search_shift": (lambda stage: isinstance(stage.source, CroppedPairs), _with_search_shift),
}
