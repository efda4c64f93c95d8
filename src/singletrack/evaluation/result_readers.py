"""Results of one tracker on one data set, from our run folder or from the folders that other toolkits write.

    PyTracking   NAME.txt, NAME_time.txt, NAME_object_presence_scores.txt
    got10k       NAME/NAME_001.txt (002, ... for repetitions), NAME/NAME_time.txt on GOT-10k;
                 NAME.txt, times/NAME_time.txt on other data sets
    pysot        NAME.txt; NAME/NAME_001.txt, NAME/NAME_time.txt on GOT-10k;
                 longterm/NAME/NAME_001.txt, NAME_001_confidence.value and NAME_time.txt there for VOT-LT

Boxes are lines of x,y,width,height, parted by commas, tabs or spaces. They are compared with the boxes of the data set
as both stand: in pixels of the frame, and counted from 1 where the benchmark's own files count so. Knows nothing of
metrics.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.annotations import read_regions, read_values
from singletrack.datasets.base import VideoSequence
from singletrack.errors import InputError
from singletrack.evaluation.run_store import RunFolder

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrackerResults:
    """What one tracker gave on sequences of one data set; only sequences that it has results of are in here.

    label: its name in tables.
    boxes_xywh: sequence -> (N, 4) pixels of each repetition; one, but where a toolkit repeats.
    seconds: sequence -> of each frame; absent where no times are told. confidences: sequence -> (N,) likewise.
    facts: what is known of the run, for the reader.
    """

    label: str
    boxes_xywh: Mapping[str, tuple[Array, ...]]
    seconds: Mapping[str, Array] = field(default_factory=dict)
    confidences: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a toolkit puts the files of a sequence, below the tracker's folder; the first place where one is, counts.

    Boxes of {number} 1, 2, 3, ... are repetitions.
    """

    boxes: str
    times: tuple[str, ...]
    confidences: str


LAYOUTS = {
    "a file a sequence (PyTracking, got10k, pysot)": Layout(
        boxes="{name}.txt",
        times=("{name}_time.txt", "times/{name}_time.txt"),
        confidences="{name}_object_presence_scores.txt",
    ),
    "a folder a sequence (got10k, pysot)": Layout(
        boxes="{name}/{name}_{number:03d}.txt",
        times=("{name}/{name}_time.txt",),
        confidences="{name}/{name}_001_confidence.value",
    ),
    "long-term (pysot)": Layout(
        boxes="longterm/{name}/{name}_{number:03d}.txt",
        times=("longterm/{name}/{name}_time.txt",),
        confidences="longterm/{name}/{name}_001_confidence.value",
    ),
}
# PyTracking prefixes some names with the data set's; OTB's second box file of Human4 is the only one that it has
PREFIXES = ("", "uav_", "nfs_")
OTHER_NAMES = {"Human4_2": "Human4"}


def is_run_folder(path: str | Path) -> bool:
    """Whether `singletrack evaluate` wrote this folder."""
    return (Path(path) / "run.json").is_file()


def read_tracker_results(path: str | Path, sequences: Iterable[VideoSequence], *, label: str = "") -> TrackerResults:
    """The results in a folder for those of these sequences that it has any of.

    label: name of the tracker; that of the model (run folders) or of the folder, if empty.

    Raises InputError for a folder with results of none of them, or with a file that cannot be understood.
    """
    path = Path(path)
    wanted = {sequence.name: sequence for sequence in sequences}
    results = _read_run(path, wanted, label) if is_run_folder(path) else _read_foreign(path, wanted, label)
    if not results.boxes_xywh:
        example = next(iter(wanted), "")
        raise InputError(
            f"expected results of {len(wanted)} sequences, such as {example}, in {path}; found none; give the folder "
            "that `singletrack evaluate` wrote, or the one with the tracker's .txt files for this data set"
        )
    return results


