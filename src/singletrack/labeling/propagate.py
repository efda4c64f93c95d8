"""Tracks the stale segments of a project, from both sides where there are keyframes on both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack import loading
from singletrack.errors import InputError, VideoError
from singletrack.geometry.boxes import Box
from singletrack.labeling.cuts import BEFORE, CutDetector
from singletrack.labeling.join import Run, doubt_of_run, join_runs
from singletrack.labeling.labels import LabeledBox
from singletrack.labeling.project import Project, Segment
from singletrack.labeling.unfinished import UnfinishedRun
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.state import KeepsState
from singletrack.video import FrameReader, open_frames
from singletrack.video.ahead import read_ahead
from singletrack.video.random_access import read_backward

Frame = NDArray[np.uint8]

READ_AHEAD = 2  # frames
STORE_SECONDS = 1.0  # between two times that a run that goes on is stored
# After a cut a run goes on if these many frames show the target, with this share of its mean score before.
FRAMES_TO_FIND = 5
SHARE_TO_FIND = 0.7


@dataclass(frozen=True, kw_only=True)
class TrackProgress:
    """How far ``track_segments`` is.

    Attributes:
        done, total: Steps of one target in one frame. Segments between two keyframes count twice, once for each
            direction.
    """

    done: int
    total: int


OnBoxes = Callable[[int, Mapping[int, LabeledBox], TrackProgress], None]
OnFrame = Callable[[int, Frame], None]


def track_segments(
    project: Project,
    *,
    targets: Sequence[int] | None = None,
    first: int = 0,
    last: int | None = None,
    model: str = "ostrack-tiny",
    tracker: Tracker | None = None,
    on_boxes: OnBoxes = lambda target, boxes, progress: None,
    on_frame: OnFrame = lambda number, frame: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Track every stale segment and keep the boxes in the project.

    Segments between two keyframes are tracked forward from the left one and backward from the right one, and both runs
    are joined. Segments after the last keyframe are tracked forward, those before the first one backward. Targets
    whose segments overlap are tracked in one pass. A scene cut ends a run, unless the target is found again within a
    few frames; cuts are found on the way and added to ``Project.cuts``.

    Where tracking was stopped, or the process was killed, it resumes from the last frame that was kept, as if it had
    never been stopped: the tracker's state is kept in the project until the segment is done. It begins again at the
    keyframe with another model or other settings, and with a tracker whose state cannot be kept (one of your own);
    boxes that are there already stay until they are replaced.

    Args:
        project: An open project.
        targets: Ids of the targets. [default: all]
        first, last: Only segments that overlap these frames; an open segment (after the last keyframe or before the
            first) ends at them. [default: the entire video]
        model: As for ``singletrack.load``.
        tracker: A tracker that is already loaded, used instead of `model`.
        on_boxes: Called with a target's id, new boxes by frame number and the progress, as they are made. A frame may
            come again with a better box, when the second direction joins the first. Called in the thread that calls
            this.
        on_frame: Called with the number of each frame and the frame, (H, W, 3) uint8 RGB, before it is tracked.
        should_stop: Called before each frame; True stops. What was made is kept.

    Returns:
        True if all was tracked, False if it was stopped.

    Raises:
        VideoError: If the source cannot be read. What could be read is tracked and kept before.
    """
    last = project.video.frame_count - 1 if last is None else last
    if not 0 <= first <= last < project.video.frame_count:
        raise InputError(
            f"first and last must be frames from 0 to {project.video.frame_count - 1}, in this order; got {first} and "
            f"{last}"
        )
    ids = [target.id for target in project.targets()] if targets is None else targets
    segments = [
        segment
        for id in ids
        for segment in project.stale_segments(id)
        if segment.first <= last and segment.last >= first
    ]
    if not segments:
        return True
    made_by = model if tracker is None else type(tracker).__name__
    tracker = loading.load(model) if tracker is None else tracker
    with open_frames(project.source) as reader:
        return _Work(project, tracker, made_by, on_boxes, on_frame, should_stop).track(reader, segments, first, last)


