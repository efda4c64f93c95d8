"""Following one object through a source, from its first box. Knows nothing of the command line."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack import zoo
from singletrack.drawing import draw_result, draw_truth
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.results import FORMATS, ResultWriter
from singletrack.tracking.base import Result, Tracker
from singletrack.video import VideoReader, VideoWriter, open_video
from singletrack.video.files import check_file
from singletrack.video.writer import ENDINGS as VIDEO_ENDINGS

Frame = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One followed frame.

    index: number of the frame in its source, from 0.
    time: seconds since the source's first frame.
    frame: (H, W, 3) uint8 RGB.
    result: where the target is in it; in the first frame that is followed, the box that was given.
    seconds: how long the tracker took, reading and drawing not counted.
    """

    index: int
    time: float
    frame: Frame
    result: Result
    seconds: float


def track(
    source: str | Path | int,
    box: Box,
    *,
    model: str = "ostrack-tiny",
    weights: str | Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    start: int = 0,
    tracker: Tracker | None = None,
) -> Iterator[Result]:
    """Follow one object and give its place frame by frame; the first result is the box itself, with score 1.

    source: anything that ``open_video`` takes.
    box: x, y, width, height in pixels of the first frame that is followed.
    model, weights, engine, device, threads: as for ``load``.
    start: number of the first frame that is followed, from 0; those before it give no result.
    tracker: one that is already loaded, used instead.

    Raises, with the first result, VideoError for the source and InputError for the box, or for a start that the
    source does not reach; and DamagedVideoError after the last frame that could be read, if the source is cut short
    or damaged.
    """
    with open_video(source) as video:
        if tracker is None:
            tracker = zoo.load(model, weights=weights, engine=engine, device=device, threads=threads)
        for step in follow_frames(video.timed_frames(), box, tracker, start):
            yield step.result


def follow_frames(
    timed_frames: Iterable[tuple[float, Frame]], box: Box, tracker: Tracker, start: int = 0
) -> Iterator[Step]:
    """Hand the tracker one frame after the other: (seconds, frame) in, a ``Step`` out, nothing kept.

    Raises InputError where there is no frame number ``start``.
    """
    if start < 0:
        raise InputError(f"expected the number of a frame, 0 or more, to start from; got {start}; frames count from 0")
    numbered = enumerate(timed_frames)
    skipped = sum(1 for _ in itertools.islice(numbered, start))
    first = next(numbered, None)
    if first is None:
        raise InputError(
            f"expected a frame to start from; got {start} in a source of {skipped} frames; give a lower one"
        )
    for index, (seconds, frame) in itertools.chain([first], numbered):
        began = time.perf_counter()
        if index == start:
            tracker.init(frame, box)
            x, y, width, height = box
            result = Result(box=(float(x), float(y), float(width), float(height)), score=1.0, lost=False)
        else:
            result = tracker.update(frame)
        elapsed = time.perf_counter() - began
        yield Step(index=index, time=seconds, frame=frame, result=result, seconds=elapsed)


def follow(
    video: VideoReader,
    box: Box,
    tracker: Tracker,
    *,
    start: int = 0,
    video_path: Path | None = None,
    boxes_path: Path | None = None,
    true_boxes: Sequence[Box] | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> None:
    """Follow one object through an opened source and write down what was found, frame by frame.

    start: number of the first frame that is followed, from 0.
    video_path: .mp4 to write, with box and score drawn, and the true box where `true_boxes` has one; it begins with
        the first frame that is followed.
    boxes_path: .txt, .csv or .jsonl to write; frames keep their numbers and times of the source.
    on_step: called after each frame is written.

    Both files are whole up to the last step, whatever ends the loop: the end of the source, an error, Ctrl-C.
    They are opened after the first frame was taken, and after both were seen to be writable: a box or a path that
    cannot be meant leaves older files untouched.
    """
    if video_path:
        check_file(video_path, VIDEO_ENDINGS)
    if boxes_path:
        check_file(boxes_path, FORMATS)
    if video_path and video.path and video_path.exists() and video_path.samefile(video.path):
        raise InputError(f"expected a video to write other than the source; got {video_path} twice; rename one")
    steps = follow_frames(video.timed_frames(), box, tracker, start)
    first = next(steps)
    with ExitStack() as files:
        movie = files.enter_context(VideoWriter(video_path, video.fps)) if video_path else None
        table = files.enter_context(ResultWriter(boxes_path)) if boxes_path else None
        for step in itertools.chain([first], steps):
            if table:
                table.write(step.index, step.time, step.result)
            if movie:
                drawn = step.frame if true_boxes is None else draw_truth(step.frame, true_boxes[step.index])
                movie.write(draw_result(drawn, step.result), step.time - first.time)
            on_step(step)
