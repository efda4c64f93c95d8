"""The recipes of the bundled `ostrack-tiny`: trained from scratch on pairs made from photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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


def ostrack_tiny_footage() -> Recipe:
    """The bundled model, from weights it has already, on labeled clips of real video and on pairs from photos.

    Command: as ``ostrack_tiny_on``, with ``--data footage=DIR``, the folder of the clips. It validates on the clips
    whose license class it does not train on. The stem, which costs much of a step, stays as it is. This recipe has not
    been run in full yet; ``docs/training-log.md`` says what a short run gave.
    """
    before = ostrack_tiny_on()
    stage = before.stages[0]
    video = VideoPairs(settings=ClipPairSettings(pairs=replace(TINY_PAIRS, fit=0.02)))
    source = MixedPairs(sources=(video, stage.source), shares=(0.5, 0.5))
    assert isinstance(stage.task, OSTrackTask)
    footage = replace(
        stage,
        name="footage",
        task=replace(stage.task, frozen=("backbone.patch_embed",)),
        source=source,
        steps=3000,
        warmup=100,
        lr=2e-4,
        head_lr=3e-4,
    )
    starts_from = "weights of ostrack-tiny, such as the bundled ones"
    return replace(before, name="ostrack_tiny_footage", stages=(footage,), ema=0.998, starts_from=starts_from)


OSTRACK_TINY: dict[str, Callable[[], Recipe]] = {
    "ostrack_tiny": ostrack_tiny,
    "ostrack_tiny_on": ostrack_tiny_on,
    "ostrack_tiny_footage": ostrack_tiny_footage,
}
