"""Tracks one or more objects through a source, from their first boxes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from singletrack import files, loading
from singletrack.drawing import draw_result, draw_results, draw_truth
from singletrack.errors import InputError, show_value
from singletrack.files import check_file, check_writable
from singletrack.geometry.box_formats import BoxFormat, resolve_box
from singletrack.geometry.boxes import Box, BoxLike
from singletrack.interrupts import Interrupts
from singletrack.loading import make_options
from singletrack.results import ResultWriter, format_of
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import Source, VideoReader, VideoWriter, open_video
from singletrack.video.writer import ENDINGS as VIDEO_ENDINGS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from singletrack.loading import LoadArguments

Frame = NDArray[np.uint8]
# The boxes of many targets: all in the first frame that is followed, or by the number of the frame they are first in.
BoxList = Sequence[BoxLike] | NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Boxes = BoxList | Mapping[int, BoxList]


@dataclass(frozen=True, kw_only=True)
class TrackStep:
    """One tracked frame.

    Attributes:
        index: index of the frame in its source, from 0.
        time: seconds since the first frame of the source.
        frame: (H, W, 3) uint8 RGB.
        results: results by target id. A target that starts in this frame has the given box.
        seconds: time that the tracker took, without reading and drawing.
    """

    index: int
    time: float
    frame: Frame
    results: Mapping[int, Result]
    seconds: float

    @property
    def result(self) -> Result:
        """The result of the only target."""
        (result,) = self.results.values()
        return result


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
    **options: Unpack[LoadArguments],
) -> Iterator[Result] | Iterator[dict[int, Result]]:
    """Track one or more objects, frame by frame.

    Args:
        source: anything that ``open_video`` takes.
        box: x, y, width, height in pixels of the first frame that is followed; each frame then gives its result.
        boxes: those of many targets, in its place; each frame then gives results by id, which count from 1 in this
            order. Where they do not all begin in frame `start`, the boxes by the number of the frame that they are in.
        model: as for ``load``; None for the one that the weights name, or the bundled one.
        start: number of the first frame that is followed, from 0; those before it give no result.
        box_format, normalized: how boxes are written, see ``geometry.box_formats.resolve_box``.
        frames: whether each result holds its picture, ``result.frame``. Off by default: a list of all results would
            hold the complete video.
        tracker: one that is already loaded, used instead.
        **options: as for ``load``.

    Yields:
        Results, or results by id, with the number of their frame, ``result.index``, and its time, ``result.time``.

    Raises:
        InputError: with the first result, for a box, or a frame number that the source does not reach. Where its length
            is not known before, that comes after the last frame.
        VideoError: with the first result, for a source that cannot be read.
        DamagedVideoError: after the last frame that could be read, if the source is cut short or damaged.
    """
    planned = plan_targets(box, boxes, start)
    with open_video(source) as video:
        targets = resolve_targets(planned, video, box_format=box_format, normalized=normalized)
        if tracker is None:
            tracker = loading.load_with(model, make_options(options))
        for step in follow_frames(video, targets, tracker):
            frame = step.frame if frames else None
            results = {
                number: replace(result, index=step.index, time=step.time, frame=frame)
                for number, result in step.results.items()
            }
            yield results[1] if boxes is None else results


def _list_boxes(boxes: Any) -> list[BoxLike]:
    """Return boxes as a list, from a sequence of boxes or an array (N, 4); raises InputError for anything else."""
    if isinstance(boxes, str | bytes | Mapping | Set | Iterator) or not hasattr(boxes, "__len__"):
        raise InputError(
            f"boxes must be a list of x, y, width, height; got {show_value(boxes)}; give a list or an array (N, 4)"
        )
    return list(np.asarray(boxes).tolist() if isinstance(boxes, np.ndarray) else boxes)


def plan_targets(box: BoxLike | None, boxes: Boxes | None, start: int) -> dict[int, list[BoxLike]]:
    """Return the boxes by the numbers of their frames, ascending; raises InputError where they contradict."""
    if (box is None) == (boxes is None):
        raise InputError("expected either a box or boxes; got both or neither; give one of them")
    if box is not None:
        boxes = [box]
    if isinstance(boxes, Mapping):
        if start:
            raise InputError(
                f"expected no start beside boxes with frame numbers; got {start}; leave it out, or list the boxes"
            )
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
    targets: Mapping[int, Sequence[BoxLike]],
    video: VideoReader,
    *,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
) -> dict[int, list[Box]]:
    """Return the boxes in pixels, as x, y, width, height, once each was found to fit the source.

    Raises InputError for a box that does not, and for a frame beyond the end of a source whose length is known.
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


