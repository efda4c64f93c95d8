"""The progress bar and final summary of `track` and `demo`."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import click
from tqdm import tqdm

from singletrack.api import Step


class Progress:
    """Context manager that counts steps and shows a progress bar on stderr if it is a terminal.

    On exit, even after an error, it prints the number of tracked frames and the files that were written.
    """

    def __init__(self, frame_count: int | None, files: list[Path]) -> None:
        self.steps = 0
        self._seconds = 0.0
        self._files = files
        self._bar = tqdm(total=frame_count, unit=" frames", disable=None, dynamic_ncols=True)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the tracker alone, without the first update (warm-up); 0 before the second."""
        return (self.steps - 2) / self._seconds if self._seconds else 0.0

    def show(self, step: Step) -> None:
        """Add one step."""
        self.steps += 1
        self._seconds += step.seconds if self.steps > 2 else 0.0
        if len(step.results) == 1:
            (result,) = step.results.values()
            state = f"{'LOST' if result.lost else 'score'} {result.score:.2f}"
        else:
            state = f"{len(step.results)} targets, {sum(result.lost for result in step.results.values())} LOST"
        self._bar.set_postfix_str(f"{state}, tracker {self.frames_per_second:.0f} frames/s", refresh=False)
        self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self.steps:
            speed = f" at {self.frames_per_second:.1f} frames/s (tracker alone)" if self._seconds else ""
            click.echo(f"tracked {self.steps} frames{speed}")
            for path in self._files:
                click.echo(f"wrote {path}")
