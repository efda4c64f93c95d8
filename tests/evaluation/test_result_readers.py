from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singletrack.datasets.base import VideoSequence
from singletrack.errors import InputError
from singletrack.evaluation.result_readers import TrackerResults, is_run_folder, read_tracker_results
from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult

COUNT = 3
BOXES = np.array([[1.5, 2, 30, 40], [3, 4, 31, 41], [5, 6.25, 32, 42]])


class Black:
    """Frames that nobody looks at."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros((48, 64, 3), np.uint8)


def sequence(name: str) -> VideoSequence:
    return VideoSequence(name=name, frames=Black(), boxes_xywh=np.full((COUNT, 4), 7.0))


SEQUENCES = [sequence("car-1"), sequence("dog")]


def write(path: Path, rows: object, *, delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, delimiter=delimiter, fmt="%.8g")


def check(results: TrackerResults, *, repetitions: int = 1) -> None:
    assert sorted(results.boxes_xywh) == ["car-1", "dog"]
    for boxes in results.boxes_xywh.values():
        assert len(boxes) == repetitions
        for repetition in boxes:
            np.testing.assert_array_equal(repetition, BOXES)


@pytest.mark.parametrize("delimiter", ["\t", ",", " "])
def test_pytracking(tmp_path: Path, delimiter: str) -> None:
    for name in ("car-1", "dog"):
        write(tmp_path / f"{name}.txt", BOXES, delimiter=delimiter)
        write(tmp_path / f"{name}_time.txt", [0.5, 0.25, 0.125])
        write(tmp_path / f"{name}_object_presence_scores.txt", [1, 0.5, 0.25])
        (tmp_path / f".{name}.host-1-0.part.txt").write_text("1,2")  # what a killed run leaves
    results = read_tracker_results(tmp_path, SEQUENCES, label="DiMP")
    check(results)
    assert results.label == "DiMP"
    assert results.seconds["dog"].tolist() == [0.5, 0.25, 0.125]
    assert results.confidences["dog"].tolist() == [1, 0.5, 0.25]


def test_got10k_with_repetitions(tmp_path: Path) -> None:
    for name in ("car-1", "dog"):
        for number in (1, 2, 3):
            write(tmp_path / "SiamFC" / name / f"{name}_{number:03d}.txt", BOXES)
        write(tmp_path / "SiamFC" / name / f"{name}_time.txt", np.full((COUNT, 3), 0.5))
    results = read_tracker_results(tmp_path / "SiamFC", SEQUENCES)
    check(results, repetitions=3)
    assert results.label == "SiamFC"
    assert results.seconds["dog"].shape == (9,)
    assert results.confidences == {}


def test_got10k_on_other_data_sets(tmp_path: Path) -> None:
    for name in ("car-1", "dog"):
        write(tmp_path / f"{name}.txt", BOXES)
        write(tmp_path / "times" / f"{name}_time.txt", [0.5, 0.5, 0.5])
    results = read_tracker_results(tmp_path, SEQUENCES)
    check(results)
    assert len(results.seconds) == 2


def test_pysot(tmp_path: Path) -> None:
    for name in ("car-1", "dog"):
        write(tmp_path / f"{name}.txt", BOXES)
    results = read_tracker_results(tmp_path, SEQUENCES)
    check(results)
    assert results.seconds == {}


def test_pysot_long_term(tmp_path: Path) -> None:
    """VOT's mark of a start stands for the given box, and no confidence for a sure one; a lost frame has no box."""
    for name in ("car-1", "dog"):
        folder = tmp_path / "longterm" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_001.txt").write_text("1\n3,4,31,41\n0\n")
        (folder / f"{name}_001_confidence.value").write_text("\n0.5\n0.25\n")
        (folder / f"{name}_time.txt").write_text("0.5\n0.5\n0.5\n")
    results = read_tracker_results(tmp_path, SEQUENCES)
    expected = [[7, 7, 7, 7], [3, 4, 31, 41], [np.nan] * 4]
    np.testing.assert_array_equal(results.boxes_xywh["dog"][0], expected)
    assert results.confidences["dog"].tolist() == [1, 0.5, 0.25]


def test_our_run_folder(tmp_path: Path) -> None:
    facts = RunFacts(
        dataset="folder",
        split="test",
        sequences={"car-1": COUNT, "dog": COUNT, "not done": COUNT},
        model="ostrack-tiny",
        weights="0123",
        engine="openvino",
        device="CPU",
        precision="fp32",
        settings={},
        version="0.1.0",
    )
    run = RunFolder.start(tmp_path / "run", facts)
    for name in ("car-1", "dog"):
        result = SequenceResult(
            boxes_xywh=BOXES,
            seconds=np.array([0.5, 0.25, 0.25]),
            scores=np.array([1, 0.5, 0.1]),
            lost=np.array([False, False, True]),
        )
        run.write(name, result)
    assert is_run_folder(tmp_path / "run")
    results = read_tracker_results(tmp_path / "run", [*SEQUENCES, sequence("not done")])
    check(results)
    assert results.label == "ostrack-tiny"
    assert results.facts["engine"] == "openvino"
    assert results.confidences["dog"].tolist() == [1, 0.5, 0.1]


@pytest.mark.parametrize(
    ("name", "file"),
    [("Jogging_1", "Jogging-1"), ("Jogging_1", "Jogging.1"), ("bike1", "uav_bike1"), ("Human4_2", "Human4")],
)
def test_names_as_the_toolkits_vary_them(tmp_path: Path, name: str, file: str) -> None:
    write(tmp_path / f"{file}.txt", BOXES)
    assert list(read_tracker_results(tmp_path, [sequence(name)]).boxes_xywh) == [name]


def test_of_two_names_alike_the_exact_one_is_meant(tmp_path: Path) -> None:
    write(tmp_path / "car_1.txt", BOXES)
    write(tmp_path / "car-1.txt", BOXES + 1)
    boxes = read_tracker_results(tmp_path, [sequence("car-1")]).boxes_xywh["car-1"][0]
    np.testing.assert_array_equal(boxes, BOXES + 1)
    with pytest.raises(InputError, match="no results in"):
        read_tracker_results(tmp_path, [sequence("car.1")])


def test_only_sequences_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "dog.txt", BOXES)
    assert list(read_tracker_results(tmp_path, SEQUENCES).boxes_xywh) == ["dog"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unpack archives"):
        read_tracker_results(tmp_path / "results.zip", SEQUENCES)
    with pytest.raises(InputError, match="such as car-1"):
        read_tracker_results(tmp_path, SEQUENCES)
    (tmp_path / "dog.txt").write_text("")
    with pytest.raises(InputError, match=r"dog\.txt has no boxes for the 3 frames"):
        read_tracker_results(tmp_path, SEQUENCES)
    (tmp_path / "dog.txt").write_text("1,2,3,4\n1,2,three,4\n")
    with pytest.raises(InputError, match=r"cannot read .*dog\.txt"):
        read_tracker_results(tmp_path, SEQUENCES)
    write(tmp_path / "dog.txt", BOXES)
    write(tmp_path / "dog_object_presence_scores.txt", [0.5])
    with pytest.raises(InputError, match="each of 3 boxes"):
        read_tracker_results(tmp_path, SEQUENCES)
