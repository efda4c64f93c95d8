"""Recipes of the two-stream baselines of OSTrack's paper (arXiv 2203.11991, Table 5).

The paper keeps the training settings of the original trackers. Data, crops, losses and batch size are those of
``ostrack_256``; epochs, pairs per epoch and learning rates are STARK's (its paper and code) and SwinTrack-B's (the
published code, config/SwinTrack/Base/runs.yaml).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.models.configs import AlignedConfig
from singletrack.models.pretrained import Pretraining
from singletrack.registry import network_config
from singletrack.training.base import Recipe, Stage
from singletrack.training.recipes.ostrack import ostrack_256, ostrack_256_got10k, suffix
from singletrack.training.tasks.two_stream import TwoStreamTask

STARK_EPOCHS, STARK_PAIRS = 500, 60_000  # 30 M pairs
SWINTRACK_EPOCHS, SWINTRACK_PAIRS = 300, 131_072  # 39.3 M pairs
SWINTRACK_BATCH = 512  # 64 on each of eight GPUs; its learning rates belong to it


def stark_aligned(*, pretraining: Pretraining | None = "mae", one_shot: bool = False) -> Recipe:
    """STARK-aligned: STARK's relation behind a two-stream ViT, with the schedule of STARK.

    Command and data: as of ``ostrack_256``, with this name. Cost: 500 epochs of 60,000 pairs at 32.6 GMACs each.
    Published in OSTrack's paper: LaSOT AUC 67.6; OSTrack without elimination 68.7.

    Args:
        pretraining: as for ``ostrack_256``.
        one_shot: train on GOT-10k only, as ``stark_aligned_got10k`` does.
    """
    return _beside_ostrack("stark-aligned", pretraining, one_shot, _stark_schedule)


def stark_aligned_got10k(*, pretraining: Pretraining | None = "mae") -> Recipe:
    """STARK-aligned on the train split of GOT-10k only, with the 500 epochs of STARK's own recipe for GOT-10k.

    Published in OSTrack's paper: GOT-10k AO 68.8; OSTrack without elimination 71.0.
    """
    return stark_aligned(pretraining=pretraining, one_shot=True)


def swintrack_aligned(*, pretraining: Pretraining | None = "mae", one_shot: bool = False) -> Recipe:
    """SwinTrack-aligned: SwinTrack-B's relation behind a two-stream ViT, with the schedule of SwinTrack-B.

    Command and data: as of ``ostrack_256``, with this name. Cost: 300 epochs of 131,072 pairs at 40.0 GMACs each.
    Published in OSTrack's paper: LaSOT AUC 68.0; OSTrack without elimination 68.7.

    Args:
        pretraining: as for ``ostrack_256``.
        one_shot: train on GOT-10k only, as ``swintrack_aligned_got10k`` does.
    """
    return _beside_ostrack("swintrack-aligned", pretraining, one_shot, _swintrack_schedule)


def swintrack_aligned_got10k(*, pretraining: Pretraining | None = "mae") -> Recipe:
    """SwinTrack-aligned on the train split of GOT-10k only; SwinTrack's code keeps its schedule for it.

    Published in OSTrack's paper: GOT-10k AO 69.5; OSTrack without elimination 71.0.
    """
    return swintrack_aligned(pretraining=pretraining, one_shot=True)


def _stark_schedule(stage: Stage) -> Stage:
    """STARK: a tenth of the learning rate after 400 of 500 epochs, batches of 128."""
    epoch = STARK_PAIRS // stage.batch
    return replace(stage, steps=STARK_EPOCHS * epoch, lr=1e-5, head_lr=1e-4, drop_at=0.8, check_every=20 * epoch)


def _swintrack_schedule(stage: Stage) -> Stage:
    """SwinTrack-B: warm-up over a hundredth of the run, a tenth of the learning rate after 210 of 300 epochs."""
    epoch = SWINTRACK_PAIRS // SWINTRACK_BATCH
    return replace(
        stage,
        steps=SWINTRACK_EPOCHS * epoch,
        batch=SWINTRACK_BATCH,
        lr=5e-5,
        head_lr=5e-4,
        warmup=SWINTRACK_EPOCHS * epoch // 100,
        warmup_from=1e-3,
        drop_at=0.7,
        check_every=20 * epoch,
    )


def _beside_ostrack(
    model: str, pretraining: Pretraining | None, one_shot: bool, schedule: Callable[[Stage], Stage]
) -> Recipe:
    ostrack = ostrack_256_got10k if one_shot else ostrack_256
    before = ostrack(elimination=False, pretraining=pretraining)
    task = TwoStreamTask(config=network_config(model, AlignedConfig), pretraining=pretraining)
    stages = tuple(schedule(replace(stage, task=task)) for stage in before.stages)
    name = model.replace("-", "_") + ("_got10k" if one_shot else "") + suffix(True, pretraining, False)
    return replace(before, name=name, model=model, stages=stages)


TWO_STREAM: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (stark_aligned, stark_aligned_got10k, swintrack_aligned, swintrack_aligned_got10k)
}