@dataclass
class _Run:
    """One run of the tracker through one segment.

    Attributes:
        segment: The segment. box: Of the keyframe that it starts from, in frame `start`.
        end: Last frame.
        at: The frame that was tracked last; `start` at first.
        reaches_all: Whether the segment is done when it gets there.
        boxes: What was found, by frame number.
        unstored: Those of them that are not in the project yet. stored: Whether the project knows of this run.
        waiting: What was found after a cut, until it is clear whether it is the target.
        ended: Whether it is through, or gave up after a cut. gave_up: Whether it did after FRAMES_TO_FIND frames.
        state: That of the tracker, to go on from `at`; None to begin at `start`.
    """

    segment: Segment
    start: int
    box: Box
    end: int
    reaches_all: bool
    at: int = -1
    boxes: dict[int, LabeledBox] = field(default_factory=dict)
    unstored: dict[int, LabeledBox] = field(default_factory=dict)
    stored: bool = False
    waiting: dict[int, LabeledBox] | None = None
    ended: bool = False
    gave_up: bool = False
    state: bytes | None = None

    def __post_init__(self) -> None:
        self.at = self.start

    def go_on(self, before: UnfinishedRun) -> None:
        """Go on from where it was stopped."""
        self.at, self.state, self.stored = before.frame, before.state, True
        self.boxes, self.gave_up = dict(before.boxes), before.gave_up
        self.waiting = None if before.waiting is None else dict(before.waiting)
        self.ended = self.gave_up or self.steps == 0

    @property
    def direction(self) -> int:
        """1 for forward, -1 for backward."""
        return 1 if self.end > self.start else -1

    @property
    def steps(self) -> int:
        """Frames that are left to track."""
        return 0 if self.ended else max(0, self.direction * (self.end - self.at))

    @property
    def comes_first(self) -> bool:
        """Whether no run from the other side comes before it."""
        return self.segment.left is None or self.start == self.segment.left

    def inside(self, boxes: Mapping[int, LabeledBox]) -> dict[int, LabeledBox]:
        """Those of the boxes that are in the segment: the keyframe at its end is not."""
        return {frame: each for frame, each in boxes.items() if self.segment.first <= frame <= self.segment.last}

    def take(self, frame: int, result: Result, cut: bool) -> dict[int, LabeledBox]:
        """Take in the result of a frame; returns the boxes that are certain to stay now."""
        self.at = frame
        box = LabeledBox(box=result.box, score=min(1.0, max(0.0, result.score)), lost=result.lost, source="tracker")
        if cut and self.waiting is None:
            self.waiting = {}
        if self.waiting is None:
            return self._keep({frame: box})
        self.waiting[frame] = box
        if len(self.waiting) < FRAMES_TO_FIND and frame != self.end:
            return {}
        found, self.waiting = self.waiting, None
        usual = float(np.mean([each.score for each in self.boxes.values()] or [1.0]))
        mean = float(np.mean([each.score for each in found.values()]))
        if mean < SHARE_TO_FIND * usual or box.lost:
            self.ended, self.gave_up = True, len(found) >= FRAMES_TO_FIND
            return {}
        return self._keep(found)

    def _keep(self, found: dict[int, LabeledBox]) -> dict[int, LabeledBox]:
        self.boxes |= found
        self.unstored |= found
        self.ended = self.end in found
        return found


