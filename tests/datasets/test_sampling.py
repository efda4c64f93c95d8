"""Which frames make a pair."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singletrack.datasets.frame_index import FrameIndex
from singletrack.datasets.sampling import FramePairs, FrameRules, draw_frames, usable
from singletrack.errors import InputError


def footage(*visible: list[bool]) -> FrameIndex:
    """Footage of which only it matters where targets are visible."""
    starts = np.cumsum([0, *map(len, visible)])
    flags = np.array([flag for each in visible for flag in each])
    rest: dict[str, Any] = dict.fromkeys(("names", "categories", "places", "files", "boxes"), np.zeros(len(visible)))
    return FrameIndex(
        folder=Path(), dataset="made", split="train", fingerprint="", where=(), starts=starts, visible=flags, **rest
    )


def test_short_and_hidden_sequences_are_left_out() -> None:
    part = footage([True] * 19, [True] * 20, [True] * 4 + [False] * 30, [False] * 15 + [True] * 5)
    assert usable(part, FrameRules()).tolist() == [1, 3]
    assert usable(footage([True], [False], [True]), FrameRules()).tolist() == [0, 2]  # pictures


def test_the_search_frame_comes_after_the_template_within_the_gap() -> None:
    visible = np.ones(500, np.bool_)
    visible[100:150] = False
    random = np.random.default_rng(0)
    drawn = np.array([draw_frames(random, visible, 199) for _ in range(4000)])
    gaps = drawn[:, 1] - drawn[:, 0]
    assert visible[drawn].all()
    assert (gaps.min(), gaps.max()) == (1, 199)
    assert drawn[:, 0].max() == 498  # never the last
    assert drawn[:, 1].max() == 499
    counts = np.histogram(drawn[:, 0], [0, 100, 150, 500])[0]
    assert counts[1] == 0
    assert abs(counts[0] / 4000 - 100 / 449) < 0.03  # uniform among the visible ones


def test_the_gap_grows_until_a_frame_is_found() -> None:
    visible = np.zeros(60, np.bool_)
    visible[[3, 50]] = True
    random = np.random.default_rng(1)
    assert {draw_frames(random, visible, 10) for _ in range(20)} == {(3, 50)}


def test_data_sets_are_drawn_by_their_shares_and_sequences_evenly() -> None:
    pairs = FramePairs([footage([True] * 30, [True] * 10, [True] * 900), footage(*[[True]] * 4)], [1, 3], FrameRules())
    random = np.random.default_rng(2)
    drawn = [pairs.draw(random) for _ in range(4000)]
    counts = Counter((each.footage, each.sequence) for each in drawn)
    assert set(counts) == {(0, 0), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)}
    for (part, _), count in counts.items():
        assert count / 4000 == pytest.approx(1 / 8 if part == 0 else 3 / 16, abs=0.03)
    assert all((each.template, each.search) == (0, 0) for each in drawn if each.footage == 1)


def test_data_without_a_usable_sequence_are_refused() -> None:
    with pytest.raises(InputError, match="sequences of made train has at least 20 frames"):
        FramePairs([footage([True] * 5)], [1], FrameRules())
