"""Runs the server until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from singletrack.errors import InputError, SingletrackError
from singletrack.web.app import build_app
from singletrack.web.security import is_loopback
from singletrack.web.workspace import Workspace

PORT = 8713
TOKEN_BYTES, TOKEN_LENGTH = 24, 32  # of random bytes, and of their text


def serve(
    workspace: Workspace,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_remote: bool = False,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page for a workspace until Ctrl-C, then close the workspace.

    Args:
        workspace: The clips.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one. [default: ``PORT``, or a free one where it is taken]
        allow_remote: Whether `host` may be one that other machines reach.
        on_start: Called with the address of the page once the server listens.

    Raises:
        InputError: If `host` is not loopback and `allow_remote` is False.
        SingletrackError: If nothing can listen there.
    """
    serve_app(
        lambda remote: build_app(workspace, token=workspace.secret, remote=remote),
        workspace.secret,
        host=host,
        port=port,
        allow_remote=allow_remote,
        on_start=on_start,
    )


def serve_app(
    build: Callable[[bool], Starlette],
    token: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_remote: bool = False,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve an application until Ctrl-C; arguments and errors as for ``serve``.

    Args:
        build: Makes the application; its argument says whether other machines may connect. Its
            ``state.end_streams``, if it has one, closes the streams that pages listen to.
        token: The secret of the printed address.
        host: Address to listen on.
        port: Port to listen on.
        allow_remote: Whether `host` may be one that other machines reach.
        on_start: Called with the address of the page once the server listens.
    """
    remote = not is_loopback(host)
    if remote and not allow_remote:
        raise InputError(
            f"host must be 127.0.0.1, which only this machine reaches; got {host}; add --allow-remote if others on the "
            "network may connect: the connection is not encrypted, so anyone who can listen in on it can read the "
            "video, the labels and the token, and change the labels"
        )
    with closing(_listen(host, port)) as listener:
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}/?token={token}"

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                on_start(address)

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                end_streams()  # or uvicorn would wait for them
                await super().shutdown(sockets)

        app = build(remote)
        end_streams: Callable[[], None] = getattr(app.state, "end_streams", lambda: None)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=64_000,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is closed
            Server(config).run(sockets=[listener])


def load_token(path: Path) -> str:
    """The token in a file that only this user may read, which is created if missing.

    It stays the same, so that a page that is open goes on when the server is started again. Where the file cannot be
    kept, the token is new each time.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
        private = not path.stat().st_mode & 0o077
        if private and len(token) >= TOKEN_LENGTH:
            return token
    except (OSError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token)
    return token


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((host, PORT if port is None else port))
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            listener.bind((host, 0))
    except OSError as error:
        listener.close()
        raise SingletrackError(
            f"expected a free port; cannot listen on {host}, port {port} ({error.strerror}); choose another --port, or "
            "leave it out to take any free one"
        ) from error
    return listener
