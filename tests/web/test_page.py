"""The page in a real browser: what a person does, from opening a clip to exported boxes."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.web.browser import ARGUMENTS, PATIENCE, Person, Server, find_browser
from tests.web.served import FAILED, FRAMES, SIZE_WH

from singletrack.geometry.boxes import Box, iou
from singletrack.labeling import LabeledBox, label_project
from singletrack.video import VideoWriter

LARGE, SMALL = (1440, 900), (412, 860)
Open = Callable[..., Person]
pytestmark = pytest.mark.slow

WATCH_PROGRESS = """() => {
    window.progress = [];
    const bar = document.getElementById('progress-bar');
    new MutationObserver(() => window.progress.push(bar.value)).observe(bar, { attributes: true });
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens windows; keeps a picture of each when the test fails, and lets no error of the page pass."""
    windows: list[tuple[Any, list[str]]] = []

    def open_window(size: tuple[int, int] = LARGE, **options: Any) -> Person:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        windows.append((page, errors))
        return Person(page)

    yield open_window
    failed = request.node.stash.get(FAILED, False)  # by conftest.py
    for index, (page, _) in enumerate(windows):
        if failed:
            folder = Path(request.config.rootpath) / "test-screenshots"
            folder.mkdir(exist_ok=True)
            page.screenshot(path=folder / f"{request.node.name.replace('/', '-')}-{index}.png")
        page.context.close()
    assert [error for _, errors in windows for error in errors] == []


@pytest.fixture
def server(clip: Path, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, clip)
    yield server
    server.stop()


@pytest.fixture
def true_boxes(made_clip: tuple[Path, list[Box]]) -> list[Box]:
    return made_clip[1]


def overlap(box: Any, other: Any) -> float:
    return float(iou(np.array([box], float), np.array([other], float))[0])


def download(person: Person, format: str, tmp_path: Path) -> Path:
    person.page.click("#export")
    person.page.check(f'#export-formats input[value="{format}"]')
    with person.page.expect_download() as waiting:
        person.page.click("#export-go")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


# --- from opening to exported boxes ---


@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["desktop", "phone"])
def test_open_draw_track_correct_undo_reload_export(
    open_page: Open, server: Server, true_boxes: list[Box], tmp_path: Path, size: tuple[int, int]
) -> None:
    person = open_page(size, has_touch=size == SMALL).open(server.address)
    person.reads("#hint", "Drag a box")
    person.mark(*true_boxes[0])
    assert person.box() == pytest.approx(true_boxes[0], abs=1.5)

    person.reads("#track", f"Track {FRAMES - 1} frames")
    person.page.click("#track")
    person.reads("#track", "All tracked")
    person.see_frame(0)  # back where tracking was started
    rows = person.boxes()["1"]
    assert sorted(rows) == list(range(FRAMES))
    assert np.mean([overlap(rows[frame][:4], true_boxes[frame]) for frame in range(1, FRAMES)]) > 0.6

    person.press("End")
    person.see_frame(FRAMES - 1)
    person.reads("#frame-state", "racked, score")
    x, y, width, height = person.box()
    person.drag((x + width / 2, y + height / 2), (x + width / 2 + 12, y + height / 2 - 7))
    person.reads("#frame-state", "Keyframe, set by you")
    assert person.box() == pytest.approx([x + 12, y - 7, width, height], abs=1.0)
    person.reads("#track", "Track ")
    person.press("Control+z")
    person.reads("#frame-state", "racked, score")
    assert person.box() == pytest.approx([x, y, width, height], abs=0.01)
    person.press("Control+Shift+Z")
    person.reads("#frame-state", "Keyframe, set by you")
    person.track()
    corrected = person.boxes()["1"]
    assert corrected[FRAMES - 1][:4] == pytest.approx([x + 12, y - 7, width, height], abs=1.0)
    assert [frame for frame, row in corrected.items() if row[5] & 1] == [0, FRAMES - 1]

    person.page.reload()
    person.see_frame(FRAMES - 1)
    assert person.boxes()["1"] == corrected

    path = download(person, "csv", tmp_path)
    assert path.name == "clip.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["frame"]) for line in lines] == list(range(FRAMES))
    exported = [[float(line[name]) for name in ("x", "y", "width", "height")] for line in lines]
    assert exported == [pytest.approx(corrected[frame][:4], abs=0.01) for frame in range(FRAMES)]
    names = zipfile.ZipFile(download(person, "mot", tmp_path)).namelist()
    assert "gt/gt.txt" in names


def test_a_new_target_is_one_undo(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(20, 20, 60, 40)
    person.press("Control+z")
    person.reads("#hint", "Drag a box")
    person.press("Control+Shift+Z")
    person.reads("#frame-state", "Keyframe, set by you")


def test_numbers_that_make_no_box_get_a_sentence(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(20, 20, 60, 40)
    before = person.box()
    for name, number in (("w", "-5"), ("x", "")):
        person.page.fill(f"#box-{name}", number)
        person.page.press(f"#box-{name}", "Enter")
        person.reads("#hint", "a width and a height above 0")
        assert person.box() == before
    person.page.fill("#box-x", "99999")
    person.page.press("#box-x", "Enter")
    person.reads("#hint", "99999")
    assert list(person.boxes()["1"][0][:4]) == before


def test_edits_that_wait_for_another_survive_leaving_the_page(open_page: Open, server: Server) -> None:
    """They go to the server one after another; the later ones had not been sent when the page was left."""
    person = open_page().open(server.address)
    person.draw(20, 20, 60, 40)
    person.reads("#targets", "target 1")
    person.page.evaluate(
        """() => {
            for (const [id, value] of [["target-name", "Rex"], ["target-label", "dog"], ["target-name", "Max"]]) {
                const field = document.getElementById(id);
                field.value = value;
                field.dispatchEvent(new Event("change"));
            }
            location.reload();
        }"""
    )
    person.see_frame(0)
    person.reads("#targets", "Max")
    person.reads("#targets", "dog")


def test_two_targets_with_names_that_stay_text(open_page: Open, server: Server) -> None:
    name = "<img src=x onerror=alert(1)>"
    person = open_page().open(server.address)
    person.page.on("dialog", lambda dialog: pytest.fail("a name was run as code"))
    person.draw(20, 20, 60, 40)
    person.reads("#targets", "target 1")
    person.press("b")
    person.reads("#hint", "next target")
    person.draw(150, 80, 50, 60)
    person.reads("#targets", "target 2")
    person.page.fill("#target-name", name)
    person.page.press("#target-name", "Enter")
    person.reads("#targets", name)
    assert person.page.locator("#targets img").count() == 0
    person.page.click("#add-attribute")
    person.page.keyboard.type("side")
    person.page.keyboard.press("Tab")
    person.page.keyboard.type("left")
    person.page.keyboard.press("Tab")
    person.page.reload()
    person.see_frame(0)
    person.press("2")
    assert person.page.locator("#target-name").input_value() == name
    person.page.locator("#attributes input").nth(1).wait_for()
    assert [field.input_value() for field in person.page.locator("#attributes input").all()] == ["side", "left"]
    assert person.box() == pytest.approx([150, 80, 50, 60], abs=1.0)
    person.press("1")
    assert person.box() == pytest.approx([20, 20, 60, 40], abs=1.0)
    person.page.click("#remove-target")
    person.reads("#hint", "Removed target 1")
    person.page.locator("#targets li").nth(1).wait_for(state="detached")
    person.press("Control+z")
    person.reads("#targets", "target 1")


def test_keys(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.draw(100, 50, 60, 40)
    person.reads("#frame-state", "Keyframe")
    x, y, width, height = person.box()
    person.press("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowRight", "Alt+ArrowRight", "Alt+ArrowDown")
    person.page.wait_for_timeout(800)
    assert person.box() == pytest.approx([x + 12, y + 1, width + 1, height + 1], abs=0.011)
    assert person.boxes()["1"][0][:4] == pytest.approx([x + 12, y + 1, width + 1, height + 1], abs=0.011)

    person.press(".", ".", ">")
    person.see_frame(12)
    person.press(",")
    person.see_frame(11)
    person.press("a")
    person.reads("#frame-state", "absent from here on")
    person.press("End")
    person.see_frame(FRAMES - 1)
    person.reads("#frame-state", "Absent")
    person.mark(30, 30, 50, 50)
    person.press("p")
    person.see_frame(11)
    person.press("p")
    person.see_frame(0)
    person.press("n", "n")
    person.see_frame(FRAMES - 1)
    person.press("Delete")
    person.reads("#frame-state", "Absent")
    person.press("Home")
    person.see_frame(0)
    person.press("Space")
    person.see_frame(FRAMES - 1)  # played to the end

    person.press("?")
    assert person.page.locator("#help-dialog").is_visible()
    person.press("Escape")
    assert not person.page.locator("#help-dialog").is_visible()
    person.page.click("#frame")
    person.page.fill("#frame", "7")
    person.press("Enter")
    person.see_frame(7)
    person.page.focus("#target-name")
    person.page.keyboard.type("absent, n, p")  # typing is no command
    assert person.page.locator("#frame").input_value() == "7"


def test_confirming_a_tracked_box_makes_it_a_keyframe(open_page: Open, server: Server, true_boxes: list[Box]) -> None:
    person = open_page().open(server.address)
    person.draw(*true_boxes[0])
    person.reads("#frame-state", "Keyframe")
    person.track()
    person.press(">", ">")
    person.see_frame(20)
    person.reads("#frame-state", "racked, score")
    before = person.box()
    person.press("Enter")
    person.reads("#frame-state", "Keyframe, set by you")
    assert person.box() == before


def test_boxes_after_a_new_keyframe_stay_as_outdated_until_they_are_tracked_anew(
    open_page: Open, server: Server, true_boxes: list[Box]
) -> None:
    person = open_page().open(server.address)
    person.draw(*true_boxes[0])
    person.reads("#frame-state", "Keyframe")
    person.track()
    before = person.boxes()["1"]
    person.press(">", ">")
    person.see_frame(20)
    person.press("Enter")  # the box is right
    person.reads("#frame-state", "Keyframe, set by you")
    person.press(".")
    person.see_frame(21)
    person.reads("#frame-state", "Outdated: from before your last change")
    person.reads("#hint", "Press Track (T) to track this stretch again.")
    assert person.box() == pytest.approx(before[21][:4], abs=0.01)
    person.page.reload()
    person.see_frame(21)
    assert person.boxes()["1"][21][:4] == before[21][:4]
    assert person.boxes()["1"][21][5] == 4
    path = download(person, "csv", server.folder)
    person.reads("#export-stale", f"{FRAMES - 2} frames are not tracked yet")
    with path.open(encoding="utf-8", newline="") as file:
        assert [int(line["frame"]) for line in csv.DictReader(file)] == list(range(21))
    person.track()
    person.page.click("#export")
    person.page.locator("#export-dialog[open]").wait_for()
    assert person.page.locator("#export-stale").is_hidden()
    person.page.keyboard.press("Escape")
    person.see_frame(21)
    person.reads("#frame-state", "racked, score")


def test_a_drag_draws_where_the_target_was_lost(open_page: Open, clip: Path, tmp_path: Path) -> None:
    with label_project(clip) as project:
        id = project.add_target("car", keyframe=(0, (20, 20, 60, 40)))
        (segment,) = project.stale_segments(id)
        lost = LabeledBox(box=(20, 20, 60, 40), score=0.1, lost=True, source="tracker")
        project.store_track(segment, dict.fromkeys(range(1, FRAMES), lost))
    server = Server(tmp_path, clip)
    try:
        person = open_page().open(server.address)
        person.press(".")
        person.see_frame(1)
        person.reads("#hint", "Drag a box around the target")
        person.mark(150, 80, 50, 60)
        assert person.box() == pytest.approx([150, 80, 50, 60], abs=1.0)
        assert list(person.boxes()) == ["1"]
    finally:
        server.stop()


def test_a_clip_opens_again_in_the_frame_where_the_person_was(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.see_frame(0)
    person.press(".", ".", ".")
    person.see_frame(3)
    person.page.reload()
    person.see_frame(3)


def test_where_the_tracker_found_it_again_is_said_when_it_is_marked_absent(
    open_page: Open, clip: Path, tmp_path: Path
) -> None:
    with label_project(clip) as project:
        id = project.add_target("car", keyframe=(0, (20, 20, 60, 40)))
        (segment,) = project.stale_segments(id)
        seen = LabeledBox(box=(20, 20, 60, 40), score=0.8, source="tracker")
        lost = LabeledBox(box=(20, 20, 60, 40), score=0.1, lost=True, source="tracker")
        shown = {frame: lost if frame in (2, 3, 4, 7, 8) else seen for frame in range(1, FRAMES)}
        project.store_track(segment, shown)
    server = Server(tmp_path, clip)
    try:
        person = open_page().open(server.address)
        person.press(".", ".")
        person.see_frame(2)
        person.press("a")
        person.reads("#frame-state", "absent from here on")
        person.reads("#hint", "It was last seen in frame 1. The tracker found it again in frame 9. Look before that")
        person.press(".")
        person.see_frame(3)
        person.mark(30, 20, 60, 40)
        assert "last seen" not in person.page.locator("#hint").inner_text()
    finally:
        server.stop()


def test_escape_stops_and_what_was_made_stays(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    random = np.random.default_rng(0)
    still = random.integers(0, 255, (18, 32, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    with VideoWriter(path, 30.0) as video:
        for _ in range(1500):
            video.write(still)
    server = Server(tmp_path, path)
    try:
        person = open_page().open(server.address)
        person.draw(200, 100, 80, 60)
        person.reads("#track", "Track 1499 frames")
        person.press("t")
        person.reads("#progress-text", "%")
        person.page.wait_for_timeout(500)
        person.press("Escape")
        person.reads("#hint", "Stopped")
        made = [frame for frame, row in person.boxes()["1"].items() if row[6] == "tracker"]
        assert made == list(range(1, len(made) + 1))
        assert 0 < len(made) < 1499
        person.reads("#track", f"Track {1499 - len(made)} frames")
        person.press("t")
        person.reads("#progress-text", "%")
        person.press("Escape")
        person.reads("#hint", "Stopped")
        assert person.boxes()["1"].keys() >= set(made)
    finally:
        server.stop()


def test_after_a_jump_only_later_frames_are_read_ahead(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    fetched: list[int] = []

    def see(request: Any) -> None:
        if "/frames/" in request.url:
            fetched.append(int(request.url.split("/frames/")[1].split("?")[0]))

    person.page.wait_for_load_state("networkidle")
    person.page.on("request", see)
    for frame in (30, 20):  # those before frame 20 take long to decode, and a next jump would wait for them
        person.page.locator("#frame").fill(str(frame))
        person.press("Enter")
        person.see_frame(frame)
    person.page.wait_for_timeout(500)
    assert fetched[-1] > 20
    assert min(fetched) == 20


def test_while_it_tracks_only_pictures_of_the_tracker_are_fetched(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    still = np.random.default_rng(0).integers(0, 255, (18, 32, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    with VideoWriter(path, 30.0) as video:
        for _ in range(120):
            video.write(still)
    server = Server(tmp_path, path)
    try:
        person = open_page()
        offered: list[int] = []
        fetched: list[int] = []

        def read(text: str | bytes) -> None:
            offered.extend(each["picture"] for each in json.loads(text) if each.get("picture") is not None)

        def see(request: Any) -> None:
            if "/frames/" in request.url:
                fetched.append(int(request.url.split("/frames/")[1].split("?")[0]))

        person.page.on("websocket", lambda socket: socket.on("framereceived", read))
        person.open(server.address)
        person.draw(200, 100, 80, 60)
        person.press("End")
        person.see_frame(119)
        person.mark(200, 100, 80, 60)
        person.press("Home")
        person.see_frame(0)
        person.page.wait_for_load_state("networkidle")
        person.page.evaluate(WATCH_PROGRESS)
        person.page.on("request", see)
        person.page.click("#track")
        person.reads("#track", "Stop")
        person.reads("#hint", "Tracked.")
        person.page.remove_listener("request", see)
        assert offered
        assert set(fetched) <= {
            *offered,
            *range(9),
        }  # at its end frame 0 is shown again, and those after it are fetched
        assert len(set(fetched) - set(range(9))) >= 1
        shares = person.page.evaluate("window.progress")
        assert any(share > 0.6 for share in shares)  # also while it goes back from the second keyframe
    finally:
        server.stop()


# --- the picture ---


def test_the_picture_is_the_frame_of_that_number(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "shades.mp4"
    with VideoWriter(path, 30.0) as video:
        for number in range(60):
            video.write(np.full((120, 160, 3), 40 + 3 * number, np.uint8))
    server = Server(tmp_path, path)
    try:
        person = open_page().open(server.address)
        script = """() => { const c = document.getElementById('picture');
            return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]; }"""
        steps = {".": 5, "End": 59, ",": 58, "<": 48, ">": 58, "Home": 0}
        for key, number in steps.items():
            person.press(*[key] * (5 if key == "." else 1))
            person.see_frame(number)
            assert person.page.evaluate(script)[0] == pytest.approx(40 + 3 * number, abs=1)
    finally:
        server.stop()


def test_zoom_keeps_what_is_under_the_pointer_and_boxes_stay_in_source_pixels(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    before = person.place(100, 60)
    person.page.mouse.move(*before)
    person.page.mouse.wheel(0, -600)
    person.page.wait_for_timeout(200)
    assert person.place(100, 60) == pytest.approx(before, abs=0.01)
    zoom = float(person.picture.get_attribute("data-view").split()[2])
    person.draw(90, 55, 20, 10)
    person.reads("#frame-state", "Keyframe")
    assert person.box() == pytest.approx([90, 55, 20, 10], abs=1 / zoom + 0.01)
    start = person.place(100, 60)
    person.drag((100, 72), (105, 75))  # beside the box: the picture moves, the box does not
    person.page.wait_for_timeout(200)
    assert person.place(100, 60) == pytest.approx((start[0] + 5 * zoom, start[1] + 3 * zoom), abs=1)
    assert person.box() == pytest.approx([90, 55, 20, 10], abs=1 / zoom + 0.01)
    person.press("0")
    person.page.wait_for_timeout(200)
    assert person.place(100, 60) == pytest.approx(before, abs=1)


def test_corner_handles_change_the_size(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.draw(100, 50, 60, 40)
    person.reads("#frame-state", "Keyframe")
    x, y, width, height = person.box()
    person.drag((x, y), (x - 20, y - 10))
    person.page.wait_for_timeout(400)
    assert person.box() == pytest.approx([x - 20, y - 10, width + 20, height + 10], abs=0.5)


def test_fingers_draw_and_zoom(open_page: Open, server: Server) -> None:
    person = open_page(SMALL, has_touch=True, device_scale_factor=2).open(server.address)
    session = person.page.context.new_cdp_session(person.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", person.place(100, 50))
    touch("touchMove", person.place(130, 70))
    touch("touchMove", person.place(160, 90))
    touch("touchEnd")
    person.reads("#frame-state", "Keyframe")
    assert person.box() == pytest.approx([100, 50, 60, 40], abs=2)
    zoom = float(person.picture.get_attribute("data-view").split()[2])
    (x, y) = person.place(160, 140)
    touch("touchStart", (x - 20, y), (x + 20, y))
    touch("touchMove", (x - 40, y), (x + 40, y))
    touch("touchEnd")
    person.page.wait_for_timeout(200)
    assert float(person.picture.get_attribute("data-view").split()[2]) == pytest.approx(2 * zoom, rel=0.05)
    assert person.place(160, 140) == pytest.approx((x, y), abs=3)


# --- the picture that is seen, and what is said beside it ---


def seek(person: Person, frame: int) -> None:
    person.page.fill("#frame", str(frame))
    person.page.press("#frame", "Enter")


def test_edits_belong_to_the_picture_that_is_seen(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(100, 50, 60, 40)
    held: list[Any] = []
    person.page.route("**/frames/30?*", lambda route: held.append(route))
    seek(person, 30)
    person.reads("#waiting", "Loading frame 30")
    person.reads("#frame-title", "In frame 0")
    assert person.box() == pytest.approx([100, 50, 60, 40], abs=1.5)  # as in the picture
    for key in ("a", "Enter", "Delete", "ArrowRight"):
        person.press(key)
        person.reads("#hint", "Frame 30 is still loading. Nothing was changed.")
    person.page.click("#absent")
    person.reads("#hint", "Frame 30 is still loading. Nothing was changed.")
    person.page.wait_for_timeout(500)  # in which a move by an arrow key would be kept
    assert {frame: row[:4] for frame, row in person.boxes()["1"].items()} == {
        0: pytest.approx([100, 50, 60, 40], abs=1.5)
    }

    mouse = person.page.mouse
    mouse.move(*person.place(130, 70))
    mouse.down()
    mouse.move(*person.place(140, 75))
    held.pop().continue_()  # the picture comes in the middle of the drag
    person.page.wait_for_load_state("networkidle")
    mouse.move(*person.place(150, 80))
    mouse.up()
    person.page.wait_for_function("document.getElementById('box-x').value > 115")
    assert person.page.locator("#frame").input_value() == "0"
    assert person.page.locator("#waiting").inner_text() == ""
    assert {frame: row[:4] for frame, row in person.boxes()["1"].items()} == {
        0: pytest.approx([120, 60, 60, 40], abs=1.5)
    }
    seek(person, 30)
    person.see_frame(30)
    person.reads("#frame-state", "No box yet")
    seek(person, 20)
    person.see_frame(20)
    late: list[Any] = []
    person.page.route("**/frames/10?*", lambda route: late.append(route))
    seek(person, 10)
    person.reads("#waiting", "Loading frame 10")
    person.press("Enter")
    person.reads("#hint", "Frame 10 is still loading.")
    late.pop().continue_()
    person.see_frame(10)
    assert "loading" not in person.page.locator("#hint").inner_text()  # it is here now
    seek(person, 30)
    person.see_frame(30)
    person.press("a")
    person.reads("#frame-state", "Keyframe: absent from here on")


def test_numbers_that_are_being_typed_belong_to_the_frame_that_is_left(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(100, 50, 60, 40)
    person.page.fill("#box-x", "90")
    timeline = person.page.locator("#timeline").bounding_box()
    person.page.mouse.click(timeline["x"] + timeline["width"] - 14, timeline["y"] + 10)
    person.see_frame(FRAMES - 1)
    person.page.wait_for_load_state("networkidle")
    assert {frame: row[0] for frame, row in person.boxes()["1"].items()} == {0: 90}


def test_a_frame_that_cannot_be_read_is_said(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(100, 50, 60, 40)
    damaged = {"status": 422, "json": {"error": "the clip is damaged there"}}
    person.page.route("**/frames/30?*", lambda route: route.fulfill(**damaged))
    seek(person, 30)
    person.reads("#banner", "the clip is damaged there")
    person.reads("#waiting", "Frame 30 cannot be shown.")
    person.press("a")
    person.reads("#hint", "Frame 30 cannot be shown. Nothing was changed.")
    assert list(person.boxes()["1"]) == [0]


@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["desktop", "phone"])
def test_every_drag_for_a_new_target_draws(open_page: Open, server: Server, size: tuple[int, int]) -> None:
    person = open_page(size, has_touch=size == SMALL).open(server.address)
    person.mark(100, 50, 60, 40)
    places = [(160, 90), (160, 70), (130, 70)]  # a corner, a side and the middle of the selected box
    for number, (x, y) in enumerate(places, 2):
        person.press("1")
        person.page.click("#new-target")
        person.reads("#hint", "next target")
        (person.draw_by_finger if size == SMALL else person.draw)(x, y, 40, 20)
        person.reads("#targets", f"target {number}")
        person.page.wait_for_load_state("networkidle")
        assert person.boxes()[str(number)][0][:4] == pytest.approx([x, y, 40, 20], abs=2)
    assert person.boxes()["1"][0][:4] == pytest.approx([100, 50, 60, 40], abs=1.5)


@pytest.fixture
def long_server(tmp_path: Path) -> Iterator[Server]:
    """Of a clip that is tracked for some seconds."""
    path = tmp_path / "long.mp4"
    still = np.random.default_rng(0).integers(0, 255, (18, 32, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    with VideoWriter(path, 30.0) as video:
        for _ in range(1500):
            video.write(still)
    server = Server(tmp_path, path)
    yield server
    server.stop()


def test_after_a_click_keys_are_for_the_picture(open_page: Open, server: Server) -> None:
    """Enter confirms the box: it does not press the button, or choose the target, that was clicked before."""
    person = open_page().open(server.address)
    person.mark(200, 60, 80, 60)
    person.track()
    for selector, steps in (("#next", 1), ("#targets li", 0), ("#next-key", 0), ("#next", 1)):
        before = int(person.page.get_attribute("body", "data-frame"))
        person.page.click(selector)
        person.see_frame(before + steps)
        person.press("Enter")
        person.reads("#frame-state", "Keyframe, set by you")
        assert person.page.get_attribute("body", "data-frame") == str(before + steps)
    person.press("Home")
    person.see_frame(0)
    person.page.focus("#next")  # by Tab: the key presses the button
    person.press("Enter")
    person.see_frame(1)


def test_the_timeline_shows_all_of_a_clip_that_opens_in_its_middle(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    seek(person, FRAMES // 2)
    person.see_frame(FRAMES // 2)
    person.page.reload()
    person.see_frame(FRAMES // 2)
    place = person.page.locator("#timeline").bounding_box()
    for share, frame in ((0.0, 0), (1.0, FRAMES - 1)):
        x = place["x"] + 134 + share * (place["width"] - 134 - 14)  # between the names and the right margin
        person.page.mouse.click(x, place["y"] + 10)
        person.see_frame(frame)


def begin_tracking(person: Person, server: Server) -> Person:
    """Open the long clip, draw a box and track it; returns while it tracks."""
    person.open(server.address).mark(200, 100, 80, 60)
    person.press("t")
    person.reads("#progress-text", "%")
    return person


@pytest.mark.parametrize("width", [412, 768, 860, 1000, 1280])
def test_the_controls_fit_while_it_tracks(width: int, open_page: Open, long_server: Server) -> None:
    person = begin_tracking(open_page((width, 900)), long_server)
    person.reads("#progress-text", "left")
    assert person.page.evaluate("(row => row.scrollWidth - row.clientWidth)(document.querySelector('.transport'))") == 0
    edge = person.page.evaluate("document.querySelector('.time').getBoundingClientRect().right")
    for part in ("#progress-text", "#speed", "#frame"):
        place = person.page.locator(part).bounding_box()
        assert place["x"] + place["width"] <= edge + 1
    person.press("Escape")
    person.reads("#hint", "Stopped")


def test_stop_stays_with_the_picture_that_is_seen(open_page: Open, long_server: Server) -> None:
    person = begin_tracking(open_page(), long_server)
    person.page.locator('body:not([data-frame="0"])').wait_for()
    seen = int(person.page.get_attribute("body", "data-frame"))
    person.press("Escape")
    person.reads("#hint", "Stopped")
    assert int(person.page.get_attribute("body", "data-frame")) >= seen > 0


def test_panel_and_picture_agree_while_it_tracks(open_page: Open, long_server: Server) -> None:
    person = begin_tracking(open_page(), long_server)
    seek(person, 300)
    person.see_frame(300)
    person.reads("#frame-state", "racked, score")
    assert person.page.locator("#track").inner_text() == "Stop"  # it tracks on
    assert person.box() == pytest.approx([200, 100, 80, 60], abs=15)
    assert person.page.locator("#confirm").is_enabled()
    person.press("Escape")
    person.reads("#hint", "Stopped")


def test_tracking_ends_when_its_only_target_is_removed(open_page: Open, long_server: Server) -> None:
    person = begin_tracking(open_page(), long_server)
    assert person.page.locator("#undo").is_enabled()  # as Ctrl+Z is
    person.page.click("#remove-target")
    person.reads("#track", "Track")
    person.page.locator("#progress").wait_for(state="hidden")
    person.reads("#hint", "Removed target 1")
    assert person.page.locator("#track").is_disabled()
    person.page.click("#undo")
    person.reads("#track", " frames")  # what was kept is back with it
    person.press("t")
    person.reads("#progress-text", "%")
    person.page.click("#undo")  # what was tracked is no step of the history: the target is taken back
    person.page.locator("#progress").wait_for(state="hidden")
    assert person.boxes() == {}


def test_the_time_left_counts_from_the_beginning_of_the_run(open_page: Open, server: Server) -> None:
    """In a page that is opened while tracking goes on, too."""
    person = open_page()
    message = {"type": "boxes", "target": 1, "boxes": [], "picture": None, "done": 100, "total": 1100, "seconds": 50.0}
    person.page.route_web_socket("**/events", lambda socket: socket.send(json.dumps([{"type": "hello"}, message])))
    person.open(server.address)
    person.reads("#progress-text", "9 %, 500 s left")


def test_a_rename_in_another_window_is_seen_while_it_tracks(open_page: Open, long_server: Server) -> None:
    first = open_page().open(long_server.address)
    first.draw(200, 100, 80, 60)
    first.reads("#frame-state", "Keyframe, set by you")
    second = open_page().open(long_server.address)
    first.press("t")
    first.reads("#progress-text", "%")
    second.page.fill("#target-name", "Rex")
    second.page.press("#target-name", "Enter")
    first.reads("#targets", "Rex")
    assert first.page.locator("#target-name").input_value() == "Rex"
    assert first.page.locator("#track").inner_text() == "Stop"  # it tracks on
    first.press("Escape")
    first.reads("#hint", "Stopped")


@pytest.mark.parametrize("field", ["#target-name", "#target-label", "#box-x", "#frame"])
def test_escape_takes_back_what_was_typed(open_page: Open, server: Server, field: str) -> None:
    person = open_page().open(server.address)
    person.mark(100, 50, 60, 40)
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.method))
    before = person.page.locator(field).input_value()
    person.page.fill(field, "7")
    person.page.press(field, "Escape")
    assert person.page.locator(field).input_value() == before
    person.page.wait_for_timeout(300)
    assert "PATCH" not in sent
    assert "PUT" not in sent
    person.see_frame(0)


def test_a_side_is_taken_anywhere_and_the_middle_of_a_small_box_moves_it(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.mark(100, 50, 60, 40)
    x, y, width, height = person.box()
    sides = {  # a place on each side beside its handles; how the box changes
        "w": ((x, y + 10), (-8, 0, 8, 0)),
        "e": ((x + width, y + 10), (0, 0, -8, 0)),
        "n": ((x + 15, y), (0, -8, 0, 8)),
        "s": ((x + 15, y + height), (0, 0, 0, -8)),
    }
    for (left, top), change in sides.values():
        person.drag((left, top), (left - 8, top - 8))
        expected = [before + by for before, by in zip((x, y, width, height), change, strict=True)]
        person.reads("#frame-state", "Keyframe, set by you")
        assert person.box() == pytest.approx(expected, abs=0.6)
        person.press("Control+z")
        person.reads("#hint", "Undone: set keyframe 0 of target 1")
        assert person.box() == pytest.approx([x, y, width, height], abs=0.01)
    person.drag((x + 15, y + 10), (x + 25, y + 15))  # inside
    person.reads("#frame-state", "Keyframe, set by you")
    assert person.box() == pytest.approx([x + 10, y + 5, width, height], abs=0.6)
    person.press("b")
    person.draw(20, 20, 5, 5)
    person.reads("#targets", "target 2")
    person.drag((22.5, 22.5), (62.5, 42.5))
    person.page.wait_for_function("document.getElementById('box-x').value > 50")
    assert person.box() == pytest.approx([60, 40, 5, 5], abs=0.6)


def test_what_is_to_track_and_what_was_undone_is_said_plainly(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.draw(100, 50, 60, 40)
    person.reads("#track", f"Track {FRAMES - 1} frames")
    person.press("b")
    person.draw(20, 20, 50, 30)
    person.reads("#track", "Track 2 targets")
    assert f"{2 * (FRAMES - 1)} frames of 2 targets together" in person.page.locator("#track").get_attribute("title")
    person.press("Control+z")
    person.reads("#hint", "Undone: add target 2")
    person.page.mouse.move(*person.place(5, 5))
    person.page.mouse.down()  # the next action: what was said is gone
    person.page.mouse.up()
    assert "Undone" not in person.page.locator("#hint").inner_text()


def test_lists_that_go_on_show_it_and_names_are_cut_with_an_ellipsis(open_page: Open, server: Server) -> None:
    person = open_page((900, 500)).open(server.address)
    person.mark(100, 50, 60, 40)
    for button, list in (("#help", "#keys"), ("#export", "#export-formats")):
        person.page.click(button)
        person.page.locator(f"{list}.more").wait_for()
        assert "gradient" in person.page.locator(list).evaluate("list => getComputedStyle(list).maskImage")
        person.page.locator(list).evaluate("list => list.scrollTo(0, 10000)")
        person.page.locator(f"{list}:not(.more)").wait_for()
        person.press("Escape")
    cut = person.page.locator("#timeline").evaluate(
        """async (canvas) => {
            const { cutText } = await import("/static/timeline.js");
            const context = canvas.getContext("2d");
            const long = cutText(context, "Anna the woman with the red coat", 90);
            return [cutText(context, "Rex", 90), long, context.measureText(long).width <= 90];
        }"""
    )
    assert cut[0] == "Rex"
    assert (cut[1][:4], cut[1][-1], cut[2]) == ("Anna", "…", True)


def test_hints_name_no_keys_on_a_phone(open_page: Open, server: Server) -> None:
    person = open_page(SMALL, has_touch=True, is_mobile=True).open(server.address)
    person.draw_by_finger(100, 50, 60, 40)
    person.reads("#hint", "Press Track to follow it through the clip.")


# --- when things go wrong ---


def test_a_server_that_dies_is_said_in_the_page_and_found_again(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.draw(100, 50, 60, 40)
    person.reads("#frame-state", "Keyframe")
    server.kill()
    person.reads("#banner", "The server does not answer")
    assert person.page.locator("#track").is_disabled()
    person.drag((130, 70), (150, 90))  # is not shown as done
    person.reads("#hint", "Not saved")
    assert person.box() == pytest.approx([100, 50, 60, 40], abs=1.5)
    server.start()
    person.page.locator("#banner").wait_for(state="hidden")
    assert list(person.boxes()["1"]) == [0]  # kill -9 lost nothing that was shown as done
    person.press(".")
    person.see_frame(1)
    person.draw(20, 20, 60, 40)
    person.reads("#frame-state", "Keyframe")
    assert sorted(person.boxes()["1"]) == [0, 1]


def test_a_second_window_sees_the_change(open_page: Open, server: Server) -> None:
    first, second = open_page().open(server.address), open_page().open(server.address)
    first.draw(100, 50, 60, 40)
    second.reads("#targets", "target 1")
    second.reads("#frame-state", "Keyframe")
    assert second.box() == first.box()


def test_a_dropped_clip_opens_and_what_is_no_clip_gets_a_sentence(open_page: Open, clip: Path, tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        person = open_page()
        person.page.goto(server.address)
        person.reads("#empty", "Drop a video here")
        bad = tmp_path / "bad.mp4"
        bad.write_bytes(b"no video" * 1000)
        for path, words in [(bad, "check that it is a video"), (Path(__file__), "choose another file")]:
            person.page.set_input_files("#clip-file", path)
            person.reads("#banner", words)
            assert person.page.locator("#empty").is_visible()
            person.page.click("#banner-close")
        dropped = {"name": "my clip.mp4", "mimeType": "video/mp4", "buffer": clip.read_bytes()}
        person.page.set_input_files("#clip-file", dropped)
        person.see_frame(0)
        person.draw(100, 50, 60, 40)
        person.reads("#frame-state", "Keyframe")
        person.reads("#saved", "saved in singletrack-clips/my clip.singletrack")
        person.page.click("#export")
        person.reads("#export-command", "singletrack labels 'singletrack-clips/my clip.singletrack' --format")
    finally:
        server.stop()
    assert sorted(path.name for path in (tmp_path / "singletrack-clips").iterdir()) == [
        "my clip.mp4",
        "my clip.singletrack",
    ]
    assert list(server.temporary.iterdir()) == []


def test_a_clip_of_a_folder_that_cannot_be_read_gets_a_sentence(open_page: Open, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "1-good.mp4").write_bytes(clip.read_bytes())
    (folder / "2-bad.mp4").write_bytes(b"no video" * 1000)
    server = Server(tmp_path, folder)
    try:
        person = open_page().open(server.address)
        person.reads("#hint", "Drag a box")
        person.page.select_option("#clip", label="2-bad.mp4")
        person.reads("#banner", "check that it is a video")
        assert person.page.locator("#hint, #frame-count").all_inner_texts() == ["", ""]  # nothing of the other clip
        person.page.select_option("#clip", label="1-good.mp4")
        person.page.locator("#banner").wait_for(state="hidden")
        person.see_frame(0)
        person.draw(100, 50, 60, 40)
        person.reads("#frame-state", "Keyframe")
    finally:
        server.stop()


def test_import_in_the_page(open_page: Open, server: Server, tmp_path: Path) -> None:
    person = open_page().open(server.address)
    person.page.click("#import")
    person.page.locator("#import-dialog").wait_for(state="visible")
    person.page.set_input_files("#import-file", __file__)
    person.page.click("#import-go")
    person.page.locator("#import-error").wait_for(state="visible")
    (tmp_path / "gt.txt").write_text("1,1,11,21,30,40,1,1,1\n2,1,12,22,30,40,1,1,1\n")
    person.page.set_input_files("#import-file", tmp_path / "gt.txt")
    person.page.click("#import-go")
    person.reads("#hint", "Added 1 target")
    rows = next(iter(person.boxes().values()))
    assert [rows[frame][:4] for frame in (0, 1)] == [[11, 21, 30, 40], [12, 22, 30, 40]]


def test_everything_has_a_name_for_a_screen_reader(open_page: Open, server: Server) -> None:
    person = open_page().open(server.address)
    person.draw(100, 50, 60, 40)
    person.reads("#announce", "target 1: Keyframe, set by you")
    nameless = person.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, dialog')].filter((each) => !(
            each.textContent.trim() || each.getAttribute('aria-label') || each.labels?.length || each.hidden
            || each.getAttribute('aria-labelledby'))).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    timeline = person.page.locator("#timeline")
    assert timeline.get_attribute("aria-valuetext") == f"frame 0 of {FRAMES - 1}"
    timeline.focus()
    person.press("ArrowRight")
    person.see_frame(1)
    assert timeline.get_attribute("aria-valuenow") == "1"


def test_the_page_asks_nobody_else(open_page: Open, server: Server) -> None:
    person = open_page()
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url))
    person.open(server.address)
    person.page.goto(server.address.split("/?")[0] + "/docs")
    person.page.get_by_text("/api/clips/{clip}/boxes").wait_for()
    start = server.address.split("/?")[0]
    assert asked
    assert [url for url in asked if not url.startswith((start, "blob:", "data:"))] == []


assert SIZE_WH == (320, 180)  # places above are pixels of it
