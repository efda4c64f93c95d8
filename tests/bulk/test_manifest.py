"""Manifests: the same rows from every format, and a clear error with the line for an invalid one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from singletrack.bulk.manifest import Manifest, Row, resolve
from singletrack.errors import InputError, MissingDependencyError

ROWS = [
    Row(0, "a.mp4", 3, 9, (1.0, 2.0, 3.5, 4.0), "left", ""),
    Row(1, "s3://bucket/b c.mp4", 0, None, (5.0, 6.0, 7.0, 8.0), "1", "ostrack-256"),
]
CONTENT = [
    {"video": "a.mp4", "start": 3, "end": 9, "box": [1, 2, 3.5, 4], "id": "left", "model": None},
    {"video": "s3://bucket/b c.mp4", "start": 0, "end": None, "box": [5, 6, 7, 8], "id": None, "model": "ostrack-256"},
]


def test_csv_with_a_box_column(tmp_path: Path) -> None:
    lines = ["id,video,start,end,box,model,note", 'left,a.mp4,3,9,"1,2,3.5,4",,x']
    lines += [",s3://bucket/b c.mp4,,,5 6 7 8,ostrack-256,"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert list(Manifest(str(tmp_path / "list.csv")).rows()) == ROWS


def test_csv_with_sides_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("﻿video,x,y,w,h\na.mp4,1,2,3.5,4\n", encoding="utf-8")
    assert list(Manifest(str(tmp_path / "list.csv")).rows()) == [Row(0, "a.mp4", 0, None, ROWS[0].box, "0", "")]


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("\n\n".join(map(json.dumps, CONTENT)))
    assert list(Manifest(str(tmp_path / "list.jsonl")).rows()) == ROWS


def test_parquet_in_one_file_and_in_a_folder(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(CONTENT), tmp_path / "list.parquet")
    assert list(Manifest(str(tmp_path / "list.parquet")).rows()) == ROWS
    (tmp_path / "shards").mkdir()
    for number, content in enumerate(CONTENT):
        schema = pyarrow.Table.from_pylist(CONTENT).schema
        parquet.write_table(pyarrow.Table.from_pylist([content], schema), tmp_path / "shards" / f"{number}.parquet")
    assert list(Manifest(str(tmp_path / "shards")).rows()) == ROWS


def test_pandas_writes_whole_numbers_with_gaps_as_floats(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(CONTENT).to_csv(tmp_path / "list.csv", index=False)
    assert list(Manifest(str(tmp_path / "list.csv")).rows()) == ROWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",0,1,2,3,4", "list.csv, line 3: video must be"),
        ("b.mp4,-1,1,2,3,4", "list.csv, line 3: start must be a frame index from 0; got '-1'"),
        ("b.mp4,1.5,1,2,3,4", "list.csv, line 3: start must be a frame index"),
        ("b.mp4,0,1,2,3,nan", "list.csv, line 3: box must be four finite numbers"),
        ("b.mp4,0,1,2,3,wide", "list.csv, line 3: box must be four finite numbers"),
        ("b.mp4,0,1,2,3", "list.csv, line 3: a row must have 6 values like the header"),
        ("b.mp4,0,1,2,3,4,5", "list.csv, line 3: a row must have 6 values like the header"),
    ],
)
def test_an_invalid_row_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(f"video,start,x,y,w,h\na.mp4,0,1,2,3,4\n{line}\n")
    with pytest.raises(InputError, match=message):
        list(Manifest(str(tmp_path / "list.csv")).rows())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**CONTENT[0], "end": 2}, "line 2: end must be at least start, 3; got 2"),
        ({**CONTENT[0], "box": [1, 2, 3]}, "line 2: box must be four finite numbers"),
        ({**CONTENT[0], "box": [True, 2, 3, 4]}, "line 2: box must be four finite numbers"),
        ({**CONTENT[0], "box": {"x": 1}}, "line 2: box must be four finite numbers"),
        ({**CONTENT[0], "video": 1.5}, "line 2: video must be a text"),
        ({**CONTENT[0], "start": True}, "line 2: start must be a frame index"),
        ({**CONTENT[0], "id": "a" * 5000}, "line 2: id must be a text of at most 4096"),
        ([1], "line 2: expected a JSON object; got"),
    ],
)
def test_an_invalid_value_of_json_lines(tmp_path: Path, value: Any, message: str) -> None:
    (tmp_path / "list.jsonl").write_text(f"{json.dumps(CONTENT[1])}\n{json.dumps(value)}\n")
    with pytest.raises(InputError, match=message):
        list(Manifest(str(tmp_path / "list.jsonl")).rows())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"video,start\na.mp4,0\n", "needs the columns video, and box or x, y, w, h; got video, start"),
        ("list.csv", b"video,box\n\xff\xfe,1\n", "expected CSV in UTF-8"),
        ("list.jsonl", b"{", "list.jsonl, line 1: expected a JSON object"),
        ("list.parquet", b"PAR1 no", "expected Parquet"),
        ("list.txt", b"", "a manifest must end in .csv, .jsonl, .ndjson, .parquet; got"),
    ],
)
def test_an_invalid_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(Manifest(str(tmp_path / name)).rows())


def test_places_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="manifest not found"):
        Manifest(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="manifest not found"):
        Manifest(str(tmp_path))
    with pytest.raises(InputError, match="cannot open pigeon://"):
        Manifest("pigeon://list.csv")


def test_a_protocol_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def refuse(address: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingDependencyError, match="Install s3fs"):
        Manifest("s3://bucket/list.csv")


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("video,x,y,w,h\na.mp4,1,2,3,4\n")
    (tmp_path / "c.csv").write_text("video,x,y,w,h\na.mp4,1,2,3,5\n")
    a, b, c = (Manifest(str(tmp_path / name)).digest() for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b != c


@pytest.mark.parametrize(
    ("video", "root", "place"),
    [
        ("a.mp4", "/data", "/data/a.mp4"),
        ("/other/a.mp4", "/data", "/other/a.mp4"),
        ("0", "/data", "/data/0"),  # never a camera
        ("file:///other/a.mp4", "/data", "/other/a.mp4"),
        ("s3://bucket/a.mp4", "/data", "s3://bucket/a.mp4"),
        ("a/b.mp4", "s3://bucket/videos/", "s3://bucket/videos/a/b.mp4"),
    ],
)
def test_where_a_video_is(video: str, root: str, place: str) -> None:
    assert resolve(video, root) == place
