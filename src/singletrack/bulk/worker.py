"""The work of a process: tracks the rows of a part, video by video, and commits their boxes."""

from __future__ import annotations

import contextlib
import json
import platform
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from singletrack import loading
from singletrack.bulk.manifest import ADDRESS, Row, open_address, resolve
from singletrack.bulk.packages import require_package
from singletrack.bulk.parts import Part
from singletrack.bulk.store import OUTCOMES, Outcome, Store, boxes_schema
from singletrack.engines import EXPORTED_ENDINGS
from singletrack.errors import InputError, SingletrackError, VideoError
from singletrack.geometry.box_formats import BoxFormat, resolve_box
from singletrack.loading import LoadOptions
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker, update_together
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import VideoReader, open_video
from singletrack.video.ahead import read_ahead
from singletrack.workers import Count

MOST_MODELS = 2  # that a process keeps loaded, where rows name different ones
TOGETHER = 4  # videos that a process tracks at once: their targets share the passes of the network
BATCH_SIZES = (1, TOGETHER)  # each other size would have to be compiled, half a second and 60 MB of each process
BATCH_ROWS = 20_000  # boxes that are held in memory before they are written, about 4 MB
FETCH_WAIT = 1.0  # seconds before the second attempt to read a video; doubled each time
COUNT_FRAMES = 50  # between two messages to the head


@dataclass(frozen=True, kw_only=True)
class TrackParts:
    """What every process of a run needs to know. Called once in each of them.

    Attributes:
        store: where the boxes go.
        key: of the run.
        model: model of the rows that name none.
        options: how models are loaded. ``weights`` is for ``model`` alone.
        digests: digest of the weights by model; "" for ``model``.
        root: where relative paths of videos start.
        box_format: as for ``geometry.box_formats.resolve_box``.
        normalized: the same.
        retries: further attempts after an error that may be temporary.
    """

    store: Store
    key: str
    model: str
    options: LoadOptions
    digests: Mapping[str, str]
    root: str
    box_format: BoxFormat | None = None
    normalized: bool | None = None
    retries: int = 2

    def __call__(self) -> Callable[[Iterable[Part], Count], Iterator[tuple[str, Any]]]:
        load = lru_cache(maxsize=MOST_MODELS)(self.load)
        load("")  # so that the process is ready, or fails, before it takes a part

        def work(parts: Iterable[Part], count: Count) -> Iterator[tuple[str, list[str] | SingletrackError]]:
            for part in parts:
                yield part.name, self._run_part(part, load, count)

        return work

    def _run_part(self, part: Part, load: Callable[[str], Tracker], count: Count) -> list[str] | SingletrackError:
        try:
            return _PartTracker(self, part, load, count).run()
        except Exception as error:  # of the output folder or this machine, which the head reports
            return SingletrackError(f"rows {part.name} cannot be written: {_reason(error)}")

    def load(self, model: str) -> Tracker:
        """Load the tracker of a model; "" for that of rows that name none."""
        options = replace(self.options, weights=None) if model else self.options
        return loading.load_with(model_place(model, self.root) if model else self.model, options)


def model_place(model: str, root: str) -> str:
    """Return the name of a model of a row, or the path of the exported file, which may be relative to ``root``."""
    return resolve(model, root) if Path(model).suffix in EXPORTED_ENDINGS else model


@dataclass
class _Target:
    """A row while its video is tracked."""

    row: Row
    frames: int = 0
    started: bool = False
    ended: bool = False
    reason: str = ""


class _Clock:
    """The time that a video takes, its share of what it does together with others.

    Attributes:
        began: seconds since 1970.
        seconds: time so far.
    """

    def __init__(self) -> None:
        self.began, self.seconds = time.time(), 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context manager whose time counts."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


Ask = tuple[MultiTracker, Any]  # the targets of a video, and its next frame
Video = Generator[Ask, "dict[int, Result] | Exception", list[_Target]]  # asks for results, and ends with its targets


