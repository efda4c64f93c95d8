"""Runs on the process pool: resuming, refusals, poisoned videos, and the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset as datasets
import pytest
from tests.bulk.fakes import BOX, FakeParts, write_clip, write_manifest

from singletrack import loading
from singletrack.bulk import run as run_module
from singletrack.bulk.manifest import Manifest
from singletrack.bulk.parts import Part, plan_parts
from singletrack.bulk.run import Progress, _Run, track_library, weights_digest
from singletrack.bulk.status import Status, _rates, read_status
from singletrack.bulk.store import RunFacts, Store
from singletrack.cli.main import main
from singletrack.errors import InputError, SingletrackError
from singletrack.loading import LoadOptions
from singletrack.workers import Died
from singletrack.workers.processes import run_in_processes

ROWS = [("a.mp4", 0, BOX), ("b.mp4", 1, BOX), ("a.mp4", 2, BOX), ("bright.mp4", 0, BOX), ("c.mp4", 0, BOX)]


def read_boxes(out: Path) -> Any:
    table = datasets.dataset(out / "boxes", format="parquet").to_table()
    return table.sort_by([(name, "ascending") for name in ("video", "id", "frame")])


def read_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = datasets.dataset(out / "rows", format="parquet").to_table().sort_by("row").to_pylist()
    return rows


def test_a_run_and_its_tables(library: Path, in_this_process: list[str]) -> None:
    manifest = write_manifest(library / "list.csv", [*ROWS, ("none.mp4", 0, BOX)])
    out = library.parent / "out"
    steps: list[Progress] = []
    progress = track_library(manifest, out, part_rows=2, on_progress=steps.append)
    assert progress == Progress(rows=6, ended=6, failed=1, frames=22) == steps[-1]
    assert [(each["row"], each["id"], each["status"], each["frames"]) for each in read_rows(out)] == [
        (0, "0", "done", 6),
        (1, "1", "done", 5),
        (2, "2", "done", 4),
        (3, "3", "done", 4),
        (4, "4", "done", 3),
        (5, "5", "failed", 0),
    ]
    assert {each["model"] for each in read_rows(out)} == {"ostrack-tiny"}
    assert {len(each["digest"]) for each in read_rows(out)} == {32}
    assert len(read_boxes(out)) == 22
    assert read_boxes(out).schema.names == [
        "video",
        "id",
        "frame",
        "time",
        "x",
        "y",
        "width",
        "height",
        "score",
        "lost",
    ]
    assert len(in_this_process) == 3


def test_a_restart_skips_what_is_committed(library: Path, in_this_process: list[str]) -> None:
    manifest, out = write_manifest(library / "list.csv", ROWS), library.parent / "out"
    track_library(manifest, out, part_rows=1)
    whole, parts = read_boxes(out), list(in_this_process)
    store = Store(str(out))
    Path(store.list_parts("boxes")[parts[1]]).unlink()  # as if it had never been committed
    in_this_process.clear()
    track_library(manifest, out)
    assert in_this_process == [parts[1]]
    assert read_boxes(out).equals(whole)
    assert track_library(manifest, out) == Progress(rows=5, ended=5)


def test_what_does_not_fit_the_folder_is_refused(library: Path, in_this_process: list[str]) -> None:
    manifest, out = write_manifest(library / "list.csv", ROWS), library.parent / "out"
    track_library(manifest, out)
    with pytest.raises(InputError, match=r"options was .* give another folder"):
        track_library(manifest, out, normalized=False)
    with pytest.raises(InputError, match="part_rows was 1, is 3"):
        track_library(manifest, out, part_rows=3)
    write_manifest(library / "list.csv", ROWS[:3])
    with pytest.raises(InputError, match="another run: another manifest; give another folder"):
        track_library(manifest, out)


def test_two_runs_do_not_share_a_folder(library: Path, in_this_process: list[str]) -> None:
    manifest, out = write_manifest(library / "list.csv", ROWS), library.parent / "out"
    with Store(str(out)).lock(), pytest.raises(SingletrackError, match="is in use by another process"):
        track_library(manifest, out)
    assert in_this_process == []


@pytest.mark.usefixtures("in_this_process")
def test_what_is_wrong_with_a_manifest_is_said_before_anything_runs(library: Path) -> None:
    out = library.parent / "out"
    (library / "list.csv").write_text("video,box,model\na.mp4,1 2 3 4,ostrack-tiny\nb.mp4,1 2 3 4,ostrach\n")
    with pytest.raises(InputError, match=r"row 2 of the manifest: .*ostrach"):
        track_library(library / "list.csv", out)
    (library / "list.csv").write_text("video,box\na.mp4,1 2 3 4\npigeon://b.mp4,1 2 3 4\n")
    with pytest.raises(InputError, match="cannot open pigeon://"):
        track_library(library / "list.csv", out)
    (library / "list.csv").write_text("video,box\n")
    with pytest.raises(InputError, match="has no rows"):
        track_library(library / "list.csv", out)
    with pytest.raises(InputError, match="a part must have at least 1 row; got 0"):
        track_library(write_manifest(library / "list.csv", ROWS), out, part_rows=0)
    assert not (out / "run.json").exists()


def test_rows_name_their_model(library: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    before = loading.load_with

    def load(name: Any, options: LoadOptions) -> Any:
        loaded.append(str(name))
        return before(name, options)

    monkeypatch.setattr(loading, "load_with", load)
    for ending in (".onnx", ".safetensors"):  # the graph takes its weights from the other
        shutil.copy(loading.bundled_file("ostrack-nano", ending), library)
    (library / "list.csv").write_text(
        f"video,box,model\na.mp4,{BOX},\nb.mp4,{BOX},ostrack-nano.onnx\n".replace("(", '"').replace(")", '"')
    )
    track_library(library / "list.csv", library.parent / "out")
    assert loaded == ["ostrack-tiny", "ostrack-tiny", str(library / "ostrack-nano.onnx")]
    rows = read_rows(library.parent / "out")
    assert [each["model"] for each in rows] == ["ostrack-tiny", "ostrack-nano.onnx"]
    assert rows[0]["digest"] != rows[1]["digest"]
    digest = weights_digest(str(library / "ostrack-nano.onnx"), LoadOptions())
    with (library / "ostrack-nano.safetensors").open("ab") as file:
        file.write(b"changed")
    assert weights_digest(str(library / "ostrack-nano.onnx"), LoadOptions()) != digest


# --- workers that die ----------------------------------------------------------------------------------------------


def head(library: Path, *, part_rows: int = 3, **changes: Any) -> tuple[_Run, FakeParts, list[Part]]:
    """The head of a run, the work of its processes, and the parts."""
    manifest = write_manifest(library / "list.csv", ROWS)
    store = Store(str(library.parent / "out"))
    facts = store.start(
        RunFacts(
            manifest=str(manifest),
            digest="",
            root=str(library),
            rows=5,
            parts=2,
            part_rows=part_rows,
            models={"": "d"},
            options={},
            version="0",
        )
    )
    work = FakeParts(
        store=store, key=facts.key, model="", options=LoadOptions(), digests={"": "d"}, root=str(library), **changes
    )
    parts = list(plan_parts(Manifest(str(manifest)).rows(), 5, part_rows))
    return _Run(store, facts, 2, set(), lambda progress: None), work, parts


def test_a_video_that_kills_its_process_fails_alone(library: Path) -> None:
    run, work, parts = head(library, deadly=True)
    coming = run_in_processes(parts, work, jobs=2, threads=1, again=run.again, on_count=run.count)
    progress = run.finish(coming)
    assert (progress.ended, progress.failed) == (5, 1)
    rows = read_rows(library.parent / "out")
    assert [each["video"] for each in rows if each["status"] == "failed"] == ["bright.mp4"]
    assert rows[3]["reason"].startswith("its process was killed by SIGKILL while it was tracked, 3 times; check the")
    assert len(read_boxes(library.parent / "out")) == 18
    assert not list((library.parent / "out" / "attempts").iterdir())


def test_workers_that_die_with_no_video_in_hand_end_the_run(library: Path) -> None:
    run, _, parts = head(library)
    part: Part | None = parts[0]
    deaths = 0
    while part is not None:
        part, deaths = run.again(Died(part, "its process was killed by SIGKILL", killed=True)), deaths + 1
    assert deaths == run_module.MOST_EARLY_DEATHS + 1
    given_up = Died(parts[0], "its process was killed by SIGKILL", killed=True)
    with pytest.raises(SingletrackError, match="rows 0000000000-0000000002 cannot be tracked: its process was killed"):
        run.finish(each for each in [(parts[0].name, given_up)])


def test_an_error_of_a_worker_ends_the_run(library: Path) -> None:
    run, _, parts = head(library)
    with pytest.raises(SingletrackError, match="disk full"):
        run.finish(each for each in [(parts[0].name, SingletrackError("disk full"))])


# --- status and the command ------------------------------------------------------------------------------------------


def test_status_of_a_run(library: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, out = write_manifest(library / "list.csv", ROWS), library.parent / "out"
    clock = iter(range(1000, 2000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))  # a second for each row
    found: list[Status] = []

    def look(progress: Progress) -> None:
        if progress.ended == 3 and not found:
            found.append(read_status(out))

    track_library(manifest, out, part_rows=1, on_progress=look)
    (while_running,) = found
    assert (while_running.rows, while_running.done, while_running.failed, while_running.running) == (5, 3, 0, True)
    assert while_running.rows_per_second is not None
    assert while_running.seconds_left == pytest.approx(2 / while_running.rows_per_second)
    after = read_status(out)
    assert (after.done, after.frames, after.running, after.seconds_left) == (5, 22, False, 0)
    rows = read_rows(out)
    began, ended = (func(each[name].timestamp() for each in rows) for func, name in ((min, "began"), (max, "finished")))
    assert after.rows_per_second == pytest.approx(5 / (ended - began))


def test_the_rate_of_rows_that_ended_at_once_is_that_of_their_work() -> None:
    """Targets of one video end within microseconds of each other."""
    rows, frames = _rates([1000.0, 1000.00001], [980.0, 980.0], [30, 50], None)
    assert rows == pytest.approx(0.1, rel=1e-3)
    assert frames == pytest.approx(4.0, rel=1e-3)


def test_status_of_what_is_no_run(library: Path) -> None:
    with pytest.raises(InputError, match=r"is not a folder of `singletrack bulk`: it has no run\.json"):
        read_status(library)


def test_the_command(
    library: Path, in_this_process: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = write_manifest(library / "list.csv", [*ROWS, ("none.mp4", 0, BOX)]), library.parent / "out"
    monkeypatch.chdir(library.parent)
    assert main(["bulk", str(manifest), "--out", "out", "--jobs", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == "5 of 6 rows done, 1 failed; 22 boxes in out\n"
    assert "failed: none.mp4, target 5: source not found" in said.err
    assert main(["bulk", "status", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("6 of 6 rows (100.0 %): 5 done, 1 failed; 22 boxes\n")
    assert said.out.endswith("finished\n")
    assert main(["bulk", str(manifest), "--out", "out"]) == 1
    assert "6 of 6 rows were already committed" in capsys.readouterr().err
    Path(next(iter(Store(str(out)).list_parts("boxes").values()))).unlink()
    Path(next(iter(Store(str(out)).list_parts("rows").values()))).unlink()
    assert main(["bulk", "status", str(out)]) == 0
    assert "not running; the command that started it resumes it" in capsys.readouterr().out


def test_a_package_that_is_missing(
    library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["bulk", str(write_manifest(library / "list.csv", ROWS)), "--out", str(library / "out")]) == 1
    assert "needs pyarrow, which is not installed; run: pip install" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system has no /proc")
def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    """A small form of the proof in BENCHMARKS.md, with the bundled model, the command and its processes."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, "benchmarks/bulk.py", "proof", "--clips", "60", "--kills", "5", "--frames", "3"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"clips": 60, "boxes": 180' in done.stdout


