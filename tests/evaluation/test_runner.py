"""Trackers over made sequences: results, failures, going on, memory; and that it is all the same in parallel."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singletrack.datasets.base import VideoSequence
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.openvino_engine import OpenVINONetwork
from singletrack.errors import InputError, SingletrackError
from singletrack.evaluation.ope import follow_sequences
from singletrack.evaluation.run_store import RunFacts, RunFolder
from singletrack.evaluation.runner import run_sequences
from singletrack.loading import bundled_file
from singletrack.registry import MODELS
from singletrack.tracking.base import Result
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker

BOX = (20.0, 16.0, 24.0, 18.0)


class Noise:
    """Frames of noise, made when asked for; counts how many of them live at once."""

    alive = 0
    most = 0

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(index)
        frame = np.random.default_rng([self.seed, index]).integers(0, 256, (96, 128, 3), np.uint8)
        Noise.alive += 1
        Noise.most = max(Noise.most, Noise.alive)
        weakref.finalize(frame, self.gone)
        return frame

    @staticmethod
    def gone() -> None:
        Noise.alive -= 1


class Moving:
    """The frames of a made clip, drawn as a whole when the first is asked for."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return drawn(self.seed, self.count)[index][0]


@functools.cache
def drawn(seed: int, count: int) -> list[tuple[np.ndarray, tuple[float, float, float, float]]]:
    return list(generate_clip(count, (160, 120), seed))


def noise(name: str, count: int = 5, box: tuple[float, ...] = BOX) -> VideoSequence:
    return VideoSequence(name=name, frames=Noise(len(name), count), boxes_xywh=np.array([box], float))


def clips() -> list[VideoSequence]:
    """A few clips of unlike lengths."""
    return [
        VideoSequence(
            name=f"clip {seed}", frames=Moving(seed, length), boxes_xywh=np.array([drawn(seed, length)[0][1]])
        )
        for seed, length in enumerate([7, 3, 5])
    ]


def start(path: Path, sequences: list[VideoSequence], **changes: Any) -> RunFolder:
    values: dict[str, Any] = {
        "dataset": "folder",
        "split": "all",
        "model": "fake",
        "weights": "",
        "engine": "",
        "device": "",
        "precision": "",
        "settings": {},
        "version": "0",
        **changes,
    }
    return RunFolder.start(path, RunFacts(sequences={each.name: len(each) for each in sequences}, **values))


def written(run: RunFolder) -> dict[str, bytes]:
    """Every byte that must be the same again: boxes and scores, not times."""
    files = [*(run.path / "boxes").iterdir(), *(run.path / "scores").iterdir()]
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}


class Fake:
    """Goes right by the first pixel of each frame. Fails, dies or waits in sequences whose frames start so."""

    def __init__(self, wrong: Callable[[int], None] = lambda frame: None) -> None:
        self.wrong = wrong

    def init(self, frame: np.ndarray, box: Any) -> None:
        self.box, self.frame = box, 0

    def update(self, frame: np.ndarray) -> Result:
        self.frame += 1
        self.wrong(self.frame)
        x, y, width, height = self.box
        self.box = (x + float(frame[0, 0, 0]) / 3, y, width, height)
        return Result(box=self.box, score=float(frame[0, 0, 1]) / 255, lost=bool(frame[0, 0, 2] > 128))


def as_network_input(crops: np.ndarray) -> np.ndarray:
    return (np.moveaxis(crops, -1, 1) / 255 - 0.45) / 0.22


