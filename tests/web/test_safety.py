"""Each line of the page's safety rules, with a request that breaks it."""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.web.served import ADDRESS, TOKEN

from singletrack.errors import InputError
from singletrack.video import VideoWriter
from singletrack.web.app import STATIC, build_app
from singletrack.web.openapi import OPERATIONS
from singletrack.web.security import is_loopback
from singletrack.web.server import load_token, serve
from singletrack.web.workspace import Workspace

BEARER = {"authorization": f"Bearer {TOKEN}"}
PATHS = ["/", "/docs", "/openapi.json", "/static/app.js", "/api/clips", "/api/formats", "/nothing"]

# --- the token ---


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_token(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "singletrack label" in answer.text


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.method != "WEBSOCKET"], ids=lambda o: o.handler
)
def test_no_operation_works_without_the_token(stranger: TestClient, clip_id: str, operation: object) -> None:
    path = operation.path.format(clip=clip_id, target=1, frame=0)  # type: ignore[attr-defined]
    assert stranger.request(operation.method, path).status_code == 403  # type: ignore[attr-defined]


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é"])
def test_a_wrong_token_opens_nothing(stranger: TestClient, token: str) -> None:
    assert stranger.get("/", params={"token": token}, follow_redirects=False).status_code == 403
    assert not stranger.cookies
    assert stranger.get("/api/clips", headers={"authorization": f"Bearer {token}".encode()}).status_code == 403
    assert stranger.get("/api/clips", headers={"cookie": f"singletrack-8713={token}".encode()}).status_code == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(stranger: TestClient) -> None:
    answer = stranger.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")  # the address bar no longer shows it
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("singletrack-8713=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/api/clips").status_code == 200


def test_programs_send_the_token_as_a_header(stranger: TestClient) -> None:
    assert stranger.get("/api/clips", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_websocket_needs_the_token_and_the_origin(stranger: TestClient, clip_id: str) -> None:
    path = f"/api/clips/{clip_id}/events"

    def open_socket(**headers: str) -> None:
        with stranger.websocket_connect(f"ws://127.0.0.1:8713{path}", headers=headers) as socket:
            assert socket.receive_json() == [{"type": "hello"}]

    with pytest.raises(WebSocketDisconnect):
        open_socket(origin=ADDRESS)
    stranger.get("/", params={"token": TOKEN})
    for origin in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
        with pytest.raises(WebSocketDisconnect):
            open_socket(**origin)
    open_socket(origin=ADDRESS)


def test_the_token_is_kept_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "label-token"
    token = load_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(path) == token
    os.chmod(path, 0o644)  # others may have read it
    assert load_token(path) != token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    assert len(load_token(path)) >= 32


# --- who asks, and for whom ---


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8713",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8713.evil.example",
        "192.168.1.2:8713",
        "",
    ],
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/clips", headers={"host": host})
    assert answer.status_code == 403
    assert "Host" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8713", "localhost:8713", "[::1]:8713"])
def test_the_names_of_this_machine_are_taken(client: TestClient, host: str) -> None:
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/clips", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "http://localhost:8713", "file://"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(client: TestClient, clip_id: str, origin: str, method: str) -> None:
    answer = client.request(
        method, f"/api/clips/{clip_id}/{'boxes' if method == 'GET' else 'undo'}", headers={"origin": origin}
    )
    assert answer.status_code == 403
    assert "Origin" in answer.text


def test_the_page_itself_may_ask(client: TestClient, clip_id: str) -> None:
    assert client.post(f"/api/clips/{clip_id}/undo", headers={"origin": ADDRESS}).status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.9.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("evil.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_listening_beyond_this_machine_must_be_allowed(
    workspace: Workspace, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(*_: object) -> None:
        raise AssertionError("it listens")

    monkeypatch.setattr("singletrack.web.server._listen", listen)
    with pytest.raises(InputError, match=r"add --allow-remote.*not encrypted"):
        serve(workspace, host=host)


def test_a_remote_server_takes_addresses_but_no_foreign_names(workspace: Workspace) -> None:
    with TestClient(build_app(workspace, token=TOKEN, remote=True), base_url=ADDRESS) as client:
        for host, status in [("192.168.1.2:8713", 200), ("evil.example:8713", 403)]:
            headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
            assert client.get("/api/clips", headers=headers).status_code == status


# --- what is served ---


@pytest.mark.parametrize("path", ["/", "/docs", "/static/app.js", "/api/clips", "/nothing"])
def test_every_answer_forbids_foreign_and_inline_code(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_asks_no_third_party_and_has_no_inline_code() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)) - {"http://www.w3.org"}
        assert not addresses, f"{path.name}: {addresses}"
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text), path.name
        if path.suffix == ".js":
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
                path.name
            )


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/api/clips/..%2f..%2fetc%2fpasswd",
        "/api/clips/../../etc/passwd",
        "/api/clips/{clip}/frames/..%2f..%2f0",
        "/api/clips/{clip}/frames/0.jpg",
        "/api/clips/{clip}/frames/-1",
        "/api/clips/clip.mp4",
    ],
)
def test_ids_are_no_paths(client: TestClient, clip_id: str, path: str) -> None:
    answer = client.get(path.replace("{clip}", clip_id))
    assert answer.status_code in (400, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_the_page_is_not_told_where_a_clip_is(client: TestClient, clip: Path, clip_id: str) -> None:
    for path in ("/api/clips", f"/api/clips/{clip_id}"):
        assert str(clip.parent) not in client.get(path).text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "=1+1", "../../etc/passwd", "\u202e", "a" * 500])
