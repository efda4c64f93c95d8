"""The clips that one server shows: their projects, their pictures and the tracking that runs."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import math
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack import loading
from singletrack.engines.cpu import usable_cores
from singletrack.errors import InputError, SingletrackError
from singletrack.labeling import LabeledBox, Project, label_project
from singletrack.labeling.formats.output import RESERVED
from singletrack.labeling.project import default_path
from singletrack.labeling.propagate import TrackProgress, track_segments
from singletrack.registry import MODELS
from singletrack.tracking.base import Tracker
from singletrack.video.images import PICTURE_ENDINGS, VIDEO_SUFFIXES, natural_key
from singletrack.web.pictures import Pictures

Report = Callable[[dict[str, Any]], None]
SECONDS_BETWEEN_REPORTS = 0.33  # on what the tracker found: each costs the page and the server time
# A network of fewer multiply-adds leaves one core to decoding, to pictures and to the browser: with two cores, the page
# tracks faster with one thread than with two.
LIGHT_GMACS = 2.0
CLIP_NAME_LENGTH = 80  # of a dropped clip, without its ending
CLIP_NAME_BYTES = 200  # likewise; most disks take 255


class UploadTooLargeError(InputError):
    """A file that is sent to the page is larger than the limit."""


def find_clips(source: str | Path) -> list[str | Path]:
    """The clips that `source` names: itself, or the videos in it if it is a folder that holds videos and no frames.

    Raises:
        InputError: If it does not exist, or is a folder without videos and frames.
    """
    path = Path(source)
    if not path.is_dir():
        return [source]
    entries = sorted(path.iterdir(), key=lambda entry: natural_key(entry.name))
    if any(entry.suffix.lower() in PICTURE_ENDINGS and not entry.name.startswith(".") for entry in entries):
        return [source]
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES and not entry.name.startswith(".")]
    if not videos:
        raise InputError(
            f"expected a folder of frames ({', '.join(PICTURE_ENDINGS)}) or of videos ({', '.join(VIDEO_SUFFIXES)}); "
            f"found neither in {path}; check the path"
        )
    return list(videos)


class Clip:
    """One clip with its project. The project is opened when it is first needed.

    Attributes:
        id: What the page calls it; says nothing of where it is.
        name: File or folder name.
        source: Path of the file or folder, or a glob.
    """

    def __init__(self, source: str | Path, project_path: str | Path | None, workspace: Workspace) -> None:
        self.id = _make_id(workspace.secret, Path(source))
        self.name = Path(source).name or str(source)
        self.source, self._project_path, self._workspace = source, project_path, workspace
        self._lock = threading.Lock()
        self._project: Project | None = None
        self._pictures: Pictures | None = None
        self._tracking: threading.Thread | None = None
        self._stop = threading.Event()
        self._followed: frozenset[int] = frozenset()  # targets that tracking was started for
        self._revisions = itertools.count(1)

    @property
    def project(self) -> Project:
        """The open project; raises as ``label_project``."""
        with self._lock:
            if self._project is None:
                self._project = label_project(self.source, self._project_path)
            return self._project

    @property
    def shown_project(self) -> str:
        """What the page calls the project, see ``Workspace.shown_project``."""
        return self._workspace.shown_project(self)

    @property
    def pictures(self) -> Pictures:
        """The frames; raises VideoError if they cannot be read."""
        with self._lock:
            if self._pictures is None:
                self._pictures = Pictures(self.source)
            return self._pictures

    @property
    def tracks(self) -> bool:
        """Whether tracking runs."""
        return self._tracking is not None and self._tracking.is_alive()

    def open(self) -> None:
        """Open the project and the frames now; raises as they do."""
        _ = self.pictures, self.project

    def next_revision(self) -> int:
        """A number that grows with every state that is handed out."""
        return next(self._revisions)

    def track(self, report: Report, *, targets: Sequence[int] | None, first: int, last: int | None) -> None:
        """Start ``track_segments`` in a thread; `report` gets what happens, as messages for the page.

        Raises:
            InputError: If tracking runs already.
        """
        project = self.project
        with self._lock:
            if self.tracks:
                raise InputError("expected one run of tracking at a time; one is running; stop it first")
            self._stop.clear()
            self._followed = frozenset([target.id for target in project.targets()] if targets is None else targets)
            self._tracking = threading.Thread(
                target=self._track, args=(project, report, targets, first, last), name="track", daemon=True
            )
            self._tracking.start()

    def stop(self) -> None:
        """Stop tracking and wait for its last frame. What was made stays."""
        self._stop.set()
        thread = self._tracking
        if thread is not None:
            thread.join()

    def stop_for_nobody(self) -> None:
        """Let tracking end, without waiting for it, if none of its targets is left."""
        if self.tracks and self._follows_nobody():
            self._stop.set()

    def _follows_nobody(self) -> bool:
        left = {target.id for target in self.project.targets()}
        return bool(self._followed) and self._followed.isdisjoint(left)

    def close(self) -> None:
        """Stop tracking and close the project and the frames."""
        self.stop()
        with self._lock:
            if self._project is not None:
                self._project.close()
                self._project = None
            if self._pictures is not None:
                self._pictures.close()
                self._pictures = None

    def release_pictures(self) -> None:
        """Free the memory of the frames; they are read again when they are needed."""
        with self._lock:
            if self._pictures is not None:
                self._pictures.close()
                self._pictures = None

    def _track(
        self, project: Project, report: Report, targets: Sequence[int] | None, first: int, last: int | None
    ) -> None:
        progress = _Progress(report, lambda: self._pictures)
        outcome, error = "failed", None
        try:
            tracker = self._workspace.tracker()
            progress.begin()
            finished = track_segments(
                project,
                targets=targets,
                first=first,
                last=last,
                tracker=tracker,
                on_boxes=progress.take_boxes,
                on_frame=progress.take_frame,
                should_stop=self._stop.is_set,
            )
            outcome = "finished" if finished else "removed" if self._follows_nobody() else "stopped"
        except SingletrackError as caught:
            error = str(caught)
        except Exception as caught:
            error = f"tracking failed: {type(caught).__name__}: {caught}; the terminal shows more"
            raise
        finally:
            progress.end()
            self._tracking = None
            report({"type": "tracked", "outcome": outcome, "error": error})


class _Progress:
    """Reports what tracking finds to the page, a few times a second, with a frame that need not be decoded again."""

    def __init__(self, report: Report, pictures: Callable[[], Pictures | None]) -> None:
        self._report, self._pictures = report, pictures
        self._boxes: dict[int, list[list[Any]]] = {}
        self._steps = TrackProgress(done=0, total=0)
        self._picture: int | None = None
        self._began = self._reported = -math.inf

    def begin(self) -> None:
        """Tracking begins now."""
        self._began = time.monotonic()

    def take_frame(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Take a frame that is tracked next; report what was found before it, if it is time."""
        if self._picture is not None:
            self._send()
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._picture, self._reported = number, time.monotonic()
            pictures = self._pictures()  # none while no page shows the clip
            if pictures is not None:
                pictures.offer(number, frame)

    def take_boxes(self, target: int, boxes: Mapping[int, LabeledBox], steps: TrackProgress) -> None:
        """Take what was found, as ``track_segments`` hands it on."""
        self._boxes.setdefault(target, []).extend(pack_box(frame, box) for frame, box in boxes.items())
        self._steps = steps

    def end(self) -> None:
        """Report the rest."""
        self._send()
        pictures = self._pictures()
        if pictures is not None:
            pictures.take_back()

    def _send(self) -> None:
        for target, rows in self._boxes.items():
            self._report(
                {
                    "type": "boxes",
                    "target": target,
                    "boxes": rows,
                    "picture": self._picture,
                    "done": self._steps.done,
                    "total": self._steps.total,
                    "seconds": round(time.monotonic() - self._began, 2),
                }
            )
        self._boxes, self._picture = {}, None


