"""Builds a report: scores of trackers on one benchmark, and their tables.

Needs no optional package. ``html_report`` writes plots and the HTML page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from singletrack.datasets.base import VideoSequence
from singletrack.errors import InputError
from singletrack.evaluation.metrics import LongTerm, bootstrap_difference
from singletrack.evaluation.protocols import (
    ABOUT,
    DEFAULT_PROTOCOLS,
    UNANNOTATED,
    Score,
    default_protocol,
    mean_score,
    mean_speed,
    score_long_term,
    score_sequence,
)
from singletrack.evaluation.result_readers import TrackerResults
from singletrack.evaluation.tables import Cell, Table
from singletrack.published import published_results

MISSING_IN_MESSAGE = 3
UNKNOWN = float("nan")


@dataclass(frozen=True, kw_only=True)
class TrackerScores:
    """Scores of one tracker in a report.

    Attributes:
        total: score over all sequences.
        sequences: sequence name -> score.
        speed: frames per second; NaN if unknown.
        long_term: long-term scores; None unless every frame has a confidence.
    """

    results: TrackerResults
    total: Score
    sequences: dict[str, Score]
    speed: float
    long_term: LongTerm | None

    @property
    def label(self) -> str:
        return self.results.label


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of trackers on one benchmark. The others are compared with the first tracker.

    Attributes:
        title: display name of the data set.
        sequences: the scored sequences.
        sequence_count: number of sequences of the data set.
        with_published: add a table with what papers report on this benchmark.
    """

    benchmark: str
    title: str
    protocol: str
    sequences: tuple[VideoSequence, ...]
    sequence_count: int
    trackers: tuple[TrackerScores, ...]
    with_published: bool = False

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures of the protocol, the headline first."""
        return tuple(self.trackers[0].total.measures)

    @property
    def headline(self) -> str:
        return self.measures[0]

    @property
    def summary(self) -> str:
        """Describe in one line what was scored and how."""
        count = len(self.sequences)
        counted = str(count) if count == self.sequence_count else f"{count} of {self.sequence_count}"
        frames = sum(len(sequence.boxes_xywh) for sequence in self.sequences)
        return f"{counted} sequences, {frames} frames; protocol {self.protocol}{self._whose}"

    @property
    def _whose(self) -> str:
        usual = DEFAULT_PROTOCOLS.get(self.benchmark)
        if usual is None or self.benchmark in UNANNOTATED:
            return ""
        return (
            ", as in papers on this benchmark" if self.protocol == usual else f"; papers on this benchmark use {usual}"
        )

    @property
    def about_protocol(self) -> str:
        return ABOUT[self.protocol]

    @cached_property
    def attributes(self) -> dict[str, list[str]]:
        """Map each attribute to the names of its sequences, most frequent first."""
        found: dict[str, list[str]] = {}
        for sequence in self.sequences:
            for attribute in sequence.attributes:
                found.setdefault(attribute, []).append(sequence.name)
        return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))

    def worst_first(self) -> list[VideoSequence]:
        """Sort the sequences by the headline measure of the first tracker, without those that have no value."""
        scores = self.trackers[0].sequences
        known = [each for each in self.sequences if not np.isnan(scores[each.name].measures[self.headline])]
        return sorted(known, key=lambda each: scores[each.name].measures[self.headline])


def build_report(
    results: Ordered[TrackerResults],
    sequences: Ordered[VideoSequence],
    *,
    benchmark: str,
    split: str = "",
    title: str = "",
    protocol: str | None = None,
    common: bool = False,
    sequence_count: int | None = None,
    with_published: bool = False,
    progress: Callable[[Iterable[TrackerResults]], Iterable[TrackerResults]] = iter,
) -> Report:
    """Score every tracker on every sequence.

    Args:
        trackers: results of each tracker.
        sequences: the sequences.
        benchmark: its name in ``datasets.registry``.
        split: name of the split.
        title: display name; benchmark and split if empty.
        protocol: name of the protocol; None for the default of the benchmark.
        common: score only the sequences that every tracker has results for. Otherwise, all results must be present.
        sequence_count: number of sequences of the benchmark, if ``sequences`` are not all of them.
        with_published: see ``Report``.
        progress: wraps the iteration over trackers, such as a tqdm bar.

    Raises:
        InputError: missing results, two trackers with the same label, or boxes that the protocol cannot score.
    """
    if not results:
        raise InputError("there are no results; give at least one folder of results")
    labels = [each.label for each in results]
    if len(set(labels)) < len(labels):
        raise InputError(f"tracker labels must be unique; got {', '.join(labels)}; set them with LABEL=FOLDER")
    scored = [each for each in sequences if all(each.name in result.boxes_xywh for result in results)]
    if not common:
        _check_complete(results, sequences)
    if not scored:
        raise InputError("no sequence has results of every tracker; check that they are of the same data set")
    protocol = protocol or default_protocol(benchmark)
    return Report(
        benchmark=benchmark,
        title=title or f"{benchmark} {split}".strip(),
        protocol=protocol,
        sequences=tuple(scored),
        sequence_count=sequence_count or len(sequences),
        with_published=with_published,
        trackers=tuple(score_tracker(each, scored, benchmark, protocol) for each in progress(results)),
    )


def _check_complete(results: Ordered[TrackerResults], sequences: Ordered[VideoSequence]) -> None:
    for result in results:
        missing = [each.name for each in sequences if each.name not in result.boxes_xywh]
        if missing:
            named = ", ".join(missing[:MISSING_IN_MESSAGE]) + (", ..." if len(missing) > MISSING_IN_MESSAGE else "")
            raise InputError(
                f"{result.label} has no results for {len(missing)} of {len(sequences)} sequences: {named}; finish that "
                "run, or score only the common sequences (--common-only)"
            )


def score_tracker(
    results: TrackerResults, sequences: Iterable[VideoSequence], benchmark: str, protocol: str
) -> TrackerScores:
    """Score one tracker, which must have results for all these sequences.

    Raises:
        InputError: boxes that the protocol cannot score; the message names the sequence.
    """
    sequences = list(sequences)
    scores = {each.name: _score_repetitions(results, each, benchmark, protocol) for each in sequences}
    return TrackerScores(
        results=results,
        total=mean_score(scores.values()),
        sequences=scores,
        speed=mean_speed(
            (results.seconds[each.name] for each in sequences if each.name in results.seconds),
            protocol=protocol,
            benchmark=benchmark,
        ),
        long_term=_long_term(results, sequences, benchmark),
    )


def _score_repetitions(results: TrackerResults, sequence: VideoSequence, benchmark: str, protocol: str) -> Score:
    """Average over repetitions; as in the got10k toolkit, their frames are pooled if the protocol pools frames."""
    pooled = protocol == benchmark == "got10k"
    try:
        scores = [
            score_sequence(
                boxes,
                sequence.boxes_xywh,
                benchmark=benchmark,
                protocol=protocol,
                visible=sequence.visible,
                cover=sequence.cover,
                size_wh=sequence.size_wh if pooled else None,
            )
            for boxes in results.boxes_xywh[sequence.name]
        ]
    except InputError as error:
        raise InputError(f"{results.label}, {sequence.name}: {error}") from error
    if len(scores) == 1:
        return scores[0]
    mean = mean_score(scores)
    return replace(mean, overlaps=scores[0].overlaps, weight=mean.weight if pooled else 1.0)


def _long_term(results: TrackerResults, sequences: list[VideoSequence], benchmark: str) -> LongTerm | None:
    if not all(each.name in results.confidences for each in sequences):
        return None
    lengths = [len(each.boxes_xywh) for each in sequences]  # some protocols accept longer results
    boxes = (results.boxes_xywh[each.name][0][:length] for each, length in zip(sequences, lengths, strict=True))
    sure = (results.confidences[each.name][:length] for each, length in zip(sequences, lengths, strict=True))
    return score_long_term(
        boxes,
        (each.boxes_xywh for each in sequences),
        sure,
        (each.visible for each in sequences),
        benchmark=benchmark,
    )


# --- tables --------------------------------------------------------------------------------------------


def main_table(report: Report) -> Table:
    """Build a table with one row per tracker: measures in percent, speed, and long-term measures if available."""
    long_term = any(each.long_term for each in report.trackers)
    rows: list[tuple[Cell, ...]] = []
    for each in report.trackers:
        best = each.long_term.best if each.long_term else (UNKNOWN,) * 3
        values = [*each.total.measures.values(), *(best if long_term else ())]
        rows.append((each.label, *(100 * value for value in values), each.speed))
    return Table(
        name="table",
        title=f"{report.title}: {report.summary}; in percent",
        columns=("tracker", *report.measures, *(("Pr", "Re", "F") if long_term else ()), "frames/s"),
        rows=tuple(rows),
        best="column",
    )


def published_table(report: Report) -> Table:
    """Build a table of the trackers and of what papers report on this benchmark, each with its source."""
    published = published_results(benchmark=report.benchmark)
    names = list(dict.fromkeys([*report.measures, *(name for each in published for name in each.measures)]))
    names = [name for name in names if any(name in each.measures for each in published)] or [report.headline]
    rows: list[tuple[Cell, ...]] = [
        (each.label, *(100 * each.total.measures.get(name, UNKNOWN) for name in names), "this report")
        for each in report.trackers
    ]
    ranked = sorted(published, key=lambda each: -each.measures.get(names[0], 0))
    rows += [(each.tracker, *(each.measures.get(name, UNKNOWN) for name in names), each.source) for each in ranked]
    return Table(
        name="published",
        title=f"{report.title} beside published results, in percent",
        columns=("tracker", *names, "source"),
        rows=tuple(rows),
        digits=1,
    )


@dataclass(frozen=True, kw_only=True)
class BenchmarkScores:
    """The scores of trackers on one of several benchmarks.

    Attributes:
        benchmark: its name.
        trackers: label -> measure -> value in percent; all have the same measures.
        less: measures of which less is better.
    """

    benchmark: str
    trackers: dict[str, dict[str, float]]
    less: tuple[str, ...] = ()

    @classmethod
    def of(cls, report: Report) -> BenchmarkScores:
        """Return the scores of a report."""
        trackers = {
            each.label: {name: 100 * value for name, value in each.total.measures.items()} for each in report.trackers
        }
        return cls(benchmark=report.benchmark, trackers=trackers)


def several_table(benchmarks: Ordered[BenchmarkScores], *, with_published: bool = False) -> Table:
    """Build a table over several benchmarks: a row per tracker, a column per benchmark and measure, in percent.

    Args:
        benchmarks: one for each benchmark.
        with_published: add what papers report on any of them, with the sources.
    """
    columns = [(each.benchmark, measure) for each in benchmarks for measure in next(iter(each.trackers.values()))]
    ours: dict[str, dict[tuple[str, str], float]] = {}
    for part in benchmarks:
        for label, measures in part.trackers.items():
            cells = ours.setdefault(label, {})
            cells |= {(part.benchmark, name): value for name, value in measures.items()}
    papers: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for result in published_results() if with_published else ():
        cells = {(result.benchmark, name): value for name, value in result.measures.items()}
        if any(column in cells for column in columns):
            papers.setdefault((result.tracker, result.source), {}).update(cells)
    rows: list[tuple[Cell, ...]] = []
    for label, cells in ours.items():
        values = (cells.get(column, UNKNOWN) for column in columns)
        rows.append((label, *values, *(["this report"] if with_published else [])))
    for (tracker, source), cells in papers.items():
        rows.append((tracker, *(cells.get(column, UNKNOWN) for column in columns), source))
    return Table(
        name="several",
        title=f"{len(benchmarks)} data sets, in percent",
        columns=(
            "tracker",
            *(f"{benchmark} {measure}" for benchmark, measure in columns),
            *(["source"] if with_published else []),
        ),
        rows=tuple(rows),
        digits=1,
        best="none" if with_published else "column",
        less=tuple(f"{each.benchmark} {measure}" for each in benchmarks for measure in each.less),
    )


def difference_table(report: Report) -> Table:
    """Build a table of the first tracker against each other one, with the 95 % interval of the difference."""
    first, *others = report.trackers
    names = [each.name for each in report.sequences]
    rows: list[tuple[Cell, ...]] = []
    for other in others:
        for measure in report.measures:
            found = bootstrap_difference(
                [first.sequences[name].measures[measure] for name in names],
                [other.sequences[name].measures[measure] for name in names],
                [first.sequences[name].weight for name in names],
                [other.sequences[name].weight for name in names],
            )
            shown = (found.value, found.low, found.high, found.better)
            rows.append((f"{first.label} − {other.label}", measure, *(100 * value for value in shown)))
    return Table(
        name="differences",
        title="Differences in percent, with 95 % intervals from 10,000 resamples of the sequences",
        columns=("trackers", "measure", "difference", "from", "to", "better in %"),
        rows=tuple(rows),
    )


def attribute_table(report: Report) -> Table:
    """Build a table of the headline measure over the sequences of each attribute."""
    rows: list[tuple[Cell, ...]] = [
        (
            attribute,
            len(names),
            *(
                100 * mean_score(each.sequences[name] for name in names).measures[report.headline]
                for each in report.trackers
            ),
        )
        for attribute, names in report.attributes.items()
    ]
    return Table(
        name="attributes",
        title=f"{report.headline} in percent by attribute",
        columns=("attribute", "sequences", *(each.label for each in report.trackers)),
        rows=tuple(rows),
        best="row",
    )


def sequence_table(report: Report) -> Table:
    """Build a table of the headline measure of each sequence."""
    rows: list[tuple[Cell, ...]] = [
        (
            sequence.name,
            len(sequence.boxes_xywh),
            *(100 * each.sequences[sequence.name].measures[report.headline] for each in report.trackers),
        )
        for sequence in report.sequences
    ]
    return Table(
        name="sequences",
        title=f"{report.headline} in percent by sequence",
        columns=("sequence", "frames", *(each.label for each in report.trackers)),
        rows=tuple(rows),
        best="row",
    )


def measure_table(report: Report) -> Table:
    """Build a table of every measure of every tracker in every sequence, for further analysis."""
    rows: list[tuple[Cell, ...]] = [
        (
            sequence.name,
            each.label,
            *(100 * value for value in each.sequences[sequence.name].measures.values()),
            *(
                [
                    mean_speed(
                        [each.results.seconds[sequence.name]], protocol=report.protocol, benchmark=report.benchmark
                    )
                ]
                if sequence.name in each.results.seconds
                else [UNKNOWN]
            ),
        )
        for sequence in report.sequences
        for each in report.trackers
    ]
    return Table(
        name="measures",
        title="Every measure in percent, by sequence and tracker",
        columns=("sequence", "tracker", *report.measures, "frames/s"),
        rows=tuple(rows),
    )


def all_tables(report: Report) -> list[Table]:
    """List all tables that have content, the main table first."""
    return [
        main_table(report),
        *([published_table(report)] if report.with_published else []),
        *([difference_table(report)] if len(report.trackers) > 1 else []),
        *([attribute_table(report)] if report.attributes else []),
        sequence_table(report),
    ]
