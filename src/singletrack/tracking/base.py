"""The interfaces of tracking: the network, the tracker and the result of one frame.

A tracker holds the state of one target. A network holds none, so one network can serve many trackers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from singletrack.geometry.boxes import Box

if TYPE_CHECKING:
    from singletrack.tracking.common import LostSettings

FloatArray = NDArray[np.float32]
CropArray = NDArray[np.uint8] | FloatArray


class Network(Protocol):
    """One model on one engine. Both calls take a batch. The network is stateless and can be shared by trackers.

    Crops are pixels, (B, H, W, 3) uint8, which the engine normalizes as in training; or float32 arrays,
    (B, 3, H, W), that are normalized already. Colors are RGB, or BGR where the model was trained so. Some models take
    a fourth channel, 1 beyond the frame and 0 inside. Models with several templates take (B, K, ...).
    """

    def encode(self, template: CropArray) -> Any:
        """Compute the features of template crops, an opaque value that only ``locate`` of this network reads.

        Features remain valid across calls. If they are not NumPy arrays, batch first, the network has a method
        ``join`` that concatenates the features of several calls.
        """

    def locate(self, features: Any, search: CropArray) -> Mapping[str, FloatArray]:
        """Compute named maps, batch first, from features and search crops."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where the target is in one frame.

    Attributes:
        box: x, y, width, height in pixels of the frame; (x, y) is the top-left corner.
        score: confidence of the network, 0 to 1.
        lost: True while the target is probably gone. ``box`` is then the last confident box. With trackers that
            follow the published code it is still the network's best guess.
        index: number of the frame in its source, from 0; None outside ``track``.
        time: seconds since the source's first frame; None outside ``track``.
        frame: the picture, (H, W, 3) uint8 RGB, where ``track(frames=True)`` was called; else None.
        dropped: frames of a camera or stream that were passed over before this one; None for other sources and outside
            ``track``.

    Two results are equal if their boxes, scores and ``lost`` are.
    """

    box: tuple[float, float, float, float]
    score: float
    lost: bool
    index: int | None = field(default=None, compare=False)
    time: float | None = field(default=None, compare=False)
    frame: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    dropped: int | None = field(default=None, compare=False)


class Tracker(Protocol):
    """Follows one target from frame to frame."""

    def init(self, frame: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
        """Set the target in the first frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            box: x, y, width, height in pixels.
        """

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, (H, W, 3) uint8 RGB."""


class Inputs(NamedTuple):
    """Network inputs of one tracker for one frame, each with a batch of 1, or of 2 for two looks at once.

    Attributes:
        template: input of ``encode``; the same object as long as the template does not change.
        search: input of ``locate``.
    """

    template: CropArray
    search: CropArray


@runtime_checkable
class BatchTracker(Tracker, Protocol):
    """A tracker whose ``update`` comes in two halves, so that several can share one pass through the network.

    ``update(frame)`` equals ``postprocess(network.locate(network.encode(template), search))`` with the template and
    search of ``preprocess(frame)``. A shallow copy, made before ``init``, follows another target with the same network.
    """

    network: Network

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """Compute the network inputs for the next frame; None where the frame shows nothing."""

    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """Compute the result from the network's maps, each with the batch of the inputs, or from None."""


class Candidate(NamedTuple):
    """The best place in one search region.

    Attributes:
        box: x, y, width, height in pixels of the frame.
        score: confidence, 0 to 1.
    """

    box: Box
    score: float


@runtime_checkable
class SearchingTracker(BatchTracker, Protocol):
    """A tracker that can search anywhere in the frame, as ``tracking.longterm`` does once the target is lost.

    ``preprocess_at`` and ``decode_at`` change no state. They may be called after ``update`` of one frame and before
    that of the next, or instead of it.
    """

    @property
    def settings(self) -> LostSettings:
        """When the target counts as lost, and how to search for it. May be set before ``init``."""

    def preprocess_at(self, frame: NDArray[np.uint8], box: Box, search_scale: float = 1.0) -> Inputs | None:
        """Compute the network inputs for the search region around a box; None if it shows nothing.

        Args:
            frame: (H, W, 3) uint8 RGB.
            box: x, y, width, height in pixels.
            search_scale: factor on the side of the search region.
        """

    def decode_at(self, maps: Mapping[str, FloatArray] | None, box: Box, search_scale: float = 1.0) -> Candidate | None:
        """Find the best place in that search region, without window or penalties; None if no place is found.

        The box lies inside the frame.
        """

    def reset_to(self, box: Box) -> None:
        """Continue from this box as if the target had just been found there. It is no longer lost."""