class _Work:
    def __init__(
        self,
        project: Project,
        tracker: Tracker,
        made_by: str,
        on_boxes: OnBoxes,
        on_frame: OnFrame,
        should_stop: Callable[[], bool],
    ) -> None:
        self._project, self._tracker, self._made_by = project, tracker, made_by
        self._on_boxes, self._on_frame, self._should_stop = on_boxes, on_frame, should_stop
        self._done = self._total = 0
        self._cuts = set(project.cuts())
        self._identity = _identify(tracker)
        self._damage: VideoError | None = None

    def track(self, reader: FrameReader, segments: Sequence[Segment], first: int, last: int) -> bool:
        ahead: dict[int, _Run] = {}
        back: dict[int, _Run] = {}
        for number, segment in enumerate(segments):
            if segment.left is not None and segment.left_box is not None:
                end = segment.last if segment.right is None else segment.right
                limit = end if segment.right is not None else min(end, max(last, segment.first))
                ahead[number] = _Run(segment, segment.left, segment.left_box, limit, limit == end)
            if segment.right is not None and segment.right_box is not None:
                end = segment.first if segment.left is None else segment.left
                limit = end if segment.left is not None else max(end, min(first, segment.last))
                back[number] = _Run(segment, segment.right, segment.right_box, limit, limit == end)
        for run in [*ahead.values(), *back.values()]:
            before = self._project.unfinished_run(run.segment, run.direction)
            if before is not None and self._identity is not None and before.made_by == self._identity:
                run.go_on(before)
        self._total = sum(run.steps for run in [*ahead.values(), *back.values()])
        finished = self._sweep(reader, list(ahead.values()), 1, self._finish)
        partners = {run.segment: run for run in ahead.values()}
        finished = finished and self._sweep(
            reader, list(back.values()), -1, lambda run: self._finish(run, partners.get(run.segment))
        )
        if self._damage is not None:
            raise self._damage
        return finished

    # --- reading ---

    def _sweep(self, reader: FrameReader, runs: Sequence[_Run], direction: int, store: Callable[[_Run], None]) -> bool:
        """Take all runs of one direction through their frames together; False where it was stopped."""
        for run in runs:
            if run.ended:  # before it was stopped
                store(run)
        runs = [run for run in runs if not run.ended]
        waiting = sorted(runs, key=lambda run: direction * run.at)
        active: dict[int, _Run] = {}
        targets = MultiTracker(self._tracker)
        stored = time.monotonic()
        try:
            with closing(_read(reader, runs, direction)) as frames:
                for number, frame, is_new in frames:
                    if self._should_stop():
                        return False
                    self._on_frame(number, frame)
                    cut = self._is_cut(number, direction, is_new)
                    for id, result in (targets.update(frame) if active else {}).items():
                        run = active[id]
                        certain = run.take(number, result, cut)
                        self._done += abs(run.end - number) + 1 if run.ended else 1
                        self._report(run, certain)
                        if run.ended:
                            self._note_state(targets, id, run)
                            targets.remove(id)
                            store(active.pop(id))
                    while waiting and waiting[0].at == number:
                        run = waiting.pop(0)
                        begins = targets.add(frame, run.box) if run.state is None else targets.restore(frame, run.state)
                        active[begins] = run
                    if time.monotonic() - stored >= STORE_SECONDS:
                        self._store_all_partly(targets, active)
                        stored = time.monotonic()
        except VideoError as error:
            self._damage = error
        finally:
            self._store_all_partly(targets, active)
        return True

    def _is_cut(self, number: int, direction: int, is_new: bool) -> bool:
        """Whether a scene begins with this frame, or, read backward, ends with it; a new cut is kept."""
        begins = number if direction > 0 else number + 1
        if is_new and begins not in self._cuts:
            self._cuts.add(begins)
            self._project.add_found_cuts([begins])
        return begins in self._cuts

    # --- storing ---

    def _report(self, run: _Run, boxes: Mapping[int, LabeledBox]) -> None:
        """Hand on what is new; of a run that is to be joined with one that came before, only the progress."""
        boxes = run.inside(boxes) if run.comes_first else {}
        self._on_boxes(run.segment.target, boxes, TrackProgress(done=self._done, total=self._total))

    def _note_state(self, targets: MultiTracker, id: int, run: _Run) -> None:
        if self._identity is not None:
            run.state = targets.state(id)

    def _store_all_partly(self, targets: MultiTracker, active: Mapping[int, _Run]) -> None:
        """Keep what runs that go on, or are stopped, have found since they were kept last."""
        for id, run in active.items():
            self._note_state(targets, id, run)
            self._store_partly(run)

    def _store_partly(self, run: _Run) -> None:
        """Keep what a run has found since it was kept last, and how to go on."""
        found, run.unstored = run.unstored, {}
        if run.comes_first:
            self._store(run, run.inside(found), complete=False)
        undecided = run.ended and run.at == run.end and run.end not in run.boxes and not run.gave_up
        if self._identity is None or run.state is None or run.at == run.start or undecided:
            return
        before = UnfinishedRun(
            frame=run.at,
            boxes=found,
            waiting=run.waiting,
            gave_up=run.gave_up,
            made_by=self._identity,
            state=run.state,
        )
        self._project.store_run(run.segment, run.direction, before, replace=not run.stored)
        run.stored = True

    def _finish(self, run: _Run, partner: _Run | None = None) -> None:
        """Keep what a run that is through has found, joined with its partner's from the other side if it has one."""
        segment = run.segment
        if run.reaches_all and (segment.left is None or segment.right is None):
            self._store(run, run.inside(run.boxes), complete=True)
        elif partner is None:  # the backward run comes later, or the segment goes on beyond what was asked for
            self._store_partly(run)
        elif partner.ended:
            joined = join_runs(_as_run(partner), _as_run(run))
            boxes = {
                frame: LabeledBox(box=_box(box), score=float(score), source="tracker")
                for frame, box, score in zip(
                    range(partner.start, run.start + 1), joined.boxes, joined.scores, strict=True
                )
                if segment.first <= frame <= segment.last and np.isfinite(box).all()
            }
            doubts = {
                frame: (float(doubt), reason)
                for frame, doubt, reason in zip(
                    range(partner.start, run.start + 1), joined.doubts, joined.reasons, strict=True
                )
            }
            self._project.store_track(segment, boxes, made_by=self._made_by, doubts=doubts)
            self._on_boxes(segment.target, boxes, TrackProgress(done=self._done, total=self._total))
        else:  # the forward run met a damaged frame
            self._store_partly(run)

    def _store(self, run: _Run, boxes: Mapping[int, LabeledBox], *, complete: bool) -> None:
        """Keep boxes. Those that were kept before stay until all are there."""
        doubts, reasons = doubt_of_run(
            np.array([each.box for each in boxes.values()], np.float64).reshape(-1, 4),
            np.array([each.score for each in boxes.values()]),
            np.array([each.lost for each in boxes.values()], bool),
            np.abs(np.array(list(boxes), np.float64) - run.start),
        )
        self._project.store_track(
            run.segment,
            boxes,
            complete=complete,
            replace=complete,
            made_by=self._made_by,
            doubts=dict(zip(boxes, zip(doubts.tolist(), reasons, strict=True), strict=True)),
        )


