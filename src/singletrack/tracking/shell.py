"""What the trackers of one target share: the network, the state of the target, ``init`` and ``update``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, BoxLike, check_box
from singletrack.geometry.crops import Image, check_frame
from singletrack.tracking.base import FloatArray, Inputs, Network, Result
from singletrack.tracking.common import OneThread, state_without_thread
from singletrack.tracking.state import KeepsState, rebuild

TEMPORARY = ("features", "frame")  # not part of the state between two frames


class FollowedTarget(Protocol):
    """State of the target. ``features`` are those of the current template; None until they are needed."""

    features: Any


Settings = TypeVar("Settings")
Target = TypeVar("Target", bound=FollowedTarget)


class TrackerShell(KeepsState, ABC, Generic[Settings, Target]):
    """Follows one target, as ``tracking.base.BatchTracker``. The network keeps no state: many trackers may share it.

    A subclass starts the state of a target in ``_start`` and brings its own arithmetic in ``preprocess`` and
    ``postprocess``.
    """

    default_settings: type[Settings]
    target_class: type[Target]

    def __init__(self, network: Network, settings: Settings | None = None) -> None:
        self.network = network
        self.settings: Settings = settings or self.default_settings()
        self._target: Target | None = None

    def init(self, frame: NDArray[np.uint8], box: BoxLike) -> None:
        """Set the target in the first frame. May be called again, to start over.

        Args:
            frame: (H, W, 3) uint8 RGB; a gray frame is repeated, an alpha channel is dropped.
            box: x, y, width, height in pixels. It may reach beyond the frame and be as small as a pixel.

        Raises:
            InputError: for an invalid frame or box.
        """
        frame = check_frame(frame)
        size_wh = (frame.shape[1], frame.shape[0])
        self._target = self._start(frame, check_box(box, size_wh), size_wh)

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Find the target in the next frame, (H, W, 3) uint8 RGB, of the same size as the first.

        A frame with one color all around the box, or for which the network's maps are not finite, scores 0 and leaves
        the box where it was.

        Raises:
            InputError: before ``init``, for an invalid frame, and while another thread is in it.
        """
        with OneThread.of(self):
            inputs = self.preprocess(frame)
            if inputs is None:
                return self.postprocess(None)
            target = self._followed()
            if target.features is None:
                target.features = self.network.encode(inputs.template)
            return self.postprocess(self.network.locate(target.features, inputs.search))

    def __getstate__(self) -> dict[str, Any]:
        return state_without_thread(self)

    def get_state(self) -> dict[str, Any]:
        """Return the state of the target between two frames, for ``set_state`` of a tracker of the same model.

        Features are left out: the network computes the same ones again.

        Raises:
            InputError: before ``init``.
        """
        target: Any = self._followed()
        return {each.name: getattr(target, each.name) for each in fields(target) if each.name not in TEMPORARY}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; raises InputError where it is of another tracker."""
        self._target = rebuild(self.target_class, {"features": None, **state})

    def __repr__(self) -> str:
        state = "no target yet" if self._target is None else "following"
        return f"<{type(self).__name__} with {self.network!r}, {state}>"

    @abstractmethod
    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs | None:
        """Compute the network inputs for the next frame; None where the frame shows nothing."""

    @abstractmethod
    def postprocess(self, maps: Mapping[str, FloatArray] | None) -> Result:
        """Compute the result from the network's maps, each with the batch of the inputs, or from None."""

    @abstractmethod
    def _start(self, frame: Image, box: Box, size_wh: tuple[int, int]) -> Target:
        """Start the state of a target in its first frame, whose size is size_wh."""

    def _followed(self) -> Target:
        if self._target is None:
            raise InputError("call init(frame, box) before update(frame); there is no target yet")
        return self._target
