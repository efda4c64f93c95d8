"""Parts: every row in exactly one of them, and rows of one video together."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from singletrack.bulk import parts as parts_module
from singletrack.bulk.manifest import Row
from singletrack.bulk.parts import Part, choose_part_rows, plan_parts, rows_of
from singletrack.errors import InputError

BOX = (1.0, 2.0, 3.0, 4.0)


def rows(videos: Iterable[str], models: str = "") -> list[Row]:
    return [Row(number, video, 0, None, BOX, str(number), models) for number, video in enumerate(videos)]


def test_scattered_rows_of_a_video_come_together() -> None:
    parts = list(plan_parts(rows("abcabcad"), 8, 3))
    assert [[row.video for row in part.rows] for part in parts] == [["a"] * 3, ["b", "b"], ["c", "c", "d"]]
    assert [part.name for part in parts] == ["0000000000-0000000002", "0000000003-0000000004", "0000000005-0000000007"]
    assert sum(rows_of(part.name) for part in parts) == 8


def test_every_row_is_in_exactly_one_part() -> None:
    given = rows(random.Random(0).choices("abcdefghij", k=500))
    parts = list(plan_parts(given, 500, 7))
    assert sorted(row.row for part in parts for row in part.rows) == list(range(500))
    firsts = [part.first for part in parts]
    assert firsts == [sum(len(part.rows) for part in parts[:number]) for number in range(len(parts))]


def test_a_large_manifest_is_read_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "MOST_SORTED", 3)

    def endless() -> Iterable[Row]:
        number = 0
        while True:
            yield Row(number, f"{number // 2}", 0, None, BOX, str(number), "")
            number += 1

    coming = plan_parts(endless(), 10**8, 4)
    assert [[row.row for row in next(coming).rows] for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_many_rows_of_one_video_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "MOST_TOGETHER", 4)
    parts = list(plan_parts(rows("a" * 9), 9, 100))
    assert [len(group) for part in parts for group in part.groups()] == [4, 4, 1]


def test_rows_with_different_models_are_tracked_apart() -> None:
    given = [
        Row(0, "a", 0, None, BOX, "0", "x"),
        Row(1, "a", 0, None, BOX, "1", ""),
        Row(2, "a", 0, None, BOX, "2", "x"),
    ]
    (part,) = plan_parts(given, 3, 8)
    assert [[row.row for row in group] for group in part.groups()] == [[1], [0, 2]]


def test_ids_are_unique_in_a_video() -> None:
    given = [Row(number, video, 0, None, BOX, "left", "") for number, video in enumerate("aba")]
    with pytest.raises(InputError, match="got id 'left' of a in the rows 1 and 3"):
        list(plan_parts(given, 3, 8))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (100, 1), (200, 3), (2000, 4), (200_000, 256), (10**8, 256)])
def test_small_manifests_have_small_parts(count: int, expected: int) -> None:
    assert choose_part_rows(count) == expected


def test_a_careful_part_is_the_same_part() -> None:
    part = Part(3, tuple(rows("ab")))
    assert part.after_death().careful
    assert part.after_death().name == part.name == "0000000003-0000000004"