def test_names_come_back_as_the_text_that_was_sent(client: TestClient, clip_id: str, name: str) -> None:
    answer = client.post(
        f"/api/clips/{clip_id}/targets", json={"name": name, "label": name, "attributes": {name: name}}
    )
    assert answer.headers["content-type"] == "application/json"
    target = answer.json()["targets"][0]
    assert (target["name"], target["label"], target["attributes"]) == (name, name, {name: name})


def test_formulas_are_quoted_in_csv(client: TestClient, clip_id: str) -> None:
    client.post(f"/api/clips/{clip_id}/targets", json={"name": "=1+1", "label": "@SUM(A1)"})
    client.put(f"/api/clips/{clip_id}/targets/1/keyframes/0", json={"box": [1, 2, 30, 40]})
    text = client.get(f"/api/clips/{clip_id}/export", params={"format": "csv"}).text
    assert "1+1" in text
    assert not re.search(r"(^|,)\"?[=@+]", text, re.MULTILINE)


# --- uploads ---


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("dog.mp4", "dog.mp4"),
        ("DOG.MP4", "DOG.mp4"),
        ("my dog_2-b.webm", "my dog_2-b.webm"),
        ("köpek.mp4", "köpek.mp4"),
        ("../../evil name.mp4", "evil name.mp4"),
        ("..\\x.mp4", "x.mp4"),
        ("..\\..\\x.mp4", "x.mp4"),
        ("C:\\a.mp4", "a.mp4"),
        ("C:a.mp4", "Ca.mp4"),
        ("/etc/passwd.mp4", "passwd.mp4"),
        ("...mp4", "clip.mp4"),
        (".hidden.mp4", "hidden.mp4"),
        ("-rf.mp4", "rf.mp4"),
        ("--out=x.mp4", "outx.mp4"),
        ("$(reboot);`id`|a.mp4", "rebootida.mp4"),
        ("a\n\tb\0c.mp4", "abc.mp4"),
        ("a\u202eb.mp4", "ab.mp4"),
        ("\uff0f\uff0e\uff0ex.mp4", "x.mp4"),
        ("<script>alert(1)</script>.mp4", "script.mp4"),
        ("<script>alert(1).mp4", "scriptalert1.mp4"),
        ("CON.mp4", "_CON.mp4"),
        ("com1.mp4", "_com1.mp4"),
        ("a.sh.mp4", "ash.mp4"),
        ("a" * 400 + ".mp4", "a" * 80 + ".mp4"),
        ("\U00020000" * 100 + ".mp4", "\U00020000" * 50 + ".mp4"),  # of four bytes each
    ],
)
def test_a_dropped_clip_goes_to_the_upload_folder_under_a_safe_name(
    workspace: Workspace, tmp_path: Path, name: str, stored: str
) -> None:
    before = set(tmp_path.iterdir())
    path = workspace.start_upload(name, None)
    assert path == tmp_path / "uploads" / stored
    assert list((tmp_path / "uploads").iterdir()) == [path]
    assert set(tmp_path.iterdir()) - before == {tmp_path / "uploads"}


def test_the_page_calls_a_dropped_clip_by_the_name_that_it_got(client: TestClient, clip: Path, tmp_path: Path) -> None:
    answer = client.post("/api/clips", params={"name": "../../evil name.mp4"}, content=clip.read_bytes())
    assert (answer.status_code, answer.json()["name"]) == (201, "evil name.mp4")
    assert (tmp_path / "uploads" / "evil name.mp4").read_bytes() == clip.read_bytes()
    id = answer.json()["id"]
    assert client.get(f"/api/clips/{id}/frames/3").status_code == 200
    assert client.get(f"/api/clips/{id}").json()["project"] == "evil name.singletrack"


def test_a_dropped_clip_replaces_nothing(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "DOG.singletrack").write_text("labels of before")  # a clip of this name would open it as its project
    (folder / "dog-2.mov").write_text("another clip, whose project is dog-2.singletrack")
    (folder / "dog-3.mp4").symlink_to(tmp_path / "nowhere")
    names = [workspace.start_upload("dog.mp4", None).name for _ in range(3)]
    assert names == ["dog-4.mp4", "dog-5.mp4", "dog-6.mp4"]
    assert (folder / "DOG.singletrack").read_text() == "labels of before"
    assert not (tmp_path / "nowhere").exists()


