"""The archives that the servers of GOT-10k and TrackingNet take, made from a run folder and checked before.

    got10k        NAME/NAME_001.txt and NAME/NAME_time.txt of each sequence; seconds, one frame a line
    trackingnet   NAME.txt of each sequence

Boxes are x,y,width,height, one frame a line. Both servers read them as floats: GOT-10k's toolkit writes three decimals
and loads any number; TrackingNet's rounds what it has read. Knows nothing of the command line.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError
from singletrack.evaluation.run_store import RunFolder, SequenceResult
from singletrack.files import check_file, writing

SPLIT = "test"
NAMES_IN_MESSAGE = 5
# in an archive each file has a time; with this one, the oldest there is, the same results give the same archive
NO_TIME = (1980, 1, 1, 0, 0, 0)

# the files of one sequence in an archive: their names and texts
Files = dict[str, str]


def got10k_files(name: str, result: SequenceResult, *, integers: bool = False) -> Files:
    """What GOT-10k's server takes of one sequence; the one repetition of a deterministic tracker."""
    return {
        f"{name}/{name}_001.txt": boxes_text(result, integers=integers),
        f"{name}/{name}_time.txt": "".join(f"{seconds:.8f}\n" for seconds in result.seconds),
    }


def trackingnet_files(name: str, result: SequenceResult, *, integers: bool = False) -> Files:
    """What TrackingNet's server takes of one sequence."""
    return {f"{name}.txt": boxes_text(result, integers=integers)}


# data set -> the files of one sequence
SERVERS: dict[str, Callable[..., Files]] = {"got10k": got10k_files, "trackingnet": trackingnet_files}


def boxes_text(result: SequenceResult, *, integers: bool = False) -> str:
    """A line for each frame, in the fewest digits that say the number, never with an exponent.

    integers: cut to whole pixels towards zero, as OSTrack's own archives have it.
    """
    boxes = result.boxes_xywh
    if integers:
        return "".join(",".join(map(str, box)) + "\n" for box in boxes.astype(np.int64).tolist())
    shown = ((np.format_float_positional(value, trim="-") for value in box) for box in boxes)
    return "".join(",".join(box) + "\n" for box in shown)


def write_submission(server: str, run: RunFolder, path: str | Path, *, integers: bool = False) -> None:
    """Write the archive that a server takes; the run stays as it is, and so does an older archive until this is whole.

    server: "got10k" or "trackingnet". path: ends in .zip. integers: whole pixels instead of floats.

    Raises InputError for a run on another data set or split, with sequences missing, lines that are not as many as
    the frames, or boxes that are not finite; SingletrackError where the archive cannot be written.
    """
    path = Path(path)
    if server not in SERVERS:
        raise InputError(f"expected a server among {', '.join(SERVERS)}; got {server!r}; give one of these")
    check_file(path, (".zip",))
    _check_run(server, run)
    unfinished = path.with_name(path.name + ".part")
    with writing(path):
        try:
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in sorted(run.facts.sequences):
                    result = _checked(run, name)
                    for file, text in SERVERS[server](name, result, integers=integers or run.facts.integers).items():
                        archive.writestr(zipfile.ZipInfo(file, NO_TIME), text, zipfile.ZIP_DEFLATED)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _check_run(server: str, run: RunFolder) -> None:
    """Raise InputError unless the run is on the split that the server knows, and every sequence of it is done."""
    facts = run.facts
    if (facts.dataset, facts.split) != (server, SPLIT):
        raise InputError(
            f"expected a run on {server} {SPLIT}, of which the server keeps the boxes; got one on "
            f"{facts.dataset} {facts.split} in {run.path}; give the run that you mean"
        )
    expected = BENCHMARKS[server].splits[SPLIT]
    if len(facts.sequences) != expected:
        raise InputError(
            f"expected all {expected} sequences of {server} {SPLIT}; {run.path} was asked for {len(facts.sequences)}; "
            "evaluate the others into the same folder"
        )
    if missing := run.missing():
        raise InputError(
            f"expected results of all {expected} sequences; {run.path} lacks {len(missing)}: {_some(missing)}; "
            "run the same `singletrack evaluate` again, which goes on with them"
        )


def _checked(run: RunFolder, name: str) -> SequenceResult:
    """The result of a sequence, as long as its frames. Raises InputError for boxes that are not finite."""
    result = run.read(name)
    wrong = np.flatnonzero(~np.isfinite(result.boxes_xywh).all(axis=1))
    if len(wrong):
        raise InputError(
            f"expected boxes of finite numbers; {name} in {run.path} has others in {len(wrong)} frames, "
            f"the first is {wrong[0]}; delete its file of boxes and evaluate again"
        )
    return result


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (", ..." if len(names) > NAMES_IN_MESSAGE else "")
