"""Following the sequences of a data set in one process: one after the other, or several in one pass of the network.

A sequence that fails becomes a ``Failure``; the others go on. Knows nothing of files and of other processes.
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

    error: in one line. trace: where an error came from that nobody foresaw; empty for those raised on purpose.
    """

    error: str
    trace: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an exception is."""
        if isinstance(error, SingletrackError):
            return cls(error=str(error))
        trace = "".join(traceback.format_exception(error))
        return cls(error=f"{type(error).__name__}: {error}", trace=trace)


# the name of a sequence, and what came of it
Outcome = tuple[str, SequenceResult | Failure]
OnFrames = Callable[[int], None]  # is told how many more frames were followed


def follow_sequences(
    tracker: Tracker, sequences: Iterable[VideoSequence], *, batch: int = 1, on_frames: OnFrames = lambda count: None
) -> Iterator[Outcome]:
    """Follow each sequence from its first box to its end.

    batch: how many advance together through one pass of the network; with more than 1, the next of ``sequences`` is
        asked for when one has ended, and outcomes come in the order in which they end. Boxes are those of a batch of
        1, but for the rounding of floats.

    Raises InputError for a batch of a tracker that knows no batches.
    """
    if batch > 1:
        yield from _follow_together(check_batch_tracker(tracker), sequences, batch, on_frames)
    else:
        for sequence in sequences:
            yield sequence.name, _attempt(_follow_one, tracker, sequence, on_frames)


def check_batch_tracker(tracker: Tracker) -> BatchTracker:
    """The tracker, if its sequences can share a pass of the network; raises InputError if not."""
    return multi.check_batch_tracker(tracker, "evaluate it with a batch of 1")


def _follow_one(tracker: Tracker, sequence: VideoSequence, on_frames: OnFrames) -> SequenceResult:
    notes = _Notes(sequence)
    for index in range(len(sequence)):
        frame = notes.resizer.fit(sequence.frames[index])
        start = time.perf_counter()
        result = notes.begin(tracker, frame) if index == 0 else tracker.update(frame)
        notes.add(notes.resizer.to_own(result), time.perf_counter() - start)
        del frame  # before the next one is read: one at a time
        on_frames(1)
    return notes.result()


class _Notes:
    """The results of one sequence so far; and what makes its frames equally large."""

    def __init__(self, sequence: VideoSequence) -> None:
        self.sequence = sequence
        self.resizer = FrameResizer()
        self.boxes: list[Box] = []
        self.scores: list[float] = []
        self.lost: list[bool] = []
        self.seconds: list[float] = []

    def begin(self, tracker: Tracker, frame: Image) -> Result:
        """Show a tracker the first frame; its result is the box that is given."""
        x, y, width, height = self.sequence.boxes_xywh[0].tolist()
        tracker.init(frame, (x, y, width, height))
        return Result(box=(x, y, width, height), score=1.0, lost=False)

    def add(self, result: Result, seconds: float) -> None:
        """Keep the result of the next frame. Raises SingletrackError for a box that is not four finite numbers."""
        if len(result.box) != 4 or not np.isfinite(result.box).all():
            raise SingletrackError(
                f"expected boxes of four finite numbers; got {result.box} in frame {len(self.boxes)}; mend the tracker"
            )
        self.boxes.append(result.box)
        self.scores.append(result.score)
        self.lost.append(result.lost)
        self.seconds.append(seconds)

    def result(self) -> SequenceResult:
        """All of it. Raises InputError for a sequence without a frame."""
        if not self.boxes:
            raise InputError("expected at least one frame; got none; get a whole copy of this sequence")
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
    except Exception as error:  # whatever it is, it is reported, and the other sequences are kept
        return Failure.of(error)


# --- several sequences in one pass of the network ----------------------------------------------------------------


class _Lane:
    """One of the sequences that advance together. Its next frame is read while the network works."""

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
        """Wait for the next frame, and have the one after it read."""
        frame = self._coming.result()
        following = len(self.notes.boxes) + 1
        if following < len(self.notes.sequence):
            self._coming = self._read(following)
        return self.notes.resizer.fit(frame)

    def preprocess(self, frame: Image | Failure) -> Inputs | Result | Failure | None:
        """What the network should see of this frame, where it is asked at all."""
        if isinstance(frame, Failure):
            return frame
        if not self.notes.boxes:
            return _attempt(self.notes.begin, self.tracker, frame)
        return _attempt(self.tracker.preprocess, frame)

    def answer(
        self, look: Inputs | Result | Failure | None, maps: Mapping[str, FloatArray] | Failure | None
    ) -> Result | Failure:
        """The result of this frame, from what ``preprocess`` gave and what the network made of it."""
        if isinstance(look, (Result, Failure)):
            return look
        found = maps if isinstance(maps, Failure) else _attempt(self.tracker.postprocess, maps)
        return found if isinstance(found, Failure) else self.notes.resizer.to_own(found)


def _follow_together(
    tracker: BatchTracker, sequences: Iterable[VideoSequence], batch: int, on_frames: OnFrames
) -> Iterator[Outcome]:
    """As ``follow_sequences``. The time of a step, without reading, is shared by the sequences in it."""
    waiting = iter(sequences)
    lanes: list[_Lane] = []
    # always one size, so that what a sequence gets does not hang on how many others go with it
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
            del frames  # before the ones after the next are read
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
