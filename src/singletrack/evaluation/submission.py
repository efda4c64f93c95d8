"""Builds the archives for the servers of GOT-10k and TrackingNet from a run folder, after checking it.

    got10k        NAME/NAME_001.txt and NAME/NAME_time.txt of each sequence; seconds, one frame per line
    trackingnet   NAME.txt of each sequence

Boxes are x,y,width,height, one frame per line. Both servers read floats: the GOT-10k toolkit writes three decimals
and reads any number; TrackingNet's rounds after reading.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError
from singletrack.evaluation.run_store import RunFolder, SequenceResult
from singletrack.files import atomic_write, check_file, writing

SPLIT = "test"
NAMES_IN_MESSAGE = 5
# fixed time of the files in an archive (the oldest possible), so that equal results give equal archives
NO_TIME = (1980, 1, 1, 0, 0, 0)

# names and texts of the files of one sequence in an archive
Files = dict[str, str]


def got10k_files(name: str, result: SequenceResult, *, integers: bool = False) -> Files:
    """Build the files of one sequence for the GOT-10k server, with one repetition."""
    return {
        f"{name}/{name}_001.txt": boxes_text(result, integers=integers),
        f"{name}/{name}_time.txt": "".join(f"{seconds:.8f}\n" for seconds in result.seconds),
    }


def trackingnet_files(name: str, result: SequenceResult, *, integers: bool = False) -> Files:
    """Build the files of one sequence for the TrackingNet server."""
    return {f"{name}.txt": boxes_text(result, integers=integers)}


# data set -> the files of one sequence
SERVERS: dict[str, Callable[..., Files]] = {"got10k": got10k_files, "trackingnet": trackingnet_files}


def boxes_text(result: SequenceResult, *, integers: bool = False) -> str:
    """Format one line per frame, in the shortest exact form without exponents.

    Args:
        result: results of the sequence.
        integers: truncate to integer pixels, as in OSTrack's archives.
    """
    boxes = result.boxes_xywh
    if integers:
        return "".join(",".join(map(str, box)) + "\n" for box in boxes.astype(np.int64).tolist())
    shown = ((np.format_float_positional(value, trim="-") for value in box) for box in boxes)
    return "".join(",".join(box) + "\n" for box in shown)


def write_submission(server: str, run: RunFolder, path: str | Path, *, integers: bool = False) -> None:
    """Write the archive for a benchmark server. The run is not changed, and the archive is written atomically.

    Args:
        server: "got10k" or "trackingnet".
        run: a complete run on the test split.
        path: output file (.zip).
        integers: truncate boxes to integer pixels.

    Raises:
        InputError: a run on another data set or split, missing sequences, wrong numbers of lines, or boxes that are not
            finite.
        SingletrackError: the archive cannot be written.
    """
    path = Path(path)
    if server not in SERVERS:
        raise InputError(f"unknown server {server!r}; choose one of {', '.join(SERVERS)}")
    check_file(path, (".zip",))
    _check_run(server, run)
    with (
        writing(path),
        atomic_write(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in sorted(run.facts.sequences):
            result = _checked(run, name)
            for file, text in SERVERS[server](name, result, integers=integers or run.facts.integers).items():
                archive.writestr(zipfile.ZipInfo(file, NO_TIME), text, zipfile.ZIP_DEFLATED)


def _check_run(server: str, run: RunFolder) -> None:
    """Raise InputError unless the run is on the split of the server and complete."""
    facts = run.facts
    if (facts.dataset, facts.split) != (server, SPLIT):
        raise InputError(
            f"the server scores {server} {SPLIT}; got a run on {facts.dataset} {facts.split} in {run.path}; "
            "give another run"
        )
    expected = BENCHMARKS[server].splits[SPLIT]
    if len(facts.sequences) != expected:
        raise InputError(
            f"{server} {SPLIT} has {expected} sequences; {run.path} has {len(facts.sequences)}; "
            "evaluate the others into the same folder"
        )
    if missing := run.missing():
        raise InputError(
            f"{run.path} has no results for {len(missing)} of {expected} sequences: {_some(missing)}; "
            "run the same `singletrack evaluate` again to resume"
        )


def _checked(run: RunFolder, name: str) -> SequenceResult:
    """Read the result of a sequence; raises InputError for boxes that are not finite."""
    result = run.read(name)
    wrong = np.flatnonzero(~np.isfinite(result.boxes_xywh).all(axis=1))
    if len(wrong):
        raise InputError(
            f"boxes must be finite; {name} in {run.path} has others in {len(wrong)} frames, "
            f"the first is {wrong[0]}; delete its box file and evaluate again"
        )
    return result


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (", ..." if len(names) > NAMES_IN_MESSAGE else "")
