"""The routes of the server. Each handler checks what came, calls one function of the library and packs its answer."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from singletrack.errors import InputError, MissingDependencyError, SingletrackError, VideoError
from singletrack.geometry.boxes import Box
from singletrack.web import transfer
from singletrack.web.events import Hub
from singletrack.web.openapi import OPERATIONS, describe_api
from singletrack.web.pictures import SCALES
from singletrack.web.security import Guard
from singletrack.web.workspace import Clip, UploadTooLargeError, Workspace, pack_box

STATIC = Path(__file__).parent / "static"
JSON_BYTES = 1_000_000  # largest body of a request that is no upload
IMPORT_BYTES = 200_000_000
TEXT_LENGTH = 500  # of a name, a label or an attribute

logger = logging.getLogger(__name__)


def build_app(workspace: Workspace, *, token: str, remote: bool = False) -> Starlette:
    """The ASGI application for a workspace.

    Args:
        workspace: The clips.
        token: The secret that the page must know.
        remote: Whether the server listens beyond this machine, see ``Guard``.
    """
    hub = Hub()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.start()
        yield
        hub.close()
        await run_in_threadpool(workspace.close)

    handlers = Handlers(workspace, hub)
    routes = [
        Route(each.path, getattr(handlers, each.handler), methods=[each.method], name=each.handler)
        for each in OPERATIONS
        if each.method != "WEBSOCKET"
    ]
    app = Starlette(
        lifespan=lifespan,
        routes=[
            *routes,
            WebSocketRoute("/api/clips/{clip}/events", handlers.events),
            Route("/", _page("index.html")),
            Route("/docs", _page("docs.html")),
            Route("/openapi.json", lambda request: JSONResponse(describe_api())),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, token=token, remote=remote)],
        exception_handlers={
            InputError: _answer_error(400),
            UploadTooLargeError: _answer_error(413),
            VideoError: _answer_error(422),
            MissingDependencyError: _answer_error(501),
            SingletrackError: _answer_error(409),
            HTTPException: _answer_http_error,
            Exception: _answer_bug,
        },
    )
    app.state.end_streams = hub.close
    return app


class Handlers:
    """One method for each operation of ``openapi.OPERATIONS``."""

    def __init__(self, workspace: Workspace, hub: Hub) -> None:
        self._workspace, self._hub = workspace, hub

    # --- clips ---

    async def list_clips(self, request: Request) -> Response:
        clips = [{"id": clip.id, "name": clip.name} for clip in self._workspace.clips.values()]
        return JSONResponse({"clips": clips, "model": self._workspace.model})

    async def upload_clip(self, request: Request) -> Response:
        name = _text(request.query_params.get("name"), "name")
        announced = request.headers.get("content-length", "")
        size = int(announced) if announced.isdecimal() else None
        path = await run_in_threadpool(self._workspace.start_upload, name, size)
        received = 0
        try:
            with path.open("wb") as file:
                async for chunk in request.stream():
                    self._workspace.count_upload(len(chunk))
                    received += len(chunk)
                    await run_in_threadpool(file.write, chunk)
            clip = self._workspace.add(path)
            await run_in_threadpool(lambda: clip.pictures)  # refuses what is no video
        except BaseException as error:
            self._workspace.discard_upload(path, received)
            if isinstance(error, ClientDisconnect):
                return Response(status_code=400)
            if isinstance(error, VideoError):  # the person knows the clip by its own name
                raise VideoError(str(error).replace(str(path), name)) from error
            if isinstance(error, OSError):
                raise SingletrackError(f"cannot keep the clip ({error.strerror}); free some space") from error
            raise
        return JSONResponse({"id": clip.id, "name": clip.name}, status_code=201)

    async def get_clip(self, request: Request) -> Response:
        clip = self._clip(request)
        return JSONResponse(await run_in_threadpool(_describe, clip))

    async def get_frame(self, request: Request) -> Response:
        clip = self._clip(request)
        scale = _integer(request.query_params.get("scale", "1"), "scale")
        if scale not in SCALES:
            raise InputError(f"scale must be one of {', '.join(map(str, SCALES))}; got {scale}")
        frame = _integer(request.path_params["frame"], "frame")

        def read() -> bytes:
            return self._workspace.pictures(clip).jpeg(frame, scale)

        headers = {"cache-control": "private, max-age=86400, immutable"}  # ids are of one run of the server
        return Response(await run_in_threadpool(read), media_type="image/jpeg", headers=headers)

    # --- targets ---

    async def add_target(self, request: Request) -> Response:
        clip, body = self._clip(request), await _json(request)
        values = _target_values(body)
        name = values.pop("name", None)
        if name is None:
            raise InputError("expected a name for the target; got none")
        if "box" in body:
            box = _box(body["box"])
            if box is None:
                raise InputError("expected four numbers as the box of a new target; got null; leave it out")
            values["keyframe"] = _integer(str(body.get("frame")), "frame"), box
        id = await run_in_threadpool(lambda: clip.project.add_target(name, **values))
        return await self._changed(clip, None, {"id": id})

    async def change_target(self, request: Request) -> Response:
        clip, target, values = self._clip(request), _target_id(request), _target_values(await _json(request))
        await run_in_threadpool(lambda: clip.project.change_target(target, **values))
        return await self._changed(clip, None)

    async def remove_target(self, request: Request) -> Response:
        clip, target = self._clip(request), _target_id(request)
        await run_in_threadpool(lambda: clip.project.remove_target(target))
        return await self._changed(clip, None)

    # --- keyframes and boxes ---

    async def set_keyframe(self, request: Request) -> Response:
        clip, target, body = self._clip(request), _target_id(request), await _json(request)
        frame = _integer(request.path_params["frame"], "frame")
        box = _box(body.get("box"))
        await run_in_threadpool(lambda: clip.project.set_keyframe(target, frame, box))
        return await self._changed(clip, (target, frame))

    async def remove_keyframe(self, request: Request) -> Response:
        clip, target = self._clip(request), _target_id(request)
        frame = _integer(request.path_params["frame"], "frame")
        await run_in_threadpool(lambda: clip.project.remove_keyframe(target, frame))
        return await self._changed(clip, (target, frame))

    async def get_boxes(self, request: Request) -> Response:
        clip = self._clip(request)
        first = _integer(request.query_params.get("first", "0"), "first")
        last_text = request.query_params.get("last")
        last = None if last_text is None else _integer(last_text, "last")
        chosen = request.query_params.getlist("target")
        targets = [_integer(each, "target") for each in chosen]

        def read() -> dict[str, Any]:
            ids = targets or [target.id for target in clip.project.targets()]
            return {str(id): _pack_boxes(clip, id, first, last) for id in ids}

        return JSONResponse({"boxes": await run_in_threadpool(read)})

    async def get_suggestions(self, request: Request) -> Response:
        clip = self._clip(request)
        return JSONResponse({"suggestions": await run_in_threadpool(_suggest, clip)})

    # --- history ---

    async def undo(self, request: Request) -> Response:
        clip = self._clip(request)
        edit = await run_in_threadpool(lambda: clip.project.undo())
        return await self._changed(clip, None, {"edit": edit})

    async def redo(self, request: Request) -> Response:
        clip = self._clip(request)
        edit = await run_in_threadpool(lambda: clip.project.redo())
        return await self._changed(clip, None, {"edit": edit})

    # --- tracking ---

    async def track(self, request: Request) -> Response:
        clip, body = self._clip(request), await _json(request)
        first, last = body.get("first", 0), body.get("last")
        targets = body.get("targets")
        if not isinstance(first, int) or not isinstance(last, int | None):
            raise InputError("first and last must be frame numbers; got something else")
        if targets is not None and not (isinstance(targets, list) and all(isinstance(each, int) for each in targets)):
            raise InputError("targets must be a list of target ids; got something else")

        def start() -> None:
            clip.track(lambda message: self._hub.publish(clip.id, message), targets=targets, first=first, last=last)

        await run_in_threadpool(start)
        return JSONResponse({"tracking": True}, status_code=202)

    async def stop(self, request: Request) -> Response:
        clip = self._clip(request)
        await run_in_threadpool(clip.stop)
        return JSONResponse({"tracking": False})

    # --- files ---

    async def list_formats(self, request: Request) -> Response:
        return JSONResponse({"formats": transfer.list_formats()})

    async def export_labels(self, request: Request) -> Response:
        clip = self._clip(request)
        name = request.query_params.get("format", "")
        pictures = request.query_params.get("pictures") == "true"
        given = request.query_params.get("tolerance")
        tolerance = None if given is None else _number(given, "tolerance")
        folder = Path(tempfile.mkdtemp(prefix="singletrack-export-"))
        remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        try:
            path = await run_in_threadpool(
                lambda: transfer.export_labels(
                    clip.project, clip.name, name, folder, tolerance=tolerance, pictures=pictures
                )
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(path, filename=path.name, content_disposition_type="attachment", background=remove)

    async def import_labels(self, request: Request) -> Response:
        clip = self._clip(request)
        name = request.query_params.get("format") or None
        file_name = _text(request.query_params.get("name"), "name")
        with tempfile.TemporaryDirectory(prefix="singletrack-import-") as folder:
            path = Path(folder) / "upload"
            with path.open("wb") as file:
                async for chunk in _limited(request, IMPORT_BYTES):
                    file.write(chunk)
            ids = await run_in_threadpool(lambda: transfer.import_labels(clip.project, path, file_name, name))
        return await self._changed(clip, None, {"ids": ids})

    async def events(self, socket: WebSocket) -> None:
        clip = self._workspace.clips.get(socket.path_params["clip"])
        if clip is None:
            await socket.close()
            return
        await self._hub.serve(socket, clip.id)

    def _clip(self, request: Request) -> Clip:
        clip = self._workspace.clips.get(request.path_params["clip"])
        if clip is None:
            raise HTTPException(404, "there is no such clip; reload the page")
        return clip

    async def _changed(self, clip: Clip, near: tuple[int, int] | None, extra: dict[str, Any] | None = None) -> Response:
        """The state after an edit, with the boxes that it may have changed: around a keyframe, or all (near: None)."""

        def read() -> dict[str, Any]:
            clip.stop_for_nobody()
            return {**_describe(clip), **_changed_boxes(clip, near)}

        state = await run_in_threadpool(read)
        self._hub.publish(clip.id, {"type": "changed", "revision": state["revision"]})
        return JSONResponse({**state, **(extra or {})})


def _describe(clip: Clip) -> dict[str, Any]:
    project = clip.project
    video = project.video
    return {
        "id": clip.id,
        "name": clip.name,
        "project": clip.shown_project,
        "read_only": project.read_only,
        "video": {
            "width": video.width,
            "height": video.height,
            "frame_count": video.frame_count,
            "fps": video.fps,
        },
        "targets": [
            {
                "id": target.id,
                "name": target.name,
                "label": target.label,
                "color": target.color,
                "attributes": dict(target.attributes),
                "stale": [[segment.first, segment.last] for segment in project.stale_segments(target.id)],
                "left": project.frames_left(target.id),
            }
            for target in project.targets()
        ],
        "cuts": list(project.cuts()),
        "can_undo": project.can_undo,
        "can_redo": project.can_redo,
        "tracking": clip.tracks,
        "revision": clip.next_revision(),
    }


def _changed_boxes(clip: Clip, near: tuple[int, int] | None) -> dict[str, Any]:
    """Rows that replace those of the page; `range` gives their frames."""
    if near is None:
        boxes = {str(target.id): _pack_boxes(clip, target.id, 0, None) for target in clip.project.targets()}
        return {"boxes": boxes, "range": None}
    target, frame = near
    keyframes = clip.project.keyframes(target)
    first = max((each for each in keyframes if each < frame), default=0)
    last = min((each for each in keyframes if each > frame), default=clip.project.video.frame_count - 1)
    return {"boxes": {str(target): _pack_boxes(clip, target, first, last)}, "range": [first, last]}


def _pack_boxes(clip: Clip, target: int, first: int, last: int | None) -> list[list[Any]]:
    project = clip.project
    rows = {frame: pack_box(frame, box) for frame, box in project.boxes(target, first, last).items()}
    for frame, box in project.outdated_boxes(target, first, last).items():
        rows[frame] = pack_box(frame, box, outdated=True)
    return [rows[frame] for frame in sorted(rows)]


def _suggest(clip: Clip) -> list[dict[str, Any]]:
    return [
        {"target": each.target, "frame": each.frame, "doubt": round(each.doubt, 3), "reason": each.reason}
        for each in clip.project.suggestions()
    ]


# --- what comes in -----------------------------------------------------------------------------------------


async def _limited(request: Request, limit: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise UploadTooLargeError(f"expected at most {limit} bytes; more came; send a smaller file")
        yield chunk


async def _json(request: Request) -> dict[str, Any]:
    import json

    body = b"".join([chunk async for chunk in _limited(request, JSON_BYTES)])
    try:
        values = json.loads(body or b"{}")
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"expected JSON; got something else ({error})") from error
    if not isinstance(values, dict):
        raise InputError("expected a JSON object; got another kind of value")
    return values


def _integer(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise InputError(f"{name} must be a whole number from 0; got {text!r}")
    return int(text)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name} must be a number; got {text[:50]!r}")
    return value


def _target_id(request: Request) -> int:
    return _integer(request.path_params["target"], "target")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LENGTH:
        raise InputError(f"{name} must be a text of 1 to {TEXT_LENGTH} characters; got {str(value)[:50]!r}")
    return value


def _target_values(body: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: _text(body[name], name) for name in ("name", "label", "color") if name in body}
    attributes = body.get("attributes")
    if attributes is not None:
        if not isinstance(attributes, dict):
            raise InputError("attributes must be an object of texts; got another kind of value")
        values["attributes"] = {
            _text(name, "the name of an attribute"): _text(value, name) for name, value in attributes.items()
        }
    return values


def _box(value: Any) -> Box | None:
    if value is None:
        return None
    numbers = isinstance(value, list) and all(type(each) in (int, float) and math.isfinite(each) for each in value)
    if not numbers or len(value) != 4:
        raise InputError(f"box must be four numbers (x, y, width, height in pixels) or null; got {str(value)[:80]}")
    x, y, width, height = (round(float(each), 2) for each in value)
    return x, y, width, height


# --- what goes out -----------------------------------------------------------------------------------------


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return FileResponse(STATIC / name, media_type="text/html")

    return answer


def _answer_error(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=status)

    return answer


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _answer_bug(request: Request, error: Exception) -> Response:  # its traceback goes to the terminal
    return JSONResponse(
        {"error": f"something went wrong in singletrack ({type(error).__name__}); the terminal shows more"},
        status_code=500,
    )
