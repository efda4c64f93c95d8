"""Tracks many targets with one network, in shared batches."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import BoxLike, check_box
from singletrack.geometry.crops import check_frame
from singletrack.tracking.base import BatchTracker, CropArray, FloatArray, Inputs, Network, Result, Tracker
from singletrack.tracking.common import OneThread, change_settings, check_next_frame, state_without_thread
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.state import KeepsState, from_bytes

# Only a few sizes, since OpenVINO and CUDA graphs prepare each of them once, and powers of two, which add up to any
# number. More than 16 at once gains nothing on a CPU and costs memory.
BATCH_SIZES = (1, 2, 4, 8, 16)
# A batch may be padded by this factor: 7 targets run as 8, 13 as 16, but 5 as 4 and 1, because on a CPU an empty slot
# costs as much as a target.
FILLED_UP = 1.25

Followed = TypeVar("Followed", bound=BatchTracker)
Found = TypeVar("Found")


class MultiTracker:
    """Tracks any number of targets of one video with one network. Targets can be added and removed at any time.

    Results equal those of separate trackers, up to floating-point rounding.

    Args:
        tracker: a tracker from ``singletrack.load``, or your own. It is not changed; each target gets a shallow copy.
            Targets of a ``tracking.base.BatchTracker`` share forward passes; others are updated one after the other.
        batch_sizes: allowed batch sizes of a forward pass. An engine may prepare each size on first use.
    """

    def __init__(self, tracker: Tracker, *, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        self._tracker = tracker
        self._network = SharedNetwork(tracker.network, batch_sizes) if isinstance(tracker, BatchTracker) else None
        self._targets: dict[int, Tracker] = {}
        self._size_wh = (0, 0)
        self._next_id = 1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._targets)} targets, each a {self._tracker!r}>"

    @property
    def ids(self) -> list[int]:
        """Ids of the current targets, in the order in which they were added."""
        return list(self._targets)

    def add(
        self,
        frame: NDArray[np.uint8],
        box: BoxLike,
        *,
        settings: Mapping[str, Any] | None = None,
        later: Iterable[NDArray[np.uint8]] = (),
    ) -> int:
        """Add a target. It is tracked from the next ``update`` on.

        Args:
            frame: (H, W, 3) uint8 RGB, of the same size as the other frames.
            box: x, y, width, height in pixels.
            settings: tracker settings to change for this target, as for ``singletrack.load``.
            later: frames between ``frame`` and the next of ``update``, oldest first, in which this target alone is
                followed at once: for a box that was drawn on a picture that is no longer the newest.

        Returns:
            The id of the target. The first is 1; ids are never reused.

        Raises:
            InputError: an invalid frame, box or setting.
        """
        return self._enter(self._start(frame, box, settings, later))

    def state(self, id: int) -> bytes:
        """Return the state of a target between two frames, for ``restore``; see ``singletrack.restore``.

        Raises:
            InputError: there is no target with this id, or the tracker has no state that can be kept.
        """
        target = self._targets.get(id)
        if target is None:
            raise InputError(f"unknown target id {id!r}; the current ids are {self.ids}")
        return _check_keeps_state(target).state()

    def restore(self, frame: NDArray[np.uint8], state: bytes) -> int:
        """Add a target that resumes from a state. It is tracked from the next ``update`` on.

        Args:
            frame: the frame that the state is of, (H, W, 3) uint8 RGB, of the same size as the other frames.
            state: what ``state`` of a tracker with the same model and weights returned.

        Returns:
            The id of the target, as ``add`` does.

        Raises:
            InputError: an invalid frame, or bytes that are no state of this kind of tracker.
        """
        frame = check_next_frame(frame, self._size_wh) if self._targets else check_frame(frame)
        target = self._copy()
        _check_keeps_state(target).continue_from(from_bytes(state))
        self._size_wh = (frame.shape[1], frame.shape[0])
        return self._enter(target)

    def restart(
        self, id: int, frame: NDArray[np.uint8], box: BoxLike, *, later: Iterable[NDArray[np.uint8]] = ()
    ) -> None:
        """Start a target over, with its id, from a box that was drawn anew; arguments and errors as for ``add``."""
        if id not in self._targets:
            raise InputError(f"unknown target id {id!r}; the current ids are {self.ids}")
        self._targets[id] = self._start(frame, box, None, later)

    def _start(
        self,
        frame: NDArray[np.uint8],
        box: BoxLike,
        settings: Mapping[str, Any] | None,
        later: Iterable[NDArray[np.uint8]],
    ) -> Tracker:
        frame = check_next_frame(frame, self._size_wh) if self._targets else check_frame(frame)
        target = self._copy()
        if settings:
            _change_settings(target, settings)
        x, y, width, height = check_box(box, (frame.shape[1], frame.shape[0]))
        target.init(frame, (x, y, width, height))
        self._size_wh = (frame.shape[1], frame.shape[0])
        for each in later:
            target.update(check_next_frame(each, self._size_wh))
        return target

    def _enter(self, target: Tracker) -> int:
        number = self._next_id
        self._targets[number], self._next_id = target, number + 1
        return number

    def _copy(self) -> Tracker:
        if self._network is not None and isinstance(self._tracker, BatchTracker):
            return self._network.share(self._tracker)
        return copy.copy(self._tracker)

    def remove(self, id: int) -> None:
        """Remove a target.

        Raises:
            InputError: there is no target with this id.
        """
        if id not in self._targets:
            raise InputError(f"unknown target id {id!r}; the current ids are {self.ids}")
        del self._targets[id]

    def search_again(self) -> None:
        """Search the whole frame for all targets from the next frame on, as after an interruption of the source.

        Trackers without long-term search go on from the last box.
        """
        for target in self._targets.values():
            if isinstance(target, LongTermTracker):
                target.search_again()

    def update(self, frame: NDArray[np.uint8]) -> dict[int, Result]:
        """Find all targets in the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of the same size as the frames before.

        Returns:
            Results by id, in the order in which the targets were added.

        Raises:
            InputError: an invalid frame, or another thread is in it.
        """
        with OneThread.of(self):
            return self._update(frame)

    def beside(self) -> MultiTracker:
        """Return an empty tracker for another video, with the same network, for ``update_together``."""
        other = MultiTracker(self._tracker)
        other._network = self._network
        return other

    def _update(self, frame: NDArray[np.uint8]) -> dict[int, Result]:
        asked = self._ask(frame)
        if self._network is None:
            return {number: target.update(asked.frame) for number, target in self._targets.items()}
        return self._answer(asked, self._network.locate_each(asked.inputs))

    def _ask(self, frame: NDArray[np.uint8]) -> _Asked:
        """Compute what the network is to see in the next frame; nothing without a shared network."""
        if self._targets:
            frame = check_next_frame(frame, self._size_wh)
        if self._network is None:
            return _Asked(frame, {})
        return _Asked(frame, {number: target.preprocess(frame) for number, target in self._followed.items()})

    def _answer(self, asked: _Asked, maps: Iterable[Mapping[str, FloatArray]]) -> dict[int, Result]:
        """Compute the results from the maps of ``asked.inputs``."""
        coming = iter(maps)
        return {
            number: self._followed[number].postprocess(None if each is None else next(coming))
            for number, each in asked.by_id.items()
        }

    @property
    def _followed(self) -> dict[int, BatchTracker]:
        return cast(dict[int, BatchTracker], self._targets)  # copies of one, which was checked when it came

    def __getstate__(self) -> dict[str, Any]:
        return state_without_thread(self)


@dataclass(frozen=True)
class _Asked:
    """What the network is to see of the targets of a video: inputs by id, None for a target that needs none."""

    frame: NDArray[np.uint8]
    by_id: Mapping[int, Inputs | None]

    @property
    def inputs(self) -> list[Inputs]:
        return [each for each in self.by_id.values() if each is not None]


def update_together(frames: Sequence[tuple[MultiTracker, NDArray[np.uint8]]]) -> list[dict[int, Result] | Exception]:
    """Find the targets of several videos, each in its next frame, in shared passes of one network.

    Args:
        frames: trackers of ``MultiTracker.beside``, each with the next frame of its video.

    Returns:
        For each video the results by id; or the error of its own steps, which leaves the others alone.

    Raises:
        Exception: an error of the network, which concerns all.
    """
    asked = [_or_error(many._ask, frame) for many, frame in frames]
    inputs = [each for found in asked if isinstance(found, _Asked) for each in found.inputs]
    network = frames[0][0]._network if frames else None
    maps = iter(network.locate_each(inputs) if network is not None else ())
    found: list[dict[int, Result] | Exception] = []
    for (many, frame), each in zip(frames, asked, strict=True):
        if isinstance(each, Exception):
            found.append(each)
        elif network is None:
            found.append(_or_error(many.update, frame))
        else:
            found.append(_or_error(many._answer, each, list(itertools.islice(maps, len(each.inputs)))))
    return found


def _or_error(function: Callable[..., Found], *arguments: Any) -> Found | Exception:
    try:
        return function(*arguments)
    except Exception as error:  # any: it is the caller's to judge
        return error


class SharedNetwork:
    """Runs one network for several trackers at once, in batches of a few sizes.

    Each template is encoded once. Its features are kept as long as the template exists.
    """

    def __init__(self, network: Network, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        if not batch_sizes or min(batch_sizes) < 1:
            raise InputError(f"batch sizes must be at least 1; got {list(batch_sizes)}; give at least one")
        self.network = network
        self.batch_sizes = sorted(batch_sizes)
        self._features: dict[int, tuple[weakref.ref[CropArray], Any]] = {}

    def __getstate__(self) -> dict[str, Any]:  # features are computed again where it is read
        return {"network": self.network, "batch_sizes": self.batch_sizes, "_features": {}}

    def share(self, tracker: Followed) -> Followed:
        """Return a copy of a tracker for another target that uses this network."""
        copied = copy.copy(tracker)
        if copied.network is self.network:
            copied.network = self
        return copied

    def encode(self, template: CropArray) -> Any:
        """Compute the features of a template, or return them from the cache."""
        key = id(template)
        if key not in self._features:
            gone = weakref.ref(template, lambda _: self._features.pop(key, None) and None)
            self._features[key] = gone, self.network.encode(template)
        return self._features[key][1]

    def locate(self, features: Any, search: CropArray) -> Mapping[str, FloatArray]:
        """Run the network itself."""
        return self.network.locate(features, search)

    def locate_each(self, inputs: Sequence[Inputs]) -> list[Mapping[str, FloatArray]]:
        """Compute the maps of each input, with its batch. Crops of equal size share passes."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(inputs):
            alike.setdefault(each.search.shape, []).append(place)
        found: dict[int, Mapping[str, FloatArray]] = {}
        for shape, places in alike.items():
            done, looks = 0, shape[0]
            for size in split(len(places), self.batch_sizes):
                asked = places[done : done + size]
                # pad with the first input, so that the engine sees no other batch size
                filled = [inputs[place] for place in [*asked, *[asked[0]] * (size - len(asked))]]
                features = self._join([self.encode(each.template) for each in filled])
                maps = self.network.locate(features, np.concatenate([each.search for each in filled]))
                for row, place in enumerate(asked):
                    own = slice(row * looks, (row + 1) * looks)
                    found[place] = {name: values[own] for name, values in maps.items()}
                done += len(asked)
        return [found[place] for place in range(len(inputs))]

    def _join(self, features: list[Any]) -> Any:
        if len(features) == 1:
            return features[0]
        return getattr(self.network, "join", np.concatenate)(features)


