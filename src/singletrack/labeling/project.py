"""Label projects: one SQLite file per video that holds targets, keyframes, tracked boxes and every edit.

Keyframes are what a person said and are never changed by the tracker. Everything a method reports as done is on the
disk when it returns. One process at a time may write; methods may be called from several threads.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from singletrack.errors import InputError, ProjectError, VideoError
from singletrack.files import writing
from singletrack.geometry.boxes import Box, check_box
from singletrack.labeling.keyframes import interpolate, select_keyframes
from singletrack.labeling.labels import PALETTE, LabeledBox, LabeledTarget, LabelSet, VideoInfo, check_color
from singletrack.labeling.suggest import LEAST_DOUBT, Suggestion, pick_suggestions
from singletrack.labeling.unfinished import SCHEMA as UNFINISHED_SCHEMA
from singletrack.labeling.unfinished import UnfinishedRun, pack_step, pack_waiting, unpack_step, unpack_waiting
from singletrack.locking import lock_file
from singletrack.video import open_frames
from singletrack.video.reader import find_pictures

APPLICATION_ID = 0x73746C62  # "stlb", in the header of each project file
VERSION = 1
DIGEST_BYTES = 1 << 20  # of the source, from its beginning
IMPORT_TOLERANCE = 0.1  # pixels, see Project.import_labels

_SCHEMA = """
CREATE TABLE source (
    path TEXT NOT NULL, relative_path TEXT NOT NULL, name TEXT NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, frame_count INTEGER NOT NULL, fps REAL NOT NULL, frame_names TEXT,
    bytes INTEGER NOT NULL, modified REAL NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE target (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, label TEXT NOT NULL, color TEXT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE TABLE keyframe (
    target INTEGER NOT NULL, frame INTEGER NOT NULL, box TEXT, PRIMARY KEY (target, frame)
) WITHOUT ROWID;
CREATE TABLE cut (frame INTEGER PRIMARY KEY);
CREATE TABLE edit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, words TEXT NOT NULL, changes TEXT NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE segment (
    id INTEGER PRIMARY KEY, target INTEGER NOT NULL, key TEXT NOT NULL UNIQUE, complete INTEGER NOT NULL,
    made_by TEXT NOT NULL
);
CREATE TABLE track (
    segment INTEGER NOT NULL, frame INTEGER NOT NULL, x REAL, y REAL, width REAL, height REAL, score REAL NOT NULL,
    lost INTEGER NOT NULL, source TEXT NOT NULL, doubt REAL NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (segment, frame)
) WITHOUT ROWID;
"""
_KEYS = {"target": ("id",), "keyframe": ("target", "frame"), "cut": ("frame",)}  # what edits change, and its keys

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames of one target that the tracker fills, next to one keyframe or between two.

    Attributes:
        target: Id of the target.
        first, last: First and last frame to fill, both included; keyframes are not among them.
        left, right: Frame number of the keyframe with a box just before `first` and just after `last`. None where
            tracking has nothing to start from on that side: before the first keyframe, after the last one, or where
            the target is marked absent. One of them is always set.
        left_box, right_box: The boxes of these keyframes, None where `left` or `right` is None.
    """

    target: int
    first: int
    last: int
    left: int | None
    right: int | None
    left_box: Box | None
    right_box: Box | None


@dataclass(frozen=True)
class _Change:
    """One row of a table before and after an edit; None if missing."""

    table: str
    before: Row | None
    after: Row | None

    def undone(self) -> _Change:
        return _Change(self.table, self.after, self.before)


class Project:
    """The labels of one video, kept in a SQLite file. Use it as a context manager, or call ``close``.

    Every change (targets, keyframes, imports, scene cuts) is one edit that ``undo`` takes back, also after a restart.
    Tracked boxes are no edits: after an undo, those that belong to the keyframes of that time are shown again.

    Attributes:
        path: The project file.
        source: Path of the video or folder of frames.
        video: Name, size, frame count and rate of the source.
        read_only: Whether changes are refused.
    """

    path: Path
    source: Path
    video: VideoInfo
    read_only: bool

    def __init__(self, path: Path, source: Path, video: VideoInfo, database: _Database) -> None:
        """Use ``create`` or ``open``."""
        self.path, self.source, self.video, self._database = path, source, video, database
        self.read_only = database.read_only

    @classmethod
    def create(cls, path: str | Path, source: str | Path) -> Project:
        """Make a new project file for a video or folder of frames.

        Raises:
            InputError: If `path` exists.
            VideoError: If the source cannot be read.
            SingletrackError: If `path` cannot be written.
        """
        path, source = Path(path).absolute(), Path(source).absolute()
        video, identity = describe_source(source), identify_source(source)
        unlock = _lock(path)
        try:
            if path.exists():
                raise InputError(f"{path} exists already; open it, or give another name")
            # Made under another name and moved, so that a project file is never half made.
            partial = path.with_name(f"{path.name}.part")
            with writing(path):
                partial.unlink(missing_ok=True)
                with sqlite_errors(path):
                    _write_new(partial, path, source, video, identity)
                partial.replace(path)
            return cls(path, source, video, _Database(path, unlock))
        except BaseException:
            unlock()
            raise

    @classmethod
    def open(cls, path: str | Path, *, source: str | Path | None = None, read_only: bool = False) -> Project:
        """Open a project file.

        Args:
            path: The project file.
            source: Where the video is now, if it was moved. It must be the same video.
            read_only: Only read, also while another process writes.

        Raises:
            ProjectError: If the file is no project, another process has it open for writing, the source is missing, or
                the source is another video than the labeled one.
        """
        path = Path(path).absolute()
        if not path.is_file():
            raise ProjectError(
                f"there is no project file {path}; check the path, or make one with `singletrack label CLIP`"
            )
        _check_header(path)
        database = _Database(path, None if read_only else _lock(path), read_only=read_only)
        try:
            with sqlite_errors(path):
                (row,) = database.rows("SELECT * FROM source")
                stored = Path(row["path"])
                places = [Path(source).absolute()] if source else [path.parent / row["relative_path"], stored]
                found = next((place for place in places if place.exists()), None)
                if found is None:
                    raise ProjectError(
                        f"the video of {path} is not at {places[-1]}; if it was moved, give its new path: `singletrack "
                        f"label CLIP --project {path.name}`, in Python source="
                    )
                size, digest = identify_source(found)
                if (size, digest) != (row["bytes"], row["digest"]):
                    raise ProjectError(
                        f"{found} is not the video that {path} labels ({row['name']}, {row['frame_count']} frames): "
                        "its content differs; give the original as source, or start a new project: give the name "
                        "of a new file with --project, in Python as project"
                    )
                if found != stored and not read_only:
                    with database.transaction():
                        database.run(
                            "UPDATE source SET path = ?, relative_path = ?", str(found), _relative(found, path.parent)
                        )
        except BaseException:
            database.close()
            raise
        names = row["frame_names"]
        video = VideoInfo(
            name=row["name"],
            width=row["width"],
            height=row["height"],
            frame_count=row["frame_count"],
            fps=row["fps"],
            frame_names=None if names is None else tuple(json.loads(names)),
        )
        return cls(path, found, video, database)

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._database.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- targets ---

    def targets(self) -> tuple[LabeledTarget, ...]:
        """All targets in the order in which they were added, without their boxes."""
        with self._reading():
            return tuple(_target(row) for row in self._database.rows("SELECT * FROM target ORDER BY id"))

    def add_target(
        self,
        name: str,
        label: str = "object",
        color: str | None = None,
        attributes: Mapping[str, str] | None = None,
        *,
        keyframe: tuple[int, Box] | None = None,
    ) -> int:
        """Add a target and return its id: 1 for the first; ids are never used again.

        Args:
            name: Name of this one target.
            label: Its class.
            color: "#rrggbb". [default: the next of ``labels.PALETTE`` that no target has]
            attributes: Further properties.
            keyframe: Frame number and box of its first keyframe, see ``set_keyframe``; one edit adds both.

        Raises:
            InputError: For a frame outside the video or a bad box.
        """
        first: tuple[int, Box] | None = None
        if keyframe is not None:
            frame, box = keyframe
            first = self._check_frame(frame), check_box(box, (self.video.width, self.video.height))
        with self._editing():
            row = self._new_target(self._next_id(), name, label, color, attributes or {})
            changes = [_Change("target", None, row)]
            if first is not None:
                changes.append(_Change("keyframe", None, _keyframe(int(row["id"]), *first)))
            self._edit(f"add target {name}", changes)
            return int(row["id"])

    def change_target(
        self,
        id: int,
        *,
        name: str | None = None,
        label: str | None = None,
        color: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is given; `attributes` replaces all of them. Raises InputError for an unknown id."""
        given = {"name": name, "label": label, "color": None if color is None else check_color(color)}
        given["attributes"] = None if attributes is None else json.dumps(dict(attributes))
        with self._editing():
            before = self._target_row(id)
            after = before | {key: value for key, value in given.items() if value is not None}
            self._edit(f"change target {before['name']}", [_Change("target", before, after)])

    def remove_target(self, id: int) -> None:
        """Remove a target with its keyframes. Raises InputError for an unknown id."""
        with self._editing():
            target = self._target_row(id)
            rows = self._database.rows("SELECT * FROM keyframe WHERE target = ?", id)
            changes = [_Change("keyframe", row, None) for row in rows]
            self._edit(f"remove target {target['name']}", [*changes, _Change("target", target, None)])

    # --- keyframes ---

    def keyframes(self, target: int) -> dict[int, LabeledBox]:
        """The keyframes of a target by frame number, ascending; ``box`` is None where it is marked absent."""
        with self._reading():
            return {
                frame: LabeledBox(box=box, keyframe=True, source="person")
                for frame, box in self._keyframes(target).items()
            }

    def set_keyframe(self, target: int, frame: int, box: Box | None) -> None:
        """Add or replace a keyframe.

        Args:
            target: Id of the target.
            frame: Frame number.
            box: x, y, width, height in pixels of the source; it must overlap the frame. None marks the target absent
                from this frame until the next keyframe.

        Raises:
            InputError: For an unknown target, a frame outside the video or a bad box.
        """
        self._check_frame(frame)
        checked = None if box is None else check_box(box, (self.video.width, self.video.height))
        with self._editing():
            name = self._target_row(target)["name"]
            before = self._keyframe_row(target, frame)
            after = _keyframe(target, frame, checked)
            words = f"set keyframe {frame} of {name}" if checked else f"mark {name} absent from frame {frame}"
            self._edit(words, [_Change("keyframe", before, after)])

    def remove_keyframe(self, target: int, frame: int) -> None:
        """Remove a keyframe; raises InputError if it does not exist."""
        with self._editing():
            name = self._target_row(target)["name"]
            before = self._keyframe_row(target, frame)
            if before is None:
                known = ", ".join(map(str, self._keyframes(target))) or "none"
                raise InputError(f"{name} has no keyframe {frame}; its keyframes are: {known}")
            self._edit(f"remove keyframe {frame} of {name}", [_Change("keyframe", before, None)])

    # --- boxes ---

    def boxes(self, target: int, first: int = 0, last: int | None = None) -> dict[int, LabeledBox]:
        """The boxes of a target by frame number, ascending, in frames `first` to `last`, both included.

        Keyframes, tracked boxes, and, between two keyframes that are not tracked yet, boxes by linear interpolation.
        """
        last = self.video.frame_count - 1 if last is None else min(last, self.video.frame_count - 1)
        first = max(first, 0)
        found: dict[int, LabeledBox] = {}
        with self._reading():
            keyframes = self._keyframes(target)
            for frame, box in keyframes.items():
                if first <= frame <= last:
                    found[frame] = LabeledBox(box=box, keyframe=True)
            for start, end in absent_spans(keyframes, self.video.frame_count):
                for frame in range(max(start, first), min(end, last) + 1):
                    found.setdefault(frame, LabeledBox(box=None))
            for segment in segments_between(target, keyframes, self.video.frame_count):
                if segment.first <= last and segment.last >= first:
                    found |= self._segment_boxes(segment, max(first, segment.first), min(last, segment.last))
        return dict(sorted(found.items()))

    def outdated_boxes(self, target: int, first: int = 0, last: int | None = None) -> dict[int, LabeledBox]:
        """What was tracked before the keyframes of a stretch changed, in frames that are not tracked since.

        For showing until it is tracked anew: these boxes are no labels. ``boxes`` and exports have linear interpolation
        there, or nothing.

        Returns:
            The boxes tracked last, by frame number, ascending, in frames `first` to `last`, both included.
        """
        last = self.video.frame_count - 1 if last is None else min(last, self.video.frame_count - 1)
        found: dict[int, LabeledBox] = {}
        query = (
            "SELECT track.* FROM track JOIN segment ON track.segment = segment.id "
            "WHERE segment.target = ? AND track.frame BETWEEN ? AND ? ORDER BY segment.id"
        )
        with self._reading():
            for segment in self.stale_segments(target):
                low, high = max(first, segment.first), min(last, segment.last)
                now = self._segment_boxes(segment, low, high)
                for row in self._database.rows(query, target, low, high):
                    if row["frame"] not in now or now[row["frame"]].source == "interpolation":
                        found[row["frame"]] = _labeled(row)
        return dict(sorted(found.items()))

    def labels(self) -> LabelSet:
        """All targets with all their boxes."""
        with self._reading():
            targets = tuple(
                LabeledTarget(
                    id=target.id,
                    name=target.name,
                    label=target.label,
                    color=target.color,
                    attributes=target.attributes,
                    boxes=self.boxes(target.id),
                )
                for target in self.targets()
            )
            return LabelSet(video=self.video, targets=targets)

    def import_labels(self, labels: LabelSet, *, keep_boxes: bool = True) -> list[int]:
        """Add the targets of a label set, as one edit; returns their new ids.

        Boxes with ``keyframe`` set become keyframes. Where a target has none, as few frames as describe it to a tenth
        of a pixel by linear interpolation become keyframes. The other boxes are kept between them as they are. A target
        with a single box is tracked from it; the others stay as they were imported until their keyframes change. A
        target whose color another one has gets the next free color.

        Args:
            labels: Of a video of the same size and frame count.
            keep_boxes: False keeps the keyframes only, so that everything else is tracked.

        Raises:
            InputError: If the label set is of a video of another size or frame count.
        """
        mine, theirs = self.video, labels.video
        if (mine.width, mine.height, mine.frame_count) != (theirs.width, theirs.height, theirs.frame_count):
            raise InputError(
                f"these labels are of a video of {theirs.width} x {theirs.height} pixels and {theirs.frame_count} "
                f"frames; {mine.name} has {mine.width} x {mine.height} and {mine.frame_count}; import the labels of "
                "this video"
            )
        ids = []
        with self._editing():
            changes, imported, taken = [], [], set[str]()
            for number, target in enumerate(labels.targets, start=self._next_id()):
                color = self._free_color(number, target.color, taken)
                taken.add(color.lower())
                row = self._new_target(number, target.name, target.label, color, target.attributes)
                keyframes = imported_keyframes(target.boxes)
                changes.append(_Change("target", None, row))
                changes += [
                    _Change("keyframe", None, _keyframe(number, frame, box)) for frame, box in keyframes.items()
                ]
                imported.append((number, keyframes, target.boxes))
                ids.append(number)
            count = len(ids)
            self._edit(f"import {count} target{'s' if count != 1 else ''}", changes)
            for number, keyframes, boxes in imported:
                if not keep_boxes or len(boxes) < 2:
                    continue
                for segment in segments_between(number, keyframes, mine.frame_count):
                    inside = {
                        frame: LabeledBox(box=each.box, score=each.score, lost=each.lost, source="import")
                        for frame, each in boxes.items()
                        if segment.first <= frame <= segment.last
                    }
                    self._store(segment, inside, complete=True, made_by="import", doubts={})
        return ids

    # --- tracking ---

    def segments(self, target: int) -> list[Segment]:
        """Everything between, before and after the keyframes of a target that the tracker may fill, ascending."""
        with self._reading():
            return segments_between(target, self._keyframes(target), self.video.frame_count)

    def stale_segments(self, target: int) -> list[Segment]:
        """Segments whose keyframes changed since they were tracked, or that were not tracked to their end."""
        with self._reading():
            segments = segments_between(target, self._keyframes(target), self.video.frame_count)
            return [segment for segment in segments if not self._is_complete(segment)]

    def store_track(
        self,
        segment: Segment,
        boxes: Mapping[int, LabeledBox],
        *,
        complete: bool = True,
        replace: bool = True,
        made_by: str = "",
        doubts: Mapping[int, tuple[float, str]] | None = None,
    ) -> None:
        """Keep what the tracker made of a segment.

        Args:
            segment: As ``stale_segments`` gave it. If its keyframes have changed since, the boxes are kept but not
                shown.
            boxes: By frame number; frames that are left out have no box.
            complete: False where tracking was stopped; the segment then stays stale.
            replace: Whether boxes that were kept before for the same keyframes are removed, or added to.
            made_by: Model and weights, in words.
            doubts: By frame number, 0 (certain) to 1 and the reason, for ``suggestions``.
        """
        with self._editing():
            self._store(segment, boxes, complete=complete, replace=replace, made_by=made_by, doubts=doubts or {})

    def store_run(self, segment: Segment, direction: int, run: UnfinishedRun, *, replace: bool) -> None:
        """Keep how far the tracker is in a segment, so that it can go on from there.

        What was kept of segments whose keyframes have changed since is removed.

        Args:
            segment: As ``stale_segments`` gave it.
            direction: 1 for forward, -1 for backward.
            run: How far it is. Its boxes are added to those that were kept before.
            replace: Whether to remove those that were kept before.
        """
        with self._editing():
            self._database.add_tables(UNFINISHED_SCHEMA)
            current = {_key(segment)}
            if self._database.row("SELECT id FROM target WHERE id = ?", segment.target) is not None:
                current |= {_key(each) for each in self.segments(segment.target)}
            for row in self._database.rows("SELECT id, key FROM segment WHERE target = ?", segment.target):
                if row["key"] not in current:
                    self._forget_runs(row["id"])
            id = self._segment_id(segment, complete=False, made_by=run.made_by)
            if replace:
                self._database.run("DELETE FROM step WHERE segment = ? AND direction = ?", id, direction)
            self._database.run(
                "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(id, direction, run.frame, int(run.gave_up), pack_waiting(run.waiting), run.made_by, run.state),
            )
            self._database.run_many(
                "INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(id, direction, *pack_step(frame, each)) for frame, each in run.boxes.items()],
            )

    def unfinished_run(self, segment: Segment, direction: int) -> UnfinishedRun | None:
        """What ``store_run`` kept of a segment that is not done; None if nothing."""
        with self._reading():
            row = self._run_row(segment, direction)
            if row is None:
                return None
            steps = self._database.rows(
                "SELECT * FROM step WHERE segment = ? AND direction = ? ORDER BY frame", row["segment"], direction
            )
        return UnfinishedRun(
            frame=row["frame"],
            boxes={each["frame"]: unpack_step(each) for each in steps},
            waiting=unpack_waiting(row["waiting"]),
            gave_up=bool(row["gave_up"]),
            made_by=row["made_by"],
            state=row["state"],
        )

    def frames_left(self, target: int) -> int:
        """Frames that are not tracked yet. Between two keyframes, a frame counts half for each direction."""
        with self._reading():
            return sum(self._frames_left(segment) for segment in self.stale_segments(target))

    def suggestions(self, n: int | None = None, *, least: float = LEAST_DOUBT) -> list[Suggestion]:
        """The frames that a person should look at next, the one that helps most first, never next to a keyframe.

        Args:
            n: How many at most. [default: all]
            least: Frames with less doubt are left out.
        """
        found: list[Suggestion] = []
        with self._reading():
            cuts = self.cuts()
            for target in self.targets():
                keyframes = self._keyframes(target.id)
                doubtful: list[Suggestion] = []
                for segment in segments_between(target.id, keyframes, self.video.frame_count):
                    doubtful += self._doubts(segment, least)
                    doubtful += self._ends_at_cuts(segment, cuts)
                found += pick_suggestions(doubtful, keyframes)
        return sorted(found, key=lambda suggestion: -suggestion.helps)[:n]

    def cuts(self) -> tuple[int, ...]:
        """The first frame of each new scene that is known so far, ascending; ``track_segments`` finds them."""
        with self._reading():
            return tuple(row["frame"] for row in self._database.rows("SELECT frame FROM cut ORDER BY frame"))

    def set_cuts(self, frames: Iterable[int]) -> None:
        """Replace the scene cuts, as one edit. Raises InputError for frames outside 1 to the last frame."""
        wanted = sorted(set(frames))
        for frame in wanted:
            self._check_frame(frame, first=1)
        with self._editing():
            before = self.cuts()
            changes = [_Change("cut", {"frame": frame}, None) for frame in before if frame not in wanted]
            changes += [_Change("cut", None, {"frame": frame}) for frame in wanted if frame not in before]
            self._edit("set scene cuts", changes)

    def add_found_cuts(self, frames: Iterable[int]) -> None:
        """Add scene cuts that were found while frames were read. This is no edit."""
        with self._editing():
            for frame in frames:
                self._database.run("INSERT OR IGNORE INTO cut VALUES (?)", self._check_frame(frame, first=1))

    # --- history ---

    def undo(self) -> str | None:
        """Take back the last edit; returns what it was, in words ("set keyframe 12 of white car"), None if none."""
        with self._editing():
            row = self._last_edit()
            if row is None:
                return None
            for change in reversed(_changes(row)):
                self._apply(change.undone())
            self._database.run("UPDATE edit SET undone = 1 WHERE id = ?", row["id"])
            return str(row["words"])

    def redo(self) -> str | None:
        """Redo the last undone edit; returns what it was, None if nothing was undone."""
        with self._editing():
            row = self._first_undone()
            if row is None:
                return None
            for change in _changes(row):
                self._apply(change)
            self._database.run("UPDATE edit SET undone = 0 WHERE id = ?", row["id"])
            return str(row["words"])

    @property
    def can_undo(self) -> bool:
        """Whether ``undo`` has something to take back."""
        with self._reading():
            return self._last_edit() is not None

    @property
    def can_redo(self) -> bool:
        """Whether ``redo`` has something to do once more."""
        with self._reading():
            return self._first_undone() is not None

    # --- the tables ---

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._database.lock, sqlite_errors(self.path):
            yield

    @contextmanager
    def _editing(self) -> Iterator[None]:
        if self.read_only:
            raise ProjectError(f"{self.path} is open for reading only; open it without read_only to change it")
        with self._database.lock, sqlite_errors(self.path), self._database.transaction():
            yield

    def _edit(self, words: str, changes: list[_Change]) -> None:
        """Carry out the changes and write them down; changes that change nothing are no edit."""
        changes = [change for change in changes if change.before != change.after]
        if not changes:
            return
        for change in changes:
            self._apply(change)
        self._database.run("DELETE FROM edit WHERE undone = 1")
        content = json.dumps([[change.table, change.before, change.after] for change in changes])
        self._database.run("INSERT INTO edit (time, words, changes) VALUES (?, ?, ?)", time.time(), words, content)

    def _apply(self, change: _Change) -> None:
        table = change.table
        if change.before is not None:
            keys = _KEYS[table]
            where = " AND ".join(f"{key} = ?" for key in keys)
            self._database.run(f"DELETE FROM {table} WHERE {where}", *(change.before[key] for key in keys))
        if change.after is not None:
            columns, places = ", ".join(change.after), ", ".join("?" * len(change.after))
            self._database.run(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", *change.after.values())

    def _last_edit(self) -> Row | None:
        return self._database.row("SELECT * FROM edit WHERE undone = 0 ORDER BY id DESC LIMIT 1")

    def _first_undone(self) -> Row | None:
        return self._database.row("SELECT * FROM edit WHERE undone = 1 ORDER BY id LIMIT 1")

    def _next_id(self) -> int:
        row = self._database.row("SELECT seq FROM sqlite_sequence WHERE name = 'target'")
        return 1 if row is None else int(row["seq"]) + 1

    def _new_target(self, id: int, name: str, label: str, color: str | None, attributes: Mapping[str, str]) -> Row:
        color = self._free_color(id) if color is None else check_color(color)
        return {"id": id, "name": name, "label": label, "color": color, "attributes": json.dumps(dict(attributes))}

    def _free_color(self, id: int, wanted: str | None = None, taken: Collection[str] = ()) -> str:
        """A color that no target has, if any of the palette is left: `wanted`, or the next of the palette."""
        used = {each.color.lower() for each in self.targets()} | set(taken)
        start = (id - 1) % len(PALETTE)
        order = [*([] if wanted is None else [wanted]), *PALETTE[start:], *PALETTE[:start]]
        return next((color for color in order if color.lower() not in used), order[0])

    def _target_row(self, id: int) -> Row:
        row = self._database.row("SELECT * FROM target WHERE id = ?", id)
        if row is None:
            known = ", ".join(str(target.id) for target in self.targets()) or "none"
            raise InputError(f"there is no target {id}; ids are: {known}")
        return row

    def _keyframe_row(self, target: int, frame: int) -> Row | None:
        return self._database.row("SELECT * FROM keyframe WHERE target = ? AND frame = ?", target, frame)

    def _keyframes(self, target: int) -> dict[int, Box | None]:
        self._target_row(target)
        rows = self._database.rows("SELECT * FROM keyframe WHERE target = ? ORDER BY frame", target)
        return {row["frame"]: None if row["box"] is None else _box(json.loads(row["box"])) for row in rows}

    def _check_frame(self, frame: int, first: int = 0) -> int:
        if not first <= frame < self.video.frame_count:
            raise InputError(
                f"frame must be from {first} to {self.video.frame_count - 1}; got {frame}; {self.video.name} has "
                f"{self.video.frame_count} frames, numbered from 0"
            )
        return frame

    def _doubts(self, segment: Segment, least: float) -> list[Suggestion]:
        query = (
            "SELECT track.* FROM track JOIN segment ON track.segment = segment.id "
            "WHERE segment.key = ? AND track.doubt > 0 AND track.doubt >= ?"
        )
        return [
            Suggestion(target=segment.target, frame=row["frame"], doubt=row["doubt"], reason=row["reason"])
            for row in self._database.rows(query, _key(segment), least)
        ]

    def _ends_at_cuts(self, segment: Segment, cuts: Iterable[int]) -> list[Suggestion]:
        """Cuts after which a segment that was tracked to its end has no box: is the target there, and where?"""
        if not self._is_complete(segment):
            return []
        return [
            Suggestion(target=segment.target, frame=cut, doubt=1.0, reason="scene cut")
            for cut in cuts
            if segment.first <= cut <= segment.last and not self._segment_boxes(segment, cut, cut)
        ]

    def _frames_left(self, segment: Segment) -> int:
        length = segment.last - segment.first + 1
        directions = [each for each, start in ((1, segment.left), (-1, segment.right)) if start is not None]
        done = 0
        for direction in directions:
            row = self._run_row(segment, direction)
            if row is not None:
                tracked = row["frame"] - segment.first if direction > 0 else segment.last - row["frame"]
                done += min(max(tracked + 1, 0), length)
        return max(1, -((done - length * len(directions)) // len(directions)))  # rounded up

    def _run_row(self, segment: Segment, direction: int) -> Row | None:
        if not self._database.has_table("run"):  # a project of before, opened for reading
            return None
        query = "SELECT run.* FROM run JOIN segment ON run.segment = segment.id WHERE segment.key = ? AND direction = ?"
        return self._database.row(query, _key(segment), direction)

    def _forget_runs(self, segment_id: int) -> None:
        if self._database.has_table("run"):
            for table in ("run", "step"):
                self._database.run(f"DELETE FROM {table} WHERE segment = ?", segment_id)

    def _is_complete(self, segment: Segment) -> bool:
        row = self._database.row("SELECT complete FROM segment WHERE key = ?", _key(segment))
        return row is not None and bool(row["complete"])

    def _segment_boxes(self, segment: Segment, first: int, last: int) -> dict[int, LabeledBox]:
        row = self._database.row("SELECT * FROM segment WHERE key = ?", _key(segment))
        found: dict[int, LabeledBox] = {}
        if row is None or not row["complete"]:
            found = interpolated_boxes(segment, first, last)
        if row is not None:
            query = "SELECT * FROM track WHERE segment = ? AND frame BETWEEN ? AND ?"
            found |= {each["frame"]: _labeled(each) for each in self._database.rows(query, row["id"], first, last)}
        return found

    def _store(
        self,
        segment: Segment,
        boxes: Mapping[int, LabeledBox],
        *,
        complete: bool,
        made_by: str,
        doubts: Mapping[int, tuple[float, str]],
        replace: bool = True,
    ) -> None:
        for frame in boxes:
            if not segment.first <= frame <= segment.last:
                raise InputError(
                    f"the segment has frames {segment.first} to {segment.last}; got a box in frame {frame}"
                )
        id = self._segment_id(segment, complete=complete, made_by=made_by)
        if replace:
            self._database.run("DELETE FROM track WHERE segment = ?", id)
        if complete:
            self._forget_runs(id)
        rows = [
            (
                id,
                frame,
                *(each.box or (None,) * 4),
                each.score,
                int(each.lost),
                each.source,
                *doubts.get(frame, (0.0, "")),
            )
            for frame, each in boxes.items()
        ]
        self._database.run_many("INSERT OR REPLACE INTO track VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _segment_id(self, segment: Segment, *, complete: bool, made_by: str) -> int:
        """The id of the row of a segment, which is added if needed."""
        row = self._database.row("SELECT id FROM segment WHERE key = ?", _key(segment))
        if row is None:
            statement = "INSERT INTO segment (target, key, complete, made_by) VALUES (?, ?, ?, ?)"
            return self._database.run(statement, segment.target, _key(segment), int(complete), made_by)
        statement = "UPDATE segment SET complete = ?, made_by = ? WHERE id = ?"
        self._database.run(statement, int(complete), made_by, row["id"])
        return int(row["id"])


def label_project(source: str | Path, project: str | Path | None = None) -> Project:
    """Open the label project of a video, or create it.

    Args:
        source: A video file or a folder of frames.
        project: The project file. [default: beside the source, its name with the ending .singletrack]

    Raises:
        VideoError: If the source cannot be read.
        ProjectError: As ``Project.open``.
    """
    path = default_path(source) if project is None else Path(project)
    return Project.open(path, source=source) if path.exists() else Project.create(path, source)


def default_path(source: str | Path) -> Path:
    """The project file of a source: beside it, clip.singletrack for clip.mp4."""
    source = Path(source).absolute()
    return source.with_name(f"{source.name if source.is_dir() else source.stem}.singletrack")


# --- segments ---


def segments_between(target: int, keyframes: Mapping[int, Box | None], frame_count: int) -> list[Segment]:
    """What the tracker may fill: before, between and after keyframes, but not where the target is absent.

    Args:
        target: Id of the target.
        keyframes: By frame number, ascending; None marks it absent from there until the next keyframe.
        frame_count: Number of frames of the video.
    """
    found = []
    numbers = list(keyframes)
    for left, right in itertools.pairwise([None, *numbers, None]):
        first = 0 if left is None else left + 1
        last = frame_count - 1 if right is None else right - 1
        left_box = None if left is None else keyframes[left]
        right_box = None if right is None else keyframes[right]
        absent = left is not None and left_box is None
        if first > last or absent or (left_box is None and right_box is None):
            continue
        found.append(
            Segment(
                target=target,
                first=first,
                last=last,
                left=None if left_box is None else left,
                right=None if right_box is None else right,
                left_box=left_box,
                right_box=right_box,
            )
        )
    return found


def absent_spans(keyframes: Mapping[int, Box | None], frame_count: int) -> list[tuple[int, int]]:
    """First and last frame of each stretch after a keyframe that marks the target absent."""
    spans = itertools.pairwise([*keyframes, frame_count])
    return [(frame + 1, end - 1) for frame, end in spans if keyframes[frame] is None]


def interpolated_boxes(segment: Segment, first: int, last: int) -> dict[int, LabeledBox]:
    """Boxes by linear interpolation in frames `first` to `last`; none where the segment has one keyframe only."""
    left, right = segment.left, segment.right
    if left is None or right is None or segment.left_box is None or segment.right_box is None:
        return {}
    return {
        frame: LabeledBox(
            box=interpolate(segment.left_box, segment.right_box, (frame - left) / (right - left)),
            score=0.0,
            source="interpolation",
        )
        for frame in range(first, last + 1)
    }


def imported_keyframes(boxes: Mapping[int, LabeledBox]) -> dict[int, Box | None]:
    """The keyframes of a target that is imported, by frame number, see ``Project.import_labels``."""
    marked = {frame: each.box for frame, each in boxes.items() if each.keyframe}
    if marked:
        return marked
    found: dict[int, Box | None] = {}
    run: dict[int, Box] = {}
    absent_before = False
    for frame, each in boxes.items():
        if run and (each.box is None or frame - 1 not in run):
            found |= {number: run[number] for number in select_keyframes(run, IMPORT_TOLERANCE)}
            run = {}
        if each.box is not None:
            run[frame] = each.box
        elif not (absent_before and frame - 1 in boxes):
            found[frame] = None
        absent_before = each.box is None
    found |= {number: run[number] for number in select_keyframes(run, IMPORT_TOLERANCE)}
    return dict(sorted(found.items()))


# --- the source ---


def describe_source(source: Path) -> VideoInfo:
    """Name, size, frame count and rate of a video file or folder of frames. Raises VideoError if it is neither."""
    paths = find_pictures(source)
    with open_frames(source) as frames:
        return VideoInfo(
            name=source.name,
            width=frames.size_wh[0],
            height=frames.size_wh[1],
            frame_count=frames.frame_count,
            fps=frames.fps,
            frame_names=None if paths is None else tuple(path.name for path in paths),
        )


def identify_source(source: Path) -> tuple[int, str]:
    """Size in bytes and a digest: of a file's first megabyte, or of a folder's file names, sizes and first image."""
    digest = hashlib.sha256()
    try:
        paths = find_pictures(source)
        if paths is None:
            size, first = source.stat().st_size, source
        else:
            sizes = [path.stat().st_size for path in paths]
            size, first = sum(sizes), paths[0]
            digest.update(json.dumps([[path.name, each] for path, each in zip(paths, sizes, strict=True)]).encode())
        with first.open("rb") as file:
            digest.update(file.read(DIGEST_BYTES))
    except OSError as error:
        raise VideoError(f"cannot read {source} ({error.strerror}); check the file and its permissions") from error
    return size, digest.hexdigest()


def _relative(source: Path, folder: Path) -> str:
    try:
        return os.path.relpath(source, folder)
    except ValueError:  # another drive on Windows
        return str(source)


# --- SQLite ---


class _Database:
    """One connection, shared by threads that take turns."""

    def __init__(self, path: Path, unlock: Callable[[], None] | None, *, read_only: bool = False) -> None:
        self.lock = threading.RLock()
        self.read_only = read_only
        self._unlock = unlock
        try:
            with sqlite_errors(path):
                self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._connection.row_factory = sqlite3.Row
                # A commit is on the disk when it returns; a reader that comes after a kill rolls back what was left.
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute(f"PRAGMA query_only = {int(read_only)}")
        except BaseException:
            if unlock:
                unlock()
            raise
        self._closed = False

    def rows(self, query: str, *values: object) -> list[Row]:
        return [dict(row) for row in self._connection.execute(query, values)]

    def row(self, query: str, *values: object) -> Row | None:
        return next(iter(self.rows(query, *values)), None)

    def run(self, statement: str, *values: object) -> int:
        """Returns the id of the row that was inserted last."""
        return self._connection.execute(statement, values).lastrowid or 0

    def run_many(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        self._connection.executemany(statement, rows)

    def has_table(self, name: str) -> bool:
        return self.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name) is not None

    def add_tables(self, statements: Iterable[str]) -> None:
        """Add tables that projects of before do not have."""
        for statement in statements:
            self.run(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. One inside another is part of it."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        with self.lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                if self._unlock:
                    self._unlock()


def _lock(path: Path) -> Callable[[], None]:
    """Lock a project and return the function that unlocks it; raises ProjectError if it is open elsewhere."""
    try:
        return lock_file(path)
    except BlockingIOError as error:
        raise ProjectError(
            f"{path} is open in another program (or another window of this one), and one at a time may change it; "
            "close it there first"
        ) from error


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise ProjectError(f"{path} was closed; open it again ({error})") from error
    except sqlite3.Error as error:
        raise ProjectError(
            f"cannot read or write {path} ({error}); check that the disk has room and the file is not damaged"
        ) from error


def _write_new(partial: Path, path: Path, source: Path, video: VideoInfo, identity: tuple[int, str]) -> None:
    connection = sqlite3.connect(partial)
    try:
        with connection:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            names = None if video.frame_names is None else json.dumps(video.frame_names)
            connection.execute(
                "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    str(source),
                    _relative(source, path.parent),
                    video.name,
                    video.width,
                    video.height,
                    video.frame_count,
                    video.fps,
                    names,
                    identity[0],
                    source.stat().st_mtime,
                    identity[1],
                ),
            )
    finally:
        connection.close()


def _check_header(path: Path) -> None:
    """Raise ProjectError unless the file begins as a project of this version does."""
    with writing(path), path.open("rb") as file:
        header = file.read(100)
    application, version = (int.from_bytes(header[place : place + 4], "big") for place in (68, 60))
    if not header.startswith(b"SQLite format 3\0") or application != APPLICATION_ID:
        raise ProjectError(f"{path} is not a label project of singletrack; check the path")
    if version > VERSION:
        raise ProjectError(
            f"{path} was made by a newer singletrack (project version {version}; this one reads {VERSION}); update it"
        )


def _key(segment: Segment) -> str:
    """What the boxes of a segment depend on: the same key, the same boxes."""
    return json.dumps(
        [segment.target, segment.first, segment.last, segment.left, segment.left_box, segment.right, segment.right_box]
    )


def _keyframe(target: int, frame: int, box: Box | None) -> Row:
    return {"target": target, "frame": frame, "box": None if box is None else json.dumps(box)}


def _changes(row: Row) -> list[_Change]:
    return [_Change(*change) for change in json.loads(row["changes"])]


def _box(values: list[float]) -> Box:
    x, y, width, height = values
    return x, y, width, height


def _labeled(row: Row) -> LabeledBox:
    """A row of the table track."""
    box = None if row["x"] is None else (row["x"], row["y"], row["width"], row["height"])
    return LabeledBox(box=box, score=row["score"], lost=bool(row["lost"]), source=row["source"])


def _target(row: Row) -> LabeledTarget:
    return LabeledTarget(
        id=row["id"],
        name=row["name"],
        label=row["label"],
        color=row["color"],
        attributes=json.loads(row["attributes"]),
    )
