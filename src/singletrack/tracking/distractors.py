"""DaSiamRPN's distractor-aware module (arXiv 1808.06048, section 3.3): ranks by what distractors do not share.

The published code has none of it; this follows the paper's text. In each frame, what else scores high becomes a
distractor d. A proposal p is then ranked by

    f(z, p) - weight * sum_i(a_i f(d_i, p)) / sum_i(a_i)

with f the network's likeness, here the difference of its two logits. Correlation is linear: this is one pass with the
kernels of z less the weighted mean of those of the d, and their running sums are all that is kept. Weight and rate of
learning are the paper's (from memory); it gives no value for what scores high, and that a_i is the score of d_i, what
overlaps too much and that learning stops in doubt are ours. Knows nothing of engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box, iou
from singletrack.geometry.crops import Image, check_frame
from singletrack.tracking.anchors import ANCHORS, Array
from singletrack.tracking.base import Network, Result
from singletrack.tracking.dasiamrpn import Candidates, DaSiamRPNSettings, DaSiamRPNTracker

SCORE_KERNELS = slice(0, 2 * ANCHORS)  # of the features (1, 30, C, 4, 4); the others place boxes
AT_MOST = 8  # distractors that are learned from one frame


@dataclass
class Memory:
    """Running sums of kernels over the frames so far, of the target and of what looks like it.

    target, distractors: features, as ``encode`` gives them, weighed and summed; None before the first.
    rate: of learning. Frame t counts (1 - r^t) / (1 - r) with r = rate / (1 - rate), which is the paper's sum of
    powers: nearly the same for all frames.
    """

    rate: float
    target: Any = None
    distractors: Any = None
    target_weight: float = 0.0
    distractor_weight: float = 0.0
    frames: int = 0

    def learn(self, target: Any, distractors: list[tuple[Any, float]]) -> None:
        """Take in the features of the target and, with the weight of each, of the distractors of the next frame."""
        ratio = self.rate / (1 - self.rate)
        self.frames += 1
        share = (1 - ratio**self.frames) / (1 - ratio)
        self.target = share * target if self.target is None else self.target + share * target
        self.target_weight += share
        for features, weight in distractors:
            part = share * weight * features
            self.distractors = part if self.distractors is None else self.distractors + part
            self.distractor_weight += share * weight

    def kernels(self, weight: float) -> Any:
        """The one template that ranks as above: those kernels that place boxes are the target's alone."""
        combined = self.target * (1 / self.target_weight)
        if self.distractors is not None:
            combined[:, SCORE_KERNELS] -= weight / self.distractor_weight * self.distractors[:, SCORE_KERNELS]
        return combined


class DistractorAwareTracker:
    """A DaSiamRPN that learns, frame by frame, what the target looks like and what looks like the target.

    It learns from frames that it does not doubt. Beside the search, each such frame costs one pass through the
    template's half of the network for the target and one for each distractor, 8 at most. Its kernels are mixed from
    many crops, so that it cannot share a pass with other trackers, as a ``tracking.base.BatchTracker`` does.
    """

    def __init__(self, network: Network, settings: DaSiamRPNSettings | None = None) -> None:
        self.network = network
        self.settings = settings or DaSiamRPNSettings(distractor_aware=True)
        self._follower = DaSiamRPNTracker(network, self.settings)
        self._memory = Memory(self.settings.learning_rate)

    def init(self, frame: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
        """Take the target from the first frame, as ``DaSiamRPNTracker.init``."""
        follower, memory = DaSiamRPNTracker(self.network, self.settings), Memory(self.settings.learning_rate)
        follower.init(frame, box)
        memory.learn(follower.features, [])
        self._follower, self._memory = follower, memory

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, as ``DaSiamRPNTracker.update``.

        The score is that of the ranking: the likeness to the target that distractors do not share.
        """
        follower, settings = self._follower, self.settings
        inputs = follower.preprocess(frame)
        if inputs is None:
            return follower.postprocess(None)
        maps = self.network.locate(self._memory.kernels(settings.distractor_weight), inputs.search)
        candidates = follower.candidates(maps)
        result = follower.postprocess(maps)
        if candidates is not None and not result.lost and result.score >= settings.lost_below:
            self._learn(check_frame(frame), result.box, candidates)
        return result

    def _learn(self, frame: Image, box: Box, candidates: Candidates) -> None:
        settings = self.settings
        x, y, width, height = box
        target = np.array([x + width / 2, y + height / 2, width, height])
        found = find_distractors(
            candidates, target, above=settings.distractor_above, overlap=settings.distractor_overlap
        )
        # one by one: an engine may prepare each size of batch when it first meets it
        features = [
            self.network.encode(self._follower.template(frame, each))
            for each in (target, *candidates.boxes_cxcywh[found])
        ]
        self._memory.learn(features[0], list(zip(features[1:], candidates.scores[found].tolist(), strict=True)))


def find_distractors(
    candidates: Candidates, target_cxcywh: Array, *, above: float, overlap: float, at_most: int = AT_MOST
) -> list[int]:
    """Numbers of the candidates that score over ``above`` and are neither the target nor each other, best first.

    Non-maximum suppression: one that overlaps the target, or a better one, by an IoU over ``overlap`` is taken for
    the same thing.
    """
    boxes = candidates.boxes_cxcywh.copy()
    boxes[:, :2] -= boxes[:, 2:] / 2
    known = np.array([target_cxcywh], np.float64)
    known[:, :2] -= known[:, 2:] / 2
    usable = np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1) & (candidates.scores > above)
    found: list[int] = []
    for number in np.flatnonzero(usable)[np.argsort(-candidates.scores[usable], kind="stable")]:
        if iou(known, boxes[number]).max() <= overlap:
            found.append(int(number))
            known = np.concatenate([known, boxes[number : number + 1]])
            if len(found) == at_most:
                break
    return found
