"""The recipe of DaSiamRPN, with the pairs of its paper (arXiv 1808.06048, Section 3.2).

The published code has no training code. Numbers marked so are from memory of the paper.
"""

from __future__ import annotations

from collections.abc import Callable

from singletrack.datasets.sampling import FrameRules
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.registry import network_config
from singletrack.training.base import Recipe, Stage
from singletrack.training.data.dasiamrpn import DistractorAwarePairs
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
    return _recipe("dasiamrpn_vot", parts, Part(dataset="got10k", split="val"))


def dasiamrpn_vot_paper() -> Recipe:
    """DaSiamRPN from scratch on the data sets of the paper, in their original layout.

    Command: ``singletrack train dasiamrpn_vot_paper --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --out RUN``. Schedule and cost: as of ``dasiamrpn_vot``. Categories for negative pairs are known for COCO and
    YouTube-BB. It has not been run to the end here.
    """
    parts = tuple(Part(dataset=name, split="train") for name in ("vid", "youtubebb", "det", "coco"))
    return _recipe("dasiamrpn_vot_paper", parts, Part(dataset="vid", split="val"))


def _recipe(name: str, parts: tuple[Part, ...], held: Part) -> Recipe:
    pairs = DistractorAwarePairs(parts=parts, held=(held,), rules=FrameRules(longest_gap=100))
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
    recipe.__name__: recipe for recipe in (dasiamrpn_vot, dasiamrpn_vot_paper)
}
