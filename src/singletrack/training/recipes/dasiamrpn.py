"""The recipe of DaSiamRPN, with the pairs of its paper (arXiv 1808.06048, Section 3.2).

The published code has no training code. Numbers marked so are from memory of the paper.
"""

from __future__ import annotations

from collections.abc import Callable

from singletrack.datasets.pysot_crops import Views
from singletrack.datasets.sampling import FrameRules
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.registry import network_config
from singletrack.training.base import DataSource, Recipe, Stage
from singletrack.training.data.dasiamrpn import DistractorAwarePairs
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.data.video import Part
from singletrack.training.tasks.dasiamrpn import DaSiamRPNTask


def dasiamrpn_vot() -> Recipe:
    """DaSiamRPN from scratch, with the pairs of the paper from data sets that most trackers train on today.

    Command: ``singletrack train dasiamrpn_vot --data lasot=DIR --data got10k=DIR --data coco=DIR --out RUN``.

    The paper uses ImageNet VID, YouTube-BB, ImageNet DET and COCO, and starts from ImageNet. SGD and 50 epochs with a
    learning rate from 1e-2 to 1e-4 by a constant factor per step are from memory; batch size, weight decay and clipping
    are those of pysot; 60,000 pairs per epoch are ours. Cost: 3 million pairs at 6.6 GMACs each. It has not been run to
    the end here.
    """
    parts = (
        Part(dataset="got10k", split="train"),
        Part(dataset="lasot", split="train"),
        Part(dataset="coco", split="train"),
    )
    return _recipe("dasiamrpn_vot", _pairs(parts, Part(dataset="got10k", split="val")))


def dasiamrpn_vot_paper() -> Recipe:
    """DaSiamRPN from scratch on the data sets of the paper, in their original layout.

    Command: ``singletrack train dasiamrpn_vot_paper --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --out RUN``. Schedule and cost: as of ``dasiamrpn_vot``. Negative pairs are drawn by category from all four. It has
    not been run to the end here.
    """
    parts = tuple(Part(dataset=name, split="train") for name in ("vid", "youtubebb", "det", "coco"))
    return _recipe("dasiamrpn_vot_paper", _pairs(parts, Part(dataset="vid", split="val")))


def dasiamrpn_vot_crops() -> Recipe:
    """``dasiamrpn_vot_paper`` on crops, which read faster than whole frames.

    Command: ``singletrack train dasiamrpn_vot_crops --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --out RUN``.

    ``singletrack datasets crops NAME --root ROOT --out DIR`` makes each DIR, with the categories. Crops of pysot have
    none, so that their negative pairs show any other target. Changes of color and blur are those of pysot. It has not
    been run to the end here.
    """
    views = Views(template_shift=0.0, template_scale=0.0, same_category=0.5)
    shares = dict.fromkeys(("vid", "youtubebb", "det", "coco"), 1.0)
    return _recipe("dasiamrpn_vot_crops", CroppedPairs(shares=shares, views=views))


def _pairs(parts: tuple[Part, ...], held: Part) -> DistractorAwarePairs:
    return DistractorAwarePairs(parts=parts, held=(held,), rules=FrameRules(longest_gap=100))


def _recipe(name: str, pairs: DataSource) -> Recipe:
    stage = Stage(
        name="pairs",
        task=DaSiamRPNTask(config=network_config("dasiamrpn-vot", DaSiamRPNConfig)),
        source=pairs,
        template_size=127,
        search_size=271,
        steps=50 * 60_000 // 64,
        batch=64,
        lr=1e-2,
        head_lr=1e-2,
        schedule="exponential",
        last_lr=1e-2,
    )
    return Recipe(name=name, model="dasiamrpn-vot", stages=(stage,), optimizer="sgd", weight_decay=1e-4, clip=10.0)


DASIAMRPN: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe for recipe in (dasiamrpn_vot, dasiamrpn_vot_paper, dasiamrpn_vot_crops)
}