def test_a_refused_manifest_leaves_no_folder(library: Path) -> None:
    out = library.parent / "out"
    with pytest.raises(InputError):
        track_library(write_manifest(library / "list.csv", [("none.mp4", 0, (1, 2, "x", 4))]), out)
    assert not out.exists()


def test_a_mistyped_command_is_no_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bulk", "statsu", "out"]) == 2
    assert "no command or manifest 'statsu'; did you mean status?" in capsys.readouterr().err


# --- failed rows ----------------------------------------------------------------------------------------------------


FAILING = [("a.mp4", 0, BOX), ("late.mp4", 0, BOX), ("c.mp4", 0, BOX), ("b.mp4", 0, BOX), ("never.mp4", 0, BOX)]


def test_failed_rows_are_tracked_again_in_the_same_folder(library: Path, in_this_process: list[str]) -> None:
    manifest, out = write_manifest(library / "list.csv", FAILING), library.parent / "out"
    assert track_library(manifest, out, part_rows=3) == Progress(rows=5, ended=5, failed=2, frames=15)
    write_clip(library / "late.mp4", 4, seed=7)
    assert track_library(manifest, out, part_rows=3) == Progress(rows=5, ended=5)  # not unless it is asked for
    in_this_process.clear()
    found = track_library(manifest, out, part_rows=3, retry_failed=True)
    assert found == Progress(rows=5, ended=5, failed=1, frames=4)
    assert in_this_process == ["0000000003-0000000004"]  # sorted by video, both are of the second part
    fresh = library.parent / "fresh"
    track_library(manifest, fresh, part_rows=3)
    assert read_boxes(out).equals(read_boxes(fresh))
    state = [(each["row"], each["status"], each["frames"]) for each in read_rows(out)]
    assert state == [(each["row"], each["status"], each["frames"]) for each in read_rows(fresh)]
    assert len(list((out / "boxes").rglob("*.parquet"))) == 2


def test_a_retry_that_is_killed_at_any_moment_loses_nothing(
    library: Path, in_this_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = write_manifest(library / "list.csv", FAILING), library.parent / "out"
    track_library(manifest, out, part_rows=5)
    before = read_boxes(out)
    write_clip(library / "late.mp4", 4, seed=7)
    write, replace = Store.write_rows, Path.replace

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", lambda self, to: stop() if self.suffix == ".parquet" else replace(self, to))
    with pytest.raises(KeyboardInterrupt):  # the old boxes are still there, and what happened to them is not
        track_library(manifest, out, retry_failed=True)
    assert read_boxes(out).equals(before)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Store, "write_rows", lambda self, key, name, outcomes: stop())
    with pytest.raises(KeyboardInterrupt):
        track_library(manifest, out, retry_failed=True)
    monkeypatch.setattr(Store, "write_rows", write)
    assert track_library(manifest, out, retry_failed=True).failed == 1
    assert (read_status(out).done, read_status(out).failed) == (4, 1)
    assert len(read_boxes(out)) == len(before) + 4
