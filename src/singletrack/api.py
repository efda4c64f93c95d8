"""Following one object or many through a source, from their first boxes. Knows nothing of the command line."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from singletrack import loading
from singletrack.drawing import draw_result, draw_results, draw_truth
from singletrack.errors import InputError
from singletrack.files import check_file
from singletrack.geometry.boxes import Box
from singletrack.loading import DEFAULT_MODEL, make_options
from singletrack.results import FORMATS, ResultWriter
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import VideoReader, VideoWriter, open_video
from singletrack.video.writer import ENDINGS as VIDEO_ENDINGS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from singletrack.loading import LoadArguments

Frame = NDArray[np.uint8]
# The boxes of many targets: all in the first frame that is followed, or by the number of the frame they are first in.
Boxes = Sequence[Box] | Mapping[int, Sequence[Box]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One followed frame.

    index: number of the frame in its source, from 0.
    time: seconds since the source's first frame.
    frame: (H, W, 3) uint8 RGB.
    results: where the targets are in it, by their ids; for one that is new in it, the box that was given.
    seconds: how long the tracker took, reading and drawing not counted.
    """

    index: int
    time: float
    frame: Frame
    results: Mapping[int, Result]
    seconds: float

    @property
    def result(self) -> Result:
        """That of the only target."""
        (result,) = self.results.values()
        return result


@overload
def track(
    source: str | Path | int,
    box: Box,
    *,
    model: str = ...,
    start: int = ...,
    tracker: Tracker | None = ...,
    **options: Unpack[LoadArguments],
) -> Iterator[Result]: ...


@overload
def track(
    source: str | Path | int,
    *,
    boxes: Boxes,
    model: str = ...,
    start: int = ...,
    tracker: Tracker | None = ...,
    **options: Unpack[LoadArguments],
) -> Iterator[dict[int, Result]]: ...


def track(
    source: str | Path | int,
    box: Box | None = None,
    *,
    boxes: Boxes | None = None,
    model: str = DEFAULT_MODEL,
    start: int = 0,
    tracker: Tracker | None = None,
    **options: Unpack[LoadArguments],
) -> Iterator[Result] | Iterator[dict[int, Result]]:
    """Follow one object or many, frame by frame; the first result of each is its box itself, with score 1.

    source: anything that ``open_video`` takes.
    box: x, y, width, height in pixels of the first frame that is followed; each frame then gives its result.
    boxes: those of many targets, in its place; each frame then gives results by id, which count from 1 in this order.
        Where they do not all begin in frame `start`, the boxes by the number of the frame that they are in.
    model, options: as for ``load``.
    start: number of the first frame that is followed, from 0; those before it give no result.
    tracker: one that is already loaded, used instead.

    Raises, with the first result, VideoError for the source and InputError for a box, or for a start that the
    source does not reach; and DamagedVideoError after the last frame that could be read, if the source is cut short
    or damaged. InputError comes after the last frame, where the source ends before a later target begins.
    """
    targets = plan_targets(box, boxes, start)
    with open_video(source) as video:
        if tracker is None:
            tracker = loading.load_with(model, make_options(options))
        for step in follow_frames(video, targets, make_crew(tracker, many=boxes is not None)):
            yield step.result if boxes is None else dict(step.results)


class Crew(Protocol):
    """Who follows: a ``MultiTracker``, or a tracker of one target that looks like one."""

    def add(self, frame: Frame, box: Box) -> int:
        """Take a target from this frame, and give its id."""

    def update(self, frame: Frame) -> dict[int, Result]:
        """Find the targets in the next frame: results by id."""


