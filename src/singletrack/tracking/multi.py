"""Several targets, one network: what is asked of it for all of them goes through it together.

Knows nothing of videos, of engines or of any one model.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.geometry.crops import check_frame
from singletrack.tracking.base import BatchTracker, CropArray, FloatArray, Inputs, Network, Result, Tracker
from singletrack.tracking.common import change_settings, check_next_frame

# Few sizes, for OpenVINO and CUDA graphs prepare each of them once, and powers of two, of which any number is made.
# More than 16 at once gains nothing on a processor and costs memory.
BATCH_SIZES = (1, 2, 4, 8, 16)
# A pass may be filled up by this much: 7 targets go as 8, 13 as 16; but 5 as 4 and 1, for on a processor empty places
# cost as much as targets.
FILLED_UP = 1.25

Followed = TypeVar("Followed", bound=BatchTracker)


class MultiTracker:
    """Follows any number of targets of one video through one network; they come and go while it runs.

    tracker: as ``singletrack.load`` gives it, which is left as it is; each target gets a copy.
    batch_sizes: of how many targets a pass through the network may be; an engine may prepare each when it is first
        met.

    Boxes, scores and verdicts are those of a tracker for each target, but for the rounding of floats. Raises
    InputError for a tracker that is no ``tracking.base.BatchTracker``.
    """

    def __init__(self, tracker: Tracker, *, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        self._tracker = check_batch_tracker(tracker, "follow its targets one by one")
        self._network = SharedNetwork(self._tracker.network, batch_sizes)
        self._targets: dict[int, BatchTracker] = {}
        self._size_wh = (0, 0)
        self._next_id = 1

    @property
    def ids(self) -> list[int]:
        """Numbers of the targets that are followed, in the order of their coming."""
        return list(self._targets)

    def add(self, frame: NDArray[np.uint8], box: Box, *, settings: Mapping[str, Any] | None = None) -> int:
        """Take one more target from a frame; it is followed from the next ``update`` on.

        frame: (H, W, 3) uint8 RGB, as large as those of the other targets. box: x, y, width, height in pixels.
        settings: what its tracker should do otherwise than the others', as for ``singletrack.load``.

        Gives its id: 1 for the first, never given again. Raises InputError for a frame, box or setting that cannot be
        meant.
        """
        frame = check_next_frame(frame, self._size_wh) if self._targets else check_frame(frame)
        target = self._network.share(self._tracker)
        if settings:
            _change_settings(target, settings)
        target.init(frame, box)
        self._size_wh = (frame.shape[1], frame.shape[0])
        number = self._next_id
        self._targets[number], self._next_id = target, number + 1
        return number

    def remove(self, id: int) -> None:
        """Follow this target no longer. Raises InputError for an id that is none, or not any more."""
        if id not in self._targets:
            raise InputError(f"expected the id of a target that is followed, among {self.ids}; got {id!r}")
        del self._targets[id]

    def update(self, frame: NDArray[np.uint8]) -> dict[int, Result]:
        """Find all targets in the next frame: results by id, in the order of the targets' coming.

        frame: (H, W, 3) uint8 RGB, of the same size as those before. Raises InputError for one that cannot be meant.
        """
        if self._targets:
            frame = check_next_frame(frame, self._size_wh)
        looks = [target.preprocess(frame) for target in self._targets.values()]
        seen = iter(self._network.locate_each([look for look in looks if look is not None]))
        return {
            number: target.postprocess(None if look is None else next(seen))
            for (number, target), look in zip(self._targets.items(), looks, strict=True)
        }


class SharedNetwork:
    """One network, asked for several trackers at once, in passes of a few sizes.

    Each template is encoded once, and its features are kept as long as the template.
    """

    def __init__(self, network: Network, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        if not batch_sizes or min(batch_sizes) < 1:
            raise InputError(f"expected batch sizes of 1 or more; got {list(batch_sizes)}; give one at least")
        self.network = network
        self.batch_sizes = sorted(batch_sizes)
        self._features: dict[int, tuple[weakref.ref[CropArray], Any]] = {}

    def share(self, tracker: Followed) -> Followed:
        """A copy of the tracker that follows another target, and asks for it here."""
        copied = copy.copy(tracker)
        if copied.network is self.network:
            copied.network = self
        return copied

    def encode(self, template: CropArray) -> Any:
        """The features of one template."""
        key = id(template)
        if key not in self._features:
            gone = weakref.ref(template, lambda _: self._features.pop(key, None) and None)
            self._features[key] = gone, self.network.encode(template)
        return self._features[key][1]

    def locate(self, features: Any, search: CropArray) -> Mapping[str, FloatArray]:
        """As the network itself."""
        return self.network.locate(features, search)

    def locate_each(self, inputs: Sequence[Inputs]) -> list[Mapping[str, FloatArray]]:
        """The maps of each, with a batch of 1. Those whose crops are of one size go together."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(inputs):
            alike.setdefault(each.search.shape, []).append(place)
        found: dict[int, Mapping[str, FloatArray]] = {}
        for places in alike.values():
            done = 0
            for size in split(len(places), self.batch_sizes):
                asked = places[done : done + size]
                # the first is repeated where there are too few, so that the engine meets no other size
                filled = [inputs[place] for place in [*asked, *[asked[0]] * (size - len(asked))]]
                features = self._join([self.encode(each.template) for each in filled])
                maps = self.network.locate(features, np.concatenate([each.search for each in filled]))
                for row, place in enumerate(asked):
                    found[place] = {name: values[row : row + 1] for name, values in maps.items()}
                done += len(asked)
        return [found[place] for place in range(len(inputs))]

    def _join(self, features: list[Any]) -> Any:
        if len(features) == 1:
            return features[0]
        return getattr(self.network, "join", np.concatenate)(features)


def split(count: int, sizes: Sequence[int]) -> list[int]:
    """Sizes of the passes for so many targets; the last may have places to spare, see ``FILLED_UP``.

    sizes: what there is to choose from, ascending.
    """
    passes = []
    while count > 0:
        below = [size for size in sizes if size <= count]
        above = [size for size in sizes if count <= size <= (FILLED_UP * count if below else size)]
        passes.append(above[0] if above else below[-1])
        count -= passes[-1]
    return passes


def check_batch_tracker(tracker: Tracker, advice: str) -> BatchTracker:
    """The tracker, if its targets can share a pass of the network; raises InputError with the advice if not."""
    if not isinstance(tracker, BatchTracker):
        raise InputError(
            f"expected a tracker with prepare and read (tracking.base.BatchTracker) for a batch; got "
            f"{type(tracker).__name__}; {advice}"
        )
    return tracker


def _change_settings(tracker: Any, changes: Mapping[str, Any]) -> None:
    try:
        tracker.settings = change_settings(tracker.settings, changes, "this tracker")
    except AttributeError as error:
        raise InputError(
            f"expected no settings for a {type(tracker).__name__}, whose settings cannot be changed; leave them out"
        ) from error
