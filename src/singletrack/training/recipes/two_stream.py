"""Recipes of the two-stream baselines: those of OSTrack-256 with another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.models.configs import AlignedConfig
from singletrack.models.pretrained import Pretraining
from singletrack.registry import network_config
from singletrack.training.base import Recipe
from singletrack.training.recipes.ostrack import ostrack_256, suffix
from singletrack.training.tasks.two_stream import TwoStreamTask


def stark_aligned(*, pretraining: Pretraining | None = "mae") -> Recipe:
    """STARK-aligned: ``ostrack_256`` without elimination, with STARK's relation behind a backbone of two streams.

    Command and data: as of ``ostrack_256``, with this name. Cost: 300 epochs of 60,000 pairs at 32.6 GMACs each.
    Published in OSTrack's paper: LaSOT AUC 67.6, GOT-10k AO 68.8; OSTrack without elimination 68.7 and 71.0.
    """
    return _beside_ostrack("stark-aligned", pretraining)


def swintrack_aligned(*, pretraining: Pretraining | None = "mae") -> Recipe:
    """SwinTrack-aligned: ``ostrack_256`` without elimination, with SwinTrack-B's relation behind two streams.

    Command and data: as of ``ostrack_256``, with this name. Cost: 300 epochs of 60,000 pairs at 40.0 GMACs each.
    Published in OSTrack's paper: LaSOT AUC 68.0, GOT-10k AO 69.5; OSTrack without elimination 68.7 and 71.0.
    """
    return _beside_ostrack("swintrack-aligned", pretraining)


def _beside_ostrack(model: str, pretraining: Pretraining | None) -> Recipe:
    before = ostrack_256(elimination=False, pretraining=pretraining)
    task = TwoStreamTask(config=network_config(model, AlignedConfig), pretraining=pretraining)
    stages = tuple(replace(stage, task=task) for stage in before.stages)
    name = model.replace("-", "_") + suffix(True, pretraining, False)
    return replace(before, name=name, model=model, stages=stages)


TWO_STREAM: dict[str, Callable[[], Recipe]] = {"stark_aligned": stark_aligned, "swintrack_aligned": swintrack_aligned}
