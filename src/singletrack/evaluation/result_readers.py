"""Reads the results of one tracker on one data set, from a run folder or from the folders of other toolkits.

    PyTracking   NAME.txt, NAME_time.txt, NAME_object_presence_scores.txt
    got10k       NAME/NAME_001.txt (002, ... for repetitions), NAME/NAME_time.txt on GOT-10k;
                 NAME.txt, times/NAME_time.txt on other data sets
    pysot        NAME.txt; NAME/NAME_001.txt, NAME/NAME_time.txt on GOT-10k;
                 longterm/NAME/NAME_001.txt, NAME_001_confidence.value and NAME_time.txt there for VOT-LT

Boxes are lines of x,y,width,height, separated by commas, tabs or spaces. They are compared with the boxes of the
data set unchanged: in frame pixels, counted from 1 where the benchmark's own files count from 1.
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
from singletrack.errors import InputError, reason_of
from singletrack.evaluation.run_store import RunFolder

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrackerResults:
    """Results of one tracker on the sequences of a data set that it has results for.

    Attributes:
        label: display name.
        boxes_xywh: sequence -> (N, 4) pixels for each repetition.
        seconds: sequence -> (N,) time of each frame; absent if unknown.
        confidences: sequence -> (N,) confidence of each frame; absent if unknown.
        facts: information about the run for the report.
    """

    label: str
    boxes_xywh: Mapping[str, tuple[Array, ...]]
    seconds: Mapping[str, Array] = field(default_factory=dict)
    confidences: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """File locations of a sequence below a tracker's folder. The first existing one is used.

    Boxes with {number} 1, 2, 3, ... are repetitions.
    """

    boxes: str
    times: tuple[str, ...]
    confidences: str


LAYOUTS = {
    "one file per sequence (PyTracking, got10k, pysot)": Layout(
        boxes="{name}.txt",
        times=("{name}_time.txt", "times/{name}_time.txt"),
        confidences="{name}_object_presence_scores.txt",
    ),
    "one folder per sequence (got10k, pysot)": Layout(
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
# PyTracking prefixes some names with the data set, and has only the second box file of Human4 of OTB
PREFIXES = ("", "uav_", "nfs_")
OTHER_NAMES = {"Human4_2": "Human4"}


def is_run_folder(path: str | Path) -> bool:
    """Check whether a folder was written by `singletrack evaluate`."""
    return (Path(path) / "run.json").is_file()


def read_tracker_results(path: str | Path, sequences: Iterable[VideoSequence], *, label: str = "") -> TrackerResults:
    """Read the results of a tracker for those sequences that it has results for.

    Args:
        path: the folder.
        sequences: the sequences.
        label: display name; the model (run folders) or the folder name if empty.

    Raises:
        InputError: no results for any sequence, or an invalid file.
    """
    path = Path(path)
    wanted = {sequence.name: sequence for sequence in sequences}
    results = _read_run(path, wanted, label) if is_run_folder(path) else _read_foreign(path, wanted, label)
    if not results.boxes_xywh:
        example = next(iter(wanted), "")
        raise InputError(
            f"no results in {path} for any of {len(wanted)} sequences, such as {example}; give a run folder of "
            "`singletrack evaluate`, or the folder with the .txt files of the tracker for this data set"
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
        raise InputError(f"results folder not found: {path}; check the path, and unpack archives")
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
    """Finds files below a folder by name, ignoring case and treating -, . and _ as equal.

    Toolkits differ in these: Jogging-1, Jogging.1 and Jogging_1 are the same sequence.
    """

    def __init__(self, root: Path) -> None:
        self._exact = {file.relative_to(root).as_posix(): file for file in _result_files(root)}
        self._alike: dict[str, Path | None] = {}
        for relative, file in self._exact.items():
            key = _without_marks(relative)
            self._alike[key] = None if key in self._alike else file  # ambiguous names are not used

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
    return sorted(file for file in root.rglob("[!.]*") if file.suffix in {".txt", ".value"} and file.is_file())


def _without_marks(relative: str) -> str:
    return re.sub(r"[-.]", "_", relative).lower()


def _read(path: Path, parse: Callable[[str], Array]) -> Array:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read result file {path} ({reason_of(error)}); fix or remove it") from error


def _read_boxes(path: Path, sequence: VideoSequence) -> Array:
    """Read boxes (N, 4). A first line without a box, the start marker of VOT, is replaced by the given box."""
    boxes = _read(path, read_regions)
    if not len(boxes):
        raise InputError(f"{path} has no boxes for the {len(sequence)} frames of the sequence; fix or remove it")
    if np.isnan(boxes[0]).any():
        boxes[0] = sequence.boxes_xywh[0]
    return boxes


def _read_confidences(path: Path, count: int) -> Array:
    """Read confidences (N,). An empty first line, as in VOT files, belongs to the given box and is 1."""
    values = _read(path, read_values)
    if len(values) == count - 1:
        values = np.concatenate([[1.0], values])
    if len(values) != count:
        raise InputError(f"{path} must have a confidence for each of {count} boxes; got {len(values)}; fix it")
    return values
