from __future__ import annotations

import collections
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from singletrack.errors import InputError, SingletrackError
from singletrack.results import Record, ResultWriter, read_results
from singletrack.tracking.base import Result

FIRST = Result(box=(1.0, 2.0, 30.5, 40.25), score=1.0, lost=False)
SECOND = Result(box=(-1.23456, 2.0, 30.0, 40.0), score=0.123456, lost=True)


def write_both(path: Path) -> str:
    with ResultWriter(path) as writer:
        writer.write(0, 0.0, FIRST)
        writer.write(1, 1 / 30, SECOND)
    return path.read_text(encoding="utf-8")


def test_txt(tmp_path: Path) -> None:
    text = write_both(tmp_path / "boxes.txt")
    assert text == "1.0000,2.0000,30.5000,40.2500\n-1.2346,2.0000,30.0000,40.0000\n"


def test_csv(tmp_path: Path) -> None:
    assert write_both(tmp_path / "boxes.csv").splitlines() == [
        "frame,time,x,y,width,height,score,lost",
        "0,0.0000,1.0000,2.0000,30.5000,40.2500,1.0000,0",
        "1,0.0333,-1.2346,2.0000,30.0000,40.0000,0.1235,1",
    ]


def test_jsonl(tmp_path: Path) -> None:
    lines = write_both(tmp_path / "boxes.jsonl").splitlines()
    assert json.loads(lines[0]) == {
        "frame": 0,
        "time": 0.0,
        "box": [1.0, 2.0, 30.5, 40.25],
        "score": 1.0,
        "lost": False,
    }
    assert json.loads(lines[1])["lost"] is True


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".CSV"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    write_both(tmp_path / f"boxes{ending}")
    assert read_results(tmp_path / f"boxes{ending}") == [
        Record(frame=0, time=0.0, box=FIRST.box, score=1.0, lost=False),
        Record(frame=1, time=0.0333, box=(-1.2346, 2.0, 30.0, 40.0), score=0.1235, lost=True),
    ]


def test_txt_round_trip_tells_only_the_boxes(tmp_path: Path) -> None:
    write_both(tmp_path / "boxes.txt")
    assert read_results(tmp_path / "boxes.txt") == [
        Record(frame=0, box=FIRST.box),
        Record(frame=1, box=(-1.2346, 2.0, 30.0, 40.0)),
    ]


@pytest.mark.parametrize("line", ["1,2,3,4", "1\t2\t3\t4", "1 2 3 4", " 1, 2, 3, 4 "])
def test_txt_of_other_hands(tmp_path: Path, line: str) -> None:
    (tmp_path / "boxes.txt").write_text(line + "\n")
    assert read_results(tmp_path / "boxes.txt")[0].box == (1.0, 2.0, 3.0, 4.0)


def write_many(path: Path) -> list[str]:
    with ResultWriter(path, many=True) as writer:
        for id, result in ((1, FIRST), (12, SECOND)):
            writer.write(1, 1 / 30, result, id)
    return path.read_text(encoding="utf-8").splitlines()


def test_many_targets(tmp_path: Path) -> None:
    assert write_many(tmp_path / "boxes.txt") == [
        "2,1,1.0000,2.0000,30.5000,40.2500,1.0000,-1,-1,-1",  # MOTChallenge counts frames from 1
    ]  # which has no way to say that the second is lost
    assert write_many(tmp_path / "boxes.csv")[::2] == [
        "frame,time,id,x,y,width,height,score,lost",
        "1,0.0333,12,-1.2346,2.0000,30.0000,40.0000,0.1235,1",
    ]
    assert json.loads(write_many(tmp_path / "boxes.jsonl")[1])["id"] == 12


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_round_trip_of_many_targets(tmp_path: Path, ending: str) -> None:
    write_many(tmp_path / f"boxes{ending}")
    more = {} if ending == ".txt" else {"time": 0.0333}
    lost = [None, None] if ending == ".txt" else [False, True]
    records = [
        Record(frame=1, id=1, box=FIRST.box, score=1.0, lost=lost[0], **more),
        Record(frame=1, id=12, box=(-1.2346, 2.0, 30.0, 40.0), score=0.1235, lost=lost[1], **more),
    ]
    assert read_results(tmp_path / f"boxes{ending}") == (records[:1] if ending == ".txt" else records)


