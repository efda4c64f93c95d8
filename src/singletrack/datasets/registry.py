"""Opens data sets by name, and checks copies of them.

An incomplete copy is refused unless requested, because scores over a part of a benchmark are not comparable.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from singletrack.datasets.annotations import read_list
from singletrack.datasets.base import Frames, VideoSequence
from singletrack.datasets.layouts import Benchmark, SequenceReaders, read_flags
from singletrack.datasets.storage import Storage, StoredFrames
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError, VideoError

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
    """The sequences of a split, in the benchmark's order, their frames not yet read.

    name: one of ``BENCHMARKS``.
    root: its folder, or a .zip or .tar; archives inside the folder are read where they lie.
    split: one of its splits; "" is the first, which is what is evaluated.
    split_file: the sequences of the split: a name a line, or numbers (places in the benchmark's own list, from 0);
        for UAV123 and UAV20L also a configSeqs.m.
    exclude_file: sequences to leave out, as in a split file.
    attributes: the challenges in each sequence: a folder of NAME.txt with a 0 or 1 for each (as the toolkits of LaSOT,
        VastTrack and TNL2K ship it), or a JSON file {"NAME": ["FM", ...]}, as PyTracking's.
    names: only these sequences; then only these need to be whole.
    limit: only so many, from the first on; then only these need to be whole.
    incomplete: leave out, without a word, what is missing or not whole.

    Raises InputError for an unknown name or split, and where something of what was asked for is not there.
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
    """Raise InputError where a copy has problems (sequence -> what is wrong), or no sequences at all."""
    if problems:
        first = "; ".join(f"{what}: {why}" for what, why in list(problems.items())[:PROBLEMS_IN_MESSAGE])
        more = f"; and {len(problems) - PROBLEMS_IN_MESSAGE} more" if len(problems) > PROBLEMS_IN_MESSAGE else ""
        raise InputError(
            f"expected a whole copy of {name} {split} in {root}; {first}{more}; see all of it with "
            f"`singletrack datasets check {name} --root {root}`, or ask for some by name, a limit or what is whole"
        )
    if not found:
        raise InputError(f"expected sequences of {name} {split} in {root}; found none; check the path")


def try_open(opener: Callable[[], VideoSequence]) -> VideoSequence | str:
    """A sequence, or what is wrong with it."""
    try:
        return opener()
    except InputError as error:
        return str(error)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was asked for: each sequence with the function that reads it, and what is wrong with the list itself."""

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
    """The sequences that ``open_dataset`` would read, none of them read yet; its arguments and errors."""
    if name not in BENCHMARKS:
        raise InputError(f"expected a data set of {', '.join(BENCHMARKS)}; got {name!r}; choose one of these")
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit of 1 sequence or more; got {limit}; leave it out for all of them")
    benchmark = BENCHMARKS[name]
    split = split or next(iter(benchmark.splits))
    if split not in benchmark.splits:
        raise InputError(f"expected a split of {name} ({', '.join(benchmark.splits)}); got {split!r}; choose one")
    if split in benchmark.needs_file and split_file is None:
        split_file = Path(root) / benchmark.needs_file[split]
        if not split_file.is_file():
            raise InputError(
                f"expected a split file for {split} of {name}; got none, and no {split_file.name} in {root}; put it "
                "there or point to it: PyTracking and OSTrack have it"
            )
    text = None if split_file is None else _read_own(split_file)
    found = benchmark.find(Storage(root), split, text)
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
                f"expected names of sequences of {name} {split}; got {unknown[0]!r}; "
                f"such as {', '.join(near)}; check the spelling"
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
    """The text of a file that the user points to."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected a text file; cannot read {path} ({reason}); check the path") from error


def _listed(text: str, names: list[str]) -> list[str]:
    """The names in a list: they themselves, or their places in the benchmark's list, counted from 0."""
    entries = read_list(text)
    if not entries or set(entries) & set(names) or not all(entry.isdecimal() for entry in entries):
        return entries
    last = max(map(int, entries))
    if last >= len(names):
        raise InputError(
            f"expected numbers below {len(names)}, the count of sequences here; the list goes up to {last}; "
            "is it for another split, or is the copy incomplete?"
        )
    return [names[int(entry)] for entry in entries]


def attribute_reader(benchmark: Benchmark, source: str | Path | None) -> Callable[[str], tuple[str, ...]] | None:
    """Tells the attributes of a sequence from a folder of flags or a JSON file, as in ``open_dataset``."""
    if source is None:
        return None
    if Path(source).suffix.lower() == ".json":
        table = json.loads(_read_own(source))
        return lambda name: tuple(table.get(name, ()))
    storage, expected = Storage(source), benchmark.attributes.split()

    def tell(name: str) -> tuple[str, ...]:
        file = next((f for f in (f"{name}.txt", f"{name}_attribute.txt") if storage.has(f)), f"{name}.txt")
        told = read_flags(storage, file)
        if len(told) != len(expected):
            raise InputError(
                f"expected {len(expected)} flags ({', '.join(expected)}) in {file}; got {len(told)}; "
                "point to the attributes of this benchmark"
            )
        return tuple(attribute for attribute, here in zip(expected, told, strict=True) if here)

    return tell


def split_digest(names: Iterable[str]) -> str:
    """What tells one choice of sequences from another: SHA-256 of their sorted names, 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


# --- checking a copy ---------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class DatasetCheck:
    """What a copy holds. problems: what is missing or wrong, under a sequence's name or "the split"; none: whole."""

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
    """Walk a copy and tell what is missing or wrong: counts, boxes and flags against frames, pictures.

    quick: decode the first and the last frame of each sequence only.
    progress: gets the names of the sequences and gives them back one by one, such as a tqdm bar.

    Raises InputError where there is nothing to walk, as ``open_dataset`` does.
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
    """What is wrong with a sequence that could be opened; for training, its target need not be there from the start."""
    problems = []
    first = sequence.boxes_xywh[0]
    if not training and not (np.isfinite(first).all() and (first[2:] > 0).all()):
        problems.append(f"no box in its first frame to start from, but {','.join(f'{value:g}' for value in first)}")
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
    """What is wrong with a frame; "" for nothing."""
    try:
        frames[index]
        return "are cut short" if isinstance(frames, StoredFrames) and frames.is_cut_short(index) else ""
    except VideoError:
        return "cannot be read"
