"""The live page: targets drawn on frames that are past, recording, safety, and a person at a browser."""

from __future__ import annotations

import json
import queue
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.labeling.fakes import BrightTracker
from tests.web.browser import ARGUMENTS, PATIENCE, Person, Server, find_browser
from tests.web.served import ADDRESS, TOKEN

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, iou
from singletrack.opencv import cv2
from singletrack.results import read_results
from singletrack.video import VideoReader, VideoWriter, open_video
from singletrack.web import live
from singletrack.web.live import LiveSession, build_live_app

ORIGIN = {"origin": ADDRESS}


def draw_frame(number: int) -> np.ndarray:
    """A bright square of 10 x 10 that moves two pixels to the right each frame; the first pixel is the number."""
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[0, 0] = number
    frame[20:30, 2 * number : 2 * number + 10] = 200
    return frame


class Source:
    """Gives frames when the test says so."""

    def __init__(self) -> None:
        self.coming: queue.Queue[int | None] = queue.Queue()

    def timed_frames(self) -> Iterator[tuple[float, np.ndarray]]:
        while (number := self.coming.get()) is not None:
            yield 0.0, draw_frame(number)


class Stage:
    """A session whose frames are given one by one."""

    def __init__(self, folder: Path) -> None:
        self.tracker, self.source, self.number = BrightTracker(), Source(), -1
        video = VideoReader(self.source.timed_frames(), fps=30.0, size_wh=(100, 60))
        self.session = LiveSession(video, self.tracker, name="camera", folder=folder)

    def give(self, count: int = 1) -> None:
        """Give frames, and wait until each was followed."""
        for _ in range(count):
            self.number += 1
            self.source.coming.put(self.number)
            assert self.session.wait(self.number - 1, 60) is not None

    def keep_giving(self, work: Any, *arguments: Any) -> None:
        """Do something that is answered with the next frame."""
        self.source.coming.put(self.number + 1)
        work(*arguments)
        self.number += 1
        assert self.session.wait(self.number - 1, 60) is not None

    def boxes(self) -> dict[int, Box]:
        step = self.session.wait(-1, 0)
        assert step is not None
        return {id: result.box for id, result in step[0].results.items()}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.source.coming.put(None)
    stage.session.close()


def draw_when_next(stage: Stage, *arguments: Any) -> None:
    """Draw between this frame and the next one."""
    import threading

    failed: list[BaseException] = []

    def work() -> None:
        try:
            stage.session.draw(*arguments)
        except InputError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and not stage.session._requests:
        pass
    stage.give()
    thread.join()
    if failed:
        raise failed[0]


def test_a_box_on_a_past_frame_is_caught_up(stage: Stage) -> None:
    stage.give(8)
    draw_when_next(stage, 2, (4, 20, 10, 10))  # frame 2, while 7 was the last
    assert stage.tracker.inits == [(2, (4.0, 20.0, 10.0, 10.0))]
    assert stage.tracker.frames == [3, 4, 5, 6, 7, 8]
    assert stage.boxes() == {1: (16.0, 20.0, 10.0, 10.0)}


def test_a_frozen_frame_is_kept_longer_than_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEPT_FRAMES", 3)
    stage.give(2)
    stage.session.freeze(1)
    stage.give(8)
    with pytest.raises(InputError, match="too old to start from"):
        draw_when_next(stage, 0, (0, 20, 10, 10))
    draw_when_next(stage, 1, (2, 20, 10, 10))
    assert stage.tracker.inits == [(1, (2.0, 20.0, 10.0, 10.0))]
    assert stage.tracker.frames == [8, 9, 10, 11]
    stage.session.freeze(None)
    with pytest.raises(InputError, match="too old"):
        draw_when_next(stage, 1, (2, 20, 10, 10))


