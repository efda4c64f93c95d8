"""benchmarks/cluster_simulation.py: cases that can be worked out by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "cluster_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> Any:
    spec = importlib.util.spec_from_file_location("cluster_simulation", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_parts_are_handed_out_one_by_one(simulation: Any) -> None:
    cluster = simulation.Cluster(workers=2, start_s=1.0, part_s=0.5, rate=1e9)
    found = simulation.simulate(cluster, [3.0, 1.0, 1.0])
    assert found.seconds == pytest.approx(1 + 3.5)  # 3.5 beside 1.5 and 1.5
    assert found.busy == pytest.approx(5 / 9)
    assert found.tail == pytest.approx(0.5)
    assert (found.lost, found.deaths) == (0, 0)


def test_the_head_limits_many_workers(simulation: Any) -> None:
    cluster = simulation.Cluster(workers=1000, start_s=0.0, part_s=0.0, rate=10.0)
    assert simulation.simulate(cluster, [1.0] * 500).seconds == pytest.approx(50 + 1)


def test_slow_workers_take_longer(simulation: Any) -> None:
    cluster = simulation.Cluster(workers=1, start_s=0.0, part_s=0.0, rate=1e9, slow=1.0, slowdown=3.0)
    assert simulation.simulate(cluster, [2.0, 2.0]).seconds == pytest.approx(12)


def test_lost_parts_are_tracked_again(simulation: Any) -> None:
    parts = [10.0] * 200
    calm = simulation.simulate(simulation.Cluster(workers=4, start_s=1.0, part_s=0.0, rate=1e9), parts)
    deadly = simulation.Cluster(workers=4, start_s=1.0, part_s=0.0, rate=1e9, deaths=36.0)
    found = simulation.simulate(deadly, parts)
    assert found.deaths > 5
    assert found.busy * found.seconds * 4 == pytest.approx(2000)  # every part counts once
    assert found.lost * found.seconds * 4 == pytest.approx(5 * found.deaths, rel=0.5)  # half a part each on average
    assert found.seconds > calm.seconds == pytest.approx(501)
