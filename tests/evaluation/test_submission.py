"""Archives for the servers of GOT-10k and TrackingNet: what is in them, and the traps that others fell into."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from singletrack.errors import InputError, SingletrackError
from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult
from singletrack.evaluation.submission import SERVERS, got10k_files, trackingnet_files, write_submission

GOT10K = [f"GOT-10k_Test_{number:06d}" for number in range(1, 181)]
# names with "all", "time" and with nothing but letters: published packers drop the first two kinds
TRACKINGNET = ["0-6LB4FqxoE_0", "xxballyy_1", "aTimeZtimeQ_0", "timeall_time_0"]
TRACKINGNET += [f"{number:011d}_0" for number in range(511 - len(TRACKINGNET))]
NAMES = {"got10k": GOT10K, "trackingnet": TRACKINGNET}


def result(boxes: list[list[float]]) -> SequenceResult:
    count = len(boxes)
    return SequenceResult(
        boxes_xywh=np.array(boxes, float),
        seconds=np.full(count, 0.0371671234),
        scores=np.ones(count),
        lost=np.zeros(count, bool),
    )


BOXES = [[59.0, 33.25, 0.1 + 0.2, 71.0], [-3.7, 4.99, 1e-7, 1e5]]


def start(
    path: Path, server: str, *, leave_out: tuple[str, ...] = (), boxes: list[list[float]] = BOXES, **changes: object
) -> RunFolder:
    empty = dict.fromkeys(("model", "weights", "engine", "device", "precision", "version"), "")
    values = {
        "dataset": server,
        "split": "test",
        "sequences": dict.fromkeys(NAMES[server], 2),
        "settings": {},
        **empty,
        **changes,
    }
    run = RunFolder.start(path, RunFacts(**values))  # type: ignore[arg-type]
    for name in run.facts.sequences:
        if name not in leave_out:
            run.write(name, result(boxes))
    return run


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)


def files_of(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_got10k_takes_a_folder_for_each_sequence(tmp_path: Path) -> None:
    write_submission("got10k", start(tmp_path / "run", "got10k"), tmp_path / "got10k.zip")
    files = files_of(tmp_path / "got10k.zip")
    expected = {f"{name}/{name}_{kind}.txt" for name in GOT10K for kind in ("001", "time")}
    assert files.keys() == expected
    name = GOT10K[7]
    assert files[f"{name}/{name}_001.txt"] == "59,33.25,0.30000000000000004,71\n-3.7,4.99,0.0000001,100000\n"
    loaded = np.loadtxt(files[f"{name}/{name}_001.txt"].splitlines(), delimiter=",")  # as the toolkit does
    np.testing.assert_array_equal(loaded, BOXES)
    assert files[f"{name}/{name}_time.txt"] == "0.03716712\n0.03716712\n"


def test_trackingnet_takes_files_alone_and_none_is_dropped_for_its_name(tmp_path: Path) -> None:
    write_submission("trackingnet", start(tmp_path / "run", "trackingnet"), tmp_path / "trackingnet.zip")
    files = files_of(tmp_path / "trackingnet.zip")
    assert files.keys() == {f"{name}.txt" for name in TRACKINGNET}
    assert set(files.values()) == {"59,33.25,0.30000000000000004,71\n-3.7,4.99,0.0000001,100000\n"}


@pytest.mark.parametrize("server", SERVERS)
def test_whole_pixels_on_request(tmp_path: Path, server: str) -> None:
    run = start(tmp_path / "run", server)
    write_submission(server, run, tmp_path / "out.zip", integers=True)
    assert "59,33,0,71\n-3,4,0,100000\n" in files_of(tmp_path / "out.zip").values()


def test_a_run_in_whole_pixels_stays_in_whole_pixels(tmp_path: Path) -> None:
    run = start(tmp_path / "run", "got10k", integers=True)
    write_submission("got10k", run, tmp_path / "out.zip")
    assert "59,33,0,71\n-3,4,0,100000\n" in files_of(tmp_path / "out.zip").values()


def test_the_archive_is_where_it_was_asked_for_and_the_results_stay(tmp_path: Path) -> None:
    """Published packers write NAME/.zip into the folder of results and then delete that folder."""
    run = start(tmp_path / "run", "got10k")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    inside = run.path / "got10k.zip"
    for archive in (inside, tmp_path / "got10k.zip"):
        write_submission("got10k", run, archive)
        assert len(files_of(archive)) == 360
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path != inside} == before


def test_the_same_results_give_the_same_archive(tmp_path: Path) -> None:
    run = start(tmp_path / "run", "trackingnet")
    for name in ("a.zip", "b.zip"):
        write_submission("trackingnet", run, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leave_out": tuple(GOT10K[3:10])}, r"no results for 7 of 180 sequences: GOT-10k_Test_000004, .*_000008, "),
        ({"sequences": dict.fromkeys(GOT10K[:5], 2)}, "got10k test has 180 sequences; .* has 5"),
        ({"split": "val"}, "the server scores got10k test; got a run on got10k val"),
        ({"dataset": "trackingnet"}, "the server scores got10k test; got a run on trackingnet test"),
        ({"boxes": BOXES[:1]}, "must have 2 frames; got 1"),
        ({"boxes": [BOXES[0], [np.nan, 1, 1, 1]]}, "GOT-10k_Test_000001 in .* has others in 1 frames, the first is 1"),
        ({"boxes": [[1, 1, np.inf, 1], BOXES[0]]}, "has others in 1 frames, the first is 0"),
    ],
)
def test_what_a_server_would_refuse_is_not_written(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    run = start(tmp_path / "run", "got10k", **changes)  # type: ignore[arg-type]
    (tmp_path / "got10k.zip").write_text("older")
    with pytest.raises(InputError, match=said):
        write_submission("got10k", run, tmp_path / "got10k.zip")
    assert (tmp_path / "got10k.zip").read_text() == "older"
    assert not list(tmp_path.glob("*.part"))


def test_places_and_names_that_cannot_be_meant(tmp_path: Path) -> None:
    run = start(tmp_path / "run", "got10k")
    with pytest.raises(InputError, match=r"must end in \.zip"):
        write_submission("got10k", run, tmp_path / "out.tar")
    with pytest.raises(InputError, match=r"unknown server .*choose one of got10k, trackingnet"):
        write_submission("lasot", run, tmp_path / "out.zip")
    with pytest.raises(SingletrackError, match="cannot write"):
        write_submission("got10k", run, tmp_path / "nowhere" / "out.zip")


def test_recorded_archives_of_published_packers(shared: Path) -> None:
    """Boxes in whole pixels are theirs to the byte; what they drop for its name is here."""
    recorded = np.load(shared / "fixtures" / "result_files.npz")
    servers = {"got10k": got10k_files, "trackingnet": trackingnet_files}
    seen = set()
    for key in recorded.files:
        server, name, what = [*key.split("|"), ""][:3]
        if what != "boxes":
            continue
        times = [float(line) for line in str(recorded[f"{server}|{name}|time"]).splitlines()]
        boxes = recorded[key]
        ours = servers[server](
            name,
            SequenceResult(
                boxes_xywh=boxes,
                seconds=np.array(times),
                scores=np.ones(len(boxes)),
                lost=np.zeros(len(boxes), bool),
            ),
            integers=True,
        )
        if server == "got10k":
            _, seconds = ours.popitem()
            assert [float(line) for line in seconds.splitlines()] == times
        raw = str(recorded[f"{server}|{name}|raw"]).replace("\t", ",")
        assert list(ours.values()) == [raw]
        for file, text in ours.items():
            packed = f"zip|ostrack/cfg/{server}_submit.zip|{file}"
            if packed in recorded.files:
                seen.add(file)
                assert text == str(recorded[packed])
    assert seen == {
        "GOT-10k_Test_000001/GOT-10k_Test_000001_001.txt",
        "GOT-10k_Test_000002/GOT-10k_Test_000002_001.txt",
        "0-6LB4FqxoE_0.txt",  # the only one of three that the published packer kept
    }
