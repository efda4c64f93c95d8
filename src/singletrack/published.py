"""Results from papers and model zoos, each with its source: the file published.json, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """What a paper or model zoo reports for a tracker on a benchmark.

    Attributes:
        tracker: its name there.
        model: name of the model here; empty if it is not here.
        recipe: recipe here that trains it; empty if no recipe trains it.
        benchmark: name of the data set in ``datasets.registry``, or a VOT challenge such as "vot2018".
        measures: name -> percent, by the names of ``evaluation.protocols``. "robustness" of VOT2015 to VOT2019 is the
            failure rate, of which less is better.
        source: where it is written.
    """

    tracker: str
    model: str
    recipe: str
    benchmark: str
    measures: Mapping[str, float]
    source: str


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """Billions of multiply-adds and frames per second that a paper reports; None where it reports none."""

    tracker: str
    model: str
    keep_ratio: float | None
    gmacs: float | None
    fps: float | None
    source: str


@cache
def _content() -> Any:
    return json.loads((resources.files("singletrack") / "published.json").read_text(encoding="utf-8"))


def published_results(*, model: str = "", recipe: str = "", benchmark: str = "") -> list[PublishedResult]:
    """Return the published results of a model, of a recipe, on a benchmark, or all of them."""
    sources = _content()["sources"]
    found = (PublishedResult(**{**each, "source": sources[each["source"]]}) for each in _content()["results"])
    wanted = {"model": model, "recipe": recipe, "benchmark": benchmark}
    return [each for each in found if all(getattr(each, name) == value for name, value in wanted.items() if value)]


def published_costs() -> list[PublishedCost]:
    """Return the published costs and speeds."""
    sources = _content()["sources"]
    return [PublishedCost(**{**each, "source": sources[each["source"]]}) for each in _content()["costs"]]
