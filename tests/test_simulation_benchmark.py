"""benchmarks/cluster_simulation.py: cases that can be worked out by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from singletrack.bulk.store import Outcome, Store

pytest.importorskip("pyarrow")

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


def write_run(out: Path, parts: list[list[tuple[float, float, float]]]) -> Path:
    """A finished run: seconds, beginning and end of each row of 10 frames."""
    store = Store(str(out))
    for number, rows in enumerate(parts):
        values = {"video": "a", "id": "", "model": "", "status": "done", "reason": "", "digest": "", "host": ""}
        outcomes = [
            Outcome(row=2 * number + place, frames=10, seconds=seconds, began=began, finished=finished, **values)
            for place, (seconds, began, finished) in enumerate(rows)
        ]
        store.write_rows("k", f"{2 * number:010d}-{2 * number + 1:010d}", outcomes)
    return out


def test_times_of_one_worker_become_those_of_workers_beside_each_other(simulation: Any, tmp_path: Path) -> None:
    alone = write_run(tmp_path / "alone", [[(1.0, 0.0, 2.0), (1.0, 0.0, 2.0)], [(1.0, 3.0, 5.0), (1.0, 3.0, 5.0)]])
    beside = write_run(tmp_path / "beside", [[(1.5, 0.0, 3.0), (1.5, 0.0, 3.0)]])
    assert simulation.seconds_per_part(alone) == pytest.approx((5 - 4) / 2)
    told = CliRunner().invoke(simulation.main, [str(alone), "--workers", "1,2", "--part-rows", "2", "--start", "0"])
    assert [line.split()[5] for line in told.output.splitlines()] == ["5.0", "2.5"]
    told = CliRunner().invoke(
        simulation.main, [str(alone), "--workers", "2", "--part-rows", "2", "--start", "0", "--beside", str(beside)]
    )
    assert told.output.split()[5] == "3.5"
