"""Tracks one or more objects through a source, from their first boxes."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from singletrack import files, loading
from singletrack.drawing import draw_result, draw_results, draw_truth
from singletrack.effects.paths import Steps
from singletrack.errors import InputError, VideoError, show_value
from singletrack.files import check_file, check_writable
from singletrack.geometry.box_formats import BoxFormat, resolve_box
from singletrack.geometry.boxes import Box, BoxLike, four_numbers
from singletrack.interrupts import Interrupts
from singletrack.loading import make_options
from singletrack.outputs import Movie, Outputs, Segment, scale_step
from singletrack.results import format_of, write_results
from singletrack.steps import Frame, TrackStep
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import FrameReader, LiveOptions, Source, VideoReader, open_frames, open_video
from singletrack.video.live import LiveFrames
from singletrack.video.random_access import read_backward
from singletrack.video.writer import ENDINGS as VIDEO_ENDINGS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from singletrack.loading import LoadArguments

STOPS, DIRECTIONS = ("lost", "still"), ("forward", "backward", "both")
STILL_SECONDS, STILL_SHARE = 3.0, 0.05
# Boxes of many targets: a list for the first tracked frame, or lists by the index of the frame in which they start.
BoxList = Sequence[BoxLike] | NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Boxes = BoxList | Mapping[int, BoxList]


@overload
def track(
    source: Source,
    box: BoxLike,
    *,
    model: str | None = ...,
    start: int = ...,
    box_format: BoxFormat | None = ...,
    normalized: bool | None = ...,
    frames: bool = ...,
    tracker: Tracker | None = ...,
    live: LiveOptions | None = ...,
    **options: Unpack[LoadArguments],
) -> Iterator[Result]: ...


@overload
def track(
    source: Source,
    *,
    boxes: Boxes,
    model: str | None = ...,
    start: int = ...,
    box_format: BoxFormat | None = ...,
    normalized: bool | None = ...,
    frames: bool = ...,
    tracker: Tracker | None = ...,
    live: LiveOptions | None = ...,
    **options: Unpack[LoadArguments],
) -> Iterator[dict[int, Result]]: ...


def track(
    source: Source,
    box: BoxLike | None = None,
    *,
    boxes: Boxes | None = None,
    model: str | None = None,
    start: int = 0,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
    frames: bool = False,
    tracker: Tracker | None = None,
    live: LiveOptions | None = None,
    **options: Unpack[LoadArguments],
) -> Iterator[Result] | Iterator[dict[int, Result]]:
    """Track one or more objects, frame by frame.

    The first result of each target is its given box with score 1.

    Args:
        source: a video source, as for ``open_video``.
        box: x, y, width, height in pixels of the first tracked frame, for a single target.
        boxes: boxes of many targets, instead of ``box``: a list for frame ``start``, or a dictionary from frame index
            to the boxes that start there.
        model: as for ``load``; None for the model that the weights name, or the bundled one.
        start: index of the first tracked frame, from 0. Earlier frames are skipped.
        box_format: order of the numbers of a box, see ``geometry.box_formats.resolve_box``.
        normalized: whether boxes are fractions of the frame, see ``geometry.box_formats.resolve_box``.
        frames: give each result its image, ``result.frame``. Off by default, because a list of all results would hold
            the complete video.
        tracker: a loaded tracker to use instead of ``model``.
        live: how cameras and streams are read, see ``video.LiveOptions``.
        **options: as for ``load``.

    Yields:
        A result per frame for ``box``, or a dictionary of results by id for ``boxes``, with frame index,
        ``result.index``, and time, ``result.time``. Ids count from 1. Of cameras and streams, the newest frame is
        tracked at each step; ``result.dropped`` says how many were passed over before it, and they count in the index.

    Raises:
        InputError: with the first result, for an invalid box or a frame index beyond the end of the source. If the
            length of the source is unknown, the latter comes after the last frame.
        VideoError: with the first result, if the source cannot be opened.
        DamagedVideoError: after the last readable frame, if the source is truncated or damaged.
    """
    planned = plan_targets(box, boxes, start)
    with open_video(source, live=live) as video:
        targets = resolve_targets(planned, video, box_format=box_format, normalized=normalized)
        if tracker is None:
            tracker = loading.load_with(model, make_options(options))
        for results in _results(video, targets, tracker, frames):
            yield results[1] if boxes is None else results


def _results(
    video: VideoReader, targets: Mapping[int, Sequence[Box]], tracker: Tracker, frames: bool
) -> Iterator[dict[int, Result]]:
    for step in follow_frames(video, targets, tracker):
        frame = step.frame if frames else None
        yield {
            number: replace(result, index=step.index, time=step.time, frame=frame, dropped=step.dropped)
            for number, result in step.results.items()
        }


@overload
def follow_live(
    source: Source,
    box: BoxLike,
    *,
    model: str | None = ...,
    frames: bool = ...,
    tracker: Tracker | None = ...,
    live: LiveOptions | None = ...,
    **options: Unpack[LoadArguments],
) -> AsyncGenerator[Result]: ...


@overload
def follow_live(
    source: Source,
    *,
    boxes: BoxList,
    model: str | None = ...,
    frames: bool = ...,
    tracker: Tracker | None = ...,
    live: LiveOptions | None = ...,
    **options: Unpack[LoadArguments],
) -> AsyncGenerator[dict[int, Result]]: ...


async def follow_live(
    source: Source,
    box: BoxLike | None = None,
    *,
    boxes: BoxList | None = None,
    model: str | None = None,
    frames: bool = False,
    tracker: Tracker | None = None,
    live: LiveOptions | None = None,
    **options: Unpack[LoadArguments],
) -> AsyncGenerator[Result] | AsyncGenerator[dict[int, Result]]:
    """Track in a camera or stream beside other work of an event loop: ``async for result in follow_live(...)``.

    Reading and tracking run in a thread of their own. A slow loop gets the newest frame, as a slow model does. Leaving
    the loop closes the source.

    Args:
        source: as for ``track``.
        box: as for ``track``.
        boxes: as for ``track``, in the first frame.
        model: as for ``track``.
        frames: as for ``track``.
        tracker: as for ``track``.
        live: as for ``track``.
        **options: as for ``load``.

    Yields:
        Results as ``track`` does.

    Raises:
        SingletrackError: as ``track`` does.
    """
    planned = plan_targets(box, boxes, 0)
    loop, opened = asyncio.get_running_loop(), list[VideoReader]()

    def start() -> Iterator[dict[int, Result]]:
        opened.append(open_video(source, live=live))
        targets = resolve_targets(planned, opened[0])
        ready = tracker or loading.load_with(model, make_options(options))
        return _results(opened[0], targets, ready, frames)

    thread = ThreadPoolExecutor(1, "follow live")
    try:
        results = await loop.run_in_executor(thread, start)
        while True:
            found = await loop.run_in_executor(thread, next, results, None)
            if found is None:
                return
            yield found[1] if boxes is None else found
    finally:
        for video in opened:
            if video.live is not None:
                video.live.close()  # wakes the thread where it waits for a frame
        thread.shutdown()
        for video in opened:
            video.close()


def _list_boxes(boxes: Any) -> list[Box]:
    """Return boxes as a list, from a sequence of boxes or an array (N, 4); raises InputError for anything else."""
    if isinstance(boxes, str | bytes | Mapping | Set | Iterator) or not hasattr(boxes, "__len__"):
        raise InputError(
            f"boxes must be a list of x, y, width, height; got {show_value(boxes)}; give a list or an array (N, 4)"
        )
    return [four_numbers(box) for box in (np.asarray(boxes).tolist() if isinstance(boxes, np.ndarray) else boxes)]


def plan_targets(box: BoxLike | None, boxes: Boxes | None, start: int) -> dict[int, list[Box]]:
    """Sort the boxes by frame index; raises InputError for invalid combinations."""
    if (box is None) == (boxes is None):
        raise InputError("give either a box or boxes; got both or neither")
    if box is not None:
        boxes = [four_numbers(box)]
    if isinstance(boxes, Mapping):
        if start:
            raise InputError(f"boxes by frame index have no start; got {start}; leave it out, or give a list of boxes")
        if not all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in boxes):
            raise InputError(f"boxes must be given by frame index; got {show_value(list(boxes))}; give whole numbers")
        targets = {int(number): _list_boxes(boxes[number]) for number in sorted(boxes)}
    else:
        targets = {start: _list_boxes(boxes)}
    targets = {number: each for number, each in targets.items() if each}
    if not targets:
        raise InputError("at least one box is needed; got none; give x, y, width, height of each target")
    first = next(iter(targets))
    if first < 0:
        raise InputError(f"the start frame must be at least 0; got {first}; frames count from 0")
    return targets


def resolve_targets(
    targets: Mapping[int, Sequence[Box]],
    video: VideoReader,
    *,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
) -> dict[int, list[Box]]:
    """Convert the boxes to x, y, width, height in pixels, after checking that they fit the source.

    Raises:
        InputError: a box that does not fit, or a frame index beyond the end of a source of known length.
    """
    count = video.frame_count
    late = [number for number in targets if count is not None and number >= count]
    if late:
        raise InputError(
            f"frame numbers must be below the {count} frames of the source; got {', '.join(map(str, late))}; frames "
            "count from 0"
        )
    return {
        number: [resolve_box(box, video.size_wh, box_format=box_format, normalized=normalized) for box in boxes]
        for number, boxes in targets.items()
    }


Numbered = tuple[int, float, Frame, int | None]  # index, seconds, frame, frames that were passed over


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which frames are tracked, from the one of the boxes on.

    Attributes:
        end: index of the last frame; None for the end of the source.
        stride: every how-manieth frame is tracked.
        stop_when: "lost" ends with the first frame in which all targets are lost; "still" ends when none has moved for
            ``STILL_SECONDS``; None goes on.
        direction: "forward", "backward" to the first frame of the source, or "both".

    Raises:
        InputError: an invalid value.
    """

    end: int | None = None
    stride: int = 1
    stop_when: str | None = None
    direction: str = "forward"

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise InputError(f"stride must be at least 1; got {self.stride}; 2 tracks every other frame")
        if self.stop_when not in (None, *STOPS):
            raise InputError(f"stop_when must be one of {', '.join(STOPS)}; got {self.stop_when!r}")
        if self.direction not in DIRECTIONS:
            raise InputError(f"direction must be one of {', '.join(DIRECTIONS)}; got {self.direction!r}")


