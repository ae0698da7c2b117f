"""Keep others out of the page: who is asked (Host), who asks (Origin), the token, and paths inside their folders."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "inside", "is_loopback"]

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # NiceGUI's own page is made of such
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,  # a report keeps its own, which allows less
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_REFUSALS = {
    "host": "this page is served under another name; open the address that looksharp studio printed",
    "origin": "the request comes from another page",
    "token": "open the address that looksharp studio printed: it holds a token",
}


class Guard:
    """Pass on requests of those who have the token, from this page, to this address; refuse all others.

    The token comes once in the address, `?token=...`, and is kept in a cookie that scripts cannot read and other sites
    do not send. A page of another site that resolves its name to this machine (DNS rebinding) has another Host.

    Args:
        app: what is served.
        host: address that it is served on.
        port: its port.
        token: the token.
        once: another one, which opens the page a single time; "" if there is none. The address that a browser is
            started with can be read by everybody on the machine.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str, once: str = "") -> None:
        self.app, self.host, self.port, self.token, self._once = app, host, port, token, once
        self.cookie = f"looksharp-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        reason = self._refusal(headers, given)
        if reason:
            await _refuse(scope, send, _REFUSALS[reason])
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._added(message, given)]}
            await send(message)

        await self.app(scope, receive, guarded)

    def _refusal(self, headers: dict[str, str], given: str) -> str:
        """Return why a request is refused: a key of `_REFUSALS`, or "" if it is not."""
        host = headers.get("host", "")
        if not self._is_served(host):
            return "host"
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return "origin"
        known = self._is_known(given) or self._is_known(_cookie(headers, self.cookie)) or self._opens(given)
        return "" if known else "token"

    def _opens(self, token: str) -> bool:
        """Return whether a token is the one that opens the page once, and spend it."""
        if not self._once or not secrets.compare_digest(token.encode(), self._once.encode()):
            return False
        self._once = ""
        return True

    def _is_known(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def _is_served(self, host: str) -> bool:
        """Return whether a Host header names this machine: by an address, which no site can claim, or its own name."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port:
            return False
        if is_loopback(self.host):
            return is_loopback(name)
        return name in (self.host, socket.gethostname().lower()) or is_loopback(name) or _is_address(name)

    def _added(self, message: Message, given: str) -> list[tuple[bytes, bytes]]:
        present = {name.lower() for name, _ in message.get("headers", [])}
        added = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
        if given:
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            added.append((b"set-cookie", cookie.encode()))
        return added


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "127.0.0.1.evil.org")]
        [True, True, True, False, False]

    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def inside(folder: Path, path: str) -> Path:
    """Return a file below a folder, by its relative path.

    Raises:
        ValueError: if it is not below it, links followed, or is no file.
    """
    folder = folder.resolve()
    try:
        found = (folder / path).resolve()
        there = found.is_relative_to(folder) and found.is_file()
    except (ValueError, OSError):  # a null byte, a loop of links, a name too long
        there = False
    if not there:
        raise ValueError(f"there is no file {path!r:.200}")
    return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


async def _refuse(scope: Scope, send: Send, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