def _read_run(path: Path, wanted: Mapping[str, VideoSequence], label: str) -> TrackerResults:
    run = RunFolder.open(path)
    found = {name: run.read(name) for name in run.done() if name in wanted}
    shown = {"model", "weights", "engine", "device", "precision", "version", "processor", "batch", "integers"}
    return TrackerResults(
        label=label or run.facts.model,
        boxes_xywh={name: (result.boxes_xywh,) for name, result in found.items()},
        seconds={name: result.seconds for name, result in found.items()},
        confidences={name: result.scores for name, result in found.items()},
        facts={
            each.name: str(getattr(run.facts, each.name))
            for each in dataclasses.fields(run.facts)
            if each.name in shown
        },
    )


def _read_foreign(path: Path, wanted: Mapping[str, VideoSequence], label: str) -> TrackerResults:
    if not path.is_dir():
        raise InputError(f"expected a folder of results; got {path}, which is none; check the path, unpack archives")
    files = _Files(path)
    held = {kind: sum(bool(files.repetitions(each.boxes, name)) for name in wanted) for kind, each in LAYOUTS.items()}
    kind = max(held, key=lambda each: held[each])
    layout = LAYOUTS[kind]
    boxes, seconds, confidences = {}, {}, {}
    for name, sequence in wanted.items():
        repetitions = files.repetitions(layout.boxes, name)
        if not repetitions:
            continue
        boxes[name] = tuple(_read_boxes(file, sequence) for file in repetitions)
        times = next(filter(None, (files.find(place, name) for place in layout.times)), None)
        if times is not None:
            seconds[name] = _read(times, read_values)
        sure = files.find(layout.confidences, name)
        if sure is not None:
            confidences[name] = _read_confidences(sure, len(boxes[name][0]))
    return TrackerResults(
        label=label or path.resolve().name,
        boxes_xywh=boxes,
        seconds=seconds,
        confidences=confidences,
        facts={"files": kind},
    )


class _Files:
    """The files below a folder, found by name; -, . and _ are one, and so are large and small letters.

    Toolkits differ in these: Jogging-1, Jogging.1 and Jogging_1 are one sequence.
    """

    def __init__(self, root: Path) -> None:
        self._exact = {file.relative_to(root).as_posix(): file for file in _result_files(root)}
        self._alike: dict[str, Path | None] = {}
        for relative, file in self._exact.items():
            key = _without_marks(relative)
            self._alike[key] = None if key in self._alike else file  # of two that look alike neither is meant

    def find(self, pattern: str, name: str, number: int = 1) -> Path | None:
        names = [prefix + each for each in (name, OTHER_NAMES.get(name, name)) for prefix in PREFIXES]
        places = [pattern.format(name=each, number=number) for each in names]
        exact = (self._exact.get(place) for place in places)
        alike = (self._alike.get(_without_marks(place)) for place in places)
        return next((file for file in (*exact, *alike) if file is not None), None)

    def repetitions(self, pattern: str, name: str) -> list[Path]:
        found: list[Path] = []
        while (file := self.find(pattern, name, len(found) + 1)) is not None and file not in found:
            found.append(file)
        return found


def _result_files(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.suffix in {".txt", ".value"} and file.is_file())


def _without_marks(relative: str) -> str:
    return re.sub(r"[-.]", "_", relative).lower()


def _read(path: Path, parse: Callable[[str], Array]) -> Array:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"expected a result file; cannot read {path} ({error}); mend or remove it") from error


def _read_boxes(path: Path, sequence: VideoSequence) -> Array:
    """(N, 4); a first line without a box, VOT's mark of a start, stands for the box that was given."""
    boxes = _read(path, read_regions)
    if not len(boxes):
        raise InputError(f"expected a box for each of {len(sequence)} frames in {path}; got none; mend or remove it")
    if np.isnan(boxes[0]).any():
        boxes[0] = sequence.boxes_xywh[0]
    return boxes


def _read_confidences(path: Path, count: int) -> Array:
    """(N,); where the first line is empty, as in VOT's files, it is that of the box that was given: 1."""
    values = _read(path, read_values)
    if len(values) == count - 1:
        values = np.concatenate([[1.0], values])
    if len(values) != count:
        raise InputError(f"expected a confidence for each of {count} boxes in {path}; got {len(values)}; mend it")
    return values