class Dots:
    """A network of sums: each map hangs on both crops. Notes the batches that it saw."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, template: np.ndarray) -> np.ndarray:
        return as_network_input(template).mean(axis=(2, 3))

    def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
        assert len(features) == len(search)
        self.batches.append(len(search))
        cells = as_network_input(search).reshape(len(search), 3, 8, 8, 8, 8).mean(axis=(3, 5))
        score = 1 / (1 + np.exp(-(cells * features[:, :, None, None]).sum(axis=1)))
        size = np.full((len(search), 2, 8, 8), 0.25, np.float32)
        return {"score": score, "size": size, "offset": cells[:, :2]}


def dots_tracker() -> OSTrackTracker:
    settings = OSTrackSettings(template_size=32, search_size=64, first_frame_correction=0.5, size_momentum=0.3)
    return OSTrackTracker(Dots(), settings)


def bundled() -> OSTrackTracker:
    """The bundled model, on one thread."""
    path = bundled_file("ostrack-tiny", ".onnx")
    return OSTrackTracker(OpenVINONetwork(path, device="cpu", threads=1), MODELS["ostrack-tiny"].tracker_settings)


# --- one after the other -------------------------------------------------------------------------------------------


def test_results_are_those_of_the_tracker(tmp_path: Path) -> None:
    sequences = [noise("a", 3), noise("bb", 1)]
    run = start(tmp_path, sequences)
    told: list[tuple[str, object]] = []
    frames: list[int] = []
    failures = run_sequences(sequences, Fake, run, on_frames=frames.append, on_outcome=lambda *each: told.append(each))
    assert failures == {}
    assert told == [("a", None), ("bb", None)]
    assert sum(frames) == 4
    pixels = [sequences[0].frames[index][0, 0].astype(float) for index in range(3)]
    result = run.read("a")
    right = [20, 20 + pixels[1][0] / 3, 20 + pixels[1][0] / 3 + pixels[2][0] / 3]
    np.testing.assert_array_equal(result.boxes_xywh, [[x, 16, 24, 18] for x in right])
    np.testing.assert_array_equal(result.scores, [1, pixels[1][1] / 255, pixels[2][1] / 255])
    np.testing.assert_array_equal(result.lost, [False, pixels[1][2] > 128, pixels[2][2] > 128])
    assert (result.seconds > 0).all()
    np.testing.assert_array_equal(run.read("bb").boxes_xywh, [BOX])


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    sequences = [noise("a"), noise("bb"), noise("ccc")]
    run = start(tmp_path, sequences)
    assert run_sequences(sequences[:2], Fake, run) == {}
    before = written(run)
    asked: list[str] = []
    run_sequences(sequences, Fake, run, on_outcome=lambda name, failure: asked.append(name))
    assert asked == ["ccc"]
    assert {name: data for name, data in written(run).items() if "ccc" not in name} == before

    def never() -> Fake:
        raise AssertionError("nothing is left to do, so no model is needed")

    assert run_sequences(sequences, never, run) == {}


def test_an_interruption_loses_the_sequence_in_hand_alone(tmp_path: Path) -> None:
    sequences = [noise("a", 6), noise("bb", 5), noise("ccc", 4)]
    run = start(tmp_path / "stopped", sequences)

    def stop() -> Iterator[None]:
        yield from [None] * 8  # five updates of the first sequence, three of the second
        raise KeyboardInterrupt

    steps = stop()
    with pytest.raises(KeyboardInterrupt):
        run_sequences(sequences, lambda: Fake(lambda frame: next(steps)), run)
    assert run.done() == ["a"]
    run_sequences(sequences, Fake, run)
    whole = start(tmp_path / "whole", sequences)
    run_sequences(sequences, Fake, whole)
    assert written(run) == written(whole)


def fail_in_frame_3(frame: int) -> None:
    if frame == 3:
        raise ZeroDivisionError("in frame 3")


@pytest.mark.parametrize("batch", [1, 2])
def test_a_sequence_that_fails_is_told_and_the_others_are_kept(tmp_path: Path, batch: int) -> None:
    sequences = [
        noise("short", 3),
        noise("outside", box=(500, 0, 9, 9)),
        noise("good", 4),
        noise("none", box=(np.nan,) * 4),
    ]
    run = start(tmp_path, sequences)
    failures = run_sequences(sequences, dots_tracker, run, batch=batch)
    assert sorted(failures) == ["none", "outside"]
    assert "box must overlap the" in failures["outside"].error
    assert failures["outside"].trace == ""
    assert run.done() == ["short", "good"]


def test_an_error_that_nobody_foresaw_tells_where_it_came_from(tmp_path: Path) -> None:
    sequences = [noise("long", 5), noise("short", 3)]
    run = start(tmp_path, sequences)
    failures = run_sequences(sequences, lambda: Fake(fail_in_frame_3), run)
    assert list(failures) == ["long"]
    assert failures["long"].error == "ZeroDivisionError: in frame 3"
    assert "fail_in_frame_3" in failures["long"].trace
    assert run.done() == ["short"]


def test_boxes_that_are_no_numbers_are_a_failure(tmp_path: Path) -> None:
    class Lost(Fake):
        def update(self, frame: np.ndarray) -> Result:
            return Result(box=(np.nan, 0, 1, 1), score=0, lost=True)

    run = start(tmp_path, [noise("a")])
    failures = run_sequences([noise("a")], Lost, run)
    assert "boxes must be four finite numbers" in failures["a"].error
    assert not run.is_done("a")


def test_three_repetitions_give_the_same_bytes(tmp_path: Path) -> None:
    runs = [start(tmp_path / str(index), clips()) for index in range(3)]
    for run in runs:
        assert run_sequences(clips(), bundled, run) == {}
    assert written(runs[0]) == written(runs[1]) == written(runs[2])


@pytest.mark.parametrize(("batch", "limit"), [(1, 1), (2, 4)])
def test_frames_are_read_one_at_a_time(tmp_path: Path, batch: int, limit: int) -> None:
    """Memory does not grow with the length of a sequence: one frame is held, and in a batch the next one too."""
    sequences = [noise("a", 30), noise("bb", 20)]
    gc.collect()
    Noise.alive = Noise.most = 0
    assert run_sequences(sequences, dots_tracker, start(tmp_path, sequences), batch=batch) == {}
    assert Noise.most <= limit


# --- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_a_batch_gives_what_one_after_the_other_gives(batch: int) -> None:
    sequences = [noise("a" * length, length) for length in (7, 3, 5, 1, 2, 6)]
    tracker = dots_tracker()
    alone = dict(follow_sequences(tracker, sequences))
    together = dict(follow_sequences(tracker, sequences, batch=batch))
    assert together.keys() == alone.keys()
    for name, result in alone.items():
        np.testing.assert_allclose(together[name].boxes_xywh, result.boxes_xywh, rtol=1e-6)
        np.testing.assert_allclose(together[name].scores, result.scores, rtol=1e-6)
        np.testing.assert_array_equal(together[name].lost, result.lost)


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_of_another_size_give_boxes_in_their_own_pixels(batch: int) -> None:
    class Halved(Noise):
        def __getitem__(self, index: int) -> np.ndarray:
            frame = super().__getitem__(0)  # one look in two sizes
            return frame if index < 3 else frame.repeat(2, axis=0).repeat(2, axis=1)

    sequence = VideoSequence(name="a", frames=Halved(0, 6), boxes_xywh=np.array([BOX]))
    same = VideoSequence(name="b", frames=[Noise(0, 1)[0]] * 6, boxes_xywh=np.array([BOX]))
    results = dict(follow_sequences(dots_tracker(), [sequence, same], batch=batch))
    np.testing.assert_allclose(results["a"].boxes_xywh[:3], results["b"].boxes_xywh[:3], rtol=1e-6)
    np.testing.assert_allclose(results["a"].boxes_xywh[3:], 2 * results["b"].boxes_xywh[3:], rtol=1e-6)


def test_the_network_sees_one_size_of_batch() -> None:
    tracker = dots_tracker()
    dict(follow_sequences(tracker, [noise("a", 6), noise("bb", 3), noise("ccc", 4)], batch=2))
    corrections = 3  # one crop for each first frame
    assert isinstance(tracker.network, Dots)
    assert sorted(tracker.network.batches) == [1] * corrections + [2] * 6


def test_a_batch_of_the_bundled_model_gives_what_one_after_the_other_gives() -> None:
    tracker = bundled()
    alone = dict(follow_sequences(tracker, clips()))
    together = dict(follow_sequences(tracker, clips(), batch=3))
    for name, result in alone.items():
        np.testing.assert_allclose(together[name].boxes_xywh, result.boxes_xywh, atol=0.1)
        np.testing.assert_allclose(together[name].scores, result.scores, atol=0.01)


def test_frames_without_anything_in_them_do_not_hold_up_a_batch() -> None:
    class Flat(Noise):
        def __getitem__(self, index: int) -> np.ndarray:
            frame = super().__getitem__(index)
            return frame if index in (0, 3) else np.zeros_like(frame)

    flat = VideoSequence(name="flat", frames=Flat(1, 6), boxes_xywh=np.array([BOX]))
    sequences = [flat, noise("noise", 4)]
    alone = dict(follow_sequences(dots_tracker(), sequences))
    together = dict(follow_sequences(dots_tracker(), sequences, batch=2))
    np.testing.assert_array_equal(alone["flat"].scores[[1, 2, 4, 5]], 0)
    for name, result in alone.items():
        np.testing.assert_allclose(together[name].boxes_xywh, result.boxes_xywh, rtol=1e-6)


def test_a_network_that_fails_fails_all_that_shared_the_pass(tmp_path: Path) -> None:
    class Broken(Dots):
        def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
            if len(search) == 2:
                raise MemoryError("no room for two")
            return super().locate(features, search)

    sequences = [noise("a"), noise("bb")]
    run = start(tmp_path, sequences)
    failures = run_sequences(sequences, lambda: OSTrackTracker(Broken(), dots_tracker().settings), run, batch=2)
    assert {name: failure.error for name, failure in failures.items()} == dict.fromkeys(
        ("a", "bb"), "MemoryError: no room for two"
    )


def test_a_batch_needs_a_tracker_that_knows_batches() -> None:
    with pytest.raises(InputError, match="got Fake; evaluate it with a batch of 1"):
        list(follow_sequences(Fake(), [noise("a")], batch=2))


# --- processes -----------------------------------------------------------------------------------------------------


def test_processes_give_the_same_bytes(tmp_path: Path) -> None:
    runs = [start(tmp_path / str(jobs), clips()) for jobs in (1, 2)]
    frames: list[int] = []
    assert run_sequences(clips(), bundled, runs[0]) == {}
    assert run_sequences(clips(), bundled, runs[1], jobs=2, on_frames=frames.append) == {}
    assert runs[1].missing() == []
    assert written(runs[0]) == written(runs[1])
    assert sum(frames) == sum(map(len, clips()))


def die_in_frame_8(frame: int) -> None:
    if frame == 8:
        os.kill(os.getpid(), signal.SIGKILL)


def dying() -> Fake:
    return Fake(die_in_frame_8)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_that_dies_takes_its_sequence_alone(tmp_path: Path) -> None:
    sequences = [noise("a" * length, length) for length in (9, 4, 3, 5)]
    run = start(tmp_path, sequences)
    failures = run_sequences(sequences, dying, run, jobs=2)
    assert list(failures) == ["a" * 9]
    assert "its process was killed by SIGKILL" in failures["a" * 9].error
    assert run.missing() == ["a" * 9]


def unmakeable() -> Fake:
    raise SystemExit(3)


def test_processes_that_cannot_load_the_model_are_an_error(tmp_path: Path) -> None:
    run = start(tmp_path, [noise("a"), noise("bb")])
    with pytest.raises(SingletrackError, match="ended with exit code 3 before it had loaded the model"):
        run_sequences([noise("a"), noise("bb")], unmakeable, run, jobs=2)
    assert run.done() == []


PARENT = """
import sys, time
from tests.evaluation.sleepy import Sleepy, sequences
from singletrack.evaluation.workers import follow_in_processes
if __name__ == "__main__":
    for _ in follow_in_processes(sequences(), Sleepy, jobs=2, batch=1, threads=1, on_frames=lambda count: None):
        pass
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system has no /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:  # C14: they went on for seconds
    marks = tmp_path / "marks"
    marks.mkdir()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "MARKS": str(marks), "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    with subprocess.Popen([sys.executable, "-c", PARENT], env=environment, cwd=root) as parent:
        while len(list(marks.iterdir())) < 2 and parent.poll() is None:
            time.sleep(0.05)
        workers = [int(path.name) for path in marks.iterdir()]
        parent.kill()
    assert len(workers) == 2
    for worker in workers:
        while is_running(worker):  # each sleeps for minutes in one update
            time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
