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
from singletrack.geometry.boxes import Box, BoxLike, four_numbers
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
# Boxes of many targets: a list for the first tracked frame, or lists by the index of the frame in which they start.
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
        **options: as for ``load``.

    Yields:
        A result per frame for ``box``, or a dictionary of results by id for ``boxes``, with frame index,
        ``result.index``, and time, ``result.time``. Ids count from 1.

    Raises:
        InputError: with the first result, for an invalid box or a frame index beyond the end of the source. If the
            length of the source is unknown, the latter comes after the last frame.
        VideoError: with the first result, if the source cannot be opened.
        DamagedVideoError: after the last readable frame, if the source is truncated or damaged.
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

    Both files are complete up to the last step, even after an error or Ctrl-C. They are opened only after the first
    frame was read and both paths were found writable, so an invalid box or path leaves existing files unchanged.

    Args:
        video: the source.
        box: as for ``track``.
        tracker: the tracker.
        boxes: as for ``track``.
        start: as for ``track``.
        box_format: as for ``track``.
        normalized: as for ``track``.
        video_path: output .mp4 with boxes and scores, from the first tracked frame on.
        boxes_path: output .txt, .csv or .jsonl, see ``results.ResultWriter``, with frame indices and times of the
            source. With ``boxes``, each line has the id of its target.
        true_boxes: true boxes to draw, one per frame of the source.
        on_step: called after each frame was written.
    """
    targets, many = plan_targets(box, boxes, start), boxes is not None
    check_outputs([video.path] if video.path else [], video_path, boxes_path)
    resolved = resolve_targets(targets, video, box_format=box_format, normalized=normalized)
    steps = follow_frames(video, resolved, tracker)
    first = next(steps)
    resizer = FrameResizer()  # a video has a fixed frame size
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
