"""Published results: complete, sourced, and of models, recipes and measures that exist."""

from __future__ import annotations

import pytest

from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.published import PublishedResult, published_costs, published_results
from singletrack.registry import MODELS
from singletrack.training.recipes import RECIPES

MEASURES = {"AUC", "P_norm", "P", "AO", "SR0.5", "SR0.75", "EAO", "accuracy", "robustness", "F"}


@pytest.mark.parametrize("result", published_results(), ids=lambda each: f"{each.tracker} {each.benchmark}")
def test_each_is_of_something_here_and_has_a_source(result: PublishedResult) -> None:
    assert not result.model or result.model in MODELS
    assert not result.recipe or result.recipe in RECIPES
    assert result.benchmark in BENCHMARKS or result.benchmark.startswith("vot20")
    assert result.measures
    assert result.measures.keys() <= MEASURES
    assert all(0 < value <= (120 if name == "robustness" else 100) for name, value in result.measures.items())
    assert result.source


def test_those_of_the_papers() -> None:
    def measures(tracker: str, benchmark: str) -> list[float]:
        (found,) = (each for each in published_results(benchmark=benchmark) if each.tracker == tracker)
        return list(found.measures.values())

    assert measures("OSTrack-384", "got10k") == [73.7, 83.2, 70.8]
    assert measures("STARK-ST2 (MMTracking)", "lasot") == [67.8, 78.5, 73.0]
    assert measures("STARK-ST2 (MMTracking)", "trackingnet") == [81.4, 86.2, 79.0]
    assert measures("STARK-ST2 (MMTracking)", "got10k") == [68.3, 77.6, 62.7]
    assert [cost.gmacs for cost in published_costs()][:4] == [21.5, 29.0, 48.3, 65.3]


def test_no_score_is_listed_twice() -> None:
    keys = [(each.tracker, each.benchmark, each.source) for each in published_results()]
    assert len(keys) == len(set(keys))
