"""The output folder: one commit per part, one run per folder, and what is missing is written again."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from singletrack.bulk.store import Outcome, RunFacts, Store, boxes_schema
from singletrack.errors import InputError, SingletrackError

KEY, NAME = "0123456789ab", "0000000000-0000000001"


def facts(**changes: Any) -> RunFacts:
    values: dict[str, Any] = {"manifest": "m.csv", "digest": "1", "root": "/", "rows": 2, "parts": 1, "part_rows": 2}
    values |= {"models": {"": "a"}, "options": {"engine": "auto", "settings": (1, 2)}, "version": "0", **changes}
    return RunFacts(**values)


def outcome(row: int, **changes: Any) -> Outcome:
    values: dict[str, Any] = {"row": row, "video": "a.mp4", "id": str(row), "model": "m", "status": "done"}
    values |= {"reason": "", "frames": 3, "seconds": 0.5, "digest": "d", "host": "h", "began": 1.6e9}
    values |= {"finished": 1.7e9, **changes}
    return Outcome(**values)


def commit(store: Store, outcomes: list[Outcome]) -> bool:
    with store.new_file() as file:
        with parquet.ParquetWriter(str(file), boxes_schema()) as writer:
            content = json.dumps([dataclasses.asdict(each) for each in outcomes])
            writer.add_key_value_metadata({"singletrack.rows": content})
        return store.commit(file, KEY, NAME)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"))


def test_the_first_commit_counts(store: Store) -> None:
    assert commit(store, [outcome(0), outcome(1)])
    assert not commit(store, [outcome(0, status="failed"), outcome(1)])
    (path,) = store.list_parts("boxes").values()
    assert path.endswith(f"boxes/000000/{KEY}-{NAME}.parquet")
    assert store.outcomes(path) == [outcome(0), outcome(1)]
    assert list(Path(store.path("unfinished")).iterdir()) == []


def test_a_missing_table_of_rows_is_written_from_the_boxes(store: Store) -> None:
    store.start(facts())
    commit(store, [outcome(0), outcome(1, status="failed", reason="broken")])
    assert len(store.read_rows(["row"])) == 0
    assert store.repair(KEY) == {NAME}
    assert store.read_rows(["row", "status", "reason"]).to_pylist() == [
        {"row": 0, "status": "done", "reason": ""},
        {"row": 1, "status": "failed", "reason": "broken"},
    ]
    assert store.repair(KEY) == {NAME}


def test_what_killed_processes_left_is_removed(store: Store) -> None:
    store.note_attempt(NAME, 5)
    left = Path(store.path("unfinished", f".part.{platform.node()}-999999999-0.part.parquet"))
    left.touch()
    assert store.repair(KEY) == set()
    assert not left.exists()
    assert store.last_attempt(NAME) is None


def test_parts_of_another_run_are_not_mixed(store: Store) -> None:
    commit(store, [outcome(0)])
    with pytest.raises(SingletrackError, match="is not of this run, whose files begin with fff"):
        store.repair("fff")
    with pytest.raises(InputError, match=r"has boxes but no run\.json"):
        store.start(facts())


def test_the_same_run_resumes_and_another_is_refused(store: Store) -> None:
    assert store.start(facts()) == facts()
    assert store.start(facts(manifest="moved.csv")).manifest == "m.csv"
    with pytest.raises(InputError, match="another run: another manifest; version was 0, is 9; give another folder"):
        store.start(facts(digest="2", version="9"))
    with pytest.raises(InputError, match="options was"):
        store.start(facts(options={"engine": "torch"}))
    assert facts().key == facts(manifest="moved.csv").key != facts(digest="2").key


def test_a_damaged_run_is_an_error(store: Store) -> None:
    store.write(b"{}", "run.json")
    with pytest.raises(InputError, match=r"run\.json is invalid"):
        store.facts()


def test_one_process_runs_in_a_folder(store: Store) -> None:
    assert not store.is_running()
    with store.lock():
        assert store.is_running()
        with pytest.raises(SingletrackError, match="is in use by another process; wait until it ends"), store.lock():
            pass
    assert not store.is_running()
    with store.lock():
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SingletrackError, match="expected a folder"), Store(str(tmp_path / "file")).lock():
        pass


def test_the_lock_of_an_object_store_is_taken_over_when_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from singletrack.bulk import store as module

    monkeypatch.setattr(module, "SETTLE", 0.0)
    store = Store("memory://bulk-lock")
    with store.lock():
        assert store.is_running()
        with pytest.raises(SingletrackError, match="is in use by process"), store.lock():
            pass
    assert not store.is_running()
    store.write(json.dumps({"holder": "gone", "token": "0", "time": 0}).encode(), "lock.json")
    assert not store.is_running()
    with store.lock():
        assert store.is_running()


def test_a_place_that_cannot_be_read_or_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    with pytest.raises(SingletrackError, match=r"cannot read /out/run\.json .RuntimeError: no credentials"):
        Store("memory://out").facts()

    def unable(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", unable)
    with pytest.raises(SingletrackError, match="cannot write"):
        Store("memory://out").write(b"", "run.json")
