"""Expected average overlap, accuracy and robustness from the result files of the VOT toolkit, equal to its numbers.

WORKSPACE/sequences/list.txt, NAME/sequence, NAME/groundtruth.txt, NAME/anchor.value
WORKSPACE/results/TRACKER/EXPERIMENT/NAME/NAME_001.bin or .txt (one per repetition; per anchor NAME_00000050)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.annotations import read_list, read_properties, read_values
from singletrack.errors import InputError
from singletrack.evaluation.tables import Cell, Table
from singletrack.evaluation.vot_regions import FAILURE, INITIALIZATION, Region, overlap, read_regions
from singletrack.published import published_results
from singletrack.video.images import PICTURE_ENDINGS, natural_key, read_picture

UNKNOWN = float("nan")
BURN_IN = 10  # frames after each start that do not count for accuracy
GRACE, LOST = 10, 0.1  # a tracker has failed after 10 frames at no more than this overlap, of the years from 2020
CURVE = 755  # frames of the curve of the years from 2020
MOST_REPETITIONS = 15

Overlaps = NDArray[np.float64]


@dataclass(frozen=True)
class Challenge:
    """A year of the challenge.

    Attributes:
        anchors: started at anchors, as from 2020; else started again after each failure.
        low: first frame of the curve whose values are averaged.
        high: last one.
    """

    anchors: bool
    low: int
    high: int


CHALLENGES = {
    "vot2015": Challenge(False, 108, 371),
    "vot2016": Challenge(False, 108, 371),
    "vot2017": Challenge(False, 100, 356),
    "vot2018": Challenge(False, 100, 356),
    "vot2019": Challenge(False, 46, 291),
    "vot2020": Challenge(True, 115, 755),
    "vot2021": Challenge(True, 115, 755),
    "vot2022": Challenge(True, 115, 755),
}


@dataclass(frozen=True)
class Scores:
    """Scores of a tracker.

    Attributes:
        eao: expected average overlap.
        accuracy: mean overlap while it tracks.
        robustness: from 2020 the share of frames before its failures; before, failures per frame, of which less is
            better, as papers report it.
        failures: failures per sequence, weighted by its length, which the toolkit shows as robustness; None from 2020.
        curve: (N,) expected overlap after each number of frames, of whose part the EAO is the mean.
    """

    eao: float
    accuracy: float
    robustness: float
    failures: float | None = None
    curve: Overlaps = field(default_factory=lambda: np.zeros(0), compare=False)

    @property
    def measures(self) -> dict[str, float]:
        """The three measures by name, in percent."""
        return {"EAO": 100 * self.eao, "accuracy": 100 * self.accuracy, "robustness": 100 * self.robustness}


@dataclass(frozen=True)
class VOTSequence:
    """A sequence of a workspace."""

    folder: Path

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name

    @cached_property
    def truth(self) -> list[Region]:
        """The region of each frame."""
        return read_regions(self.folder / "groundtruth.txt")

    @cached_property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frames."""
        file = self.folder / "sequence"
        facts = read_properties(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if facts.get("width", "").isdecimal() and facts.get("height", "").isdecimal():
            return int(facts["width"]), int(facts["height"])
        pictures = [path for path in self.folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS]
        if not pictures:
            raise InputError(f"expected width and height in {file}, or pictures beside it; download the sequence again")
        frame = read_picture(min(pictures, key=lambda path: natural_key(str(path))))
        return frame.shape[1], frame.shape[0]

    @property
    def starts(self) -> list[tuple[int, list[int]]]:
        """The anchors, each with the frames that are tracked from it, to the end or back to the beginning."""
        file = self.folder / "anchor.value"
        if not file.is_file():
            raise InputError(f"expected the anchors of the sequence in {file}; the data set is of another year perhaps")
        anchors = read_values(file.read_text(encoding="utf-8"))
        forward = [(index, list(range(index, len(self.truth)))) for index in np.flatnonzero(anchors > 0).tolist()]
        backward = [(index, list(range(index, -1, -1))) for index in np.flatnonzero(anchors < 0).tolist()]
        return forward + backward


def open_workspace(root: Path) -> list[VOTSequence]:
    """Open the sequences of a workspace; raises InputError where there are none."""
    folder = root / "sequences" if (root / "sequences").is_dir() else root
    listed = folder / "list.txt"
    if not listed.is_file():
        raise InputError(f"expected a workspace of the VOT toolkit with sequences/list.txt; got {root}; check --root")
    return [VOTSequence(folder / name) for name in read_list(listed.read_text(encoding="utf-8"))]


def score(sequences: Sequence[VOTSequence], results: Path, benchmark: str, experiment: str = "baseline") -> Scores:
    """Score the results of a tracker.

    Args:
        sequences: from ``open_workspace``.
        results: folder of the tracker in ``results`` of the workspace.
        benchmark: a key of ``CHALLENGES``.
        experiment: folder in it.

    Raises:
        InputError: a file is missing or does not fit its sequence.
    """
    challenge, folder = CHALLENGES[benchmark], results / experiment
    if not folder.is_dir():
        raise InputError(f"expected results of the experiment {experiment} in {folder}; give the folder of a tracker")
    return (_score_anchors if challenge.anchors else _score_restarts)(sequences, folder, challenge)


def vot_table(scores: dict[str, Scores], benchmark: str, published: bool = False) -> Table:
    """Build a table of trackers, and of what papers report, in percent."""
    restarts = not CHALLENGES[benchmark].anchors
    rows: list[tuple[Cell, ...]] = [
        (
            label,
            *each.measures.values(),
            *([UNKNOWN if each.failures is None else each.failures] if restarts else []),
            *(["this report"] if published else []),
        )
        for label, each in scores.items()
    ]
    found = sorted(published_results(benchmark=benchmark), key=lambda each: -each.measures.get("EAO", 0))
    for each in found if published else ():
        values = (each.measures.get(name, UNKNOWN) for name in ("EAO", "accuracy", "robustness"))
        rows.append((each.tracker, *values, *([UNKNOWN] if restarts else []), each.source))
    return Table(
        name="table",
        title=f"{benchmark.upper()} in percent; robustness: {robustness_of(benchmark)}",
        columns=(
            "tracker",
            *("EAO", "accuracy", "robustness"),
            *(["failures"] if restarts else []),
            *(["source"] if published else []),
        ),
        rows=tuple(rows),
    )


def robustness_of(benchmark: str) -> str:
    """Say what robustness is in a challenge."""
    if CHALLENGES[benchmark].anchors:
        return "share of the frames before failures"
    return "failures per 100 frames, less is better"


# --- started at anchors, from 2020 -----------------------------------------------------------------------------------


def _score_anchors(sequences: Sequence[VOTSequence], folder: Path, challenge: Challenge) -> Scores:
    sums, counts = np.zeros(CURVE), np.zeros(CURVE)
    accuracy = accuracy_weight = robustness = robustness_weight = 0.0
    for sequence in sequences:
        tracked = overlapped = total = 0.0
        for anchor, frames in sequence.starts:
            file = _file(folder / sequence.name, f"{sequence.name}_{anchor:08d}")
            truth = [sequence.truth[frame] for frame in frames]
            overlaps = _overlaps(read_regions(file), truth, sequence, file)
            until = _failed_at(overlaps, truth)
            tracked, total = tracked + until, total + len(frames)
            overlapped += float(overlaps[:until].sum())
            _add_to_curve(overlaps[:until], len(overlaps), sums, counts)
        accuracy += overlapped
        accuracy_weight += tracked
        robustness += len(sequence.truth) * tracked / total
        robustness_weight += len(sequence.truth)
    curve = np.divide(sums, counts, out=np.zeros(CURVE), where=counts > 0)
    eao = float(curve[challenge.low : challenge.high + 1].mean())
    mean = accuracy / accuracy_weight if accuracy_weight else 0.0
    return Scores(eao, mean, robustness / robustness_weight, curve=curve)


def _failed_at(overlaps: Overlaps, truth: Sequence[Region]) -> int:
    """The first of the frames in which the tracker had failed for good; their number if it had not."""
    grace = GRACE
    for index, (value, region) in enumerate(zip(overlaps, truth, strict=True)):
        if value > LOST or region.is_empty:
            grace = GRACE
            continue
        grace -= 1
        if grace == 0:
            return index + 1 - GRACE
    return len(overlaps)


def _add_to_curve(tracked: Overlaps, length: int, sums: Overlaps, counts: Overlaps) -> None:
    """Add the mean overlap up to each frame; after a failure it falls, and without one the run ends with its frames."""
    overlaps = np.zeros(length)
    overlaps[: len(tracked)] = tracked
    upto = np.cumsum(overlaps[1:])  # without the first frame, which is given
    frames = np.arange(1, CURVE)
    inside = frames < length
    sums[1:][inside] += (upto / np.arange(1, length))[: int(inside.sum())]
    counts[1:][inside] += 1
    if len(tracked) < length:
        sums[1:][~inside] += (upto[-1] if len(upto) else 0.0) / np.maximum(1, frames[~inside] - 1)
        counts[1:][~inside] += 1


# --- started again after failures, until 2019 ------------------------------------------------------------------------


def _score_restarts(sequences: Sequence[VOTSequence], folder: Path, challenge: Challenge) -> Scores:
    runs: list[tuple[Overlaps, bool]] = []
    accuracy = failures = frames = 0.0
    for sequence in sequences:
        files = _repetitions(folder / sequence.name, sequence.name)
        accuracies, failed = [], 0
        for file in files:
            regions = read_regions(file)
            overlaps = _overlaps(regions, sequence.truth, sequence, file)
            starts = [index for index, region in enumerate(regions) if region.code == INITIALIZATION]
            ends = [index for index, region in enumerate(regions) if region.code == FAILURE]
            failed += len(ends)
            accuracies.append(_accuracy(overlaps, regions))
            runs += [(overlaps[start:end], False) for start, end in zip(starts, ends, strict=False)]
            if not ends:
                runs.append((overlaps, True))
            elif len(starts) > len(ends):
                runs.append((overlaps[starts[-1] :], True))
        length = len(sequence.truth)
        accuracy += length * float(np.mean(accuracies))
        failures += length * failed / len(files)
        frames += length
    rate = failures / frames
    per_frame = sum(_failures(folder, sequence) for sequence in sequences) / frames
    curve = _restart_curve(runs)
    counted = curve[challenge.low : challenge.high + 1]
    return Scores(float(np.mean(counted)) if len(counted) else UNKNOWN, accuracy / frames, per_frame, rate, curve)


def _failures(folder: Path, sequence: VOTSequence) -> float:
    files = _repetitions(folder / sequence.name, sequence.name)
    return sum(region.code == FAILURE for file in files for region in read_regions(file)) / len(files)


def _accuracy(overlaps: Overlaps, regions: Sequence[Region]) -> float:
    """Mean overlap without failures, frames without an answer, and the first frames after each start."""
    counted = np.array([region.code not in (0, FAILURE) for region in regions])
    for index, region in enumerate(regions):
        if region.code == INITIALIZATION:
            counted[index : index + BURN_IN] = False
    return float(overlaps[counted].mean()) if counted.any() else 0.0


def _restart_curve(runs: Sequence[tuple[Overlaps, bool]]) -> Overlaps:
    """The mean over runs of their mean overlap up to each frame; a run that failed goes on with zeros."""
    longest = max(len(overlaps) for overlaps, _ in runs)
    sums, counts = np.zeros(longest), np.zeros(longest)
    for overlaps, whole in runs:
        padded = np.zeros(longest)
        padded[: len(overlaps)] = overlaps
        means = np.concatenate([padded[:1], np.cumsum(padded[1:]) / np.arange(1, longest)])
        reach = len(overlaps) if whole else longest
        sums[:reach] += means[:reach]
        counts[:reach] += 1
    return sums / counts


# --- files -----------------------------------------------------------------------------------------------------------


def _overlaps(regions: Sequence[Region], truth: Sequence[Region], sequence: VOTSequence, file: Path) -> Overlaps:
    if len(regions) != len(truth):
        raise InputError(f"expected {len(truth)} regions in {file}; got {len(regions)}; run the toolkit again")
    size = sequence.size_wh
    return np.array([overlap(one, other, size) for one, other in zip(regions, truth, strict=True)])


def _file(folder: Path, name: str) -> Path:
    found = _existing(folder, name)
    if found is None:
        raise InputError(
            f"expected {folder / name}.bin or .txt; the toolkit has not finished this tracker: run it again"
        )
    return found


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for ending in (".txt", ".bin") if (path := folder / f"{name}{ending}").is_file()), None)


def _repetitions(folder: Path, name: str) -> list[Path]:
    """All repetitions; the toolkit stops after three equal ones."""
    each: Callable[[int], Path | None] = lambda number: _existing(folder, f"{name}_{number:03d}")  # noqa: E731
    return [_file(folder, f"{name}_001"), *filter(None, map(each, range(2, MOST_REPETITIONS + 1)))]
