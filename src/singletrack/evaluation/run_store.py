"""The folder of one run: what ran on what, and what came of each sequence. The one place that knows its layout.

    RUN/run.json          what ran on what: the facts, with every sequence and its number of frames
    RUN/boxes/NAME.txt    x,y,width,height of one frame a line, in pixels
    RUN/times/NAME.txt    seconds that the tracker took, one frame a line; the first is ``init``
    RUN/scores/NAME.csv   score,lost of one frame a line, below a line with these two words

A sequence is done when its boxes are there: they come last, and whole or not at all. Numbers are written so that they
are read back to the last bit. Knows nothing of trackers and of how they are run.
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

from singletrack.errors import InputError
from singletrack.files import make_folder, writing

Array = NDArray[np.float64]

BOXES, TIMES, SCORES = "boxes", "times", "scores"


@dataclass(frozen=True, kw_only=True)
class SequenceResult:
    """What came of following one sequence, a row a frame; the first row is the box that was given, with score 1.

    boxes_xywh: (N, 4) pixels of the frame. seconds: (N,) that the tracker took, reading the frame not counted.
    scores: (N,) 0 to 1. lost: (N,) bool.
    """

    boxes_xywh: Array
    seconds: Array
    scores: Array
    lost: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What ran on what: all that may change a digit of the boxes; and the sequences, and for the reader the processor.

    dataset, split: as the catalog has them. sequences: name -> frames, of all that were asked for so far.
    model, engine, device, precision: as the zoo and the engine name them. weights: digest of the file.
    settings: of the tracker. keep_ratio: None for the model's own.
    batch: how many sequences went through the network together. threads: of each process;
        some engines add in another order with more of them.
    integers: whether the boxes are cut to whole pixels. version: of singletrack. processor: its own name.
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
    """One run on disk. ``RunFolder.start`` begins it or goes on with it, ``RunFolder.open`` reads what is there."""

    path: Path
    facts: RunFacts

    @classmethod
    def start(cls, path: str | Path, facts: RunFacts) -> RunFolder:
        """The folder of this run, made if it is not there.

        Other sequences may be asked for than before; what is known of them is put together. Raises InputError where
        another run lives there, or a sequence has a name that no file can have; SingletrackError where nothing can be
        written.
        """
        path = Path(path)
        _check_names(facts.sequences)
        facts = _from_json(json.loads(_to_json(facts)))  # as it will be read: lists for tuples
        if (path / "run.json").exists():
            held = cls.open(path).facts
            _check_same(path, held, facts)
            facts = dataclasses.replace(held, sequences={**held.sequences, **facts.sequences})
        elif any((path / BOXES).glob("*")):
            raise InputError(
                f"expected {path} to be empty or to hold a run; got boxes without a run.json; "
                "give another folder (--out)"
            )
        for folder in (path, path / BOXES, path / TIMES, path / SCORES):
            make_folder(folder)
        _write_whole(path / "run.json", _to_json(facts))
        return cls(path, facts)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was begun before. Raises InputError where there is none that can be read."""
        path = Path(path)
        try:
            return cls(path, _from_json(json.loads((path / "run.json").read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"expected a folder that `singletrack evaluate` wrote; cannot read {path / 'run.json'} ({error}); "
                "check the path"
            ) from error

    def is_done(self, name: str) -> bool:
        """Whether the sequence of this name was followed to its end."""
        return self._file(BOXES, name).exists()

    def done(self) -> list[str]:
        """Names of the sequences that are done, in the order in which they were asked for."""
        return [name for name in self.facts.sequences if self.is_done(name)]

    def missing(self) -> list[str]:
        """Names of the sequences that were asked for and are not done."""
        return [name for name in self.facts.sequences if not self.is_done(name)]

    def write(self, name: str, result: SequenceResult) -> None:
        """Keep what came of one sequence; from now on it is done. Raises SingletrackError where it cannot be written.

        Boxes in whole pixels, if the run asked for them, are cut towards zero, as OSTrack writes them.
        """
        boxes: NDArray[Any] = result.boxes_xywh.astype(np.int64) if self.facts.integers else result.boxes_xywh
        _write_whole(self._file(TIMES, name), _lines(map(repr, result.seconds.tolist())))
        scores = zip(result.scores.tolist(), result.lost.tolist(), strict=True)
        _write_whole(
            self._file(SCORES, name), _lines(["score,lost", *(f"{score!r},{int(lost)}" for score, lost in scores)])
        )
        _write_whole(self._file(BOXES, name), _lines(",".join(map(repr, box)) for box in boxes.tolist()))

    def read(self, name: str) -> SequenceResult:
        """What came of one sequence. Raises InputError where it is not done, or its files are not as they were written.

        Its length is that of the sequence: a file that was cut since is refused.
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
                    f"expected {self._file(kind, name)} to hold {count} frames; got {len(values)}; "
                    "delete that file of boxes and evaluate again"
                )
        return result

    def _file(self, kind: str, name: str) -> Path:
        if name not in self.facts.sequences:
            raise InputError(
                f"expected a sequence of {self.facts.dataset} in {self.path}; got {name!r}; see run.json for the names"
            )
        return self.path / kind / f"{name}{'.csv' if kind == SCORES else '.txt'}"


def _to_json(facts: RunFacts) -> str:
    return json.dumps(dataclasses.asdict(facts), indent=2, ensure_ascii=False) + "\n"


def _from_json(entries: Mapping[str, Any]) -> RunFacts:
    return RunFacts(**entries)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name or name.startswith(".") or any(letter in name for letter in '/\\:\0\n\r"'):
            raise InputError(
                f"expected sequences whose names can be those of files; got {name!r}; rename it in the data set"
            )


def _check_same(path: Path, held: RunFacts, asked: RunFacts) -> None:
    """Raise InputError, saying what differs, if another run lives there."""
    said = []
    for name in (each.name for each in dataclasses.fields(RunFacts) if each.compare):
        before, now = getattr(held, name), getattr(asked, name)
        if isinstance(before, Mapping) and before != now:
            said.append(f"{name} with another {_differing(before, now)}")
        elif before != now:
            said.append(f"{name} {before!r} there, {now!r} now")
    known = {name: count for name, count in asked.sequences.items() if name in held.sequences}
    if differing := _differing({name: held.sequences[name] for name in known}, known):
        said.append(f"other frames of {differing}")
    if not said:
        return
    raise InputError(
        f"expected {path} to be empty or to hold this very run; got another: {'; '.join(said)}; "
        "give another folder (--out), or ask for the same as before"
    )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first few names whose values differ; "" where none does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is either not there or whole, whenever the process or the machine stops."""
    unfinished = path.with_name(path.name + ".part")
    with writing(path):
        with unfinished.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)


def _read_table(path: Path, *, columns: int, skip: int = 0) -> Array:
    """The numbers of a file, (N, columns). Raises InputError where it does not hold them."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[skip:]
        table = np.array([[float(value) for value in line.split(",")] for line in lines]).reshape(len(lines), -1)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a result file; cannot read {path} ({error}); evaluate this sequence (again)"
        ) from error
    if table.shape != (len(lines), columns):
        raise InputError(f"expected {columns} numbers a line in {path}; got {table.shape[1]}; evaluate it again")
    return table
