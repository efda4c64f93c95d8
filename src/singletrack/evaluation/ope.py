"""Tracks the sequences of a data set in one process, one after another or several in one batch.

A sequence that fails becomes a ``Failure``; the others continue.
"""

from __future__ import annotations

import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np

from singletrack.datasets.base import Image, VideoSequence
from singletrack.errors import InputError, SingletrackError
from singletrack.evaluation.run_store import SequenceResult
from singletrack.geometry.boxes import Box
from singletrack.tracking import multi
from singletrack.tracking.base import BatchTracker, FloatArray, Inputs, Result, Tracker
from singletrack.tracking.resizing import FrameResizer

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a sequence has no result.

    Attributes:
        error: one line.
        trace: the traceback of an unexpected error; empty for a SingletrackError.
    """

    error: str
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Convert an exception to a failure."""
        if isinstance(error, SingletrackError):
            return cls(error=str(error))
        trace = "".join(traceback.format_exception(error))
        return cls(error=f"{type(error).__name__}: {error}", trace=trace)


# name of a sequence, and its result or failure
Outcome = tuple[str, SequenceResult | Failure]
OnFrames = Callable[[int], None]  # called with the number of newly tracked frames


def follow_sequences(
    tracker: Tracker, sequences: Iterable[VideoSequence], *, batch: int = 1, on_frames: OnFrames = lambda count: None
) -> Iterator[Outcome]:
    """Track each sequence from its first box to its end.

    Args:
        tracker: the tracker.
        sequences: the sequences.
        batch: number of sequences that advance together in one batch. With more than 1, the next sequence starts when
            one ends, and outcomes are in the order of completion. Boxes equal those of a batch of 1 up to rounding.

    Raises:
        InputError: the tracker does not support batches.
    """
    if batch > 1:
        yield from _follow_together(check_batch_tracker(tracker), sequences, batch, on_frames)
    else:
        for sequence in sequences:
            yield sequence.name, _attempt(_follow_one, tracker, sequence, on_frames)


def check_batch_tracker(tracker: Tracker) -> BatchTracker:
    """Return the tracker if it supports batches; raise InputError otherwise."""
    return multi.check_batch_tracker(tracker, "evaluate it with a batch of 1")


def _follow_one(tracker: Tracker, sequence: VideoSequence, on_frames: OnFrames) -> SequenceResult:
    notes = _Notes(sequence)
    for index in range(len(sequence)):
        frame = notes.resizer.fit(sequence.frames[index])
        start = time.perf_counter()
        result = notes.begin(tracker, frame) if index == 0 else tracker.update(frame)
        notes.add(notes.resizer.to_own(result), time.perf_counter() - start)
        del frame  # released before the next one is read, to hold one at a time
        on_frames(1)
    return notes.result()


class _Notes:
    """The results of one sequence so far, and the resizing of its frames to one size."""

    def __init__(self, sequence: VideoSequence) -> None:
        self.sequence = sequence
        self.resizer = FrameResizer()
        self.boxes: list[Box] = []
        self.scores: list[float] = []
        self.lost: list[bool] = []
        self.seconds: list[float] = []

    def begin(self, tracker: Tracker, frame: Image) -> Result:
        """Initialize a tracker with the first frame; the result is the given box."""
        x, y, width, height = self.sequence.boxes_xywh[0].tolist()
        tracker.init(frame, (x, y, width, height))
        return Result(box=(x, y, width, height), score=1.0, lost=False)

    def add(self, result: Result, seconds: float) -> None:
        """Add the result of the next frame; raises SingletrackError for a box that is not four finite numbers."""
        if len(result.box) != 4 or not np.isfinite(result.box).all():
            raise SingletrackError(
                f"boxes must be four finite numbers; got {result.box} in frame {len(self.boxes)}; fix the tracker"
            )
        self.boxes.append(result.box)
        self.scores.append(result.score)
        self.lost.append(result.lost)
        self.seconds.append(seconds)

    def result(self) -> SequenceResult:
        """Return all results; raises InputError for a sequence without frames."""
        if not self.boxes:
            raise InputError("the sequence has no frames; get a complete copy of it")
        return SequenceResult(
            boxes_xywh=np.array(self.boxes, np.float64),
            seconds=np.array(self.seconds, np.float64),
            scores=np.array(self.scores, np.float64),
            lost=np.array(self.lost, np.bool_),
        )