def follow_frames(
    video: VideoReader,
    targets: Mapping[int, Sequence[Box]],
    tracker: Tracker,
    span: Span | None = None,
    restart: Callable[[], Box | None] = lambda: None,
) -> Iterator[TrackStep]:
    """Track frame by frame, forward from the first frame that has a target.

    Args:
        video: the source.
        targets: boxes by frame index, ascending, from ``plan_targets``.
        tracker: a loaded tracker; each target is followed by a copy of it.
        span: which frames are tracked; its direction does not count.
        restart: gives a box in the frame of the last step, from which the first target is started over, or None.

    Raises:
        InputError: the source has no such frame; at once for the first target, after the last step for a later one.
    """
    start = next(iter(targets))
    if span is not None and span.end is not None and span.end < start:
        raise InputError(f"end must not be before the start frame {start}; got {span.end}; give a higher one")
    skipped = video.skip(start)
    numbered = _number_frames(video, start)
    first = next(numbered, None) if skipped == start else None
    if first is None:
        raise InputError(
            f"start frame {start} is beyond the end of the source, which has {skipped} frames; give a lower one"
        )

    yield from _follow(itertools.chain([first], numbered), targets, tracker, span or Span(), video.live, restart)


def follow_backward(
    frames: FrameReader, targets: Mapping[int, Sequence[Box]], tracker: Tracker, span: Span
) -> Iterator[TrackStep]:
    """Track from the frame that has the targets back to the first frame of the source, or to ``span.end``."""
    (start,) = targets
    last = 0 if span.end is None else span.end
    if last > start:
        raise InputError(f"backward, end must not be after the start frame {start}; got {last}; give a lower one")
    coming = ((index, frames.time(index), frame, None) for index, frame in read_backward(frames, start, last))
    backward = {-index: boxes for index, boxes in targets.items()}  # rises while the index falls
    flipped = ((-index, seconds, frame, dropped) for index, seconds, frame, dropped in coming)
    for step in _follow(flipped, backward, tracker, replace(span, end=None), None):
        yield replace(step, index=-step.index)


