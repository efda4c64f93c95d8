"""Opens data sets by name, and checks copies of them.

An incomplete copy is refused unless requested, because scores over a part of a benchmark are not comparable.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from singletrack.datasets.annotations import read_list
from singletrack.datasets.base import Frames, VideoSequence
from singletrack.datasets.coco import parse_json
from singletrack.datasets.layouts import LONGEST_NUMBER, Benchmark, SequenceReaders, read_flags, reading
from singletrack.datasets.storage import Storage, StoredFrames
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError, VideoError, show_value

PROBLEMS_IN_MESSAGE = 5


def open_dataset(
    name: str,
    root: str | Path,
    *,
    split: str = "",
    split_file: str | Path | None = None,
    exclude_file: str | Path | None = None,
    attributes: str | Path | None = None,
    names: Iterable[str] | None = None,
    limit: int | None = None,
    incomplete: bool = False,
) -> list[VideoSequence]:
    """Open the sequences of a split, in the order of the benchmark. Frames are read on access.

    Args:
        name: one of ``BENCHMARKS``.
        root: its folder, or a .zip or .tar. Archives inside the folder are read in place.
        split: one of its splits; "" for the first, which is the evaluation split.
        split_file: file with the sequences of the split: one name per line, or numbers (positions in the benchmark's
            own list, from 0); for UAV123 and UAV20L also a configSeqs.m.
        exclude_file: file with sequences to leave out, in the same format.
        attributes: challenge attributes of the sequences: a folder of NAME.txt with a 0 or 1 per attribute (as in the
            toolkits of LaSOT, VastTrack and TNL2K), or a JSON file {"NAME": ["FM", ...]} as in PyTracking.
        names: only these sequences; only these must then be complete.
        limit: only the first N sequences; only these must then be complete.
        incomplete: silently skip missing and incomplete sequences.

    Raises:
        InputError: an unknown name or split, or missing files.
    """
    chosen = choose(name, root, split=split, split_file=split_file, exclude_file=exclude_file, names=names, limit=limit)
    tell = attribute_reader(chosen.benchmark, attributes)
    sequences, problems = [], dict(chosen.problems)
    for sequence_name, opener in chosen.openers.items():
        sequence = try_open(opener)
        if isinstance(sequence, str):
            problems[sequence_name] = sequence
        else:
            told = tell(sequence_name) if tell else sequence.attributes
            sequences.append(replace(sequence, dataset=name, attributes=told))
    raise_problems(name, chosen.split, root, {} if incomplete else problems, found=len(sequences))
    return sequences


def raise_problems(name: str, split: str, root: str | Path, problems: dict[str, str], found: int) -> None:
    """Raise InputError if a copy has problems (sequence -> problem) or no sequences."""
    if problems:
        first = "; ".join(f"{what}: {why}" for what, why in list(problems.items())[:PROBLEMS_IN_MESSAGE])
        more = f"; and {len(problems) - PROBLEMS_IN_MESSAGE} more" if len(problems) > PROBLEMS_IN_MESSAGE else ""
        raise InputError(
            f"incomplete copy of {name} {split} in {root}; {first}{more}; list all problems with "
            f"`singletrack datasets check {name} --root {root}`, or select names, a limit, or complete sequences only"
        )
    if not found:
        raise InputError(f"no sequences of {name} {split} in {root}; check the path")


def try_open(opener: Callable[[], VideoSequence]) -> VideoSequence | str:
    """Return a sequence, or a description of what is wrong with it."""
    try:
        with reading("its annotation"):
            return opener()
    except (InputError, OSError) as error:
        return str(error)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen sequences with their readers, and problems of the list itself."""

    benchmark: Benchmark
    split: str
    openers: SequenceReaders
    problems: dict[str, str]


def choose(
    name: str,
    root: str | Path,
    *,
    split: str = "",
    split_file: str | Path | None = None,
    exclude_file: str | Path | None = None,
    names: Iterable[str] | None = None,
    limit: int | None = None,
) -> Choice:
    """Choose the sequences that ``open_dataset`` would read, without reading them; same arguments and errors."""
    if name not in BENCHMARKS:
        raise InputError(f"unknown data set {name!r}; choose one of {', '.join(BENCHMARKS)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1; got {limit}; leave it out for all sequences")
    benchmark = BENCHMARKS[name]
    split = split or next(iter(benchmark.splits))
    if split not in benchmark.splits:
        raise InputError(f"{name} has no split {split!r}; choose one of {', '.join(benchmark.splits)}")
    if split in benchmark.needs_file and split_file is None:
        split_file = Path(root) / benchmark.needs_file[split]
        if not split_file.is_file():
            raise InputError(
                f"{split} of {name} needs a split file; {split_file.name} is not in {root}; put it there or give its "
                "path; "
                "PyTracking and OSTrack include it"
            )
    text = None if split_file is None else _read_own(split_file)
    try:
        with reading(f"an annotation below {root}"):
            found = benchmark.find(Storage(root), split, text)
    except OSError as error:
        raise InputError(
            f"expected a copy of {name} in {root}; cannot read it ({error}); get a complete copy"
        ) from error
    listed = list(found) if text is None or "startFrame" in text else _listed(text, list(found))
    counts = text is None and names is None and limit is None
    problems = _count_problem(benchmark.splits[split], len(listed)) if counts else {}
    if exclude_file is not None:
        left_out = set(_listed(_read_own(exclude_file), list(found)))
        listed = [sequence for sequence in listed if sequence not in left_out]
    if names is not None:
        listed = list(names)
        unknown = [sequence for sequence in listed if sequence not in found]
        if unknown:
            near = difflib.get_close_matches(unknown[0], found, n=3) or list(found)[:3]
            raise InputError(
                f"{name} {split} has no sequence {unknown[0]!r}; "
                + (f"it has {', '.join(near)}; check the spelling" if near else "it has none at all; check the folder")
            )
    listed = listed if limit is None else listed[:limit]
    problems |= {sequence: "is not in this copy" for sequence in listed if sequence not in found}
    openers = {sequence: found[sequence] for sequence in listed if sequence in found}
    return Choice(benchmark=benchmark, split=split, openers=openers, problems=problems)