def follow_frames(video: VideoReader, targets: Mapping[int, Sequence[Box]], tracker: Tracker) -> Iterator[TrackStep]:
    """Track frame by frame, from the first frame that has a target.

    Args:
        video: the source.
        targets: boxes by frame index, ascending, from ``plan_targets``.
        tracker: a loaded tracker; each target is followed by a copy of it.

    Raises:
        InputError: the source has no such frame; at once for the first target, after the last step for a later one.
    """
    start = next(iter(targets))
    skipped = video.skip(start)
    numbered = enumerate(video.timed_frames(), start)
    first = next(numbered, None) if skipped == start else None
    if first is None:
        raise InputError(
            f"start frame {start} is beyond the end of the source, which has {skipped} frames; give a lower one"
        )
    many, index, resizer = MultiTracker(tracker), start, FrameResizer()
    for index, (seconds, frame) in itertools.chain([first], numbered):
        began = time.perf_counter()
        fitted = resizer.fit(frame)
        found = many.update(fitted) if index > start else {}
        results = {number: resizer.to_own(result) for number, result in found.items()}
        for box in targets.get(index, ()):
            number = many.add(fitted, resizer.to_first(box))
            results[number] = Result(box=box, score=1.0, lost=False)
        elapsed = time.perf_counter() - began
        yield TrackStep(index=index, time=seconds, frame=frame, results=results, seconds=elapsed)
    missed = [number for number in targets if number > index]
    if missed:
        raise InputError(
            f"boxes for frames {', '.join(map(str, missed))} are beyond the end of the source, which has {index + 1} "
            "frames; the other targets were tracked; give lower frame indices"
        )


def follow(
    video: VideoReader,
    box: BoxLike | None,
    tracker: Tracker,
    *,
    boxes: Boxes | None = None,
    start: int = 0,
    box_format: BoxFormat | None = None,
    normalized: bool | None = None,
    video_path: Path | None = None,
    boxes_path: Path | None = None,
    true_boxes: Sequence[Box] | None = None,
    on_step: Callable[[TrackStep], None] = lambda step: None,
) -> None:
    """Track one or more objects through an open source and write the results, frame by frame.

    Args:
        video: the source.
        box, boxes, start, box_format, normalized: as for ``track``.
        tracker: as ``load`` gives it.
        video_path: .mp4 to write, with boxes and scores drawn, and the true box where `true_boxes` has one; it begins
            with the first frame that is followed.
        boxes_path: .txt, .csv or .jsonl to write, see ``results.ResultWriter``; frames keep their numbers and times of
            the source. With `boxes` each line has its target's id.
        true_boxes: of all frames of the source.
        on_step: called after each frame is written.

    Both files hold the same frames, up to the last step, whatever ends the loop: the end of the source, an error,
    Ctrl-C. They are opened after the first frame was taken, and after both were seen to be writable: a box or a path
    that is refused leaves older files untouched.
    """
    targets, many = plan_targets(box, boxes, start), boxes is not None
    check_outputs([video.path] if video.path else [], video_path, boxes_path)
    resolved = resolve_targets(targets, video, box_format=box_format, normalized=normalized)
    steps = follow_frames(video, resolved, tracker)
    first = next(steps)
    resizer = FrameResizer()  # a video has one size
    with Interrupts() as interrupts, ExitStack() as files:
        movie = table = None
        if video_path:
            movie = files.enter_context(VideoWriter(video_path, video.fps, sample_aspect=video.sample_aspect))
        if boxes_path:
            table = files.enter_context(ResultWriter(boxes_path, many=many))
        for step in itertools.chain([first], steps):
            drawn = step.frame
            if movie:
                drawn = drawn if true_boxes is None else draw_truth(drawn, true_boxes[step.index])
                drawn = resizer.fit(draw_results(drawn, step.results) if many else draw_result(drawn, step.result))
            with interrupts.hold():
                if movie:
                    movie.write(drawn, step.time - first.time)
                if table:
                    for number, result in step.results.items():
                        table.write(step.index, step.time, result, number)
                on_step(step)


def check_outputs(inputs: Sequence[Path], video_path: Path | None, boxes_path: Path | None) -> None:
    """See that both files can be written and are none of the inputs, nor each other; nothing is changed.

    Raises InputError, or SingletrackError where nothing can be written.
    """
    if video_path:
        check_file(video_path, VIDEO_ENDINGS)
    if boxes_path:
        format_of(boxes_path)
        check_writable(boxes_path)
    files.check_outputs([video_path, boxes_path], inputs)
