"""A run on a small Ray cluster of this machine, with a worker killed in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singletrack.datasets.base import VideoSequence
from singletrack.errors import SingletrackError
from singletrack.evaluation.run_store import RunFacts, RunFolder
from singletrack.evaluation.runner import run_sequences
from singletrack.tracking.base import Result

pytest.importorskip("ray", reason='needs Ray, which is not installed: pip install "singletrack[ray]"')

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


class Noise:
    """Frames of noise, made when asked for."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng([self.seed, index]).integers(0, 256, (24, 32, 3), np.uint8)


class Drifting:
    """Goes where the pixels send it; leaves the id of its process in `desk`, and dies once if it finds a pill there."""

    def __init__(self, desk: Path | None = None) -> None:
        self.desk = desk

    def init(self, frame: np.ndarray, box: Any) -> None:
        self.box = box

    def update(self, frame: np.ndarray) -> Result:
        if self.desk is not None:
            (self.desk / f"{os.getpid()}.pid").touch()
            time.sleep(0.02)
            try:
                (self.desk / "pill").unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        x, y, width, height = self.box
        self.box = (x + float(frame[0, 0, 0]) / 7, y, width, height)
        return Result(box=self.box, score=float(frame[0, 0, 1]) / 255, lost=False)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes with a core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        paths = [here, here.parents[1] / "src"]  # where its workers find what is defined here, and the package
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster()
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
            yield cluster.address
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("needs a machine with time to spare: a node of Ray did not start within its half minute")
        finally:
            cluster.shutdown()


def start(path: Path, sequences: list[VideoSequence]) -> RunFolder:
    empty = dict.fromkeys(("split", "model", "weights", "engine", "device", "precision", "version"), "")
    counts = {each.name: len(each) for each in sequences}
    return RunFolder.start(path, RunFacts(dataset="folder", sequences=counts, settings={}, **empty))


def written(run: RunFolder) -> dict[str, bytes]:
    files = [*(run.path / "boxes").iterdir(), *(run.path / "scores").iterdir()]
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}


def test_a_cluster_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)  # no cluster of this machine is found, whichever run
    for name, found in (("find_gcs_addresses", frozenset()), ("find_bootstrap_address", None)):
        monkeypatch.setattr(f"ray._private.services.{name}", cache(lambda *_, found=found: found))
    sequences = [VideoSequence(name="a", frames=Noise(0, 2), boxes_xywh=np.array([[8.0, 6.0, 5.0, 5.0]]))]
    with pytest.raises(SingletrackError, match="no Ray cluster at auto"):
        run_sequences(sequences, Drifting, start(tmp_path, sequences), cluster="auto")


def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed(tmp_path: Path, address: str) -> None:
    box = np.array([[8.0, 6.0, 5.0, 5.0]])
    sequences = [
        VideoSequence(name=f"sequence {seed}", frames=Noise(seed, count), boxes_xywh=box)
        for seed, count in enumerate([30, 20, 25, 1])
    ]
    broken = VideoSequence(name="broken", frames=Noise(9, 5), boxes_xywh=box * np.nan)
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "pill").touch()
    spread, serial = (start(tmp_path / name, sequences) for name in ("spread", "serial"))
    frames: list[int] = []
    make_tracker = partial(Drifting, desk)
    assert run_sequences(sequences, make_tracker, spread, cluster=address, on_frames=frames.append) == {}
    assert not (desk / "pill").exists()
    assert len(list(desk.glob("*.pid"))) >= 2
    assert sum(frames) == 76
    assert run_sequences(sequences, Drifting, serial) == {}
    assert written(spread) == written(serial)

    more = start(tmp_path / "spread", [*sequences, broken])
    failures = run_sequences([*sequences, broken], Drifting, more, cluster=address)
    assert list(failures) == ["broken"]
