"""What one request may cost before it is understood: size and age of its body, its media type.

`check_head` is the decision; RequestLimits is the ASGI layer that asks it and hands on a
`receive` that counts and keeps the deadline while the body is read, so that nothing is buffered
whole first. The limits on the head itself need the socket: connection.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.config import Limits
from proxy.errors import BodyTimeout, BodyTooLarge, ClientGone, UnsupportedMedia

JSON_TYPE = b"application/json"
_BODYLESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def check_head(method: str, headers: Iterable[tuple[bytes, bytes]], max_body_bytes: int) -> None:
    """Raises UnsupportedMedia or BodyTooLarge. A body needs to be plain JSON of bearable length.

    Media type: a web page can post text/plain across origins without asking, JSON it cannot.
    Encoding: a few kilobytes of gzip unpack to gigabytes.
    """
    content_type = b""
    length = 0
    chunked = False
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"content-type":
            content_type = value
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedMedia("compressed bodies are refused: send the body without Content-Encoding")
    if not (length or chunked):
        return
    if length > max_body_bytes:
        raise _too_large(max_body_bytes)
    if method not in _BODYLESS and not is_json(content_type):
        raise UnsupportedMedia("expected Content-Type: application/json")


def is_json(content_type: bytes) -> bool:
    """application/json, in UTF-8 if it says more."""
    if content_type == JSON_TYPE:
        return True
    media_type, *parameters = content_type.lower().split(b";")
    if media_type.strip() != JSON_TYPE:
        return False
    charsets = [p.strip()[8:].strip(b'"') for p in parameters if p.strip().startswith(b"charset=")]
    return all(charset in (b"utf-8", b"utf8") for charset in charsets)


def _too_large(max_body_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {max_body_bytes} bytes: shorten it, or raise server.limits.max_body"
    )


class RequestLimits:
    """ASGI layer: raises what `check_head` raises, and from `receive` BodyTooLarge and BodyTimeout."""

    def __init__(self, app: ASGIApp, limits: Callable[[], Limits]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            limits = self._limits()
            check_head(scope["method"], scope["headers"], limits.max_body_bytes)
            receive = BoundedReceive(receive, limits.max_body_bytes, limits.body_timeout_s)
        await self._app(scope, receive, send)


class BoundedReceive:
    """ASGI `receive` with a limit on the body's bytes and on the time until its end."""

    __slots__ = ("_bytes_left", "_complete", "_deadline", "_max_bytes", "_receive", "_timeout_s")

    def __init__(self, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._bytes_left = max_bytes
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BodyTimeout(f"the body did not arrive within {self._timeout_s:g} s") from None
        if message["type"] == "http.request":
            self._bytes_left -= len(message.get("body", b""))
            if self._bytes_left < 0:
                raise _too_large(self._max_bytes)
            self._complete = not message.get("more_body", False)
        return message


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises ClientGone if the client leaves first."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise ClientGone("the client left before its body had arrived")