def _attempt(
    call: Callable[Arguments, Value], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Value | Failure:
    try:
        return call(*arguments, **options)
    except Exception as error:  # any error is reported, and the other sequences are kept
        return Failure.of(error)


# --- several sequences in one batch ----------------------------------------------------------------


class _Lane:
    """One of the sequences that advance together. Its next frame is read while the network runs."""

    def __init__(self, sequence: VideoSequence, tracker: BatchTracker, readers: ThreadPoolExecutor) -> None:
        self.notes = _Notes(sequence)
        self.tracker = tracker
        self._readers = readers
        self._coming = self._read(0)

    def _read(self, index: int) -> Future[Image]:
        return self._readers.submit(self.notes.sequence.frames.__getitem__, index)

    @property
    def ended(self) -> bool:
        return len(self.notes.boxes) == len(self.notes.sequence)

    def next_frame(self) -> Image:
        """Wait for the next frame, and start reading the one after it."""
        frame = self._coming.result()
        following = len(self.notes.boxes) + 1
        if following < len(self.notes.sequence):
            self._coming = self._read(following)
        return self.notes.resizer.fit(frame)

    def preprocess(self, frame: Image | Failure) -> Inputs | Result | Failure | None:
        """Compute the network inputs for a frame, or its result if no forward pass is needed."""
        if isinstance(frame, Failure):
            return frame
        if not self.notes.boxes:
            return _attempt(self.notes.begin, self.tracker, frame)
        return _attempt(self.tracker.preprocess, frame)

    def answer(
        self, look: Inputs | Result | Failure | None, maps: Mapping[str, FloatArray] | Failure | None
    ) -> Result | Failure:
        """Compute the result of a frame from the output of ``preprocess`` and the maps."""
        if isinstance(look, (Result, Failure)):
            return look
        found = maps if isinstance(maps, Failure) else _attempt(self.tracker.postprocess, maps)
        return found if isinstance(found, Failure) else self.notes.resizer.to_own(found)


def _follow_together(
    tracker: BatchTracker, sequences: Iterable[VideoSequence], batch: int, on_frames: OnFrames
) -> Iterator[Outcome]:
    """Track several sequences in batches, see ``follow_sequences``. The time of a step, without reading, is divided
    among them.
    """
    waiting = iter(sequences)
    lanes: list[_Lane] = []
    # always one batch size, so that results do not depend on the number of other sequences
    network = multi.SharedNetwork(tracker.network, [batch])
    with ThreadPoolExecutor() as readers:
        while True:
            while len(lanes) < batch and (sequence := next(waiting, None)) is not None:
                lanes.append(_Lane(sequence, network.share(tracker), readers))
            if not lanes:
                return
            frames = [_attempt(lane.next_frame) for lane in lanes]
            start = time.perf_counter()
            looks = list(readers.map(_Lane.preprocess, lanes, frames))
            del frames  # released before the following frames are read
            seen = _attempt(network.locate_each, [look for look in looks if isinstance(look, Inputs)])
            maps: Iterator[Mapping[str, FloatArray] | Failure] = (
                itertools.repeat(seen) if isinstance(seen, Failure) else iter(seen)
            )
            results = [
                lane.answer(look, next(maps) if isinstance(look, Inputs) else None)
                for lane, look in zip(lanes, looks, strict=True)
            ]
            seconds = (time.perf_counter() - start) / len(lanes)
            going_on = []
            for lane, result in zip(lanes, results, strict=True):
                failed = result if isinstance(result, Failure) else _attempt(lane.notes.add, result, seconds)
                if isinstance(failed, Failure):
                    yield lane.notes.sequence.name, failed
                elif lane.ended:
                    yield lane.notes.sequence.name, _attempt(lane.notes.result)
                else:
                    going_on.append(lane)
            on_frames(len(lanes))
            lanes = going_on
