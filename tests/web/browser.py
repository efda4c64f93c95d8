"""A real browser and a real server for the tests of the page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALL = "apt-get update && apt-get install -y chromium && pip install playwright"
REQUIRED = "SINGLETRACK_REQUIRE_BROWSER"
PATIENCE = 120.0  # seconds that a loaded machine may take


def find_browser() -> str:
    """Path of Chromium. Without one, the test is skipped, or fails where a browser is required."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        reason = f"needs Chromium and Playwright: {INSTALL}"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Server:
    """`singletrack label`, or another verb, in a process of its own."""

    def __init__(self, folder: Path, *arguments: str | Path, port: int = 0, verb: str = "label") -> None:
        self.folder, self.arguments, self.port, self.verb = folder, arguments, port, verb
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it and wait until it has printed its address."""
        output = self.folder / "server.log"
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        own = {"SINGLETRACK_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}
        environment = {**os.environ, **own}
        command = [sys.executable, "-m", "singletrack", self.verb, *map(str, self.arguments), "--no-browser", "--port"]
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [*command, str(self.port)], stdout=file, stderr=file, env=environment, cwd=self.folder
            )
        deadline = time.monotonic() + PATIENCE
        while f"{self.verb} page: " not in output.read_text():
            assert self.process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        self.address = output.read_text().split(f"{self.verb} page: ")[1].split()[0]
        self.port = int(self.address.split(":")[2].split("/")[0])

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Person:
    """Does in the page what a person does; places are pixels of the source."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.picture = page.locator("#picture")

    def open(self, address: str, frame: int = 0) -> Person:
        """Open the page and wait for its picture."""
        self.page.goto(address)
        self.see_frame(frame)
        return self

    def see_frame(self, frame: int) -> None:
        """Wait until that frame is painted."""
        self.page.locator(f'body[data-frame="{frame}"]').wait_for(timeout=PATIENCE * 1000)
        self.page.wait_for_timeout(60)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the source is in the window."""
        left, top, zoom = map(float, self.picture.get_attribute("data-view").split())
        bounds = self.picture.bounding_box()
        return bounds["x"] + left + x * zoom, bounds["y"] + top + y * zoom

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drag from one pixel of the source to another."""
        (x0, y0), (x1, y1) = self.place(*start), self.place(*end)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down(button=button)
        mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
        mouse.move(x1, y1)
        mouse.up(button=button)

    def draw(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a box."""
        self.drag((x, y), (x + width, y + height))

    def mark(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a box and wait until it is a keyframe."""
        self.draw(x, y, width, height)
        self.reads("#frame-state", "Keyframe, set by you")

    def draw_by_finger(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a box on a touch screen."""
        session = self.page.context.new_cdp_session(self.page)
        for share, kind in [(0.0, "touchStart"), (0.5, "touchMove"), (1.0, "touchMove")]:
            left, top = self.place(x + share * width, y + share * height)
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": left, "y": top}]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            self.page.keyboard.press(key)

    def reads(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_contain_text(text, timeout=PATIENCE * 1000)

    def box(self) -> list[float]:
        """The box of the selected target in this frame, from the fields beside the picture."""
        values = [self.page.locator(f"#box-{name}").input_value() for name in "xywh"]
        return [float(value) for value in values if value]

    def track(self) -> None:
        """Track, and wait for the end."""
        self.press("t")
        self.reads("#track", "All tracked")

    def boxes(self) -> dict[str, dict[int, list[Any]]]:
        """What the server has: rows by target and frame."""
        script = """async () => {
            const clips = (await (await fetch('/api/clips')).json()).clips;
            const id = document.getElementById('clip').value || clips[0].id;
            return (await (await fetch(`/api/clips/${id}/boxes`)).json()).boxes;
        }"""
        found = self.page.evaluate(script)
        return {target: {row[0]: row[1:] for row in rows} for target, rows in found.items()}