def split(count: int, sizes: Sequence[int]) -> list[int]:
    """Split a number of targets into batch sizes. The last batch may be padded, see ``FILLED_UP``.

    Args:
        count: number of targets.
        sizes: allowed batch sizes, ascending.
    """
    passes = []
    while count > 0:
        below = [size for size in sizes if size <= count]
        above = [size for size in sizes if count <= size <= (FILLED_UP * count if below else size)]
        passes.append(above[0] if above else below[-1])
        count -= passes[-1]
    return passes


def check_batch_tracker(tracker: Tracker, advice: str) -> BatchTracker:
    """Return the tracker if it can share batches; raise InputError with the advice otherwise."""
    if not isinstance(tracker, BatchTracker):
        raise InputError(
            f"batches need a tracker with preprocess and postprocess (tracking.base.BatchTracker); got "
            f"{type(tracker).__name__}; {advice}"
        )
    return tracker


def _check_keeps_state(tracker: Tracker) -> KeepsState:
    if not isinstance(tracker, KeepsState):
        raise InputError(
            f"expected a tracker of this package, whose state can be kept; got {type(tracker).__name__}; start it with "
            "init instead"
        )
    return tracker


def _change_settings(tracker: Any, changes: Mapping[str, Any]) -> None:
    try:
        tracker.settings = change_settings(tracker.settings, changes, "this tracker")
    except AttributeError as error:
        raise InputError(f"the settings of a {type(tracker).__name__} cannot be changed; leave them out") from error