def _follow(
    numbered: Iterable[Numbered],
    targets: Mapping[int, Sequence[Box]],
    tracker: Tracker,
    span: Span,
    live: LiveFrames | None,
    restart: Callable[[], Box | None] = lambda: None,
) -> Iterator[TrackStep]:
    many, resizer, waiting = MultiTracker(tracker), FrameResizer(), dict(targets)
    stop, dropped_so_far, index, due = _Stop(span.stop_when), 0, 0, -math.inf
    for index, seconds, frame, dropped in numbered:
        if span.end is not None and index > span.end:
            break
        dropped_so_far += dropped or 0
        starting = [each for each in waiting if each <= index]  # of a stream, its very frame may be passed over
        if index < due and not starting:
            continue
        if not starting or index >= due:
            due = index + span.stride
        began = time.perf_counter()
        fitted = resizer.fit(frame)
        if live is not None and (live.resumed or resizer.changed):
            many.search_again()
        found = many.update(fitted) if many.ids else {}
        results = {number: resizer.to_own(result) for number, result in found.items()}
        for box in itertools.chain.from_iterable(waiting.pop(each) for each in starting):
            number = many.add(fitted, resizer.to_first(box))
            results[number] = Result(box=box, score=1.0, lost=False)
        yield TrackStep(
            index=index,
            time=seconds,
            frame=frame,
            results=results,
            seconds=time.perf_counter() - began,
            dropped=None if dropped is None else dropped_so_far,
        )
        dropped_so_far = 0
        again = restart()
        if again is not None and many.ids:
            many.restart(many.ids[0], fitted, resizer.to_first(again))
        if stop.reached(seconds, results):
            return
    late = [number for number in waiting if span.end is None or number <= span.end]
    if late:
        raise InputError(
            f"boxes for frames {', '.join(map(str, late))} are beyond the end of the source, which has {index + 1} "
            "frames; the other targets were tracked; give lower frame indices"
        )


