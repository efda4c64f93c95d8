"""Videos, manifest and output on an object store: a server of the S3 protocol on this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from tests.bulk.fakes import BOX, write_manifest
from tests.bulk.test_run import ROWS, read_boxes

from singletrack.bulk import store as store_module
from singletrack.bulk.run import Progress, track_library
from singletrack.bulk.status import read_status
from singletrack.bulk.store import Outcome, Store, boxes_schema
from singletrack.errors import SingletrackError

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the server and its client


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An address of an empty bucket."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("library")
        try:
            yield "s3://library"
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            server.stop()


def test_a_library_on_an_object_store(
    library: Path, bucket: str, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SETTLE", 0.0)
    rows = [*ROWS, ("none.mp4", 0, BOX)]
    track_library(write_manifest(library / "list.csv", rows), library.parent / "out", part_rows=2)
    system = s3fs.S3FileSystem()
    for path in library.iterdir():
        system.put_file(str(path), f"library/videos/{path.name}")
    out = f"{bucket}/out"
    arguments = (f"{bucket}/videos/list.csv", out)
    assert track_library(*arguments, part_rows=2) == Progress(rows=6, ended=6, failed=1, frames=22)

    copy = library.parent / "copy"
    system.get(f"{out}/boxes", str(copy / "boxes"), recursive=True)
    assert read_boxes(copy).equals(read_boxes(library.parent / "out"))
    assert not system.exists(f"{out}/lock.json")
    status = read_status(out)
    assert (status.done, status.failed, status.running) == (5, 1, False)
    assert "cannot read none.mp4" in status.failures[0][2]

    store, before = Store(out), len(in_this_process)
    system.rm_file(next(iter(store.list_parts("rows").values())))  # of a worker that was killed between its two files
    last = list(store.list_parts("boxes"))[-1]
    system.rm_file(store.list_parts("boxes")[last])
    assert track_library(*arguments).ended == 6
    assert in_this_process[before:] == [last]
    assert read_status(out).done == 5
    with store.lock(), pytest.raises(SingletrackError, match="is in use by process"):
        track_library(*arguments)


def test_the_first_commit_counts(bucket: str) -> None:
    store = Store(f"{bucket}/commits")
    outcome: dict[str, Any] = {each.name: "" for each in dataclasses.fields(Outcome)}
    for reason in ("first", "second"):
        with store.new_file() as file:
            with parquet.ParquetWriter(str(file), boxes_schema()) as writer:
                writer.add_key_value_metadata({"singletrack.rows": json.dumps([{**outcome, "reason": reason}])})
            assert store.commit(file, "k", "0000000000-0000000000") == (reason == "first")
    (path,) = store.list_parts("boxes").values()
    assert [each.reason for each in store.outcomes(path)] == ["first"]
