"""The published recipes of STARK: two stages on the large data sets.

Sources: the paper (arXiv 2103.17154), its code (researchmm/Stark) and its settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.datasets.augmentations import Augmentation, Jitter
from singletrack.datasets.frame_tuples import TupleRules
from singletrack.models.configs import STARKConfig
from singletrack.registry import network_config
from singletrack.tracking.stark import STARKSettings
from singletrack.training.base import Recipe, Stage
from singletrack.training.data.tuples import DatasetTuples
from singletrack.training.data.video import DatasetPairs, Part
from singletrack.training.tasks.stark import CornerTask, ScoreTask

SAMPLES_AN_EPOCH = 60_000
BATCH = 128  # 16 on each of eight GPUs; the learning rates below belong to it
STEPS_AN_EPOCH = SAMPLES_AN_EPOCH // BATCH
PARTS = (
    Part(dataset="lasot", split="train"),
    Part(dataset="got10k", split="vottrain"),
    Part(dataset="coco", split="train"),
    Part(dataset="trackingnet", split="train"),
)
HELD = Part(dataset="got10k", split="votval")


def stark_s50() -> Recipe:
    """STARK-S50 on LaSOT, GOT-10k, COCO and TrackingNet, with equal weights.

    Command: ``torchrun --nproc-per-node 8 -m singletrack train stark_s50 --data lasot=DIR --data got10k=DIR --data
    coco=DIR --data trackingnet=DIR --weights resnet50-19c8e357.pth --device cuda``.

    Cost: 500 epochs of 60,000 samples at 12.3 GMACs, without the template.

    Published: LaSOT AUC 65.8, TrackingNet AUC 80.3.
    """
    return _corners("stark_s50", "stark-s50", TupleRules(mode="causal"), "resnet50-19c8e357.pth")


def stark_st50_stage1() -> Recipe:
    """The first stage of STARK-ST50: corners, with two templates. Command, data and epochs as for ``stark_s50``.

    Published by MMTracking: LaSOT AUC 67.0, TrackingNet AUC 80.3.
    """
    rules = TupleRules(mode="trident")
    return _corners("stark_st50_stage1", "stark-st50-stage1", rules, "resnet50-19c8e357.pth")


def stark_st101_stage1() -> Recipe:
    """The first stage of STARK-ST101, as ``stark_st50_stage1``, from ``--weights resnet101-5d3b4d8f.pth``."""
    rules = TupleRules(mode="trident")
    return _corners("stark_st101_stage1", "stark-st101-stage1", rules, "resnet101-5d3b4d8f.pth")


def stark_st50_stage2() -> Recipe:
    """The second stage of STARK-ST50: only the score head, on samples of which half do not show the target.

    Command and data as for ``stark_s50``, with this name and the result of ``stark_st50_stage1`` as ``--weights``.

    Cost: 50 epochs of 60,000 samples at 13.0 GMACs, with a backward pass for the score head only.

    Published: LaSOT AUC 66.4, TrackingNet AUC 81.3, GOT-10k AO 68.0 (trained on GOT-10k only).
    """
    return _trust("stark_st50_stage2", "stark-st50")


def stark_st101_stage2() -> Recipe:
    """The second stage of STARK-ST101, as ``stark_st50_stage2``, from the result of ``stark_st101_stage1``.

    Published: LaSOT AUC 67.1, TrackingNet AUC 82.0, GOT-10k AO 68.8 (trained on GOT-10k only).
    """
    return _trust("stark_st101_stage2", "stark-st101")


def _corners(name: str, model: str, frames: TupleRules, starts_from: str) -> Recipe:
    # without a score head the tracker's measure of trust is another: see ``zoo.UNTAUGHT_STARK``
    settings = STARKSettings(num_templates=frames.num_templates, update_interval=None, lost_below=0.25, found_above=0.4)
    stage = Stage(
        name="corners",
        task=CornerTask(config=network_config(model, STARKConfig), settings=settings),
        source=_source(frames),
        template_size=128,
        search_size=320,
        steps=500 * STEPS_AN_EPOCH,
        batch=BATCH,
        lr=1e-5,
        head_lr=1e-4,
        schedule="step",
        drop_at=0.8,  # after 400 epochs
        check_every=20 * STEPS_AN_EPOCH,
        check_samples=10_000,
    )
    start = f"{starts_from} of torchvision"
    return Recipe(name=name, model=model, stages=(stage,), weight_decay=1e-4, clip=0.1, starts_from=start)


def _trust(name: str, model: str) -> Recipe:
    stage = Stage(
        name="trust",
        task=ScoreTask(config=network_config(model, STARKConfig), settings=STARKSettings()),
        source=_source(TupleRules(mode="trident", negatives=0.5)),
        template_size=128,
        search_size=320,
        steps=50 * STEPS_AN_EPOCH,
        batch=BATCH,
        lr=1e-4,
        head_lr=1e-4,
        schedule="step",
        drop_at=0.8,  # after 40 epochs
        check_every=10 * STEPS_AN_EPOCH,
        check_samples=10_000,
    )
    start = f"the file that {name.replace('stage2', 'stage1')} left"
    return Recipe(name=name, model=model, stages=(stage,), weight_decay=1e-4, clip=0.1, starts_from=start)


def _source(frames: TupleRules) -> DatasetTuples:
    augmentation = Augmentation(search_factor=5.0, search_jitter=Jitter(scale=0.5, center=4.5))
    return DatasetTuples(parts=PARTS, held=(HELD,), augmentation=augmentation, frames=frames)


def on_got10k(recipe: Recipe) -> Recipe:
    """Return the recipe on the train split of GOT-10k only, as the protocol of that benchmark requires."""

    def changed(stage: Stage) -> Stage:
        assert isinstance(stage.source, DatasetPairs)
        part, held = Part(dataset="got10k", split="train"), Part(dataset="got10k", split="val")
        return replace(stage, source=replace(stage.source, parts=(part,), held=(held,)))

    name = f"{recipe.name}_got10k"
    start = recipe.starts_from.replace("_stage1", "_stage1_got10k")
    return replace(recipe, name=name, stages=tuple(map(changed, recipe.stages)), starts_from=start)


def _both(recipe: Callable[[], Recipe]) -> dict[str, Callable[[], Recipe]]:
    return {recipe.__name__: recipe, f"{recipe.__name__}_got10k": lambda: on_got10k(recipe())}


STARK: dict[str, Callable[[], Recipe]] = {
    **_both(stark_s50),
    **_both(stark_st50_stage1),
    **_both(stark_st50_stage2),
    **_both(stark_st101_stage1),
    **_both(stark_st101_stage2),
}
