"""Other tools read the tables of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bulk.fakes import BOX, write_manifest
from tests.bulk.test_run import ROWS

from singletrack.bulk.run import track_library


@pytest.fixture
def out(library: Path, in_this_process: list[str]) -> Path:
    manifest = write_manifest(library / "list.csv", [*ROWS, ("none.mp4", 0, BOX)])
    track_library(manifest, library.parent / "out", part_rows=2)
    return library.parent / "out"


def test_pandas(out: Path) -> None:
    pandas = pytest.importorskip("pandas")
    boxes, rows = pandas.read_parquet(out / "boxes"), pandas.read_parquet(out / "rows")
    assert (len(boxes), len(rows)) == (22, 6)
    assert boxes.query("video == 'a.mp4' and id == '2'").frame.tolist() == [2, 3, 4, 5]


def test_polars(out: Path) -> None:
    polars = pytest.importorskip("polars")
    boxes = polars.scan_parquet(out / "boxes" / "**" / "*.parquet").filter(polars.col("video") == "c.mp4").collect()
    assert boxes["frame"].to_list() == [0, 1, 2]
    assert polars.read_parquet(out / "rows" / "**" / "*.parquet")["status"].value_counts().height == 2


def test_duckdb(out: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = f"""
        select rows.row, count(*) from '{out}/boxes/**/*.parquet' as boxes
        join '{out}/rows/**/*.parquet' as rows using (video, id) group by rows.row order by rows.row
    """
    assert duckdb.sql(query).fetchall() == [(0, 6), (1, 5), (2, 4), (3, 4), (4, 3)]
