from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from singletrack.errors import InputError, SingletrackError
from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult


def facts(**changes: object) -> RunFacts:
    values = {
        "dataset": "folder",
        "split": "",
        "sequences": {"one": 3, "two": 2},
        "model": "ostrack-tiny",
        "weights": "0123",
        "engine": "openvino",
        "device": "CPU",
        "precision": "fp32",
        "settings": {"mean": (0.1, 0.2), "lost_after": 5},
        "version": "0.1.0",
        **changes,
    }
    return RunFacts(**values)  # type: ignore[arg-type]


def result(count: int = 3) -> SequenceResult:
    random = np.random.default_rng(count)
    return SequenceResult(
        boxes_xywh=random.normal(0, 100, (count, 4)),
        seconds=random.uniform(0, 0.1, count),
        scores=random.uniform(0, 1, count),
        lost=np.arange(count) % 2 == 1,
    )


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    run = RunFolder.start(tmp_path / "run", facts())
    wrote = result()
    run.write("one", wrote)
    read = RunFolder.open(tmp_path / "run").read("one")
    for name in ("boxes_xywh", "seconds", "scores", "lost"):
        np.testing.assert_array_equal(getattr(read, name), getattr(wrote, name))
        assert getattr(read, name).dtype == getattr(wrote, name).dtype


def test_the_layout(tmp_path: Path) -> None:
    run = RunFolder.start(tmp_path, facts())
    one = SequenceResult(
        boxes_xywh=np.array([[1, 2, 3, 4], [0.1, -3.7, 1e-7, 1 / 3], [5.5, 6, 7, 8]]),
        seconds=np.array([0.25, 0.5, 1e-5]),
        scores=np.array([1, 0.5, 0.1]),
        lost=np.array([False, False, True]),
    )
    run.write("one", one)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "boxes/one.txt",
        "run.json",
        "scores/one.csv",
        "times/one.txt",
    ]
    boxes = (tmp_path / "boxes/one.txt").read_text()
    assert boxes == "1.0,2.0,3.0,4.0\n0.1,-3.7,1e-07,0.3333333333333333\n5.5,6.0,7.0,8.0\n"
    assert (tmp_path / "times/one.txt").read_text() == "0.25\n0.5\n1e-05\n"
    assert (tmp_path / "scores/one.csv").read_text() == "score,lost\n1.0,0\n0.5,0\n0.1,1\n"


def test_whole_pixels_are_cut_towards_zero(tmp_path: Path) -> None:
    run = RunFolder.start(tmp_path, facts(integers=True, sequences={"one": 1}))
    boxes = np.array([[-3.7, 4.99, 10.0, 20.5]])
    run.write("one", dataclasses.replace(result(1), boxes_xywh=boxes))
    assert (tmp_path / "boxes/one.txt").read_text() == "-3,4,10,20\n"
    np.testing.assert_array_equal(run.read("one").boxes_xywh, [[-3, 4, 10, 20]])


def test_a_sequence_is_done_with_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.start(tmp_path, facts())
    assert (run.done(), run.missing()) == ([], ["one", "two"])

    real, renamed = Path.replace, []

    def stop_at_the_third(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run.write("two", result(2))
    assert not run.is_done("two")
    assert list((tmp_path / "boxes").iterdir()) == []
    with pytest.raises(InputError, match=r"cannot read .*two.txt"):
        run.read("two")
    run.write("two", result(2))
    assert (run.done(), run.missing()) == (["two"], ["one"])
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    RunFolder.start(tmp_path, facts(processor="one")).write("one", result())
    again = RunFolder.start(tmp_path, facts(processor="another"))
    assert again.done() == ["one"]


def test_more_sequences_or_fewer_may_be_asked_for(tmp_path: Path) -> None:
    RunFolder.start(tmp_path, facts()).write("one", result())
    more = RunFolder.start(tmp_path, facts(sequences={"three": 1, "one": 3}))
    assert list(more.facts.sequences) == ["one", "two", "three"]
    assert more.facts == RunFolder.open(tmp_path).facts
    assert (more.done(), more.missing()) == (["one"], ["two", "three"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "ostrack-256"}, "model was 'ostrack-tiny', is 'ostrack-256'"),
        ({"weights": "9"}, "weights was '0123', is '9'"),
        ({"batch": 8}, "batch was 1, is 8"),
        ({"settings": {"mean": (0.1, 0.2), "lost_after": 6}}, "different settings (lost_after)"),
        ({"settings": {"a": 1, "b": 2, "mean": (0.1, 0.2)}}, "different settings (lost_after, a, b)"),
        ({"settings": {"a": 1, "b": 2}}, "different settings (mean, lost_after, a and 1 more)"),
        ({"sequences": {"one": 4, "three": 2}}, "holds another run: different frames of one;"),
        ({"integers": True, "engine": "onnx"}, "engine was 'openvino', is 'onnx'; integers was False, is True"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    RunFolder.start(tmp_path, facts()).write("one", result())
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(InputError, match="holds another run") as caught:
        RunFolder.start(tmp_path, facts(**changes))
    assert said in str(caught.value)
    assert (tmp_path / "run.json").read_bytes() == before


def test_boxes_of_nobody_knows_what_are_refused(tmp_path: Path) -> None:
    RunFolder.start(tmp_path, facts()).write("one", result())
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"has boxes but no run\.json"):
        RunFolder.start(tmp_path, facts())


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"dataset": "folder"}', "not json"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match="is not a run folder of `singletrack evaluate`"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\\b", "line\nbreak"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a file name"):
        RunFolder.start(tmp_path, facts(sequences={name: 1}))


def test_unknown_sequence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown sequence"):
        RunFolder.start(tmp_path, facts()).is_done("three")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("boxes/one.txt", "1,2,3,4\n1,2,3,4\n"),
        ("boxes/one.txt", "1,2,3\n1,2,3\n1,2,3\n"),
        ("boxes/one.txt", "1,2,3,x\n" * 3),
        ("boxes/one.txt", "1,2,3,4\n1,2,3\n1,2,3,4\n"),
        ("boxes/one.txt", ""),
        ("times/one.txt", "0.1\n"),
        ("scores/one.csv", "score,lost\n1,0\n"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, file: str, text: str) -> None:
    run = RunFolder.start(tmp_path, facts())
    run.write("one", result())
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=r"cannot read result file|must have"):
        run.read("one")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SingletrackError, match="expected a folder"):
        RunFolder.start(tmp_path / "file", facts())


@pytest.mark.parametrize("name", ["a" * 248, "ä" * 101, "broken\udcff"])
def test_names_that_could_not_be_written_are_refused_before_the_run(name: str, tmp_path: Path) -> None:  # C23
    with pytest.raises(InputError, match=r"cannot be a file name|sequence name"):
        RunFolder.start(tmp_path / "run", facts(sequences={name: 3}))
    assert not (tmp_path / "run").exists()
    RunFolder.start(tmp_path / "run", facts(sequences={"a" * 200: 3, "ä" * 100: 3}))