def test_catching_up_takes_a_bounded_number_of_frames(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_CATCHING_UP", 3)
    stage.give(10)
    draw_when_next(stage, 0, (0, 20, 10, 10))
    assert stage.tracker.frames == [3, 6, 9, 10]  # the newest is among them


def test_several_targets_drawn_anew_and_removed(stage: Stage) -> None:
    stage.give()
    draw_when_next(stage, 0, (0, 20, 10, 10))
    draw_when_next(stage, 1, (50, 5, 10, 10))
    assert list(stage.boxes()) == [1, 2]
    draw_when_next(stage, 2, (4, 20, 10, 10), 1)
    assert list(stage.boxes()) == [1, 2]
    stage.keep_giving(stage.session.remove, 1)
    stage.give()
    assert list(stage.boxes()) == [2]
    with pytest.raises(InputError, match="unknown target id 9"):
        draw_when_next(stage, stage.number, (4, 20, 10, 10), 9)
    with pytest.raises(InputError, match="box"):
        draw_when_next(stage, stage.number, (4, 20, -10, 10))


def test_recording(stage: Stage, tmp_path: Path) -> None:
    stage.give()
    draw_when_next(stage, 0, (0, 20, 10, 10))
    stage.keep_giving(stage.session.record, True)
    stage.give(4)
    assert stage.session.state()["recording"]
    stage.keep_giving(stage.session.record, False)
    assert not stage.session.state()["recording"]
    video, boxes = sorted(stage.session.recorded, key=lambda path: path.suffix, reverse=True)
    assert video.parent == tmp_path
    records = read_results(boxes)
    assert [(record.frame, record.id) for record in records] == [(frame, 1) for frame in range(2, 7)]
    with open_video(video) as recorded:
        assert len(list(recorded)) == 5


def test_the_end_of_the_source(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.give()
    stage.source.coming.put(None)
    stage.session._thread.join(60)
    assert stage.session.state()["ended"] == "its end was reached"
    with pytest.raises(InputError, match="the source has ended"):
        stage.session.draw(0, (1, 1, 5, 5))
    stage.session.close()


# --- the server ---


@pytest.fixture
def stranger(stage: Stage) -> Iterator[TestClient]:
    with TestClient(build_live_app(stage.session, token=TOKEN), base_url=ADDRESS) as client:
        yield client
        stage.source.coming.put(None)


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    stranger.get("/", params={"token": TOKEN})
    return stranger


def unpack(message: bytes) -> tuple[dict[str, Any], np.ndarray]:
    (length,) = struct.unpack(">I", message[:4])
    picture = cv2.imdecode(np.frombuffer(message[4 + length :], np.uint8), cv2.IMREAD_COLOR)
    return json.loads(message[4 : 4 + length]), np.asarray(picture)


def test_pictures_come_one_at_a_time_and_their_delay_is_known(client: TestClient, stage: Stage) -> None:
    stage.give()
    with client.websocket_connect("ws://127.0.0.1:8713/api/live", headers=ORIGIN) as socket:
        header, picture = unpack(socket.receive_bytes())
        assert (header["frame"], header["size"], header["targets"]) == (0, [100, 60], [])
        assert (header["name"], header["delay_ms"]) == ("camera", None)
        assert picture.shape == (60, 100, 3)
        stage.give(5)
        socket.send_json({"shown": 0})
        header, picture = unpack(socket.receive_bytes())
        assert header["frame"] == 5  # the newest
        assert header["delay_ms"] >= 0
        socket.send_json({"do": "draw", "frame": 5, "box": [10, 20, 10, 10]})
        socket.send_json({"shown": 5})
        while not stage.session._requests:
            pass
        stage.give()
        while "frame" not in (header := receive(socket)):
            pass
        assert [(target["id"], target["box"]) for target in header["targets"]] == [(1, [12, 20, 10, 10])]


def receive(socket: Any) -> dict[str, Any]:
    message = socket.receive()
    return unpack(message["bytes"])[0] if message.get("bytes") else json.loads(message["text"])


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "expected a JSON object"),
        ("[1]", "expected a JSON object"),
        ('{"do": "explode"}', "expected draw, remove, freeze or record"),
        ('{"do": "draw", "box": [1, 2, 3, 4]}', "expected the frame"),
        ('{"do": "draw", "frame": "x", "box": [1, 2, 3, 4]}', "must be whole numbers"),
        ('{"do": "draw", "frame": 0, "box": [1, 2, 3]}', "box must be four numbers"),
        ('{"do": "draw", "frame": 0, "box": [1, 2, 3, null]}', "box must be four numbers"),
    ],
)
def test_what_makes_no_sense_is_answered(client: TestClient, stage: Stage, message: str, said: str) -> None:
    with client.websocket_connect("ws://127.0.0.1:8713/api/live", headers=ORIGIN) as socket:
        socket.send_text(message)
        while "error" not in (header := receive(socket)):
            pass
        assert said in header["error"]


def test_only_who_has_the_token_and_comes_from_the_page(stranger: TestClient) -> None:
    assert stranger.get("/").status_code == 403
    assert "`singletrack live`" in stranger.get("/").text
    address = "ws://127.0.0.1:8713/api/live"
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect(address, headers=ORIGIN) as socket:
        socket.receive()
    stranger.get("/", params={"token": TOKEN})
    assert stranger.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    other = {"origin": "http://evil.example"}
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect(address, headers=other) as socket:
        socket.receive()


# --- a person at a browser ---


@pytest.mark.slow
def test_freeze_draw_record_remove(made_clip: tuple[Path, list[Box]], tmp_path: Path) -> None:
    path, true_boxes = find_browser(), made_clip[1]
    from playwright.sync_api import sync_playwright

    with VideoWriter(tmp_path / "slow.mp4", 1.0) as writer, open_video(made_clip[0]) as video:
        for frame in video:
            writer.write(frame)
    server = Server(tmp_path, tmp_path / "slow.mp4", "--record-to", tmp_path / "recorded", verb="live")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1000, "height": 640})
            page.set_default_timeout(PATIENCE * 1000)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(server.address)
            page.locator("body[data-frame]").wait_for()
            person = Person(page)
            person.press(" ")  # the box belongs to the very frame that is seen
            person.reads("#freeze", "Go on")
            number = int(page.locator("body").get_attribute("data-frame") or 0)
            person.draw(*true_boxes[number])
            person.reads("#targets", "Target 1")
            assert int(page.locator("body").get_attribute("data-frame") or 0) == number  # it is frozen still
            person.press(" ", "r")
            person.reads("#record", "Stop recording")
            begun = int(page.locator("body").get_attribute("data-frame") or 0)
            page.wait_for_function(f"() => Number(document.body.dataset.frame) > {begun + 5}")
            person.reads("#delay", "ms to the screen")
            person.press("r")
            person.reads("#record", "Record")
            page.click("#targets button")
            page.locator("#targets li").wait_for(state="detached")
            assert errors == []
            browser.close()
    finally:
        server.stop()
    (boxes,) = (tmp_path / "recorded").glob("*.jsonl")
    records = read_results(boxes)
    assert len(records) >= 4
    assert np.mean([iou(np.array([r.box]), np.array([true_boxes[r.frame]]))[0] for r in records]) > 0.5
    with open_video(boxes.with_suffix(".mp4")) as video:
        assert len(list(video)) == len(records)
