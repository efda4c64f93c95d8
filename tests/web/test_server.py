"""How the server ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("uvicorn", reason="needs the label page")

from starlette.applications import Starlette

from singletrack.web.server import serve_app


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
def test_streams_are_closed_before_the_server_waits_for_its_connections() -> None:
    happened: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        happened.append("ended")

    def build(remote: bool) -> Starlette:
        app = Starlette(lifespan=lifespan)
        app.state.end_streams = lambda: happened.append("streams are closed")
        return app

    serve_app(build, "token", port=0, on_start=lambda address: os.kill(os.getpid(), signal.SIGINT))
    assert happened == ["streams are closed", "ended"]
