"""The distractor-aware module of DaSiamRPN (arXiv 1808.06048, Section 3.3).

The published code lacks this module; it follows the text of the paper. In each frame, other high-scoring proposals
become distractors d. A proposal p is then ranked by

    f(z, p) - weight * sum_i(a_i f(d_i, p)) / sum_i(a_i)

where z is the target and f the similarity, here the difference of the two logits of the network. Correlation is linear,
so one pass with the kernels of z minus the weighted mean of those of d suffices, and only running sums are stored. The
weight and the learning rate are from the paper (from memory). The score threshold, a_i = score of d_i, the overlap
limit and the stop of learning at low scores are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box, BoxLike, iou
from singletrack.geometry.crops import Image, check_frame
from singletrack.tracking.anchors import ANCHORS, Array
from singletrack.tracking.base import Network, Result
from singletrack.tracking.dasiamrpn import Candidates, DaSiamRPNSettings, DaSiamRPNTracker
from singletrack.tracking.state import KeepsState, array_to_features, features_to_array, rebuild

SCORE_KERNELS = slice(0, 2 * ANCHORS)  # of the features (1, 30, C, 4, 4); the others regress boxes
AT_MOST = 8  # most distractors learned from one frame


@dataclass
class Memory:
    """Running weighted sums of the kernels of the target and its distractors.

    Attributes:
        rate: learning rate. Frame t has the weight (1 - r^t) / (1 - r) with r = rate / (1 - rate), the paper's sum of
            powers. It is nearly the same for all frames.
        target: weighted sum of the target's features; None before the first frame.
        distractors: weighted sum of the distractors' features; None before the first distractor.
        target_weight: sum of the weights of the target.
        distractor_weight: sum of the weights of the distractors.
        frames: number of frames so far.
    """

    rate: float
    target: Any = None
    distractors: Any = None
    target_weight: float = 0.0
    distractor_weight: float = 0.0
    frames: int = 0

    def learn(self, target: Any, distractors: list[tuple[Any, float]]) -> None:
        """Add the features of the target and of the weighted distractors of the next frame."""
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
        """Build the template that ranks as above; the kernels that regress boxes are those of the target."""
        combined = self.target * (1 / self.target_weight)
        if self.distractors is not None:
            combined[:, SCORE_KERNELS] -= weight / self.distractor_weight * self.distractors[:, SCORE_KERNELS]
        return combined


class DistractorAwareTracker(KeepsState):
    """DaSiamRPN tracker that learns the target and its distractors while tracking.

    It learns from confident frames. Each of them costs one template pass for the target and one for each distractor (at
    most 8), in addition to the search. Its template combines many crops, so it cannot share a forward pass with other
    trackers like a ``tracking.base.BatchTracker``.
    """

    def __init__(self, network: Network, settings: DaSiamRPNSettings | None = None) -> None:
        self.network = network
        self.settings = settings or DaSiamRPNSettings(distractor_aware=True)
        self._follower = DaSiamRPNTracker(network, self.settings)
        self._memory = Memory(self.settings.learning_rate)

    def init(self, frame: NDArray[np.uint8], box: BoxLike) -> None:
        """Set the target in the first frame; see ``DaSiamRPNTracker.init``."""
        follower, memory = DaSiamRPNTracker(self.network, self.settings), Memory(self.settings.learning_rate)
        follower.init(frame, box)
        memory.learn(follower.features, [])
        self._follower, self._memory = follower, memory

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame; see ``DaSiamRPNTracker.update``.

        The score is that of the ranking against distractors.
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

    def get_state(self) -> dict[str, Any]:
        """Return the state of the target between two frames, see ``shell.TrackerShell.get_state``."""
        follower, memory = self._follower.get_state(), self._memory
        kept = {each.name: getattr(memory, each.name) for each in fields(memory)}
        kernels = {name: features_to_array(kept[name]) for name in ("target", "distractors")}
        return {"tracker": follower, "memory": kept | kernels}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; raises InputError where it is of another tracker."""
        follower = DaSiamRPNTracker(self.network, self.settings)
        follower.set_state(state["tracker"])
        memory = rebuild(Memory, state.get("memory"))
        like = self.network.encode(state["tracker"]["template"])
        memory.target = array_to_features(memory.target, like)
        memory.distractors = array_to_features(memory.distractors, like)
        self._follower, self._memory = follower, memory

    def _learn(self, frame: Image, box: Box, candidates: Candidates) -> None:
        settings = self.settings
        x, y, width, height = box
        target = np.array([x + width / 2, y + height / 2, width, height])
        found = find_distractors(
            candidates, target, above=settings.distractor_above, overlap=settings.distractor_overlap
        )
        # one by one, because an engine may compile each new batch size
        features = [
            self.network.encode(self._follower.template(frame, each))
            for each in (target, *candidates.boxes_cxcywh[found])
        ]
        self._memory.learn(features[0], list(zip(features[1:], candidates.scores[found].tolist(), strict=True)))


def find_distractors(
    candidates: Candidates, target_cxcywh: Array, *, above: float, overlap: float, at_most: int = AT_MOST
) -> list[int]:
    """Select distractors among candidates by non-maximum suppression.

    Args:
        candidates: all proposals of a frame.
        target_cxcywh: (4,) box of the target in frame pixels.
        above: lowest score of a distractor, exclusive.
        overlap: candidates with a larger IoU with the target or a better distractor are dropped.
        at_most: maximum number of distractors.

    Returns:
        Indices of the distractors, best first.
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