class Workspace:
    """All clips of one server.

    Args:
        secret: Ids of clips are made with it; with the same secret, a clip has the same id after a restart.
        model: Name of the model that tracks, as for ``singletrack.load``.
        weights: Weights file. [default: the model's own]
        upload_folder: Where clips go that are sent to the page. It is made when the first one comes.
        upload_bytes: Largest size of all of them together.
    """

    def __init__(
        self,
        *,
        secret: str,
        model: str = "ostrack-tiny",
        weights: Path | None = None,
        upload_folder: Path,
        upload_bytes: int = 2_000_000_000,
    ) -> None:
        self.clips: dict[str, Clip] = {}
        self.secret = secret
        self.model = model
        self._weights = weights
        self._upload_folder, self.upload_bytes = upload_folder, upload_bytes
        self._uploaded_bytes = 0
        self._uploads: list[Path] = []
        self._made_upload_folder = False
        self._tracker: Tracker | None = None
        self._lock = threading.Lock()
        self._shown: list[str] = []  # clips whose pictures are open, the last shown at the end

    def add(self, source: str | Path, project_path: str | Path | None = None) -> Clip:
        """Add a clip."""
        clip = Clip(source, project_path, self)
        self.clips[clip.id] = clip
        return clip

    def pictures(self, clip: Clip) -> Pictures:
        """The pictures of a clip; those of all but the two last shown clips are let go."""
        pictures = clip.pictures
        with self._lock:
            if self._shown[-1:] != [clip.id]:
                self._shown = [each for each in self._shown if each != clip.id] + [clip.id]
            gone, self._shown = self._shown[:-2], self._shown[-2:]
        for each in gone:
            self.clips[each].release_pictures()
        return pictures

    def tracker(self) -> Tracker:
        """The tracker, loaded when it is first needed."""
        with self._lock:
            if self._tracker is None:
                self._tracker = loading.load(self.model, weights=self._weights, threads=self._threads())
            return self._tracker

    def _threads(self) -> int | None:
        """Threads of the network; None for all cores."""
        known = MODELS.get(self.model)
        return max(1, usable_cores() - 1) if known is not None and known.gmacs < LIGHT_GMACS else None

    def load_tracker(self) -> None:
        """Load the tracker ahead of its first use. An error is reported when it is used."""
        with contextlib.suppress(SingletrackError):
            self.tracker()

    def start_upload(self, name: str, size: int | None) -> Path:
        """Make an empty file for a clip that is sent to the page.

        Args:
            name: What the sender calls it. The file has the same name, as far as it is safe and not taken.
            size: Announced size in bytes, if known.

        Raises:
            InputError: If it is no video, by its ending.
            UploadTooLargeError: If it is larger than what is left of the limit.
            SingletrackError: If the folder cannot be written.
        """
        suffix = Path(name.replace("\\", "/")).suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            raise InputError(f"expected a video ({', '.join(VIDEO_SUFFIXES)}); got {name!r}; choose another file")
        self.count_upload(0 if size is None else size, keep=False)
        folder = self._upload_folder
        try:
            with self._lock:
                if not folder.exists():
                    folder.mkdir(parents=True)
                    self._made_upload_folder = True
                path = _make_file(folder, _clip_stem(name), suffix)
                self._uploads.append(path)
        except OSError as error:
            raise SingletrackError(
                f"cannot write {folder} ({error.strerror}); give another folder: `singletrack label --uploads FOLDER`"
            ) from error
        return path

    def discard_upload(self, path: Path, size: int) -> None:
        """Delete a clip of which only `size` bytes came, or that is no video."""
        path.unlink(missing_ok=True)
        self.count_upload(-size)
        with self._lock:
            self._uploads.remove(path)
            self.clips = {key: each for key, each in self.clips.items() if each.source != path}

    def finish_uploads(self) -> list[tuple[Path, Path]]:
        """Delete the clips that were sent and have no targets, with their projects; call it after ``close``.

        Returns:
            The clips that stay, each with its project.
        """
        kept = []
        for path in self._uploads:
            project = default_path(path)
            if _has_targets(project):
                kept.append((path, path.with_name(project.name)))
            else:
                project.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        self._uploads = []
        if self._made_upload_folder:
            with contextlib.suppress(OSError):  # it is not empty
                self._upload_folder.rmdir()
        return [(path, project) for path, project in kept if path.exists()]  # not those that a person moved

    def shown_project(self, clip: Clip) -> str:
        """What the page calls a clip's project: its name, with the upload folder if that was given without a root."""
        name = clip.project.path.name
        uploaded = clip.source in self._uploads and not self._upload_folder.is_absolute()
        return (self._upload_folder / name).as_posix() if uploaded else name

    def count_upload(self, size: int, *, keep: bool = True) -> None:
        """Count bytes against the limit; a negative size gives them back.

        Raises:
            UploadTooLargeError: If they pass the limit.
        """
        with self._lock:
            if self._uploaded_bytes + size > self.upload_bytes:
                raise UploadTooLargeError(
                    f"expected clips of at most {self.upload_bytes / 1e6:.0f} MB together; this one is larger; give "
                    "its path to `singletrack label` instead, or raise --upload-limit"
                )
            if keep:
                self._uploaded_bytes += size

    def close(self) -> None:
        """Close all clips."""
        for clip in self.clips.values():
            clip.close()