def test_files_without_frames(tmp_path: Path) -> None:
    for ending in (".txt", ".csv", ".jsonl"):
        ResultWriter(tmp_path / f"boxes{ending}").close()
        assert read_results(tmp_path / f"boxes{ending}") == []


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    program = """
import os, sys
from singletrack.results import ResultWriter
from singletrack.tracking.base import Result
writer = ResultWriter(sys.argv[1])
for frame in range(3):
    writer.write(frame, 0.0, Result(box=(1.0, 2.0, 3.0, 4.0), score=1.0, lost=False))
os._exit(9)  # no clean-up whatever
"""
    path = tmp_path / "boxes.csv"
    process = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert process.returncode == 9
    assert [record.frame for record in read_results(path)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["boxes.xml", "boxes"])
def test_unknown_ending(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.txt, \.csv, \.jsonl; got"):
        ResultWriter(tmp_path / name)
    with pytest.raises(InputError, match=r"\.txt, \.csv, \.jsonl; got"):
        read_results(tmp_path / name)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(SingletrackError, match="No such file"):
        ResultWriter(tmp_path / "nowhere" / "boxes.txt")
    with pytest.raises(InputError, match="cannot read"):
        read_results(tmp_path / "nowhere" / "boxes.txt")


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("boxes.txt", "1,2,3,4\n1,2,3\n", 2),
        ("boxes.txt", "1,2,3,4\n1,2,3,four\n", 2),
        ("boxes.csv", "frame,time,x,y,width,height,score,lost\n0,0,1,2,3,4,1\n", 2),
        ("boxes.jsonl", '{"frame": 0, "time": 0, "box": [1, 2, 3, 4]}\n', 1),
        ("boxes.jsonl", '{"frame": 0, "ti\n', 1),
    ],
)
def test_broken_line_is_named(tmp_path: Path, name: str, text: str, number: int) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"line {number} is"):
        read_results(tmp_path / name)


def test_csv_of_other_columns(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("x,y,w,h\n1,2,3,4\n")
    with pytest.raises(InputError, match="must begin with the line frame,time"):
        read_results(tmp_path / "boxes.csv")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("ending", [".txt", ".csv", ".jsonl"])
def test_no_cut_of_a_file_gives_another_box(ending: str, many: bool, tmp_path: Path) -> None:  # C25
    path = tmp_path / f"boxes{ending}"
    with ResultWriter(path, many=many) as writer:
        for frame in range(3):
            writer.write(frame, frame / 30, Result(box=(10.25, 20.5, 30.125, 40.75), score=0.5, lost=False))
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        try:
            found = read_results(path)
        except InputError:
            continue
        assert {record.box for record in found} <= {(10.25, 20.5, 30.125, 40.75)}
        assert len(found) == content[:end].count(b"\n") - (ending == ".csv") + (
            not content[:end].endswith(b"\n") and end > 0
        )


def test_files_of_other_programs_may_end_without_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "boxes.txt").write_text("1,2,3,4\n1.5\t2\t3\t4")
    assert [record.box for record in read_results(tmp_path / "boxes.txt")] == [(1, 2, 3, 4), (1.5, 2, 3, 4)]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:  # C25
    path = tmp_path / "boxes.csv"
    result = Result(box=(1, 2, 3, 4), score=1.0, lost=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        writer = ResultWriter(path)
        for frame in range(5):
            writer.write(frame, 0.0, result)
        with pytest.raises(SingletrackError, match="cannot write"):
            collections.deque(writer.write(frame, 0.0, result) for frame in range(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes().endswith(b"\n")
    assert len(read_results(path)) >= 5


def test_json_lines_of_a_live_source(tmp_path: Path) -> None:
    path = tmp_path / "boxes.jsonl"
    with ResultWriter(path) as writer:
        writer.write(3, 0.1, Result(box=(65, 35, 20, 20), score=0.9, lost=False, dropped=2), size_wh=(100, 60))
    line = json.loads(path.read_text())
    assert (line["dropped"], line["pan"], line["tilt"]) == (2, 0.5, -0.5)
    (record,) = read_results(path)
    assert (record.frame, record.box) == (3, (65, 35, 20, 20))