def _number_frames(video: VideoReader, start: int) -> Iterator[Numbered]:
    """Yield the remaining frames with their index and time; frames of a stream that were passed over count."""
    index = start - 1
    for seconds, frame in video.timed_frames():
        dropped = None if video.live is None else video.live.passed_over
        index += 1 + (dropped or 0)
        yield index, seconds, frame, dropped


class _Stop:
    """Whether tracking ends, see ``Span.stop_when``."""

    def __init__(self, when: str | None) -> None:
        self._when = when
        self._rest: dict[int, tuple[float, Box]] = {}  # since when, and where, each target is still

    def reached(self, seconds: float, results: Mapping[int, Result]) -> bool:
        """Add the results of a frame."""
        if self._when is None or not results:
            return False
        if self._when == "lost":
            return all(result.lost for result in results.values())
        for id, result in results.items():
            _, box = self._rest.setdefault(id, (seconds, result.box))
            if result.lost or _moved(box, result.box):
                self._rest[id] = seconds, result.box
        return all(abs(seconds - self._rest[id][0]) >= STILL_SECONDS for id in results)


def _moved(before: Box, now: Box) -> bool:
    """Whether the center of a box moved by more than ``STILL_SHARE`` of its size."""
    across = abs(now[0] + now[2] / 2 - before[0] - before[2] / 2) > STILL_SHARE * before[2]
    return across or abs(now[1] + now[3] / 2 - before[1] - before[3] / 2) > STILL_SHARE * before[3]


MakeMovies = Callable[[VideoReader, Steps], Sequence[Movie]]