def _count_problem(expected: int | None, count: int) -> dict[str, str]:
    if expected is None or expected == count:
        return {}
    return {"the split": f"{expected} sequences expected, {count} found"}


def _read_own(path: str | Path) -> str:
    """Read a text file given by the user."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read text file {path} ({reason}); check the path") from error


def _listed(text: str, names: list[str]) -> list[str]:
    """Resolve a list of names, or of positions in the list of the benchmark, from 0."""
    entries = read_list(text)
    numbers = all(entry.isdecimal() and len(entry) <= LONGEST_NUMBER for entry in entries)
    if not entries or set(entries) & set(names) or not numbers:
        return entries
    last = max(map(int, entries))
    if last >= len(names):
        raise InputError(
            f"sequence numbers must be below {len(names)}, the number of sequences here; the list has {last}; "
            "check that it is for this split and that the copy is complete"
        )
    return [names[int(entry)] for entry in entries]


def attribute_reader(benchmark: Benchmark, source: str | Path | None) -> Callable[[str], tuple[str, ...]] | None:
    """Return a function that reads the attributes of a sequence from a folder of flags or a JSON file."""
    if source is None:
        return None
    if Path(source).suffix.lower() == ".json":
        table = parse_json(_read_own(source), str(source))
        lists = table.values() if isinstance(table, dict) else [None]
        if not all(isinstance(each, list) and all(isinstance(word, str) for word in each) for each in lists):
            raise InputError(
                f'expected {{"NAME": ["FM", ...], ...}} in {source}; got {show_value(table)}; point to a file of '
                "attributes"
            )
        return lambda name: tuple(table.get(name, ()))
    storage, expected = Storage(source), benchmark.attributes.split()

    def tell(name: str) -> tuple[str, ...]:
        file = next((f for f in (f"{name}.txt", f"{name}_attribute.txt") if storage.has(f)), f"{name}.txt")
        told = read_flags(storage, file)
        if len(told) != len(expected):
            raise InputError(
                f"{file} must have {len(expected)} flags ({', '.join(expected)}); got {len(told)}; "
                "give the attributes of this benchmark"
            )
        return tuple(attribute for attribute, here in zip(expected, told, strict=True) if here)

    return tell


def split_digest(names: Iterable[str]) -> str:
    """Compute the SHA-256 of the sorted sequence names, 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


# --- checking a copy ---------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class DatasetCheck:
    """Result of checking a copy.

    Attributes:
        problems: problems by sequence name, or "the split"; empty if the copy is complete.
    """

    dataset: str
    split: str
    expected: int | None
    digest: str
    sequences: int = 0
    frames: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, problem: str) -> None:
        self.problems.setdefault(name, []).append(problem)


def check_dataset(
    name: str,
    root: str | Path,
    *,
    split: str = "",
    split_file: str | Path | None = None,
    exclude_file: str | Path | None = None,
    quick: bool = False,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> DatasetCheck:
    """Check a copy for missing or damaged files: counts, boxes, flags and images.

    Args:
        name: as for ``open_dataset``, like the other arguments.
        quick: decode only the first and last frame of each sequence.
        progress: wraps the iteration over sequence names, such as a tqdm bar.

    Raises:
        InputError: nothing to check, as in ``open_dataset``.
    """
    chosen = choose(name, root, split=split, split_file=split_file, exclude_file=exclude_file)
    expected = chosen.benchmark.splits[chosen.split] if split_file is None and exclude_file is None else None
    listed = [*chosen.openers, *(problem for problem in chosen.problems if problem != "the split")]
    report = DatasetCheck(dataset=name, split=chosen.split, expected=expected, digest=split_digest(listed))
    for where, problem in chosen.problems.items():
        report.add(where, problem)
    for sequence_name in progress(chosen.openers):
        sequence = try_open(chosen.openers[sequence_name])
        if isinstance(sequence, str):
            report.add(sequence_name, sequence)
            continue
        report.sequences += 1
        report.frames += len(sequence)
        for problem in _problems_of(sequence, quick=quick, training=chosen.split.startswith("train")):
            report.add(sequence_name, problem)
    return report


def _problems_of(sequence: VideoSequence, *, quick: bool, training: bool) -> list[str]:
    """List the problems of a sequence. For training, its target need not be visible in the first frame."""
    problems = []
    first = sequence.boxes_xywh[0]
    if not training and not (np.isfinite(first).all() and (first[2:] > 0).all()):
        problems.append(f"the first frame has no valid box, but {','.join(f'{value:g}' for value in first)}")
    faults: dict[str, list[int]] = {}
    for index in (0, len(sequence) - 1) if quick else range(len(sequence)):
        fault = _fault(sequence.frames, index)
        if fault:
            faults.setdefault(fault, []).append(index)
    for fault, indices in faults.items():
        names = getattr(sequence.frames, "names", range(len(sequence)))
        problems.append(f"{len(indices)} frames {fault}, the first is {names[indices[0]]}")
    return problems


def _fault(frames: Frames, index: int) -> str:
    """Describe the problem of a frame; "" if the frame is valid."""
    try:
        frames[index]
        return "are truncated" if isinstance(frames, StoredFrames) and frames.is_cut_short(index) else ""
    except VideoError:
        return "cannot be read"