@dataclass(eq=False)
class _Running:
    """A video that is being tracked.

    Attributes:
        video: its steps.
        model: of its rows.
        clock: the time that it takes.
        ask: what it waits for.
    """

    video: Video
    model: str
    clock: _Clock
    ask: Ask | None = None

    def step(self, answer: dict[int, Result] | Exception | None) -> list[_Target] | None:
        """Go on to the next question; gives the targets at the end."""
        with self.clock.running():
            try:
                self.ask = self.video.send(answer) if answer is not None else next(self.video)
            except StopIteration as end:
                targets: list[_Target] = end.value
                return targets
        return None


class _PartTracker:
    """Tracks one part. Boxes go to a file as they come, so memory does not grow with the length of a video.

    Several videos are open at once, so that their targets share the passes of the network.
    """

    def __init__(self, run: TrackParts, part: Part, load: Callable[[str], Tracker], count: Count) -> None:
        self._run, self._part, self._load, self._count = run, part, load, count
        self._uncounted = 0
        self._running: list[_Running] = []

    def run(self) -> list[str]:
        """Track the videos, and commit; returns the status of each row."""
        outcomes: list[Outcome] = []
        parquet = require_package("pyarrow.parquet")
        store, part = self._run.store, self._part
        with store.new_file() as file:
            with parquet.ParquetWriter(str(file), boxes_schema(), compression="zstd") as writer:
                boxes = _RowGroups(writer)
                if part.failed:
                    outcomes += self._keep(boxes)
                with contextlib.closing(read_ahead(map(self._fetch, part.groups()), 1)) as fetched:
                    for clock, targets in self._track_all(fetched, boxes):
                        outcomes += [self._outcome(each, clock, len(targets)) for each in targets]
                boxes.flush()
                places = {row.row: place for place, row in enumerate(part.rows)}
                outcomes.sort(key=lambda outcome: places[outcome.row])
                writer.add_key_value_metadata({OUTCOMES.decode(): json.dumps([asdict(each) for each in outcomes])})
            self._flush_count()
            if part.failed:
                store.replace(file, self._run.key, part.name)
            elif not store.commit(file, self._run.key, part.name):
                return []  # another worker was first, and its outcomes are the ones that count
        store.write_rows(self._run.key, part.name, outcomes)
        return [each.status for each in outcomes if not part.failed or each.row in part.failed]

    def _keep(self, boxes: _RowGroups) -> list[Outcome]:
        """Copy the boxes of the rows of a committed part that are not tracked again; returns what happened to them."""
        store, part, key = self._run.store, self._part, self._run.key
        arrow = require_package("pyarrow")
        again = {(row.video, row.id) for row in part.tracked}
        for batch in store.boxes(key, part.name):
            kept = [pair not in again for pair in zip(batch["video"].to_pylist(), batch["id"].to_pylist(), strict=True)]
            boxes.add(batch.filter(arrow.array(kept)).cast(boxes_schema()))
        return [each for each in store.outcomes(store.boxes_path(key, part.name)) if each.row not in part.failed]

    def _fetch(self, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], _Source]:
        return rows, _Source(rows[0].video, self._run.root, self._run.retries, rows[0].row in self._part.poisoned)

    def _track_all(
        self, fetched: Iterator[tuple[tuple[Row, ...], _Source]], boxes: _RowGroups
    ) -> Iterator[tuple[_Clock, list[_Target]]]:
        """Track all videos, several at once; gives the targets of each when it ends."""
        most = 1 if self._part.careful else TOGETHER
        answers: list[dict[int, Result] | Exception | None] = []
        try:
            while True:
                while len(self._running) < most and (following := next(fetched, None)) is not None:
                    clock = _Clock()
                    running = _Running(self._track_group(*following, boxes), following[0][0].model, clock)
                    self._running.append(running)
                    answers.append(None)
                if not self._running:
                    return
                for running, answer in zip(list(self._running), answers, strict=True):
                    if (targets := running.step(answer)) is not None:
                        self._running.remove(running)
                        yield running.clock, targets
                answers = self._answer_all()
        finally:
            for running in self._running:
                running.video.close()

    def _answer_all(self) -> list[dict[int, Result] | Exception | None]:
        """Run the network on what all videos ask for, those of one model together."""
        answers: dict[_Running, dict[int, Result] | Exception] = {}
        for model in dict.fromkeys(each.model for each in self._running):
            asking = [each for each in self._running if each.model == model]
            start = time.perf_counter()
            try:
                found = update_together([each.ask for each in asking if each.ask is not None])
            except Exception as error:  # of the network: each video tries again alone
                found = [error] * len(asking)
            share = (time.perf_counter() - start) / len(asking)
            for running, answer in zip(asking, found, strict=True):
                running.clock.seconds += share
                answers[running] = answer
        return [answers[each] for each in self._running]

    def _track_group(self, rows: tuple[Row, ...], source: _Source, boxes: _RowGroups) -> Video:
        """Track the rows of one video, with further attempts, alone, after errors that may be temporary."""
        if self._part.careful:
            self._run.store.note_attempt(self._part.name, rows[0].row)
        poison = self._part.poisoned.get(rows[0].row)
        with source:
            reason = poison or source.reason
            for attempt in range(self._run.retries + 1):
                targets = [_Target(row) for row in rows]
                if reason:
                    break
                with _Spool() as spool:
                    error = yield from self._attempt(targets, source, spool, alone=attempt > 0)
                    if error is None or isinstance(error, SingletrackError) or attempt == self._run.retries:
                        spool.copy(boxes)
                        reason = "" if error is None else _reason(error)
                        break
        for target in targets:
            target.reason = target.reason or ("" if target.ended else reason)
        return targets

    def _attempt(
        self, targets: list[_Target], source: _Source, spool: _Spool, *, alone: bool
    ) -> Generator[Ask, dict[int, Result] | Exception, Exception | None]:
        """Track the targets to their ends; returns the error that ended it early."""
        try:
            with open_video(source.path) as video:
                many = self._start_tracker(targets[0].row.model)
                yield from self._track(targets, video, many, spool, alone=alone)
        except Exception as error:  # any error is reported with its rows, and the other videos are tracked
            return error
        return None

    def _start_tracker(self, model: str) -> MultiTracker:
        beside = (each.ask[0].beside() for each in self._running if each.model == model and each.ask is not None)
        return next(beside, None) or MultiTracker(self._load(model), batch_sizes=BATCH_SIZES)

    def _track(
        self, targets: list[_Target], video: VideoReader, many: MultiTracker, spool: _Spool, *, alone: bool
    ) -> Generator[Ask, dict[int, Result] | Exception, None]:
        waiting = sorted(targets, key=lambda target: target.row.start)
        start, resizer = waiting[0].row.start, FrameResizer()
        active: dict[int, _Target] = {}
        numbered = enumerate(video.timed_frames(), start) if video.skip(start) == start else ()
        for index, (seconds, frame) in numbered:
            fitted = resizer.fit(frame)
            found: dict[int, Result] | Exception = {}
            if active:
                found = many.update(fitted) if alone else (yield many, fitted)
            if isinstance(found, Exception):
                raise found
            results = [(active[number], resizer.to_own(result)) for number, result in found.items()]
            while waiting and waiting[0].row.start <= index:
                target = waiting.pop(0)
                if (result := self._add(target, frame, fitted, many, resizer, active)) is not None:
                    results.append((target, result))
            for target, result in results:
                spool.add(target.row.video, target.row.id, index, seconds, result)
                target.frames += 1
            self._note(len(results))
            for number, target in list(active.items()):
                if target.row.end is not None and index >= target.row.end:
                    target.ended = True
                    many.remove(number)
                    del active[number]
            if not active and not waiting:
                break
        for target in active.values():
            target.ended = True
        for target in waiting:
            target.reason = f"start frame {target.row.start} is beyond the end of the video; give a lower one"

    def _note(self, frames: int) -> None:
        """Count tracked frames; the head hears of a few dozen at once."""
        self._uncounted += frames
        if self._uncounted >= COUNT_FRAMES:
            self._flush_count()

    def _flush_count(self) -> None:
        self._count(self._uncounted)
        self._uncounted = 0

    def _add(
        self,
        target: _Target,
        frame: Any,
        fitted: Any,
        many: MultiTracker,
        resizer: FrameResizer,
        active: dict[int, _Target],
    ) -> Result | None:
        """Start a target; a box that is not valid fails its row alone."""
        size_wh = (frame.shape[1], frame.shape[0])
        run = self._run
        try:
            box = resolve_box(target.row.box, size_wh, box_format=run.box_format, normalized=run.normalized)
            active[many.add(fitted, resizer.to_first(box))] = target
        except InputError as error:
            target.reason = str(error)
            return None
        return Result(box=box, score=1.0, lost=False)

    def _outcome(self, target: _Target, clock: _Clock, targets: int) -> Outcome:
        row = target.row
        return Outcome(
            row=row.row,
            video=row.video,
            id=row.id,
            model=row.model or self._run.model,
            status="failed" if target.reason else "done",
            reason=target.reason,
            frames=target.frames,
            seconds=clock.seconds / targets,
            digest=self._run.digests[row.model],
            host=platform.node(),
            began=clock.began,
            finished=time.time(),
        )


