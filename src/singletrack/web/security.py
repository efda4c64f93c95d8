"""Who may talk to the server: a token, the Host and Origin headers, and the headers that every answer carries."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
WEBSOCKET_POLICY_VIOLATION = 1008


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach a server that listens on `host`."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that lets through only requests of the page that was opened with the token.

    The address with the token sets a cookie that scripts cannot read and other sites cannot send. Programs may send
    the token as `Authorization: Bearer TOKEN` instead. Requests whose Host header is another name than this server's
    (DNS rebinding), or whose Origin is another site, are refused whatever they carry.

    Args:
        app: The application behind it.
        token: The secret.
        remote: Whether other machines may connect. Host may then also be any IP address, or this machine's name.
        command: The command that printed the address, for messages.
    """

    def __init__(self, app: ASGIApp, *, token: str, remote: bool = False, command: str = "singletrack label") -> None:
        self._app, self._token, self._remote, self._command = app, token, remote, command

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None and scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if self._matches(given):
                await self._set_cookie(scope, receive, send)
                return
        if refusal is None and not self._knows(headers, cookie_name(scope)):
            refusal = (
                f"This page needs the address that `{self._command}` printed, with its token. Open that address, or "
                f"start `{self._command}` again.\n"
            )
        if refusal is not None:
            await self._refuse(refusal, scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out[name] = value
                out.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._allows_host(host, scope):
            return f"Host must be the address that `{self._command}` printed; got {host!r}.\n"
        origin = headers.get("origin")
        if origin is None and scope["type"] == "http":
            return None
        if origin not in (f"http://{host}", f"https://{host}"):
            return f"Origin must be this page; got {origin!r}.\n"
        return None

    def _allows_host(self, host: str, scope: Scope) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != scope["server"][1]:
            return False
        if name in LOOPBACK_NAMES:
            return True
        if not self._remote:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True

    def _matches(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _knows(self, headers: Headers, name: str) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._matches(bearer)
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return name in cookies and self._matches(cookies[name].value)

    async def _set_cookie(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = RedirectResponse("/", status_code=303, headers={**HEADERS, "cache-control": "no-store"})
        answer.set_cookie(cookie_name(scope), self._token, httponly=True, samesite="strict", path="/")
        await answer(scope, receive, send)

    async def _refuse(self, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # before it is accepted, this is answered with 403
            await send({"type": "websocket.close", "code": WEBSOCKET_POLICY_VIOLATION, "reason": ""})
            return
        answer = PlainTextResponse(reason, status_code=403, headers={**HEADERS, "cache-control": "no-store"})
        await answer(scope, receive, send)


def cookie_name(scope: Scope) -> str:
    """Name of the cookie. It holds the port, for browsers send the same cookies to every port of a machine."""
    return f"singletrack-{scope['server'][1]}"
