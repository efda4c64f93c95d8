"""What a process does with a part: boxes, ends, failures, attempts and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from tests.bulk.fakes import BOX, Drifting, Failing, Spots, follow_spots, write_clip

from singletrack import loading
from singletrack.bulk import worker as worker_module
from singletrack.bulk.manifest import Row
from singletrack.bulk.parts import Part
from singletrack.bulk.store import Outcome, Store
from singletrack.bulk.worker import TrackParts
from singletrack.errors import SingletrackError
from singletrack.loading import LoadOptions
from singletrack.video import open_video

pytestmark = pytest.mark.usefixtures("fake")


def row(number: int, video: str, start: int = 0, end: int | None = None, box: Any = BOX, id: str = "") -> Row:
    return Row(number, video, start, end, box, id or str(number), "")


def track(library: Path, rows: list[Row], **changes: Any) -> tuple[pyarrow.Table, list[Outcome], Store]:
    """Track rows as one part; gives boxes and outcomes."""
    store = Store(str(library.parent / "out"))
    settings = {"store": store, "key": "k" * 12, "model": "", "options": LoadOptions(), "digests": {"": "d"}}
    poisoned = changes.pop("poisoned", {})
    part = Part(0, tuple(rows), careful=bool(poisoned), poisoned=poisoned)
    counts: list[int] = []
    work = TrackParts(**settings, root=str(library), **changes)()
    ((name, statuses),) = work([part], counts.append)
    if isinstance(statuses, SingletrackError):
        raise statuses
    (path,) = store.list_parts("boxes").values()
    outcomes = store.outcomes(path)
    assert name == part.name
    assert [each.status for each in outcomes] == statuses
    boxes = parquet.read_table(path)
    assert sum(counts) >= len(boxes)  # more if a video was tracked twice
    return boxes, outcomes, store


def test_boxes_are_those_of_the_tracker(library: Path) -> None:
    boxes, (outcome,), _ = track(library, [row(0, "c.mp4")])
    with open_video(library / "c.mp4") as video:
        timed = list(video.timed_frames())
    x, expected = BOX[0], []
    for index, (seconds, frame) in enumerate(timed):
        x += 0 if index == 0 else float(frame[0, 0, 0]) / 255
        score = 1.0 if index == 0 else float(frame[5, 5, 1]) / 255
        lost = index > 0 and bool(frame[9, 9, 2] > 128)
        expected.append(("c.mp4", "0", index, seconds, np.float32(x), *BOX[1:], np.float32(score), lost))
    assert [tuple(each.values()) for each in boxes.to_pylist()] == expected
    assert (outcome.status, outcome.reason, outcome.frames, outcome.digest) == ("done", "", 3, "d")
    assert outcome.seconds > 0


def test_targets_share_a_video_and_have_their_own_starts_and_ends(library: Path) -> None:
    rows = [row(0, "a.mp4", 2, 4), row(1, "a.mp4"), row(2, "a.mp4", 5), row(3, "a.mp4", 1, 1)]
    boxes, outcomes, _ = track(library, rows)
    frames = {id: [each["frame"] for each in boxes.to_pylist() if each["id"] == id] for id in "0123"}
    assert frames == {"0": [2, 3, 4], "1": [0, 1, 2, 3, 4, 5], "2": [5], "3": [1]}
    assert [each.frames for each in outcomes] == [3, 6, 1, 1]


def test_a_video_is_read_only_to_the_last_end(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Counting(Drifting):
        def update(self, frame: np.ndarray) -> Any:
            seen.append(1)
            return super().update(frame)

    monkeypatch.setattr(loading, "load_with", lambda name, options: Counting())
    track(library, [row(0, "a.mp4", 0, 2)])
    assert len(seen) == 2


def test_a_row_that_is_not_valid_fails_alone(library: Path) -> None:
    rows = [
        row(0, "a.mp4", box=(500.0, 0.0, 9.0, 9.0)),
        row(1, "a.mp4"),
        row(2, "a.mp4", 6),
        row(3, "c.mp4", 99),
        row(4, "none.mp4"),
        row(5, "b.mp4", box=(0.1, 0.1, 0.5, 0.5)),
    ]
    boxes, outcomes, _ = track(library, rows)
    assert [each.status for each in outcomes] == ["failed", "done", "failed", "failed", "failed", "failed"]
    assert "box must overlap the 64 x 48 frame" in outcomes[0].reason
    assert outcomes[2].reason == "start frame 6 is beyond the end of the video; give a lower one"
    assert outcomes[3].reason == "start frame 99 is beyond the end of the video; give a lower one"
    assert "source not found" in outcomes[4].reason
    assert "looks like shares of the frame" in outcomes[5].reason
    assert set(boxes["id"].to_pylist()) == {"1"}


def test_boxes_in_another_format(library: Path) -> None:
    shares = (8 / 64, 6 / 48, 28 / 64, 22 / 48)
    boxes, _, _ = track(library, [row(0, "c.mp4", 0, 0, shares)], box_format="xyxy", normalized=True)
    assert [boxes[side][0].as_py() for side in ("x", "y", "width", "height")] == list(BOX)


def test_a_truncated_video_keeps_the_boxes_before(library: Path) -> None:
    path = library / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.pix_fmt, stream.width, stream.height = "yuv420p", 64, 48
        for frame in np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    os.truncate(path, path.stat().st_size // 2)
    boxes, (outcome, other), _ = track(library, [row(0, "cut.mp4"), row(1, "c.mp4")])
    assert outcome.status == "failed"
    assert "cut.mp4" in outcome.reason
    assert 0 < outcome.frames < 60
    assert [each["frame"] for each in boxes.to_pylist() if each["video"] == "cut.mp4"] == list(range(outcome.frames))
    assert other.status == "done"


@pytest.mark.parametrize(("errors", "status"), [(2, "done"), (3, "failed")])
def test_errors_that_may_be_temporary_are_tried_again(
    library: Path, monkeypatch: pytest.MonkeyPatch, errors: int, status: str
) -> None:
    pills = library.parent / "pills"
    pills.mkdir()
    for number in range(errors):
        (pills / str(number)).touch()
    monkeypatch.setattr(loading, "load_with", lambda name, options: Failing(pills))
    boxes, (outcome, other), _ = track(library, [row(0, "bright.mp4"), row(1, "c.mp4")])
    assert outcome.status == status
    assert outcome.reason == ("" if status == "done" else "RuntimeError: no memory for a moment")
    frames = [each["frame"] for each in boxes.to_pylist() if each["id"] == "0"]
    assert frames == list(range(4 if status == "done" else 1))
    assert other.status == "done"


SEVERAL = [
    row(0, "a.mp4"),
    row(1, "a.mp4", 2),
    row(2, "b.mp4", 1),
    row(3, "bright.mp4"),
    row(4, "c.mp4"),
    row(5, "d.mp4"),
]


@pytest.mark.parametrize(("most", "careful"), [(99, False), (1, False), (99, True)])
def test_videos_that_share_passes_get_the_boxes_of_videos_alone(
    library: Path, monkeypatch: pytest.MonkeyPatch, most: int, careful: bool
) -> None:
    """Also if the network fails for several at once, and each video tries again alone."""
    write_clip(library / "d.mp4", 5, seed=5)
    network, alone = Spots(most), Spots()
    monkeypatch.setattr(loading, "load_with", lambda name, options: follow_spots(network))
    boxes, outcomes, _ = track(library, SEVERAL, **({"poisoned": {99: "another"}} if careful else {}))
    monkeypatch.setattr(worker_module, "TOGETHER", 1)
    monkeypatch.setattr(loading, "load_with", lambda name, options: follow_spots(alone))
    (library.parent / "out").rename(library.parent / "before")
    expected, same, _ = track(library, SEVERAL)
    order = [("id", "ascending"), ("frame", "ascending")]
    assert boxes.sort_by(order).equals(expected.sort_by(order))
    assert [(each.id, each.frames, each.status) for each in outcomes] == [
        (each.id, each.frames, "done") for each in same
    ]
    assert {1} | ({4} if not careful else set()) == set(network.batches)
    assert set(alone.batches) == {1}
    assert sum(each.seconds for each in outcomes) <= max(e.finished for e in outcomes) - min(e.began for e in outcomes)


def test_a_poisoned_video_is_left_out(library: Path) -> None:
    boxes, outcomes, store = track(library, [row(0, "a.mp4"), row(1, "b.mp4")], poisoned={0: "killed"})
    assert [(each.status, each.reason) for each in outcomes] == [("failed", "killed"), ("done", "")]
    assert set(boxes["video"].to_pylist()) == {"b.mp4"}
    assert store.last_attempt("0000000000-0000000001") == 1  # noted before each video, as the part is careful
    assert store.last_attempt("0000000000-0000000001") is None


def test_the_second_worker_of_a_part_changes_nothing(library: Path) -> None:
    _, first, store = track(library, [row(0, "a.mp4")])
    before = {path: path.read_bytes() for path in Path(store.address).rglob("*.parquet")}
    work = TrackParts(
        store=store, key="k" * 12, model="", options=LoadOptions(), digests={"": "other"}, root=str(library)
    )()
    assert list(work([Part(0, (row(0, "a.mp4"),))], lambda count: None)) == [("0000000000-0000000000", [])]
    assert {path: path.read_bytes() for path in Path(store.address).rglob("*.parquet")} == before
    assert first[0].digest == "d"


def test_long_videos_are_written_as_they_come(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "BATCH_ROWS", 2)
    held: list[int] = []
    add: Callable[..., None] = worker_module._Spool.add

    def note(self: Any, *values: Any) -> None:
        add(self, *values)
        held.append(len(self._rows))

    monkeypatch.setattr(worker_module._Spool, "add", note)
    boxes, _, _ = track(library, [row(0, "a.mp4")])
    assert boxes["frame"].to_pylist() == list(range(6))
    assert max(held) < 2


def test_a_folder_that_cannot_be_written_is_an_error(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Store, *_: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "commit", refuse)
    with pytest.raises(SingletrackError, match=r"cannot be written: OSError: .* No space left"):
        track(library, [row(0, "a.mp4")])


def test_addresses_are_read_through_fsspec(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    fsspec.filesystem("memory").put_file(str(library / "c.mp4"), "/videos/c.mp4")
    monkeypatch.setattr(worker_module, "FETCH_WAIT", 0.0)
    boxes, outcomes, _ = track(library, [row(0, "memory://videos/c.mp4"), row(1, "memory://videos/none.mp4")])
    assert [each.status for each in outcomes] == ["done", "failed"]
    assert "cannot read memory://videos/none.mp4" in outcomes[1].reason
    assert set(boxes["video"].to_pylist()) == {"memory://videos/c.mp4"}


def test_a_connection_that_breaks_is_tried_again(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.put_file(str(library / "c.mp4"), "/videos/c.mp4")
    get, broken = type(system).get_file, [1, 1, 1, 1]

    def break_first(self: Any, source: str, target: str, **options: Any) -> None:
        if broken:
            broken.pop()
            raise ConnectionError("reset by peer")
        get(self, source, target, **options)

    monkeypatch.setattr(type(system), "get_file", break_first)
    monkeypatch.setattr(worker_module, "FETCH_WAIT", 0.0)
    _, outcomes, _ = track(library, [row(0, "memory://videos/c.mp4"), row(1, "memory:///videos/c.mp4")])
    assert [each.status for each in outcomes] == ["failed", "done"]  # three attempts each
    assert outcomes[0].reason.endswith("after 3 attempts (ConnectionError: reset by peer)")


def test_a_video_on_a_web_server(library: Path) -> None:
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(library))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        _, outcomes, _ = track(library, [row(0, f"{address}/c.mp4"), row(1, f"{address}/none.mp4")])
        server.shutdown()
        thread.join()
    assert [(each.status, each.frames) for each in outcomes] == [("done", 3), ("failed", 0)]
    assert "none.mp4" in outcomes[1].reason