def _identify(tracker: Tracker) -> str | None:
    """What a state depends on: kind, model, weights, options (but threads) and settings; None if it cannot be kept."""
    if not isinstance(tracker, KeepsState):
        return None
    settings: Any = tracker
    origin = tracker.origin or {"model": "", "options": {}}
    paths = [Path(each) for each in (origin["model"], origin["options"].get("weights")) if each]
    files = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]
    origin = {**origin, "options": {name: each for name, each in origin["options"].items() if name != "threads"}}
    content = [type(tracker).__name__, singletrack.__version__, origin, files, asdict(settings.settings)]
    return json.dumps(content, sort_keys=True, default=str)


def _as_run(run: _Run) -> Run:
    """The run as arrays over all frames from the left keyframe to the right one."""
    left, right = min(run.start, run.end), max(run.start, run.end)
    boxes, scores = np.full((right - left + 1, 4), np.nan), np.zeros(right - left + 1)
    boxes[run.start - left], scores[run.start - left] = run.box, 1.0
    for frame, each in run.boxes.items():
        boxes[frame - left], scores[frame - left] = each.box, each.score
    return Run(boxes, scores)


def _box(values: NDArray[np.float64]) -> Box:
    x, y, width, height = values.tolist()
    return x, y, width, height


# --- frames ---


def _spans(runs: Iterable[_Run], direction: int) -> list[tuple[int, int]]:
    """First and last frame of each stretch that runs of one direction need, in the order of reading."""
    spans: list[tuple[int, int]] = []
    for low, high in sorted((min(run.at, run.end), max(run.at, run.end)) for run in runs):
        if spans and low <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(spans[-1][1], high)
        else:
            spans.append((low, high))
    return spans if direction > 0 else [(high, low) for low, high in reversed(spans)]


def _read(reader: FrameReader, runs: Sequence[_Run], direction: int) -> Generator[tuple[int, Frame, bool], None, None]:
    """Frames with their numbers, and whether they show another scene than the frame read before.

    A thread decodes and compares them ahead. Backward, a chunk is decoded forward and kept. Where a run goes on, a few
    frames before are compared first, so that the same cuts are found.
    """
    before = {run.at: min(abs(run.at - run.start), BEFORE) for run in runs}

    def compared() -> Iterator[tuple[int, Frame, bool]]:
        for start, end in _spans(runs, direction):
            detector, skipped = CutDetector(), before[start]
            begin = start - direction * skipped
            forward = ((number, reader.frame(number)) for number in range(begin, end + 1))
            for number, frame in forward if direction > 0 else read_backward(reader, begin, end):
                is_new = detector.update(frame)
                if direction * (number - start) >= 0:
                    yield number, frame, is_new

    return read_ahead(compared(), READ_AHEAD)