def test_an_upload_that_announces_too_much_is_refused_before_it_is_read(client: TestClient, tmp_path: Path) -> None:
    headers = {"content-length": str(2 << 30)}
    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=b"0", headers=headers)
    assert answer.status_code == 413
    assert "--upload-limit" in answer.json()["error"]
    assert not (tmp_path / "uploads").exists()


def test_an_upload_that_does_not_say_its_size_is_cut_off_at_the_limit(client: TestClient, tmp_path: Path) -> None:
    def endless() -> object:
        for _ in range(1000):
            yield bytes(100_000)

    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=endless())
    assert answer.status_code == 413
    assert list((tmp_path / "uploads").iterdir()) == []
    assert client.get("/api/clips").json()["clips"][0]["name"] == "clip.mp4"  # and the server goes on


def test_the_limit_holds_for_all_uploads_together(client: TestClient, clip: Path, workspace: Workspace) -> None:
    data = clip.read_bytes()
    workspace.upload_bytes = int(len(data) * 1.5)
    assert client.post("/api/clips", params={"name": "a.mp4"}, content=data).status_code == 201
    assert client.post("/api/clips", params={"name": "b.mp4"}, content=data).status_code == 413


@pytest.mark.parametrize("name", ["a.py", "a", ".mp4", "a.mp4.sh", "a.html"])
def test_only_videos_are_taken(client: TestClient, name: str, tmp_path: Path) -> None:
    answer = client.post("/api/clips", params={"name": name}, content=b"0")
    assert answer.status_code == 400
    assert "expected a video" in answer.json()["error"]
    assert not (tmp_path / "uploads").exists()


def test_what_is_no_video_is_deleted_again(client: TestClient, tmp_path: Path, workspace: Workspace) -> None:
    answer = client.post("/api/clips", params={"name": "a.mp4"}, content=b"no video" * 100)
    assert answer.status_code == 422
    assert "cannot" in answer.json()["error"] or "expected" in answer.json()["error"]
    assert list((tmp_path / "uploads").iterdir()) == []
    assert len(workspace.clips) == 1


@pytest.mark.parametrize("entry", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt"])
def test_a_zip_cannot_leave_its_folder(client: TestClient, clip_id: str, entry: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, "x")
    answer = client.post(f"/api/clips/{clip_id}/import", params={"name": "a.zip"}, content=file.getvalue())
    assert answer.status_code == 400
    assert "plain files" in answer.json()["error"]


def test_a_zip_with_a_link_is_refused(client: TestClient, clip_id: str) -> None:
    entry = zipfile.ZipInfo("gt.txt")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    answer = client.post(f"/api/clips/{clip_id}/import", params={"name": "a.zip"}, content=file.getvalue())
    assert answer.status_code == 400
    assert "plain files" in answer.json()["error"]


def test_a_zip_that_unpacks_to_too_much_is_refused(
    client: TestClient, clip_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singletrack.labeling.formats.archive.UNPACKED_BYTES", 1000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gt.txt", "0" * 2000)
    answer = client.post(f"/api/clips/{clip_id}/import", params={"name": "a.zip"}, content=file.getvalue())
    assert answer.status_code == 400
    assert "larger" in answer.json()["error"]


# --- projects ---


def test_a_second_writer_is_refused_with_a_sentence(
    client: TestClient, clip: Path, clip_id: str, tmp_path: Path
) -> None:
    assert client.get(f"/api/clips/{clip_id}").status_code == 200
    other = Workspace(secret=TOKEN, upload_folder=tmp_path)
    second = other.add(clip)
    with TestClient(build_app(other, token=TOKEN), base_url=ADDRESS) as stranger:
        stranger.get("/", params={"token": TOKEN})
        answer = stranger.get(f"/api/clips/{second.id}")
    assert answer.status_code == 409
    assert "open" in answer.json()["error"]


def test_another_clip_in_place_of_the_source_is_refused(workspace: Workspace, clip: Path, tmp_path: Path) -> None:
    with TestClient(build_app(workspace, token=TOKEN), base_url=ADDRESS, headers=BEARER) as client:
        assert client.get(f"/api/clips/{next(iter(workspace.clips))}").status_code == 200
    with VideoWriter(clip, 30.0) as video:
        for _ in range(40):
            video.write(np.full((180, 320, 3), 90, np.uint8))
    other = Workspace(secret=TOKEN, upload_folder=tmp_path)
    second = other.add(clip)
    with TestClient(build_app(other, token=TOKEN), base_url=ADDRESS, headers=BEARER) as client:
        answer = client.get(f"/api/clips/{second.id}")
    assert answer.status_code == 409
    assert "another" in answer.json()["error"]
