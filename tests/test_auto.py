"""The model "auto": chosen by what the machine measures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from singletrack import auto, loading, registry
from singletrack.auto import measure_rate, pick_model
from singletrack.errors import InputError
from singletrack.loading import LoadOptions, choose_model, load

RATES = {"ostrack-small": 40.0, "ostrack-tiny": 90.0, "ostrack-nano": 200.0}


@pytest.fixture(autouse=True)
def forget_choices() -> Iterator[None]:
    loading._chosen.clear()
    yield
    loading._chosen.clear()


@pytest.mark.parametrize(
    ("min_fps", "picked"), [(30, "ostrack-small"), (41, "ostrack-tiny"), (100, "ostrack-nano"), (500, "ostrack-nano")]
)
def test_the_most_accurate_model_that_is_fast_enough(
    monkeypatch: pytest.MonkeyPatch, min_fps: float, picked: str
) -> None:
    monkeypatch.setattr(auto, "measure_rate", RATES.__getitem__)
    name, rates = pick_model(RATES, lambda name: name, min_fps)  # type: ignore[arg-type, return-value]
    assert name == picked
    assert picked in rates
    assert len(rates) == list(RATES).index(picked) + 1  # the others are not even loaded


def test_auto_loads_a_model_and_says_which(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tracker = load("auto", min_fps=0.001, threads=1)
    best = [name for name, entry in registry.MODELS.items() if entry.bundled][-1]
    assert tracker.origin is not None
    assert tracker.origin["model"] == best
    assert f"Chose {best}: wanted 0.001 updates per second, measured {best} " in caplog.text
    # a state of this tracker continues with the same model
    assert tracker.origin["options"]["min_fps"] is None


def test_auto_chooses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([50.0, 10.0])
    monkeypatch.setattr(auto, "measure_rate", lambda tracker: next(rates))
    options = LoadOptions(threads=1)
    assert choose_model("auto", options) == choose_model("auto", options)
    assert next(rates) == 10.0


def test_models_are_listed_with_the_most_accurate_of_ours_last() -> None:
    """``auto`` tries the bundled models from the last to the first."""
    ours = [entry for name, entry in registry.MODELS.items() if entry.bundled]
    assert [entry.gmacs for entry in ours] == sorted(entry.gmacs for entry in ours)


def test_rate_of_a_tracker() -> None:
    assert 0.5 < measure_rate(load("ostrack-tiny", threads=1)) < 100_000


@pytest.mark.parametrize("min_fps", [0, -3, float("nan"), float("inf")])
def test_a_rate_that_is_none(min_fps: float) -> None:
    with pytest.raises(InputError, match="min_fps must be above 0"):
        LoadOptions(min_fps=min_fps)


def test_a_rate_without_auto() -> None:
    with pytest.raises(InputError, match="min_fps is for model auto"):
        load("ostrack-tiny", min_fps=10)


def test_auto_with_weights() -> None:
    options = replace(LoadOptions(), weights="mine.safetensors")
    with pytest.raises(InputError, match=r"chooses among the bundled models; got weights mine\.safetensors"):
        choose_model("auto", options)
