"""The live page: the newest picture of a source with its targets, which are drawn, drawn anew and removed in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from singletrack.drawing import draw_results
from singletrack.errors import InputError, SingletrackError
from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2
from singletrack.outputs import Movie, Outputs
from singletrack.steps import Frame, TrackStep
from singletrack.tracking.base import Result, Tracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.resizing import FrameResizer
from singletrack.video import VideoReader
from singletrack.web.security import Guard

STATIC = Path(__file__).parent / "static"
KEPT_BYTES, KEPT_FRAMES = 200_000_000, 240  # of the last frames, for boxes that are drawn on one of them
MOST_CATCHING_UP = 40  # frames between a drawn one and now in which the target is followed
WIDEST, QUALITY = 1280, 80  # of the pictures for the page, in pixels, and of their JPEG
MOST_TARGETS = 64

log = logging.getLogger(__name__)


@dataclass
class _Request:
    """Something that a page wants done between two frames."""

    work: Callable[[], object]
    done: threading.Event
    error: str = ""


class LiveSession:
    """Reads a source and follows its targets in a thread. Other threads may call everything else.

    Args:
        video: the source; a file plays at its own pace.
        tracker: a loaded tracker.
        name: name of the source, for the page.
        folder: where recordings go.
    """

    def __init__(self, video: VideoReader, tracker: Tracker, *, name: str, folder: Path) -> None:
        self._video, self.name, self._folder = video, name, folder
        self._many, self._resizer = MultiTracker(tracker), FrameResizer()
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._kept: deque[tuple[int, Frame]] = deque()  # frames as they were fitted to the first one's size
        self._frozen: dict[int, Frame] = {}  # drawn on while the picture is frozen: kept until it goes on
        self._step: TrackStep | None = None
        self._received = 0.0
        self._dropped = 0
        self._closed, self.ended = False, ""
        self._recording: ExitStack | None = None
        self._outputs: Outputs | None = None
        self.recorded: list[Path] = []
        self._thread = threading.Thread(target=self._run, name="live session", daemon=True)
        self._thread.start()

    # --- what pages ask for ---

    def wait(self, after: int, seconds: float) -> tuple[TrackStep, float] | None:
        """Wait for a step of a later frame than ``after``; gives it with the time at which its frame came."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._step is not None and self._step.index > after), seconds
            )
            return None if self._step is None or self._step.index <= after else (self._step, self._received)

    def state(self) -> dict[str, Any]:
        """What the page shows beside the picture."""
        recording = self._outputs is not None
        return {"name": self.name, "recording": recording, "dropped": self._dropped, "ended": self.ended}

    def freeze(self, index: int | None) -> None:
        """Keep a frame for as long as its picture is frozen in the page; None lets it go."""
        with self._changed:
            frame = next((frame for number, frame in self._kept if number == index), None)
            self._frozen = {} if index is None or frame is None else {index: frame}

    def draw(self, index: int, box: Box, id: int | None = None) -> None:
        """Start a target, or (``id``) start it anew, from a box on the very frame that it was drawn on.

        The target is then followed through the frames since.

        Args:
            index: index of that frame.
            box: x, y, width, height in pixels of that frame.
            id: the target to start anew; None for a new one.

        Raises:
            InputError: an invalid box, an unknown target, or a frame that is no longer kept.
        """

        def work() -> None:
            with self._changed:
                frames = {**self._frozen, **dict(self._kept)}
            if index not in frames:
                raise InputError("that picture is too old to start from; draw on the newest one, or freeze it first")
            if id is None and len(self._many.ids) >= MOST_TARGETS:
                raise InputError(f"at most {MOST_TARGETS} targets are followed here; remove one first")
            since = [frames[number] for number in sorted(frames) if number > index]
            step = max(1, -(-len(since) // MOST_CATCHING_UP))
            later = since[::-1][::step][::-1]  # the newest is among them
            if id is None:
                self._many.add(frames[index], self._resizer.to_first(box), later=later)
            else:
                self._many.restart(id, frames[index], self._resizer.to_first(box), later=later)

        self._ask(work)

    def remove(self, id: int) -> None:
        """Remove a target; raises InputError for an unknown number."""
        self._ask(lambda: self._many.remove(id))

    def record(self, on: bool) -> None:
        """Begin to write a video and its boxes, or finish them."""
        self._ask(self._begin_recording if on else self._end_recording)

    def close(self) -> None:
        """End the thread, finish a recording, and close the source."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._video.live is not None:
            self._video.live.close()  # wakes it where it waits for a frame
        self._thread.join(10)
        self._end_recording()
        self._video.close()

    def _ask(self, work: Callable[[], object]) -> None:
        request = _Request(work, threading.Event())
        with self._changed:
            if self._closed or self.ended:
                raise InputError(f"the source has ended ({self.ended or 'closed'}); start `singletrack live` again")
            self._requests.append(request)
            self._changed.notify_all()
        if not request.done.wait(60):
            raise InputError("no new frame came for a minute; check the camera")
        if request.error:
            raise InputError(request.error)

    # --- the thread ---

    def _run(self) -> None:
        try:
            index, began = -1, time.monotonic()
            for seconds, frame in self._video.timed_frames():
                live = self._video.live
                if live is None:  # a file plays at its own pace
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed, max(0.0, began + seconds - time.monotonic()))
                received = time.monotonic()
                passed_over = 0 if live is None else live.passed_over
                index += 1 + passed_over
                self._dropped += passed_over
                if self._closed:
                    return
                self._follow(index, seconds, frame, passed_over, received)
            self.ended = "its end was reached"
        except SingletrackError as error:
            self.ended = str(error)
            if not self._closed:
                log.warning("%s", error)
        except Exception as error:
            self.ended = f"something went wrong in singletrack ({type(error).__name__}); the terminal shows more"
            log.exception("the live page stopped")
        finally:
            with self._changed:
                self.ended = self.ended or "closed"
                for request in self._requests:
                    request.error = f"the source has ended ({self.ended})"
                    request.done.set()
                self._requests.clear()
                self._changed.notify_all()

    def _follow(self, index: int, seconds: float, frame: Frame, passed_over: int, received: float) -> None:
        fitted, live = self._resizer.fit(frame), self._video.live
        if live is not None and (live.resumed or self._resizer.changed):
            self._many.search_again()
        self._serve_requests()
        began = time.perf_counter()
        found = self._many.update(fitted) if self._many.ids else {}
        results = {number: self._resizer.to_own(result) for number, result in found.items()}
        step = TrackStep(
            index=index,
            time=seconds,
            frame=frame,
            results=results,
            seconds=time.perf_counter() - began,
            dropped=passed_over,
        )
        if self._outputs is not None:
            try:
                self._outputs.write(step)
            except SingletrackError as error:  # a full disk ends the recording, not the tracking
                log.warning("the recording ended: %s", error)
                self._end_recording()
        with self._changed:
            self._kept.append((index, fitted))
            while len(self._kept) > KEPT_FRAMES or len(self._kept) * fitted.nbytes > KEPT_BYTES:
                self._kept.popleft()
            self._step, self._received = step, received
            self._changed.notify_all()

    def _serve_requests(self) -> None:
        while True:
            with self._changed:
                if not self._requests:
                    return
                request = self._requests.popleft()
            try:
                request.work()
            except SingletrackError as error:
                request.error = str(error)
            request.done.set()

    def _begin_recording(self) -> None:
        if self._outputs is not None:
            return
        stem = self._folder / time.strftime("live-%Y%m%d-%H%M%S")
        movie = Movie(stem.with_suffix(".mp4"), lambda step: draw_results(step.frame, step.results), self._video)
        self._recording = ExitStack()
        self._outputs = self._recording.enter_context(Outputs([movie], stem.with_suffix(".jsonl"), many=True))

    def _end_recording(self) -> None:
        outputs, self._outputs = self._outputs, None
        if outputs is not None and self._recording is not None:
            self._recording.close()
            self.recorded += outputs.written


def pack_picture(header: Mapping[str, Any], frame: NDArray[np.uint8]) -> bytes:
    """Pack a message for the page: length of the JSON in four bytes, big end first; the JSON; a JPEG."""
    height, width = frame.shape[:2]
    if width > WIDEST:
        size = (WIDEST, max(1, round(height * WIDEST / width)))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + encoded.tobytes()


def pack_targets(results: Mapping[int, Result]) -> list[dict[str, Any]]:
    """Pack results for the page."""
    return [
        {
            "id": id,
            "box": [round(value, 2) for value in result.box],
            "score": round(result.score, 3),
            "lost": result.lost,
        }
        for id, result in results.items()
    ]


# --- the server --------------------------------------------------------------------------------------------


def build_live_app(session: LiveSession, *, token: str, remote: bool = False) -> Starlette:
    """The ASGI application of the live page.

    Args:
        session: what it shows.
        token: The secret that the page must know.
        remote: Whether the server listens beyond this machine, see ``Guard``.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(session.close)

    async def page(request: Any) -> FileResponse:
        return FileResponse(STATIC / "live.html", media_type="text/html")

    async def pictures(socket: WebSocket) -> None:
        await _serve_pictures(socket, session)

    return Starlette(
        lifespan=lifespan,
        routes=[
            WebSocketRoute("/api/live", pictures),
            Route("/", page),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, token=token, remote=remote, command="singletrack live")],
    )


async def _serve_pictures(socket: WebSocket, session: LiveSession) -> None:
    """Send the newest picture each time that the page has shown the last one; do what it asks for meanwhile."""
    await socket.accept()
    shown = asyncio.Event()
    shown.set()
    sent: dict[int, float] = {}  # when the frame of a picture that is on its way came
    delay: list[float | None] = [None]
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send() -> None:
        last = -1
        while True:
            await shown.wait()
            newest = await run_in_threadpool(session.wait, last, 0.5)
            header: dict[str, Any] = {**session.state(), "delay_ms": delay[0]}
            while not told.empty():
                header.update(told.get_nowait())
            if newest is None:
                await socket.send_text(json.dumps(header))
                if session.ended:
                    await asyncio.sleep(0.5)
                continue
            step, received = newest
            last = step.index
            header |= {"frame": step.index, "time": round(step.time, 3), "size": step.size_wh}
            header["targets"] = pack_targets(step.results)
            message = await run_in_threadpool(pack_picture, header, step.frame)
            shown.clear()
            sent.clear()
            sent[step.index] = received
            await socket.send_bytes(message)

    async def receive() -> None:
        while True:
            try:
                message = json.loads(await socket.receive_text())
                if not isinstance(message, dict):
                    raise ValueError
            except (ValueError, KeyError):
                await told.put({"error": "expected a JSON object"})
                continue
            if "shown" in message:
                received = sent.get(message["shown"]) if isinstance(message["shown"], int) else None
                if received is not None:
                    delay[0] = round(1000 * (time.monotonic() - received))
                shown.set()
                continue
            try:
                await run_in_threadpool(_obey, session, message)
            except InputError as error:
                await told.put({"error": str(error)})

    tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task


def _obey(session: LiveSession, message: Mapping[str, Any]) -> None:
    """Do what the page asks for; raises InputError for what makes no sense."""
    frame, id = message.get("frame"), message.get("id")
    if not isinstance(id, int | None) or not isinstance(frame, int | None):
        raise InputError("frame and id must be whole numbers; reload the page")
    match message.get("do"):
        case "draw":
            if frame is None:
                raise InputError("expected the frame that was drawn on; reload the page")
            session.draw(frame, _box(message.get("box")), id)
        case "remove":
            session.remove(id or 0)
        case "freeze":
            session.freeze(frame)
        case "record":
            session.record(message.get("on") is True)
        case other:
            raise InputError(f"expected draw, remove, freeze or record; got {str(other)[:50]!r}")


def _box(value: Any) -> Box:
    if not (isinstance(value, list) and len(value) == 4 and all(type(each) in (int, float) for each in value)):
        raise InputError(f"box must be four numbers (x, y, width, height in pixels); got {str(value)[:80]}")
    x, y, width, height = map(float, value)
    return x, y, width, height