class _Source:
    """A video as a local path. Addresses are copied to a temporary file, which is removed at the end.

    Attributes:
        path: the file or folder.
        reason: why it cannot be read; "" if it can.
    """

    def __init__(self, video: str, root: str, retries: int, skip: bool) -> None:
        self.path, self.reason = resolve(video, root), ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if skip or not ADDRESS.match(self.path):
            return
        address = self.path
        self._folder = tempfile.TemporaryDirectory(prefix="singletrack-")
        self.path = str(Path(self._folder.name) / f"video{Path(address).suffix[:20]}")
        for attempt in range(retries + 1):
            if attempt:
                time.sleep(FETCH_WAIT * 2 ** (attempt - 1))
            try:
                system, path = open_address(address)
                system.get_file(path, self.path)
            except (FileNotFoundError, PermissionError, SingletrackError) as error:
                self.reason = _reason(
                    VideoError(f"cannot read {video} ({error}); check the address and its permissions")
                )
                return
            except Exception as error:  # of any file system, which may be temporary
                self.reason = f"cannot read {video} after {attempt + 1} attempts ({type(error).__name__}: {error})"
            else:
                self.reason = ""
                return

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


class _Spool:
    """The boxes of one video, in a temporary file until it is known that they count."""

    def __init__(self) -> None:
        self._arrow = require_package("pyarrow")
        self._schema = boxes_schema()
        self._stream = tempfile.TemporaryFile(prefix="singletrack-")  # noqa: SIM115 - closed in __exit__
        self._writer = self._arrow.ipc.new_stream(self._stream, self._schema)
        self._rows: list[tuple[Any, ...]] = []

    def add(self, video: str, id: str, frame: int, seconds: float, result: Result) -> None:
        """Add the box of one target in one frame."""
        self._rows.append((video, id, frame, seconds, *result.box, result.score, result.lost))
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def copy(self, boxes: _RowGroups) -> None:
        """Write all boxes to the file of the part."""
        self._flush()
        self._writer.close()
        self._stream.seek(0)
        with self._arrow.ipc.open_stream(self._stream) as reader:
            for batch in reader:
                boxes.add(batch)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [self._arrow.array(column, kind) for column, kind in zip(columns, self._schema.types, strict=True)]
            self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
            self._rows = []

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _RowGroups:
    """Writes the boxes of many videos to a Parquet file, in row groups of ``BATCH_ROWS`` or more."""

    def __init__(self, writer: Any) -> None:
        self._arrow, self._writer = require_package("pyarrow"), writer
        self._batches: list[Any] = []

    def add(self, batch: Any) -> None:
        """Add the next boxes."""
        self._batches.append(batch)
        if sum(map(len, self._batches)) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written."""
        if self._batches:
            self._writer.write_table(self._arrow.Table.from_batches(self._batches))
            self._batches = []


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SingletrackError) else f"{type(error).__name__}: {error}"
