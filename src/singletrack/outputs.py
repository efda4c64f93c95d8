"""Files that are written while a source is tracked, or when it is read again: videos and boxes, in pieces too."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from singletrack.errors import InputError
from singletrack.files import is_stream
from singletrack.results import ResultWriter
from singletrack.steps import Frame, TrackStep
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import VideoReader, VideoWriter
from singletrack.video.sound import Sound
from singletrack.video.writer import Encoding

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9}


@dataclass(frozen=True, kw_only=True)
class Segment:
    """When a file is finished and the next one is begun.

    Attributes:
        seconds: length of the source in each; None for any.
        bytes: size of the larger file; None for any.
    """

    seconds: float | None = None
    bytes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Segment:
        """Parse a length or a size, such as 10min or 500MB; raises InputError."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower())
        number, unit = (float(match[1]), match[2]) if match else (0.0, "")
        if number > 0 and unit in SECONDS:
            return cls(seconds=number * SECONDS[unit])
        if number > 0 and unit in BYTES:
            return cls(bytes=number * BYTES[unit])
        raise InputError(f"segment must be a length or a size, such as 10min or 500MB; got {text!r}")


def numbered(path: Path, number: int) -> Path:
    """The name of a piece: clip.mp4 -> clip-0001.mp4."""
    return path.with_name(f"{path.stem}-{number:04}{path.suffix}")


def numbered_files(path: Path) -> list[Path]:
    """The pieces that are there already, of an earlier run."""
    return sorted(path.parent.glob(f"{glob.escape(path.stem)}-[0-9][0-9][0-9][0-9]{glob.escape(path.suffix)}"))


def scale_step(step: TrackStep, resizer: FrameResizer) -> TrackStep:
    """The step as if its frame had the size of the resizer."""
    frame = resizer.fit(step.frame)
    if frame is step.frame:
        return step
    results = {id: replace(result, box=resizer.to_first(result.box)) for id, result in step.results.items()}
    return replace(step, frame=frame, results=results)


class Movie:
    """A video with one frame for each step.

    Args:
        path: output .mp4.
        draw: makes the picture of a step, (H, W, 3) uint8 RGB. Frames of another size than the source has are scaled
            before, with their boxes.
        video: the source, for its size, rate, pixel shape, colors and sound.
        encoding: codec and quality; the colors are those of the source.
    """

    def __init__(
        self,
        path: Path,
        draw: Callable[[TrackStep], Frame],
        video: VideoReader,
        *,
        encoding: Encoding | None = None,
    ) -> None:
        self.path, self._draw, self._video = path, draw, video
        self._encoding = replace(encoding or Encoding(), colors=video.colors)
        self._writer: VideoWriter | None = None
        self._resizer = FrameResizer(video.size_wh)
        self._start = 0.0

    def open(self, path: Path) -> None:
        """Begin a file, or the next piece."""
        self.close()
        self.path = path

    def write(self, step: TrackStep) -> None:
        """Draw and write one step."""
        picture = self._draw(scale_step(step, self._resizer))
        if self._writer is None:
            self._start = step.time
            video = self._video
            sound = None if video.path is None else Sound(video.path, step.time)
            self._writer = VideoWriter(
                self.path, video.fps, sample_aspect=video.sample_aspect, encoding=self._encoding, sound=sound
            )
        self._writer.write(picture, step.time - self._start)

    def close(self) -> None:
        """Finish the file. Closing it again does nothing."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class Outputs:
    """Context manager that writes each step to videos and to a file of boxes.

    Files are opened with the first step. With segments, their names are numbered from 0001.

    Args:
        movies: the videos.
        boxes_path: output .txt, .csv or .jsonl; None for none.
        many: write ids of targets.
        pan_tilt: as for ``results.ResultWriter``.
        segment: when the next files are begun; None for never.
        on_file: called with each file that is begun.

    Attributes:
        written: the files that were begun.
    """

    def __init__(
        self,
        movies: Sequence[Movie],
        boxes_path: Path | None,
        *,
        many: bool,
        pan_tilt: bool = False,
        segment: Segment | None = None,
        on_file: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self._on_file = on_file
        self._movies, self._boxes_path, self._many, self._pan_tilt = movies, boxes_path, many, pan_tilt
        self._names = [movie.path for movie in movies]
        self._segment = segment
        self._number, self._began = 0, 0.0
        self._stack = ExitStack()
        self._table: ResultWriter | None = None
        self.written: list[Path] = []

    def write(self, step: TrackStep) -> None:
        """Write one step to all files."""
        if self._number == 0 or self._is_full(step):
            self._begin(step)
        for movie in self._movies:
            movie.write(step)
        if self._table is not None:
            for number, result in step.results.items():
                noted = replace(result, dropped=step.dropped)
                size_wh = step.size_wh if self._pan_tilt else None
                self._table.write(step.index, step.time, noted, number, size_wh=size_wh)

    def _is_full(self, step: TrackStep) -> bool:
        if self._segment is None:
            return False
        if self._segment.seconds is not None:
            return step.time - self._began >= self._segment.seconds
        sizes = [path.stat().st_size for path in self._current() if path.exists() and not is_stream(path)]
        return self._segment.bytes is not None and max(sizes, default=0) >= self._segment.bytes

    def _current(self) -> list[Path]:
        paths = [movie.path for movie in self._movies]
        return paths if self._table is None else [*paths, self._table.path]

    def _begin(self, step: TrackStep) -> None:
        self._stack.close()
        self._number, self._began = self._number + 1, step.time
        for movie, name in zip(self._movies, self._names, strict=True):
            movie.open(self._name(name))
            self._stack.callback(movie.close)
        if self._boxes_path is not None:
            path = self._name(self._boxes_path)
            self._table = self._stack.enter_context(ResultWriter(path, many=self._many))
        self.written += self._current()
        for path in self._current():
            self._on_file(path)

    def _name(self, path: Path) -> Path:
        return path if self._segment is None or is_stream(path) else numbered(path, self._number)

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