def _clip_stem(name: str) -> str:
    """The name of a file that is sent, without its ending, made safe: letters, digits, "_", "-" and single spaces."""
    stem = unicodedata.normalize("NFKC", Path(name.replace("\\", "/")).stem)
    stem = " ".join(re.sub(r"[^\w -]", "", stem).split())[:CLIP_NAME_LENGTH]
    stem = stem.encode()[:CLIP_NAME_BYTES].decode(errors="ignore").strip(" -") or "clip"
    return f"_{stem}" if stem.lower() in RESERVED else stem


def _make_file(folder: Path, stem: str, suffix: str) -> Path:
    """Make an empty file; its name gets a number if a file or a project has it already. None is ever replaced."""
    for number in itertools.count(1):
        path = folder / f"{stem if number == 1 else f'{stem}-{number}'}{suffix}"
        taken = {entry.name.split(".")[0].lower() for entry in folder.iterdir()}  # dog.mov and dog.mp4: one project
        if path.stem.lower() not in taken:
            with contextlib.suppress(FileExistsError):  # another program was faster
                path.touch(exist_ok=False)
                return path
    raise AssertionError("numbers never end")


def _has_targets(project: Path) -> bool:
    """Whether a project has targets; one that cannot be opened, or is open elsewhere, may have some."""
    if not project.exists():
        return False
    try:
        with Project.open(project) as opened:
            return bool(opened.targets())
    except SingletrackError:
        return True


def _make_id(secret: str, path: Path) -> str:
    """An id that says nothing of the path, and is another one when the file has changed."""
    try:
        status = path.stat()
        state = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:  # a glob, or a file that is reported as missing when it is opened
        state = ""
    return hmac.digest(secret.encode(), f"{path.absolute()} {state}".encode(), "sha256").hex()[:16]


def pack_box(frame: int, box: LabeledBox, *, outdated: bool = False) -> list[Any]:
    """One row for the page: frame, x, y, width, height (null where absent), score, flags, source."""
    flags = box.keyframe * 1 + box.lost * 2 + outdated * 4
    x, y, width, height = (None,) * 4 if box.box is None else (round(value, 2) for value in box.box)
    return [frame, x, y, width, height, round(box.score, 3), flags, box.source]
