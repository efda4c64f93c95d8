"""CVAT: a tracking function for the agent of its SDK, so that CVAT's "track" button runs one of our models.

    cvat-cli function create-native singletrack --function-module singletrack.integrations.cvat
    cvat-cli function run-agent ID --function-module singletrack.integrations.cvat

Add ``-p model=str:NAME`` and the like to both for what ``create`` takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack import loading
from singletrack.engines import Precision, require_packages
from singletrack.tracking.base import Tracker
from singletrack.tracking.multi import SharedNetwork, check_batch_tracker

CVAT_PACKAGES = (("cvat_sdk",), "pip install cvat-sdk cvat-cli")
SHAPE = "rectangle"


class CVATTracker:
    """A tracking function as ``cvat_sdk.auto_annotation`` asks for one: many rectangles, one network.

    The state of a shape is a tracker of its own, which shares the network with the others.

    Attributes:
        spec: What CVAT is told about it: it tracks rectangles.
    """

    def __init__(self, tracker: Tracker) -> None:
        annotation = _import_sdk()
        self.spec = annotation.TrackingFunctionSpec(supported_shape_types={SHAPE})
        self._make_shape = annotation.TrackableShape
        self._tracker = check_batch_tracker(tracker, "choose another model")
        self._network = SharedNetwork(self._tracker.network)

    def preprocess_image(self, context: Any, image: Any) -> NDArray[np.uint8]:
        """A picture of PIL -> (H, W, 3) uint8 RGB."""
        return np.asarray(image.convert("RGB"), np.uint8)

    def init_tracking_state(self, context: Any, pp_image: NDArray[np.uint8], shape: Any) -> Tracker:
        """Take a target: `shape.points` are left, top, right and bottom in pixels.

        Raises InputError for a rectangle without area or outside the picture.
        """
        left, top, right, bottom = shape.points
        target = self._network.share(self._tracker)
        target.init(pp_image, (left, top, right - left, bottom - top))
        return target

    def track(self, context: Any, pp_image: NDArray[np.uint8], state: Tracker) -> Any:
        """Find a target in the next picture; None while it is lost."""
        result = state.update(pp_image)
        if result.lost:
            return None
        x, y, width, height = result.box
        frame_height, frame_width = pp_image.shape[:2]
        left, right = (min(max(value, 0.0), float(frame_width)) for value in (x, x + width))
        top, bottom = (min(max(value, 0.0), float(frame_height)) for value in (y, y + height))
        if right <= left or bottom <= top:
            return None
        return self._make_shape(type=SHAPE, points=[left, top, right, bottom])


def create(
    model: str = "ostrack-tiny",
    weights: str | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
) -> CVATTracker:
    """Make the function; ``cvat-cli`` calls this, with the values of its ``-p``.

    Args:
        model, weights, engine, device, precision, threads: As for ``singletrack.load``.

    Raises:
        MissingDependencyError: If CVAT's SDK is not installed.
    """
    _import_sdk()
    return CVATTracker(
        loading.load(model, weights=weights, engine=engine, device=device, precision=precision, threads=threads)
    )


def _import_sdk() -> Any:
    require_packages("CVAT", *CVAT_PACKAGES)
    return import_module("cvat_sdk.auto_annotation")
