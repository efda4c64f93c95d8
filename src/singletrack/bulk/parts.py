"""Divides the rows of a manifest into parts: the units that are tracked, written and committed together.

The same manifest always gives the same parts, whatever the number of workers. Rows of one video are next to each other
in a part, so that they share its decoding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from singletrack.bulk.manifest import Row
from singletrack.errors import InputError

# Manifests of up to this many rows are sorted by video in memory (about 0.5 GB); larger ones are read as a stream.
MOST_SORTED = 1_000_000
MOST_TOGETHER = 256  # rows of one video that share a pass over it, which bounds the memory of a worker
MOST_ROWS = 256  # rows of a part by default: a killed worker loses this much work
MANY_PARTS = 512  # enough to keep many workers busy; smaller manifests have smaller parts
FEW_ROWS = 4  # of a part, where that leaves a few dozen parts: videos of a part share the passes of the network


@dataclass(frozen=True)
class Part:
    """A range of rows.

    Attributes:
        first: position of the first row, in the order in which the manifest is processed.
        rows: the rows.
        careful: note each video in the store before it is tracked, because an earlier worker died in this part.
        poisoned: reason by number of the first row of a group, for videos that are not tracked again.
        failed: numbers of the rows that failed in a committed part, and are tracked again; empty for a new part.
    """

    first: int
    rows: tuple[Row, ...]
    careful: bool = False
    poisoned: Mapping[int, str] = field(default_factory=dict)
    failed: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The row range, which also orders the parts."""
        return part_name(self.first, len(self.rows))

    @property
    def tracked(self) -> tuple[Row, ...]:
        """The rows that are to be tracked."""
        return tuple(row for row in self.rows if row.row in self.failed) if self.failed else self.rows

    def groups(self) -> list[tuple[Row, ...]]:
        """The rows that are tracked together: of one video, with one model, at most ``MOST_TOGETHER``."""
        groups = []
        for _, rows in itertools.groupby(self.tracked, key=lambda row: (row.video, row.model)):
            each = tuple(rows)
            groups += [each[start : start + MOST_TOGETHER] for start in range(0, len(each), MOST_TOGETHER)]
        return groups

    def after_death(self) -> Part:
        """The same part, to be run carefully."""
        return replace(self, careful=True)


def part_name(first: int, count: int) -> str:
    """The name of a part: positions of its first and last row."""
    return f"{first:010d}-{first + count - 1:010d}"


def rows_of(name: str) -> int:
    """The number of rows of a part, from its name."""
    first, last = map(int, name.split("-"))
    return last - first + 1


def choose_part_rows(count: int) -> int:
    """The number of rows per part for a manifest of ``count`` rows."""
    return min(MOST_ROWS, max(1, min(FEW_ROWS, count // 64), count // MANY_PARTS))


def plan_parts(rows: Iterable[Row], count: int, part_rows: int) -> Iterator[Part]:
    """Divide rows into parts.

    Args:
        rows: the rows, in the order of the manifest.
        count: their number.
        part_rows: rows per part; a part has more if its last video does, up to ``MOST_TOGETHER`` more.

    Raises:
        InputError: two rows of a video have the same id.
    """
    if count <= MOST_SORTED:
        rows = sorted(rows, key=lambda row: (row.video, row.model, row.row))
    first, waiting = 0, list[Row]()
    for group in _groups(rows):
        if waiting and len(waiting) + len(group) > part_rows:
            yield Part(first, tuple(waiting))
            first, waiting = first + len(waiting), []
        waiting += group
    if waiting:
        yield Part(first, tuple(waiting))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    for _, same_video in itertools.groupby(rows, key=lambda row: row.video):
        ids: dict[str, int] = {}
        for _, same_model in itertools.groupby(same_video, key=lambda row: row.model):
            while group := list(itertools.islice(same_model, MOST_TOGETHER)):
                for row in group:
                    if row.id in ids:
                        raise InputError(
                            f"ids must be unique in a video; got id {row.id!r} of {row.video} in the rows "
                            f"{ids[row.id] + 1} and {row.row + 1} of the manifest; rename one, or leave out the column"
                        )
                    ids[row.id] = row.row
                yield group
