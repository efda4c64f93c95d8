"""What following needs: a network behind two calls, and what comes out of one frame.

Knows nothing of torch, of engines or of any one model. A tracker holds the state of one target; a
network holds none, so that one network can serve many trackers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box

if TYPE_CHECKING:
    from singletrack.tracking.common import LostSettings

FloatArray = NDArray[np.float32]
CropArray = NDArray[np.uint8] | FloatArray


class Network(Protocol):
    """One model on one engine. Both calls take a batch, remember nothing and may be shared.

    Crops are pixels, (B, H, W, 3) uint8, which the engine normalizes as the model was trained; or, of type float32,
    what comes of it, (B, 3, H, W). Colors are RGB, or BGR where the model was trained so. A model that must know what
    lies beyond the frame takes a fourth channel, 1 there and 0 elsewhere; one with several templates takes them side
    by side, as (B, K, ...).
    """

    def encode(self, template: CropArray) -> Any:
        """Template crops -> features, an opaque value that only ``locate`` of this network reads.

        They stay true, whatever the network is asked later. Features that are no numpy arrays, batch first, come with
        a method ``join`` of the network, which makes those of several calls one.
        """

    def locate(self, features: Any, search: CropArray) -> Mapping[str, FloatArray]:
        """Features and search crops -> named maps, each with the batch first."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where the target is in one frame.

    box: x, y, width, height in pixels of the frame, top-left corner first.
    score: how sure the network is, 0 to 1.
    lost: True while the target is believed to be gone. The box is then the last one that was believed, or, with a
        tracker whose settings follow the published code, still the network's best guess.
    """

    box: tuple[float, float, float, float]
    score: float
    lost: bool


class Tracker(Protocol):
    """Follows one target from frame to frame."""

    def init(self, frame: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
        """Take the target from the first frame: (H, W, 3) uint8 RGB and x, y, width, height in pixels."""

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame: (H, W, 3) uint8 RGB."""


class Inputs(NamedTuple):
    """What one tracker wants its network to see in one frame, each with a batch of 1.

    template: as ``encode`` takes it; the same object from frame to frame, as long as it shows the same.
    search: as ``locate`` takes it.
    """

    template: CropArray
    search: CropArray


@runtime_checkable
class BatchTracker(Tracker, Protocol):
    """A tracker whose ``update`` comes in two halves, so that several can share one pass through the network.

    ``update(frame)`` gives what ``postprocess(network.locate(network.encode(template), search))`` does, with the template
    and the search of ``preprocess(frame)``. A shallow copy, made before ``init``, follows another target with the same
    network.
    """

    network: Network

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """What the network should see of the next frame; None where there is nothing to be seen."""

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """Where the target is, from what the network made of it, each map with a batch of 1, or None."""


class Candidate(NamedTuple):
    """What was seen in one look: the best place, as x, y, width, height in pixels of the frame, and its score."""

    box: Box
    score: float


@runtime_checkable
class SearchingTracker(BatchTracker, Protocol):
    """A tracker that can be asked to look elsewhere, as ``tracking.longterm`` does once the target is lost.

    ``preprocess_at`` and ``decode_at`` change nothing; ``preprocess`` is mostly ``preprocess_at(frame, box)``. A wrapper asks between ``update``
    of one frame and that of the next, or in place of it.
    """

    @property
    def settings(self) -> LostSettings:
        """What the search goes by, and when the target counts as lost; may be set before ``init``."""

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """What the network should see of the search square round a box, its side times `search_scale`; None if nothing."""

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """What it saw in that square: the best place anywhere in it, without windows and penalties; None if nothing.

        The box is inside the frame.
        """

    def reset_to(self, box: Box) -> None:
        """Go on from this box, as if the target had just been found there; no longer lost."""
