"""The handlers: what each answers, and what it says about bad input."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient
from tests.web.served import ADDRESS, FRAMES, SIZE_WH, TOKEN

from singletrack.cli.main import main
from singletrack.errors import VideoError
from singletrack.geometry.boxes import Box
from singletrack.labeling import LabeledBox, Project
from singletrack.labeling.formats import FORMATS, read_labels
from singletrack.labeling.formats.base import visible_boxes
from singletrack.labeling.labels import VideoInfo
from singletrack.labeling.propagate import TrackProgress
from singletrack.video import open_frames
from singletrack.web import workspace as workspace_module
from singletrack.web.app import Handlers, build_app
from singletrack.web.openapi import OPERATIONS, describe_api
from singletrack.web.pictures import Pictures
from singletrack.web.workspace import Workspace, find_clips

BOX = [10.5, 20.25, 30.0, 40.12]
VIDEO = VideoInfo(name="clip.mp4", width=SIZE_WH[0], height=SIZE_WH[1], frame_count=FRAMES, fps=30.0)


@pytest.fixture
def api(client: TestClient, clip_id: str) -> Callable[..., Any]:
    """Calls an operation below the clip; checks the status and gives the JSON."""

    def call(method: str, path: str = "", status: int = 200, **arguments: Any) -> Any:
        answer = client.request(method, f"/api/clips/{clip_id}{path}", **arguments)
        assert answer.status_code == status, answer.text
        return answer.json()

    return call


# --- what it does ---


def test_a_clip_is_described(api: Callable[..., Any]) -> None:
    state = api("GET")
    assert state["video"] == {"width": SIZE_WH[0], "height": SIZE_WH[1], "frame_count": FRAMES, "fps": 30.0}
    assert (state["name"], state["project"]) == ("clip.mp4", "clip.singletrack")
    assert (state["targets"], state["cuts"], state["can_undo"], state["can_redo"]) == ([], [], False, False)


def test_a_keyframe_goes_in_and_comes_out_to_the_hundredth(api: Callable[..., Any], client: TestClient) -> None:
    assert api("POST", "/targets", json={"name": "car", "label": "vehicle"})["id"] == 1
    state = api("PUT", "/targets/1/keyframes/7", json={"box": BOX})
    assert state["boxes"] == {"1": [[7, *BOX, 1.0, 1, "person"]]}
    assert state["range"] == [0, FRAMES - 1]
    assert state["targets"][0]["stale"] == [[0, 6], [8, FRAMES - 1]]
    assert state["targets"][0]["left"] == FRAMES - 1
    assert api("GET", "/boxes") == {"boxes": {"1": [[7, *BOX, 1.0, 1, "person"]]}}
    assert api("GET", "/boxes", params={"first": 8})["boxes"] == {"1": []}


def test_only_the_boxes_around_a_keyframe_are_sent(api: Callable[..., Any]) -> None:
    api("POST", "/targets", json={"name": "car"})
    for frame in (0, 10, 20, 30):
        api("PUT", f"/targets/1/keyframes/{frame}", json={"box": BOX})
    state = api("PUT", "/targets/1/keyframes/14", json={"box": BOX})
    assert state["range"] == [10, 20]
    assert [row[0] for row in state["boxes"]["1"]] == list(range(10, 21))
    assert [row[0] for row in state["boxes"]["1"] if row[6] & 1] == [10, 14, 20]
    state = api("DELETE", "/targets/1/keyframes/14")
    assert state["range"] == [10, 20]
    assert [row[0] for row in state["boxes"]["1"] if row[6] & 1] == [10, 20]


def test_boxes_of_before_a_change_are_sent_as_outdated(api: Callable[..., Any], workspace: Workspace) -> None:
    api("POST", "/targets", json={"name": "car", "frame": 0, "box": BOX})
    project = next(iter(workspace.clips.values())).project
    (segment,) = project.stale_segments(1)
    old = LabeledBox(box=(1.0, 2.0, 3.0, 4.0), score=0.5, source="tracker")
    project.store_track(segment, dict.fromkeys(range(1, FRAMES), old))
    state = api("PUT", "/targets/1/keyframes/10", json={"box": BOX})
    rows = state["boxes"]["1"]
    assert [row[0] for row in rows] == list(range(FRAMES))
    assert rows[11] == [11, 1.0, 2.0, 3.0, 4.0, 0.5, 4, "tracker"]
    assert [row[0] for row in rows if row[6] & 4] == [frame for frame in range(1, FRAMES) if frame != 10]


def test_absent(api: Callable[..., Any]) -> None:
    api("POST", "/targets", json={"name": "car"})
    state = api("PUT", "/targets/1/keyframes/3", json={"box": None})
    assert state["boxes"]["1"][0] == [3, None, None, None, None, 1.0, 1, "person"]


def test_undo_and_redo_give_all_boxes(api: Callable[..., Any]) -> None:
    api("POST", "/targets", json={"name": "car"})
    api("PUT", "/targets/1/keyframes/3", json={"box": BOX})
    state = api("POST", "/undo")
    assert (state["boxes"], state["range"], state["can_redo"]) == ({"1": []}, None, True)
    assert "3" in state["edit"]
    state = api("POST", "/redo")
    assert (state["boxes"]["1"][0][:5], state["can_redo"]) == ([3, *BOX], False)
    assert api("POST", "/redo")["edit"] is None


def test_a_target_with_its_first_box_is_one_edit(api: Callable[..., Any]) -> None:
    state = api("POST", "/targets", json={"name": "car", "frame": 7, "box": BOX})
    assert (state["id"], state["boxes"]) == (1, {"1": [[7, *BOX, 1.0, 1, "person"]]})
    state = api("POST", "/undo")
    assert (state["targets"], state["can_undo"]) == ([], False)
    state = api("POST", "/redo")
    assert state["boxes"] == {"1": [[7, *BOX, 1.0, 1, "person"]]}


@pytest.mark.parametrize(
    "change", [{"box": None}, {"frame": None}, {"frame": 40}, {"frame": "x"}, {"box": [1, 2, 0, 4]}]
)
def test_a_target_with_a_bad_first_box_is_not_added(change: dict[str, Any], client: TestClient, clip_id: str) -> None:
    body = {"name": "car", "frame": 7, "box": BOX, **change}
    answer = client.post(f"/api/clips/{clip_id}/targets", json=body)
    assert answer.status_code == 400
    assert client.get(f"/api/clips/{clip_id}").json()["targets"] == []


def test_targets_are_changed_and_removed(api: Callable[..., Any]) -> None:
    api("POST", "/targets", json={"name": "car", "color": "#112233"})
    (target,) = api("PATCH", "/targets/1", json={"label": "van", "attributes": {"side": "left"}})["targets"]
    assert {**target, "stale": [], "left": 0} == {
        "id": 1,
        "name": "car",
        "label": "van",
        "color": "#112233",
        "attributes": {"side": "left"},
        "stale": [],
        "left": 0,
    }
    assert api("DELETE", "/targets/1")["targets"] == []


def test_frames_are_those_of_the_decoder(client: TestClient, clip: Path, clip_id: str) -> None:
    with open_frames(clip) as frames:
        for number in (0, 39, 17, 16, 15):
            answer = client.get(f"/api/clips/{clip_id}/frames/{number}")
            assert answer.headers["content-type"] == "image/jpeg"
            picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1), cv2.COLOR_BGR2RGB)
            difference = np.abs(picture.astype(int) - frames.frame(number)).mean()
            others = [np.abs(picture.astype(int) - frames.frame(each)).mean() for each in range(40) if each != number]
            assert difference < min(others)
    small = cv2.imdecode(np.frombuffer(client.get(f"/api/clips/{clip_id}/frames/3?scale=2").content, np.uint8), 1)
    assert small.shape == (90, 160, 3)


def test_the_cache_of_pictures_is_bounded(clip: Path) -> None:
    pictures = Pictures(clip, cache_bytes=40_000)
    for number in range(40):
        pictures.jpeg(number)
    assert sum(map(len, pictures._cache.values())) <= 40_000
    assert (39, 1) in pictures._cache
    assert (0, 1) not in pictures._cache
    pictures.close()
    with pytest.raises(VideoError):
        pictures.jpeg(0)


def test_stepping_backward_decodes_a_chunk_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(clip)
    expected = [Pictures(clip).jpeg(number) for number in range(40)]
    asked: list[int] = []
    original = pictures._frames.frame
    monkeypatch.setattr(pictures._frames, "frame", lambda number: (asked.append(number), original(number))[1])
    assert [pictures.jpeg(number) for number in range(39, -1, -1)] == expected[::-1]
    assert len(asked) == 40
    pictures.close()


def test_a_frame_that_is_offered_is_not_decoded_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(clip)
    frame = pictures._frames.frame(7)
    expected = Pictures(clip).jpeg(7)

    def refuse(number: int) -> Any:
        raise AssertionError(f"frame {number} is decoded")

    monkeypatch.setattr(pictures._frames, "frame", refuse)
    pictures.offer(7, frame)
    assert pictures.jpeg(7) == expected
    with pytest.raises(AssertionError, match="frame 8"):
        pictures.jpeg(8)
    pictures.offer(9, frame)
    pictures.take_back()
    with pytest.raises(AssertionError, match="frame 9"):
        pictures.jpeg(9)
    pictures.close()


# --- tracking ---


def follow_fake(
    boxes: Mapping[int, Box], gate: threading.Event
) -> Callable[..., bool]:  # in place of track_segments: a frame at a time, until it is stopped
    def track(
        project: Project,
        *,
        targets: Any,
        first: int,
        last: Any,
        tracker: Any,
        on_boxes: Callable[[int, Mapping[int, LabeledBox], TrackProgress], None],
        on_frame: Callable[[int, NDArray[np.uint8]], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        for done, (frame, box) in enumerate(boxes.items(), 1):
            if should_stop():
                return False
            on_frame(frame, np.full((90, 160, 3), frame, np.uint8))
            on_boxes(1, {frame: LabeledBox(box=box, score=0.5, source="tracker")}, TrackProgress(done=done, total=9))
        gate.wait(5)
        return not should_stop()

    return track


def test_tracking_reports_boxes_and_its_end(
    client: TestClient, clip_id: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(workspace_module, "track_segments", follow_fake({1: (1, 2, 3, 4), 2: (2, 2, 3, 4)}, gate))
    monkeypatch.setattr(Workspace, "tracker", lambda self: None)
    client.get(f"/api/clips/{clip_id}/frames/0")  # a page shows the clip
    with client.websocket_connect(
        f"ws://127.0.0.1:8713/api/clips/{clip_id}/events", headers={"origin": ADDRESS}
    ) as socket:
        assert socket.receive_json() == [{"type": "hello"}]
        assert client.post(f"/api/clips/{clip_id}/track", json={}).status_code == 202
        [first] = socket.receive_json()
        assert first.pop("seconds") >= 0  # since tracking began
        assert first == {
            "type": "boxes",
            "target": 1,
            "boxes": [[1, 1, 2, 3, 4, 0.5, 0, "tracker"]],
            "picture": 1,
            "done": 1,
            "total": 9,
        }
        answer = client.post(f"/api/clips/{clip_id}/track", json={})
        assert (answer.status_code, "stop it first" in answer.json()["error"]) == (400, True)
        assert client.get(f"/api/clips/{clip_id}").json()["tracking"] is True
        gate.set()
        messages: list[Any] = []
        while len(messages) < 2:
            messages += socket.receive_json()
        assert messages[0]["boxes"] == [[2, 2, 2, 3, 4, 0.5, 0, "tracker"]]
        assert messages[0]["picture"] is None  # so soon after the first
        assert messages[1] == {"type": "tracked", "outcome": "finished", "error": None}
        assert client.get(f"/api/clips/{clip_id}").json()["tracking"] is False


@pytest.mark.parametrize(("model", "threads"), [("ostrack-tiny", 3), ("ostrack-small", None), ("mine.onnx", None)])
def test_a_light_network_leaves_a_core_to_the_page(
    model: str, threads: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(workspace_module, "usable_cores", lambda: 4)
    monkeypatch.setattr("singletrack.loading.load", lambda name, **options: given.append(options["threads"]))
    Workspace(secret=TOKEN, model=model, upload_folder=tmp_path).tracker()
    assert given == [threads]


def test_tracking_is_stopped(client: TestClient, clip_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(workspace_module, "track_segments", follow_fake({}, gate))
    monkeypatch.setattr(Workspace, "tracker", lambda self: None)
    with client.websocket_connect(
        f"ws://127.0.0.1:8713/api/clips/{clip_id}/events", headers={"origin": ADDRESS}
    ) as socket:
        socket.receive_json()
        client.post(f"/api/clips/{clip_id}/track", json={})
        threading.Timer(0.2, gate.set).start()
        assert client.post(f"/api/clips/{clip_id}/stop").json() == {"tracking": False}
        assert socket.receive_json() == [{"type": "tracked", "outcome": "stopped", "error": None}]


def test_tracking_ends_when_none_of_its_targets_is_left(
    client: TestClient, clip_id: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(workspace_module, "track_segments", follow_fake({}, gate))
    monkeypatch.setattr(Workspace, "tracker", lambda self: None)
    for name in ("car", "dog", "cat"):
        client.post(f"/api/clips/{clip_id}/targets", json={"name": name})
    with client.websocket_connect(
        f"ws://127.0.0.1:8713/api/clips/{clip_id}/events", headers={"origin": ADDRESS}
    ) as socket:
        socket.receive_json()
        client.post(f"/api/clips/{clip_id}/track", json={"targets": [1, 2]})
        stops = workspace.clips[clip_id]._stop
        client.delete(f"/api/clips/{clip_id}/targets/1")
        assert not stops.is_set()  # target 2 is left
        client.delete(f"/api/clips/{clip_id}/targets/2")
        assert stops.is_set()  # target 3 is not tracked
        gate.set()
        messages: list[Any] = []
        while not messages or messages[-1]["type"] != "tracked":
            messages += socket.receive_json()
        assert messages[-1] == {"type": "tracked", "outcome": "removed", "error": None}


def test_an_error_of_tracking_is_said_in_the_page(
    client: TestClient, clip_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise VideoError("the clip is damaged")

    monkeypatch.setattr(workspace_module, "track_segments", fail)
    monkeypatch.setattr(Workspace, "tracker", lambda self: None)
    with client.websocket_connect(
        f"ws://127.0.0.1:8713/api/clips/{clip_id}/events", headers={"origin": ADDRESS}
    ) as socket:
        socket.receive_json()
        client.post(f"/api/clips/{clip_id}/track", json={})
        assert socket.receive_json() == [{"type": "tracked", "outcome": "failed", "error": "the clip is damaged"}]


def test_other_pages_are_told_of_a_change(client: TestClient, clip_id: str) -> None:
    with client.websocket_connect(
        f"ws://127.0.0.1:8713/api/clips/{clip_id}/events", headers={"origin": ADDRESS}
    ) as socket:
        socket.receive_json()
        revision = client.post(f"/api/clips/{clip_id}/targets", json={"name": "car"}).json()["revision"]
        assert socket.receive_json() == [{"type": "changed", "revision": revision}]


# --- labels in and out ---


def test_labels_are_exported_and_imported_again(api: Callable[..., Any], client: TestClient, clip_id: str) -> None:
    api("POST", "/targets", json={"name": "car", "label": "vehicle"})
    api("PUT", "/targets/1/keyframes/0", json={"box": BOX})
    api("PUT", "/targets/1/keyframes/30", json={"box": [40, 20, 30, 40]})
    for row in client.get("/api/formats").json()["formats"]:
        if row["name"] == "parquet":
            continue
        answer = client.get(f"/api/clips/{clip_id}/export", params={"format": row["name"]})
        assert answer.status_code == 200, answer.text
        assert "attachment" in answer.headers["content-disposition"]
        name = answer.headers["content-disposition"].split('filename="')[1].rstrip('"')
        assert name.startswith("clip")
    answer = client.get(f"/api/clips/{clip_id}/export", params={"format": "mot"})
    assert "gt/gt.txt" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


PACKAGES = {"parquet": "pyarrow", "yolo": "yaml"}  # that reading needs


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_exported_is_read_again(
    format: str, pictures: bool, api: Callable[..., Any], client: TestClient, clip_id: str, clip: Path, tmp_path: Path
) -> None:
    if format in PACKAGES:
        pytest.importorskip(PACKAGES[format], reason='pip install "singletrack[labels]"')
    if pictures and not FORMATS[format].pictures:
        pytest.skip("no pictures in this format")
    api("POST", "/targets", json={"name": "car", "label": "vehicle"})
    api("PUT", "/targets/1/keyframes/0", json={"box": BOX})
    api("PUT", "/targets/1/keyframes/30", json={"box": [40, 20, 30, 40]})
    query = {"format": format, "pictures": str(pictures).lower()}
    answer = client.get(f"/api/clips/{clip_id}/export", params=query)
    name = answer.headers["content-disposition"].split('filename="')[1].rstrip('"')
    path = tmp_path / name
    path.write_bytes(answer.content)
    state = api("POST", "/import", params={"name": name}, content=answer.content)
    (id,) = state["ids"]
    rows = {row[0]: row[1:5] for row in state["boxes"][str(id)] if row[1] is not None}
    assert sorted(rows) == list(range(31))
    assert rows[0] == pytest.approx(BOX, abs=0.01)
    assert rows[30] == pytest.approx([40, 20, 30, 40], abs=0.01)
    sources = [path]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "by hand")
            assert any(entry.endswith(".jpg") for entry in archive.namelist()) is pictures
        sources.append(tmp_path / "by hand")
    for source in sources:
        out = source.with_suffix(".csv") if source.suffix == ".zip" else tmp_path / "again.csv"
        assert main(["labels", str(source), "--video", str(clip), "--out", str(out)]) == 0
        (target,) = read_labels(out, video=VIDEO).targets
        assert sorted(visible_boxes(target.boxes.items())) == list(range(31))


def test_downloads_of_formats_that_share_an_ending_have_names_of_their_own(
    api: Callable[..., Any], client: TestClient, clip_id: str
) -> None:
    api("POST", "/targets", json={"name": "car", "frame": 0, "box": BOX})
    names = []
    for row in client.get("/api/formats").json()["formats"]:
        answer = client.get(f"/api/clips/{clip_id}/export", params={"format": row["name"]})
        names.append(answer.headers["content-disposition"].split('filename="')[1].rstrip('"'))
    assert len(set(names)) == len(names)
    assert {"clip-coco.json", "clip-coco-video.json", "clip-label-studio.json", "clip.csv", "clip.xml"} <= set(names)
    assert {"clip-mot.zip", "clip-got10k.zip"} <= set(names)


def test_pictures_are_exported_on_request(api: Callable[..., Any], client: TestClient, clip_id: str) -> None:
    api("POST", "/targets", json={"name": "car", "label": "vehicle"})
    api("PUT", "/targets/1/keyframes/5", json={"box": BOX})
    answer = client.get(f"/api/clips/{clip_id}/export", params={"format": "coco", "pictures": "true"})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert sum(name.endswith((".jpg", ".png")) for name in names) == 1


# --- what it says about bad input ---


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/targets", b"{", 400, "JSON"),
        ("POST", "/targets", b"[1]", 400, "JSON object"),
        ("POST", "/targets", b"\xff", 400, "JSON"),
        ("POST", "/targets", b"[" * 100_000, 400, "JSON"),
        ("POST", "/targets", b"{}", 400, "name"),
        ("POST", "/targets", b'{"name": ""}', 400, "name"),
        ("POST", "/targets", b'{"name": 5}', 400, "name"),
        ("POST", "/targets", b'{"name": "a", "color": "red"}', 400, "#rrggbb"),
        ("POST", "/targets", b'{"name": "a", "attributes": {"b": 1}}', 400, "b must be a text"),
        ("POST", "/targets", b'{"name": "' + b"a" * 501 + b'"}', 400, "500"),
        ("POST", "/targets", b" " * 1_000_001, 413, "at most"),
        ("PATCH", "/targets/9", b'{"name": "a"}', 400, "9"),
        ("PATCH", "/targets/x", b"{}", 400, "whole number"),
        ("PATCH", "/targets/99999999999999999999", b"{}", 400, "whole number"),
        ("DELETE", "/targets/9", b"", 400, "9"),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [1, 2, 3]}', 400, "four numbers"),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [1, 2, 3, NaN]}', 400, "four numbers"),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [1, 2, 3, "4"]}', 400, "four numbers"),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [1, 2, true, 4]}', 400, "four numbers"),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [1, 2, -3, 4]}', 400, ""),
        ("PUT", "/targets/1/keyframes/0", b'{"box": [9000, 2, 3, 4]}', 400, ""),
        ("PUT", "/targets/1/keyframes/40", b'{"box": [1, 2, 3, 4]}', 400, "40"),
        ("DELETE", "/targets/1/keyframes/1", b"", 400, ""),
        ("GET", "/frames/40", b"", 400, "0 to 39"),
        ("GET", "/frames/x", b"", 400, "whole number"),
        ("GET", "/frames/0?scale=3", b"", 400, "scale"),
        ("GET", "/boxes?first=x", b"", 400, "whole number"),
        ("GET", "/boxes?target=9", b"", 400, "9"),
        ("POST", "/track", b'{"first": "x"}', 400, "frame numbers"),
        ("POST", "/track", b'{"targets": 5}', 400, "target ids"),
        ("GET", "/export", b"", 400, "format must be one of"),
        ("GET", "/export?format=../x", b"", 400, "format must be one of"),
        ("GET", "/export?format=cvat&tolerance=x", b"", 400, "tolerance"),
        ("GET", "/export?format=cvat&tolerance=-1", b"", 400, "tolerance"),
        ("POST", "/import?name=a.xml", b"<a", 400, ""),
        ("POST", "/import?name=a.json", b"{}", 400, ""),
        ("POST", "/import?name=a.exe", b"MZ", 400, ""),
        ("POST", "/import?name=a.csv", b"", 400, ""),
        ("POST", "/import", b"", 400, "name"),
        ("GET", "/nothing", b"", 404, ""),
        ("POST", "/boxes", b"", 405, ""),
    ],
)
def test_bad_input_gets_a_sentence(
    client: TestClient,
    api: Callable[..., Any],
    clip_id: str,
    method: str,
    path: str,
    body: bytes,
    status: int,
    words: str,
) -> None:
    api("POST", "/targets", json={"name": "car"})
    answer = client.request(method, f"/api/clips/{clip_id}{path}", content=body)
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert words in sentence
    assert "Traceback" not in sentence
    assert len(client.get(f"/api/clips/{clip_id}").json()["targets"]) == 1  # nothing happened


@pytest.mark.parametrize(
    ("path", "name", "body"),
    [
        ("/import", "mine.json", b"{broken"),
        ("/import", "mine.xml", b"<annotations><x></annotations>"),
        ("/import", "mine.csv", b"frame,x\n1,2\n"),
        ("/import", "mine.exe", b"MZ"),
        ("", "mine.mp4", b"no video"),
    ],
)
def test_a_file_is_called_by_its_own_name(client: TestClient, clip_id: str, path: str, name: str, body: bytes) -> None:
    where = f"/api/clips/{clip_id}{path}" if path else "/api/clips"
    said = client.post(f"{where}?name={name}", content=body).json()["error"]
    assert name in said
    assert "/" not in said.split(name)[0]
    assert "singletrack-" not in said


def test_an_unknown_clip(client: TestClient) -> None:
    answer = client.get("/api/clips/0123456789abcdef")
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no such clip; reload the page")


def test_a_bug_gets_a_sentence_too(workspace: Workspace, clip_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("singletrack.web.app._describe", fail)
    app = build_app(workspace, token=TOKEN)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        answer = client.get(f"/api/clips/{clip_id}", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "something went wrong in singletrack (ZeroDivisionError); the terminal shows more"
    }


# --- sources, description ---


def test_clips_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("b.mp4", "a10.MP4", "a2.mkv", "notes.txt", ".hidden.mp4"):
        (tmp_path / "videos" / name).touch()
    assert [Path(clip).name for clip in find_clips(tmp_path / "videos")] == ["a2.mkv", "a10.MP4", "b.mp4"]
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").touch()
    assert find_clips(tmp_path / "frames") == [tmp_path / "frames"]
    assert find_clips("frames/*.png") == ["frames/*.png"]


def test_a_clip_keeps_its_id_until_it_changes(clip: Path, tmp_path: Path) -> None:
    def id_of(secret: str) -> str:
        return Workspace(secret=secret, upload_folder=tmp_path).add(clip).id

    before = id_of("a")
    assert id_of("a") == before
    assert id_of("b") != before
    clip.write_bytes(clip.read_bytes() + b"x")
    assert id_of("a") != before


def test_every_operation_is_documented_and_exists(client: TestClient) -> None:
    for operation in OPERATIONS:
        assert callable(getattr(Handlers, operation.handler))
    handlers = {name for name in vars(Handlers) if not name.startswith("_")}
    assert handlers == {operation.handler for operation in OPERATIONS}
    description = client.get("/openapi.json").json()
    assert description == describe_api()
    assert len({each["operationId"] for path in description["paths"].values() for each in path.values()}) == len(
        OPERATIONS
    )


def test_a_format_whose_package_is_missing_is_not_offered(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered() -> set[str]:
        return {each["name"] for each in client.get("/api/formats").json()["formats"]}

    monkeypatch.setattr("singletrack.labeling.formats.base.find_spec", lambda name: object())
    assert offered() == set(FORMATS)
    monkeypatch.setattr("singletrack.labeling.formats.base.find_spec", lambda name: None)
    assert offered() == set(FORMATS) - {"parquet"}


# --- clips that are sent ---


def test_dropped_clips_stay_with_their_labels_and_others_go(
    workspace: Workspace, client: TestClient, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    ids = [
        client.post("/api/clips", params={"name": name}, content=clip.read_bytes()).json()["id"]
        for name in ("dog.mp4", "dog.mp4", "cat.mp4", "never-opened.mp4")
    ]
    assert client.post("/api/clips", params={"name": "broken.mp4"}, content=b"no video").status_code == 422
    for id in ids[:3]:
        assert client.get(f"/api/clips/{id}").status_code == 200  # makes its project
    client.post(f"/api/clips/{ids[1]}/targets", json={"name": "dog", "frame": 0, "box": BOX})
    workspace.close()
    assert workspace.finish_uploads() == [(folder / "dog-2.mp4", folder / "dog-2.singletrack")]
    assert sorted(path.name for path in folder.iterdir()) == ["dog-2.mp4", "dog-2.singletrack"]
    with Project.open(folder / "dog-2.singletrack") as project:
        assert [target.name for target in project.targets()] == ["dog"]
    assert clip.exists()
    assert workspace.finish_uploads() == []


def test_the_upload_folder_goes_if_it_was_made_here_and_is_empty(
    workspace: Workspace, client: TestClient, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    for existed in (False, True):
        if existed:
            folder.mkdir()
        client.post("/api/clips", params={"name": "dog.mp4"}, content=clip.read_bytes())
        assert folder.exists()
        other = Workspace(secret=TOKEN, upload_folder=folder)
        other.start_upload("cat.mp4", None)
        assert other.finish_uploads() == []
        workspace.close()
        assert workspace.finish_uploads() == []
        assert folder.exists() is existed
        workspace = Workspace(secret=TOKEN, upload_folder=folder)


def test_a_dropped_clip_that_a_person_moved_takes_no_labels_along(
    workspace: Workspace, client: TestClient, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    id = client.post("/api/clips", params={"name": "dog.mp4"}, content=clip.read_bytes()).json()["id"]
    client.post(f"/api/clips/{id}/targets", json={"name": "dog"})
    workspace.close()
    (folder / "dog.mp4").rename(tmp_path / "mine.mp4")
    assert workspace.finish_uploads() == []
    with Project.open(folder / "dog.singletrack", source=tmp_path / "mine.mp4") as project:
        assert len(project.targets()) == 1


def test_the_project_of_a_dropped_clip_is_named_with_its_folder(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(secret=TOKEN, upload_folder=Path("singletrack-clips"))
    with TestClient(build_app(workspace, token=TOKEN), base_url=ADDRESS) as client:
        client.get("/", params={"token": TOKEN})
        id = client.post("/api/clips", params={"name": "dog.mp4"}, content=clip.read_bytes()).json()["id"]
        shown = client.get(f"/api/clips/{id}").json()["project"]
    assert shown == "singletrack-clips/dog.singletrack"
    assert Path(shown).is_file()