class _One:
    """A tracker of one target, whatever it is, with the calls of many."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def add(self, frame: Frame, box: Box) -> int:
        self._tracker.init(frame, box)
        return 1

    def update(self, frame: Frame) -> dict[int, Result]:
        return {1: self._tracker.update(frame)}


def make_crew(tracker: Tracker, *, many: bool) -> Crew:
    """Who follows with this tracker; raises InputError where many targets are more than it can."""
    return MultiTracker(tracker) if many else _One(tracker)


def plan_targets(box: Box | None, boxes: Boxes | None, start: int) -> dict[int, Sequence[Box]]:
    """The boxes by the numbers of their frames, ascending; raises InputError where they cannot be meant."""
    if (box is None) == (boxes is None):
        raise InputError("expected either a box or boxes; got both or neither; give one of them")
    if boxes is None:
        boxes = [] if box is None else [box]
    if isinstance(boxes, Mapping):
        if start:
            raise InputError(
                f"expected no start beside boxes that tell their frames; got {start}; leave it out, or list the boxes"
            )
        targets = {number: boxes[number] for number in sorted(boxes) if boxes[number]}
    else:
        targets = {start: boxes} if boxes else {}
    if not targets:
        raise InputError("expected one box or more; got none; give x, y, width, height of each target")
    first = next(iter(targets))
    if first < 0:
        raise InputError(f"expected the number of a frame, 0 or more, to start from; got {first}; frames count from 0")
    return targets


def follow_frames(video: VideoReader, targets: Mapping[int, Sequence[Box]], crew: Crew) -> Iterator[Step]:
    """Hand the crew one frame after the other, from the first that has a target; nothing is kept.

    targets: boxes by the numbers of their frames, ascending, as ``plan_targets`` gives them.

    Raises InputError where the source has no such frame: at once for the first, after the last step for a later one.
    """
    start = next(iter(targets))
    skipped = video.skip(start)
    numbered = enumerate(video.timed_frames(), start)
    first = next(numbered, None) if skipped == start else None
    if first is None:
        raise InputError(
            f"expected a frame to start from; got {start} in a source of {skipped} frames; give a lower one"
        )
    index, resizer = start, FrameResizer()
    for index, (seconds, frame) in itertools.chain([first], numbered):
        began = time.perf_counter()
        fitted = resizer.fit(frame)
        found = crew.update(fitted) if index > start else {}
        results = {number: resizer.to_own(result) for number, result in found.items()}
        for x, y, width, height in targets.get(index, ()):
            number = crew.add(fitted, resizer.to_first((x, y, width, height)))
            box = float(x), float(y), float(width), float(height)
            results[number] = Result(box=box, score=1.0, lost=False)
        elapsed = time.perf_counter() - began
        yield Step(index=index, time=seconds, frame=frame, results=results, seconds=elapsed)
    missed = [number for number in targets if number > index]
    if missed:
        raise InputError(
            f"expected a frame for each box; got boxes for {', '.join(map(str, missed))} in a source of {index + 1} "
            "frames, the others were followed; give lower ones"
        )


def follow(
    video: VideoReader,
    box: Box | None,
    tracker: Tracker,
    *,
    boxes: Boxes | None = None,
    start: int = 0,
    video_path: Path | None = None,
    boxes_path: Path | None = None,
    true_boxes: Sequence[Box] | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> None:
    """Follow one object or many through an opened source and write down what was found, frame by frame.

    box, boxes, start: as for ``track``.
    video_path: .mp4 to write, with boxes and scores drawn, and the true box where `true_boxes` has one; it begins with
        the first frame that is followed.
    boxes_path: .txt, .csv or .jsonl to write; frames keep their numbers and times of the source. With `boxes` each
        line tells its target too.
    on_step: called after each frame is written.

    Both files are whole up to the last step, whatever ends the loop: the end of the source, an error, Ctrl-C.
    They are opened after the first frame was taken, and after both were seen to be writable: a box or a path that
    cannot be meant leaves older files untouched.
    """
    targets, many = plan_targets(box, boxes, start), boxes is not None
    if video_path:
        check_file(video_path, VIDEO_ENDINGS)
    if boxes_path:
        check_file(boxes_path, FORMATS)
    if video_path and video.path and video_path.exists() and video_path.samefile(video.path):
        raise InputError(f"expected a video to write other than the source; got {video_path} twice; rename one")
    steps = follow_frames(video, targets, make_crew(tracker, many=many))
    first = next(steps)
    with ExitStack() as files:
        movie = None
        if video_path:
            movie = files.enter_context(VideoWriter(video_path, video.fps, sample_aspect=video.sample_aspect))
        resizer = FrameResizer()  # a video has one size
        table = files.enter_context(ResultWriter(boxes_path, many=many)) if boxes_path else None
        for step in itertools.chain([first], steps):
            if table:
                for number, result in step.results.items():
                    table.write(step.index, step.time, result, number)
            if movie:
                drawn = step.frame if true_boxes is None else draw_truth(step.frame, true_boxes[step.index])
                drawn = draw_results(drawn, step.results) if many else draw_result(drawn, step.result)
                movie.write(resizer.fit(drawn), step.time - first.time)
            on_step(step)
