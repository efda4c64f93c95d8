"""The recipes of the bundled models: `ostrack-tiny`, and `ostrack-nano` and `ostrack-small`, which start from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from singletrack.datasets.clip_pairs import ClipPairSettings
from singletrack.datasets.synthetic.scenes import PairSettings
from singletrack.models.configs import OSTrackConfig
from singletrack.registry import network_config
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training.base import Recipe, Stage
from singletrack.training.data.labeled_clips import MixedPairs, VideoPairs
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.losses import LossWeights
from singletrack.training.tasks.ostrack import OSTrackTask

# The first box is drawn into the template, and boxes vary in looseness, so that the network reads the extent from the
# box. Same-photo pairs mostly use complete objects, because a rectangle without an object teaches little about extent.
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


STEM = "backbone.patch_embed"


def ostrack_tiny() -> Recipe:
    """The bundled model, from scratch, on pairs generated from photos.

    Command: ``torchrun --nproc-per-node 2 -m singletrack train ostrack_tiny --photos DIR --out runs/tiny``.

    Most pairs have 64/128 pixels, which is cheap; the rest have the final size with elimination. Cost and scores are in
    the model card, ``weights/ostrack-tiny.md``.
    """
    config = network_config("ostrack-tiny", OSTrackConfig)
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
    """Continues the training of the bundled model at the final size.

    Command: as for ``ostrack_tiny``, with ``--weights``.
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


def ostrack_tiny_footage() -> Recipe:
    """Continues the training of the bundled model on labeled clips of real video and on pairs from photos.

    Command: as for ``ostrack_tiny_on``, with ``--data footage=DIR``, the folder of the clips. It validates on the clips
    of the other license classes. The stem, which costs much of a step, is frozen. The bundled weights had half of its
    steps (``--steps 1500``) and then all of them, see ``docs/training-log.md``.
    """
    before = ostrack_tiny_on()
    stage = before.stages[0]
    video = VideoPairs(settings=ClipPairSettings(pairs=replace(TINY_PAIRS, fit=0.02)))
    source = MixedPairs(sources=(video, stage.source), shares=(0.5, 0.5))
    assert isinstance(stage.task, OSTrackTask)
    footage = replace(
        stage,
        name="footage",
        task=replace(stage.task, frozen=(STEM,)),
        source=source,
        steps=3000,
        warmup=100,
        lr=2e-4,
        head_lr=3e-4,
    )
    starts_from = "weights of ostrack-tiny, such as the bundled ones"
    return replace(before, name="ostrack_tiny_footage", stages=(footage,), ema=0.998, starts_from=starts_from)


def _from_tiny(model: str, search_factor: float, frozen: tuple[str, ...], **changes: Any) -> Recipe:
    """Trains another model of ours from the weights of `ostrack-tiny`, as ``ostrack_tiny_footage`` does.

    Args:
        model: its name.
        search_factor: side of the search region relative to the square root of the target's area.
        frozen: see ``OSTrackTask``.
        changes: fields of the stage that differ.
    """
    before = ostrack_tiny_footage()
    stage = before.stages[0]
    config = network_config(model, OSTrackConfig)
    pairs = replace(TINY_PAIRS, search_factor=search_factor)
    video = VideoPairs(settings=ClipPairSettings(pairs=replace(pairs, fit=0.02)))
    assert isinstance(stage.task, OSTrackTask)
    full = replace(
        stage,
        name="full",
        task=replace(
            stage.task,
            config=config,
            keep_ratio=config.keep_ratio,
            settings=replace(stage.task.settings, search_factor=search_factor),
            frozen=frozen,
            start_model="ostrack-tiny",
        ),
        source=MixedPairs(sources=(video, SyntheticPairs(pairs=pairs)), shares=(0.5, 0.5)),
        template_size=config.template_size,
        search_size=config.search_size,
        **changes,
    )
    return replace(before, name=model.replace("-", "_"), model=model, stages=(full,))


def ostrack_nano() -> Recipe:
    """Trains `ostrack-nano`, from the weights of `ostrack-tiny`, at crops of 64 and 128 px.

    Command: as for ``ostrack_tiny_footage``. The network is the same. The stem sees the target at 43 px for each of its
    sides instead of 64, so it is trained too.
    """
    return _from_tiny("ostrack-nano", 3.0, frozen=())


def ostrack_small() -> Recipe:
    """Trains `ostrack-small`, a deeper network grown from the weights of `ostrack-tiny`, at crops of 128 and 256 px.

    Command: as for ``ostrack_tiny_footage``. At the start it computes nearly what `ostrack-tiny` does, see
    ``models.ostrack.grow``. The stem sees the target at 64 px for each of its sides as before, and stays frozen.
    """
    return _from_tiny("ostrack-small", 4.0, frozen=(STEM,), steps=2000, lr=3e-4, head_lr=4e-4)


OSTRACK_TINY: dict[str, Callable[[], Recipe]] = {
    "ostrack_tiny": ostrack_tiny,
    "ostrack_tiny_on": ostrack_tiny_on,
    "ostrack_tiny_footage": ostrack_tiny_footage,
    "ostrack_nano": ostrack_nano,
    "ostrack_small": ostrack_small,
}