def follow(
    video: VideoReader,
    box: BoxLike | None,
    tracker: Tracker,
    *,
    boxes: Boxes | None = None,
    start: int = 0,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
    span: Span | None = None,
    video_path: Path | None = None,
    movies: Sequence[Movie] = (),
    movies_after: tuple[Source, MakeMovies] | None = None,
    boxes_path: Path | None = None,
    segment: Segment | None = None,
    pan_tilt: bool = False,
    true_boxes: Sequence[Box] | None = None,
    restart: Callable[[], Box | None] = lambda: None,
    on_step: Callable[[TrackStep], None] = lambda step: None,
    on_rendered: Callable[[], None] = lambda: None,
    on_file: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Track one or more objects through an open source and write the results, frame by frame.

    All files are complete up to the last step, even after an error or Ctrl-C. They are opened only after the first
    frame was read and all paths were found writable, so an invalid box or path leaves existing files unchanged.

    Args:
        video: the source.
        box: as for ``track``.
        tracker: the tracker.
        boxes: as for ``track``.
        start: as for ``track``.
        box_format: as for ``track``.
        normalized: as for ``track``.
        span: which frames are tracked, and in which direction. In another direction than forward, files are written at
            the end, in the order of the frames.
        video_path: output .mp4 with boxes and scores, from the first tracked frame on.
        movies: other videos that are written while tracking.
        movies_after: the source, and what makes videos of all results. The source is read a second time for them.
        boxes_path: output .txt, .csv or .jsonl, see ``results.ResultWriter``, with frame indices and times of the
            source. With ``boxes``, each line has the id of its target.
        segment: when the next files are begun; None for one file each.
        pan_tilt: write where the target is off the center of the frame, see ``results.ResultWriter``; .jsonl only.
        true_boxes: true boxes to draw, one per frame of the source.
        restart: as for ``follow_frames``.
        on_step: called after each frame was written.
        on_rendered: called after each frame that was written when the source was read again.
        on_file: called with each file that is begun.

    Returns:
        The files that were written.
    """
    targets, many, span = plan_targets(box, boxes, start), boxes is not None, span or Span()
    check_outputs([video.path] if video.path else [], video_path, boxes_path)
    resolved = resolve_targets(targets, video, box_format=box_format, normalized=normalized)
    if video_path is not None:
        movies = [*movies, Movie(video_path, lambda step: _draw(step, many, true_boxes), video)]
    at_once = span.direction == "forward"
    kept: dict[int, tuple[float, Mapping[int, Result]]] = {}
    scaled: dict[int, tuple[float, Mapping[int, Result]]] = {}  # the same, for frames that are all of one size
    resizer = FrameResizer(video.size_wh)
    keeps = movies_after is not None or not at_once
    table = boxes_path if at_once else None
    outputs = Outputs(movies if at_once else [], table, many=many, pan_tilt=pan_tilt, segment=segment, on_file=on_file)
    steps = _steps_of(video, resolved, tracker, span, movies_after, restart)
    first = next(steps)
    stopped: BaseException | None = None
    with Interrupts() as interrupts:
        try:
            with outputs:
                for step in itertools.chain([first], steps):
                    with interrupts.hold():
                        outputs.write(step)
                        if keeps:
                            kept[step.index] = step.time, step.results
                            scaled[step.index] = step.time, scale_step(step, resizer).results
                        on_step(step)
        except (KeyboardInterrupt, VideoError, InputError) as error:
            if not (keeps and kept):
                raise
            stopped = error  # what was tracked is still written
        written = outputs.written
        if not at_once and boxes_path is not None:
            write_results(boxes_path, kept, many=many)
            written.append(boxes_path)
        if movies_after is not None:
            written += _render(*movies_after, kept, scaled, segment, interrupts, on_rendered, on_file)
    if stopped is not None:
        raise stopped
    return written


def _steps_of(
    video: VideoReader,
    targets: Mapping[int, Sequence[Box]],
    tracker: Tracker,
    span: Span,
    movies_after: tuple[Source, MakeMovies] | None,
    restart: Callable[[], Box | None],
) -> Iterator[TrackStep]:
    """All steps in the order in which they are tracked."""
    if span.direction == "forward":
        yield from follow_frames(video, targets, tracker, span, restart)
        return
    if len(targets) != 1:
        raise InputError(
            f"tracking backward starts in one frame; got boxes for frames {', '.join(map(str, targets))}; give one"
        )
    source = video.path if movies_after is None else movies_after[0]
    if video.live is not None or not isinstance(source, str | Path):
        raise InputError("only files and folders can be tracked backward; record the source first, with --out")
    if span.direction == "both":
        yield from follow_frames(video, targets, tracker, span)
    (start,) = targets
    backward = replace(span, end=None if span.direction == "both" else span.end)
    with open_frames(source) as frames:
        for step in follow_backward(frames, targets, tracker, backward):
            if not (span.direction == "both" and step.index == start):
                yield step


def _render(
    source: Source,
    make: MakeMovies,
    steps: Steps,
    scaled: Steps,
    segment: Segment | None,
    interrupts: Interrupts,
    on_rendered: Callable[[], None],
    on_file: Callable[[Path], None],
) -> list[Path]:
    """Read a source again and write videos of results that are known; ``scaled``: as if all frames had one size."""
    indices = sorted(steps)
    with (
        open_video(source) as video,
        Outputs(make(video, scaled), None, many=False, segment=segment, on_file=on_file) as outputs,
    ):
        skipped = video.skip(indices[0])
        for index, (seconds, frame) in enumerate(video.timed_frames(), skipped):
            if index in steps:
                with interrupts.hold():
                    results = steps[index][1]
                    outputs.write(TrackStep(index=index, time=seconds, frame=frame, results=results, seconds=0.0))
                    on_rendered()
            if index >= indices[-1]:
                break
        return outputs.written


def _draw(step: TrackStep, many: bool, true_boxes: Sequence[Box] | None) -> Frame:
    drawn = step.frame if true_boxes is None else draw_truth(step.frame, true_boxes[step.index])
    return draw_results(drawn, step.results) if many else draw_result(drawn, step.result)


def check_outputs(inputs: Sequence[Path], video_path: Path | None, boxes_path: Path | None) -> None:
    """Check that both files can be written and are neither an input nor each other, without changing anything.

    Raises:
        InputError: an output is also an input, or both outputs are the same.
        SingletrackError: a file cannot be written.
    """
    if video_path:
        check_file(video_path, VIDEO_ENDINGS)
    if boxes_path:
        format_of(boxes_path)
        check_writable(boxes_path)
    files.check_outputs([video_path, boxes_path], inputs)
