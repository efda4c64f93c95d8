"""The progress bar and final summary of `track` and `demo`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

import click
from tqdm import tqdm

from singletrack.errors import InputError, VideoError
from singletrack.install import docs_page
from singletrack.steps import TrackStep

LINE_SECONDS = 10.0  # between two lines of progress if stderr is not a terminal, as in CI
LONGEST_SPANS = 5  # that are listed of each target
WORST_MOMENTS = 3  # the same, of those in which the target is not lost


class ProgressBar:
    """Progress over frames on stderr: a bar on a terminal, otherwise a line every ten seconds.

    Args:
        count: number of frames; None if unknown.
    """

    def __init__(self, count: int | None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._count, self._done, self._state = count, 0, ""
        self._terminal = self._stream.isatty()
        self._bar = tqdm(total=count, unit=" frames", disable=not self._terminal, dynamic_ncols=True, file=self._stream)
        self._began = self._last = time.monotonic()

    def update(self, count: int = 1, state: str = "") -> None:
        """Add ``count`` finished frames. ``state``: text to show next to their number."""
        self._done += count
        self._state = state or self._state
        if self._terminal:
            self._bar.set_postfix_str(self._state, refresh=False)
            self._bar.update(count)
        elif (now := time.monotonic()) - self._last >= LINE_SECONDS:
            self._last = now
            total = f" of {self._count}" if self._count else ""
            rate = self._done / (now - self._began)
            shown = f", {self._state}" if self._state else ""
            print(f"frame {self._done}{total}, {rate:.1f} frames/s{shown}", file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


@dataclass
class _History:
    """What happened to one target. ``spans``: [first, last] frames in which it was lost, with times in seconds."""

    frames: int = 0
    lost: int = 0
    spans: list[list[tuple[int, float]]] = field(default_factory=list)
    worst: list[tuple[float, int, float]] = field(default_factory=list)
    last_lost: bool = False
    dip: tuple[float, int, float] | None = None  # lowest score, frame and time since the score was last above 0.5

    def add(self, index: int, seconds: float, score: float, lost: bool) -> None:
        self.frames += 1
        if lost:
            self.lost += 1
            if self.last_lost:
                self.spans[-1][1] = (index, seconds)
            else:
                self.spans.append([(index, seconds), (index, seconds)])
        elif score < 0.5:
            self.dip = min(self.dip or (score, index, seconds), (score, index, seconds))
        if self.dip and (lost or score >= 0.5):
            self._keep(self.dip)
            self.dip = None
        self.last_lost = lost

    def _keep(self, dip: tuple[float, int, float]) -> None:
        self.worst = sorted([*self.worst, dip])[:WORST_MOMENTS]

    def lines(self, name: str) -> list[str]:
        """Summarize it in lines of text."""
        said = []
        if self.lost:
            longest = sorted(self.spans, key=lambda span: span[0][0] - span[1][0])[:LONGEST_SPANS]
            listed = ", ".join(_span(*span) for span in sorted(longest))
            more = f", and {len(self.spans) - len(longest)} shorter" if len(self.spans) > len(longest) else ""
            said.append(f"{name}lost in {self.lost} of {self.frames} frames: {listed}{more}")
        worst = sorted([*self.worst, self.dip] if self.dip else self.worst)[:WORST_MOMENTS]
        if worst:
            listed = ", ".join(f"{index} ({seconds:.1f} s, score {score:.2f})" for score, index, seconds in worst)
            said.append(f"{name}least sure, but not lost, in frame {listed}")
        return said


class Progress:
    """Context manager that counts steps and shows them on stderr.

    On exit, even after an error, it prints the number of tracked frames, where targets were lost, and the files that
    were written.

    Args:
        frame_count: number of frames to track; None if unknown.
        files: the output files.
        to_stderr: print the summary to stderr, because standard output carries boxes.
    """

    def __init__(self, frame_count: int | None, files: Sequence[Path], *, to_stderr: bool = False) -> None:
        self.steps = 0
        self._dropped: int | None = None
        self._seconds = 0.0
        self._files = list(files)
        self._to_stderr = to_stderr
        self._histories: dict[int, _History] = {}
        self._bar = ProgressBar(frame_count)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the tracker alone, without the first update (warm-up); 0 before the second."""
        return (self.steps - 2) / self._seconds if self._seconds else 0.0

    def show(self, step: TrackStep) -> None:
        """Add one step."""
        self.steps += 1
        if step.dropped is not None:
            self._dropped = (self._dropped or 0) + step.dropped
        self._seconds += step.seconds if self.steps > 2 else 0.0
        for number, result in step.results.items():
            history = self._histories.setdefault(number, _History())
            history.add(step.index, step.time, result.score, result.lost)
        if len(step.results) == 1:
            (result,) = step.results.values()
            state = f"{'LOST' if result.lost else 'score'} {result.score:.2f}"
        else:
            state = f"{len(step.results)} targets, {sum(result.lost for result in step.results.values())} LOST"
        if self._dropped:
            state += f", {self._dropped} dropped"
        self._bar.update(1, f"{state}, tracker {self.frames_per_second:.0f} frames/s")

    def read_again(self, frame_count: int) -> None:
        """Begin to count the frames of a source that is read a second time."""
        self._bar.close()
        self._bar = ProgressBar(frame_count)

    def show_rendered(self) -> None:
        """Add one frame that was written when the source was read a second time."""
        self._bar.update(1, "writing")

    def add_file(self, path: Path) -> None:
        """Add an output file that was begun."""
        self._files.append(path)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if not self.steps:
            return
        speed = f" at {self.frames_per_second:.1f} frames/s (tracker alone)" if self._seconds else ""
        self._say(f"tracked {self.steps} frames{speed}")
        if self._dropped is not None:
            share = 100 * self._dropped / (self.steps + self._dropped)
            self._say(f"dropped {self._dropped} frames of the source ({share:.0f} %) for newer ones")
        said = False
        for number, history in sorted(self._histories.items()):
            for line in history.lines("" if len(self._histories) == 1 else f"target {number}: "):
                self._say(line)
                said = True
        if error is None or isinstance(error, (KeyboardInterrupt, VideoError, InputError)):
            for path in self._files:
                self._say(f"wrote {path}")
        if said and self._files and error is None:
            self._say(f"look at these frames in {self._files[0]}; {docs_page('lost-and-found')} says what helps")

    def _say(self, line: str) -> None:
        click.echo(line, err=self._to_stderr)


def _span(first: tuple[int, float], last: tuple[int, float]) -> str:
    first, last = sorted((first, last))  # tracked backward, the later frame comes first
    if first[0] == last[0]:
        return f"{first[0]} ({first[1]:.1f} s)"
    return f"{first[0]}-{last[0]} ({first[1]:.1f}-{last[1]:.1f} s)"
