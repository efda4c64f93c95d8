"""A run on a Ray cluster of this machine: workers, nodes and the head are lost, and the rows are the same."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.bulk.fakes import refuse_to_start, write_manifest
from tests.bulk.test_run import ROWS, head, read_boxes, read_rows

from singletrack.bulk.run import track_library
from singletrack.errors import SingletrackError
from singletrack.workers import cluster as cluster_module
from singletrack.workers.cluster import run_on_ray
from singletrack.workers.processes import run_in_processes

pytest.importorskip("ray", reason='needs Ray, which is not installed: pip install "singletrack[ray]"')

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head without room for workers, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster()
        try:
            for cores in (0, 1, 1):
                cluster.add_node(num_cpus=cores, object_store_memory=80_000_000, include_dashboard=False)
            yield cluster
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("needs a machine with time to spare: a node of Ray did not start within its half minute")
        finally:
            cluster.shutdown()


def outcomes(out: Path) -> list[tuple[Any, ...]]:
    return [(each["row"], each["status"], each["frames"]) for each in read_rows(out)]


def test_the_rows_are_those_of_the_pool_though_a_video_kills_its_workers(library: Path, nodes: Any) -> None:
    run, work, parts = head(library, deadly=True)
    progress = run.finish(run_on_ray(parts, work, address=nodes.address, again=run.again, on_count=run.count))
    assert (progress.ended, progress.failed) == (5, 1)
    on_ray, rows = read_boxes(library.parent / "out"), read_rows(library.parent / "out")
    assert "its worker or the node of its worker died while it was tracked, 3 times" in rows[3]["reason"]
    shutil.rmtree(library.parent / "out")
    run, work, parts = head(library, deadly=True)
    run.finish(run_in_processes(parts, work, jobs=1, threads=1, again=run.again))
    assert read_boxes(library.parent / "out").equals(on_ray)


@pytest.mark.parametrize("lost", ["node", "actor"])
def test_what_is_lost_in_the_middle_is_replaced(
    library: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Three actors wait in the middle of a video. One of them, or the node of one, is killed, then the others go on."""
    import ray

    gate = library.parent / "gate"
    gate.mkdir()
    run, work, parts = head(library, part_rows=1, gate=gate)
    node = nodes.add_node(num_cpus=1, object_store_memory=80_000_000)
    calls: list[Any] = []
    deaths: list[str] = []

    class Call(cluster_module._Call):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            calls.append(self)

    monkeypatch.setattr(cluster_module, "_Call", Call)

    def again(died: Any) -> Any:
        deaths.append(died.task.name)
        (gate / "go").touch()
        return run.again(died)

    def kill() -> None:
        while len(list(gate.glob("*.mark"))) < 3:
            time.sleep(0.05)
        if lost == "node":
            nodes.remove_node(node, allow_graceful=False)
        else:
            ray.kill(next(call.actor for call in calls if call.tasks))

    killer = Thread(target=kill)
    killer.start()
    progress = run.finish(run_on_ray(parts, work, address=nodes.address, jobs=3, again=again, on_count=run.count))
    killer.join()
    if lost == "actor":
        nodes.remove_node(node)
    assert len(deaths) == 1
    assert (progress.ended, progress.failed) == (5, 0)
    assert [each[1] for each in outcomes(library.parent / "out")] == ["done"] * 5
    assert len(read_boxes(library.parent / "out")) == 22


def test_an_actor_that_cannot_start_is_an_error(library: Path, nodes: Any) -> None:
    parts = head(library)[2]
    with pytest.raises(SingletrackError, match="expected weights"):
        list(run_on_ray(parts, refuse_to_start, address=nodes.address))


def test_the_bundled_model_gives_equal_rows_on_the_cluster_and_the_pool(library: Path, nodes: Any) -> None:
    import ray

    manifest = write_manifest(library / "list.csv", ROWS)
    track_library(manifest, library.parent / "ray", cluster=nodes.address)
    track_library(manifest, library.parent / "pool", jobs=1)
    assert read_boxes(library.parent / "ray").equals(read_boxes(library.parent / "pool"))
    assert outcomes(library.parent / "ray") == outcomes(library.parent / "pool")
    ray.init(address=nodes.address, logging_level="warning", log_to_driver=False)
    try:
        assert ray.data.read_parquet(str(library.parent / "ray" / "boxes")).count() == 22
    finally:
        ray.shutdown()
