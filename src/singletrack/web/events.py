"""Messages from threads to the pages that show a clip, over WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

WAITING_MESSAGES = 20_000  # a page that falls further behind is disconnected; it reconnects and loads the state anew
SECONDS_BETWEEN_SENDS = 0.05  # messages that come meanwhile are sent together
TRY_AGAIN_LATER = 1013


class Hub:
    """Hands each message to every page that listens to a clip. ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[str, set[asyncio.Queue[dict[str, Any]]]] = {}
        self._closed = asyncio.Event()

    def start(self) -> None:
        """Remember the event loop that runs; call it there."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Disconnect all pages; call it in the event loop."""
        self._closed.set()

    def publish(self, clip_id: str, message: dict[str, Any]) -> None:
        """Send a message to every page that shows the clip."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed when the server ends
                self._loop.call_soon_threadsafe(self._put, clip_id, message)

    def _put(self, clip_id: str, message: dict[str, Any]) -> None:
        for queue in self._queues.get(clip_id, ()):
            if queue.qsize() <= WAITING_MESSAGES:
                queue.put_nowait(message)

    async def serve(self, socket: WebSocket, clip_id: str) -> None:
        """Send messages of a clip to one page until it leaves."""
        await socket.accept()
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queues.setdefault(clip_id, set()).add(queue)
        try:
            async with anyio.create_task_group() as group:

                async def run(work: Awaitable[object]) -> None:
                    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the page has left
                        await work
                    group.cancel_scope.cancel()

                group.start_soon(run, _send(socket, queue))
                group.start_soon(run, _wait_for_end(socket))
                group.start_soon(run, self._closed.wait())
        finally:
            self._queues[clip_id].discard(queue)
        if socket.client_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close()


async def _send(socket: WebSocket, queue: asyncio.Queue[dict[str, Any]]) -> None:
    await socket.send_json([{"type": "hello"}])
    while True:
        messages = [await queue.get()]
        while not queue.empty():
            messages.append(queue.get_nowait())
        if len(messages) > WAITING_MESSAGES:
            await socket.close(TRY_AGAIN_LATER)
            return
        await socket.send_json(messages)
        await asyncio.sleep(SECONDS_BETWEEN_SENDS)


async def _wait_for_end(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
