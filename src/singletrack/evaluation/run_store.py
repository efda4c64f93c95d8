"""The folder of an evaluation run. This module alone defines its layout.

    RUN/run.json          settings of the run, with every sequence and its number of frames
    RUN/boxes/NAME.txt    x,y,width,height in pixels, one frame per line
    RUN/times/NAME.txt    seconds that the tracker took, one frame per line; the first is ``init``
    RUN/scores/NAME.csv   score,lost of one frame per line, after a header line

A sequence is done when its box file exists, which is written last and atomically. Numbers are written so that they
are read back exactly.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, reason_of
from singletrack.files import atomic_write, make_folder, remove_unfinished, writing

Array = NDArray[np.float64]

LONGEST_NAME = 200  # bytes: file systems take 255, with the ending
BOXES, TIMES, SCORES = "boxes", "times", "scores"


@dataclass(frozen=True, kw_only=True)
class SequenceResult:
    """Results of one sequence, one row per frame. The first row is the given box with score 1.

    Attributes:
        boxes_xywh: (N, 4) in frame pixels.
        seconds: (N,) time that the tracker took, without reading the frame.
        scores: (N,) in 0 to 1.
        lost: (N,) bool.
    """

    boxes_xywh: Array
    seconds: Array
    scores: Array
    lost: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything that may change the boxes of a run, plus its sequences and, for information, the processor.

    Attributes:
        dataset: name in ``datasets.registry``.
        split: name of the split.
        sequences: name -> number of frames, for all sequences requested so far.
        model: name of the model.
        weights: SHA-256 of the weights file.
        engine: name of the engine.
        device: device of the engine.
        precision: precision of the engine.
        settings: settings of the tracker.
        keep_ratio: keep ratio of candidate elimination; None for that of the model.
        batch: number of sequences in one batch.
        threads: threads per process; some engines add in a different order with more of them.
        integers: boxes are truncated to integer pixels.
        version: version of singletrack.
        processor: name of the CPU.
    """

    dataset: str
    split: str
    sequences: Mapping[str, int] = field(compare=False)
    model: str
    weights: str
    engine: str
    device: str
    precision: str
    settings: Mapping[str, Any]
    keep_ratio: float | None = None
    batch: int = 1
    threads: int = 1
    integers: bool = False
    version: str
    processor: str = field(default="", compare=False)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk. ``RunFolder.start`` creates or resumes it; ``RunFolder.open`` reads an existing one."""

    path: Path
    facts: RunFacts

    @classmethod
    def start(cls, path: str | Path, facts: RunFacts) -> RunFolder:
        """Create the folder of a run, or resume it.

        Sequences may differ from earlier ones and are added.

        Raises:
            InputError: the folder holds another run, or the name of a sequence cannot be a file name.
            SingletrackError: the folder cannot be written.
        """
        path = Path(path)
        _check_names(facts.sequences)
        facts = _from_json(json.loads(_to_json(facts)))  # as it will be read: lists instead of tuples
        if (path / "run.json").exists():
            held = cls.open(path).facts
            _check_same(path, held, facts)
            facts = dataclasses.replace(held, sequences={**held.sequences, **facts.sequences})
        elif any((path / BOXES).glob("*")):
            raise InputError(
                f"{path} has boxes but no run.json, so it is not a run folder; give another folder (--out)"
            )
        for folder in (path, path / BOXES, path / TIMES, path / SCORES):
            make_folder(folder)
            remove_unfinished(folder)
        _write_whole(path / "run.json", _to_json(facts))
        return cls(path, facts)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of an existing run; raises InputError if it does not exist."""
        path = Path(path)
        try:
            return cls(path, _from_json(json.loads((path / "run.json").read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} is not a run folder of `singletrack evaluate`: cannot read {path / 'run.json'} ({error}); "
                "check the path"
            ) from error

    def is_done(self, name: str) -> bool:
        """Check whether a sequence is done."""
        return self._file(BOXES, name).exists()

    def done(self) -> list[str]:
        """List the finished sequences, in the order in which they were requested."""
        return [name for name in self.facts.sequences if self.is_done(name)]

    def missing(self) -> list[str]:
        """List the requested sequences that are not done."""
        return [name for name in self.facts.sequences if not self.is_done(name)]

    def write(self, name: str, result: SequenceResult) -> None:
        """Save the results of a sequence, which is then done.

        Raises:
            SingletrackError: the files cannot be written.
        """
        boxes: NDArray[Any] = result.boxes_xywh.astype(np.int64) if self.facts.integers else result.boxes_xywh
        _write_whole(self._file(TIMES, name), _lines(map(repr, result.seconds.tolist())))
        scores = zip(result.scores.tolist(), result.lost.tolist(), strict=True)
        _write_whole(
            self._file(SCORES, name), _lines(["score,lost", *(f"{score!r},{int(lost)}" for score, lost in scores)])
        )
        _write_whole(self._file(BOXES, name), _lines(",".join(map(repr, box)) for box in boxes.tolist()))

    def read(self, name: str) -> SequenceResult:
        """Read the results of a sequence.

        Raises:
            InputError: the sequence is not done, or its files were changed or truncated.
        """
        boxes = _read_table(self._file(BOXES, name), columns=4)
        scores = _read_table(self._file(SCORES, name), columns=2, skip=1)
        result = SequenceResult(
            boxes_xywh=boxes,
            seconds=_read_table(self._file(TIMES, name), columns=1)[:, 0],
            scores=scores[:, 0],
            lost=scores[:, 1] != 0,
        )
        count = self.facts.sequences[name]
        for kind, values in ((BOXES, boxes), (TIMES, result.seconds), (SCORES, scores)):
            if len(values) != count:
                raise InputError(
                    f"{self._file(kind, name)} must have {count} frames; got {len(values)}; "
                    "delete the box file of this sequence and evaluate again"
                )
        return result

    def _file(self, kind: str, name: str) -> Path:
        if name not in self.facts.sequences:
            raise InputError(f"unknown sequence {name!r} in {self.path}; see run.json for the names")
        return self.path / kind / f"{name}{'.csv' if kind == SCORES else '.txt'}"


def _to_json(facts: RunFacts) -> str:
    return json.dumps(dataclasses.asdict(facts), indent=2, ensure_ascii=False) + "\n"


def _from_json(entries: Mapping[str, Any]) -> RunFacts:
    return RunFacts(**entries)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name or name.startswith(".") or any(letter in name for letter in '/\\:\0\n\r"'):
            raise InputError(f"sequence name {name!r} cannot be a file name; rename it in the data set")
        try:
            length = len(name.encode())
        except UnicodeEncodeError as error:  # bytes of a folder's name that are no text
            raise InputError(f"sequence names must be UTF-8; got {name!r}; rename it in the data set") from error
        if length > LONGEST_NAME:
            raise InputError(
                f"sequence names must have at most {LONGEST_NAME} bytes; got {name!r}; rename it in the data set"
            )


def _check_same(path: Path, held: RunFacts, asked: RunFacts) -> None:
    """Raise InputError with the differences if the folder holds another run."""
    said = []
    for name in (each.name for each in dataclasses.fields(RunFacts) if each.compare):
        before, now = getattr(held, name), getattr(asked, name)
        if isinstance(before, Mapping) and before != now:
            said.append(f"different {name} ({_differing(before, now)})")
        elif before != now:
            said.append(f"{name} was {before!r}, is {now!r}")
    known = {name: count for name, count in asked.sequences.items() if name in held.sequences}
    if differing := _differing({name: held.sequences[name] for name in known}, known):
        said.append(f"different frames of {differing}")
    if not said:
        return
    raise InputError(
        f"{path} holds another run: {'; '.join(said)}; give another folder (--out), or use the same options as before"
    )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the first few keys whose values differ; "" if none do."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is either not there or whole, whenever the process or the machine stops."""
    with (
        writing(path),
        atomic_write(path) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _read_table(path: Path, *, columns: int, skip: int = 0) -> Array:
    """Read the numbers of a file, (N, columns); raises InputError for an invalid file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[skip:]
        table = np.array([[float(value) for value in line.split(",")] for line in lines]).reshape(len(lines), -1)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read result file {path} ({reason_of(error)}); evaluate this sequence again"
        ) from error
    if table.shape != (len(lines), columns):
        raise InputError(
            f"{path} must have {columns} numbers per line; got {table.shape[1]}; evaluate the sequence again"
        )
    return table
