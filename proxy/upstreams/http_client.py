"""HTTP as a client: connections for everybody whom the proxy asks. Deadlines and caps for all.

Knows nothing of models. No redirect is followed, no proxy of the environment is used, no cookie is
kept, no compressed answer is taken. Whoever leaves an answer before its end, by an error or by
cancellation, closes its connection: that is how the other side learns of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

from proxy.upstream_errors import BadAnswer, UpstreamError
from proxy.upstreams.http_connection import HttpConnection
from proxy.upstreams.http_pool import Address, HttpPool, Origin, address_of

MAX_BODY_BYTES = 64 * 2**20
MAX_STREAM_BYTES = 512 * 2**20
"""About two million tokens: a stream that goes on for ever ends somewhere."""

MAX_RETRY_AFTER_S = 3600.0
MOST_IDLE = 64
"""Connections to one server that are kept while nobody needs them."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """`first_byte_s`: from the request to the first byte of the answer's body, prefill included.
    `idle_s`: between two pieces of the body after that."""

    connect_s: float = 5.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0


DEADLINES = Deadlines()


class HttpClient:
    """Enter it before use, in the event loop that uses it. `keep_connections` False makes one connection
    per request: on loopback that costs 0.1 ms, and none is found closed by the other side's idle timer."""

    def __init__(self, *, keep_connections: bool) -> None:
        self._keep_connections = keep_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: HttpPool | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._pool = HttpPool(self._loop, MOST_IDLE if self._keep_connections else 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def post(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """The answer once its head is there, whatever its status. Raises UpstreamError."""
        told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        return self._ask("POST", url, body, deadlines, told)

    def get(
        self, url: str, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """As `post`."""
        return self._ask("GET", url, b"", deadlines, headers or {})

    def _ask(
        self, method: str, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str]
    ) -> _Exchange:
        if self._loop is None or self._pool is None:
            raise RuntimeError("the HTTP client is not open")
        address = address_of(url)
        request = request_head(method, address, headers, keeps=self._keep_connections) + body
        return _Exchange(self._loop, self._pool, address.origin, request, deadlines)


def request_head(method: str, address: Address, headers: Mapping[str, str], *, keeps: bool) -> bytes:
    """Raises ValueError for a header that would be more than one line."""
    lines = [f"{method} {address.target} HTTP/1.1", f"host: {address.host_header}", *_SAID_ALWAYS]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not keeps:
        lines.append("connection: close")
    head = "\r\n".join(lines).encode("latin-1")
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise ValueError("a header has a line break or a NUL in it")
    return head + b"\r\n\r\n"


_SAID_ALWAYS = ("accept-encoding: identity", "user-agent: hotseat")


class _Exchange:
    """One request and its answer, as a context."""

    __slots__ = ("_connection", "_deadlines", "_loop", "_origin", "_pool", "_request")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: HttpPool,
        origin: Origin,
        request: bytes,
        deadlines: Deadlines,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._origin = origin
        self._request = request
        self._deadlines = deadlines
        self._connection: HttpConnection | None = None

    async def __aenter__(self) -> HttpAnswer:
        first_byte_due_s = self._loop.time() + self._deadlines.first_byte_s
        connection = self._pool.take(self._origin)
        if connection is None:
            limit_s = min(self._deadlines.connect_s, self._deadlines.first_byte_s)
            connection = await self._pool.connect(self._origin, limit_s)
        try:
            await connection.ask(self._request, max(0.0, first_byte_due_s - self._loop.time()))
        except BaseException:
            connection.release()
            raise
        self._connection = connection
        return HttpAnswer(connection, self._loop, first_byte_due_s, self._deadlines.idle_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        if connection is not None and connection.release():
            self._pool.keep(self._origin, connection)


class Body:
    """The body of an answer, by pieces or whole."""

    __slots__ = ()

    @property
    def is_over(self) -> bool:
        """Whether it is known already that no other piece will come."""
        return False

    async def piece(self) -> bytes:
        """The next one, once it has come; b"" at the end. Raises UpstreamError."""
        raise NotImplementedError

    async def read(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """All of it. Raises UpstreamError."""
        return b"".join([data async for data in self.chunks(max_bytes)])

    async def chunks(self, max_bytes: int = MAX_STREAM_BYTES) -> AsyncGenerator[bytes, None]:
        """All of it as it comes. Raises UpstreamError."""
        n_bytes = 0
        while data := await self.piece():
            n_bytes += len(data)
            if n_bytes > max_bytes:
                raise BadAnswer(f"the answer has more than {max_bytes} bytes")
            yield data


class HttpAnswer(Body):
    """`idle_s` may be changed while its body is read, and holds from the second piece on. Nothing is read
    ahead of the reader but one buffer."""

    __slots__ = (
        "_connection", "_due_s", "_loop", "idle_s", "media_type", "retry_after_s", "status",
    )  # fmt: skip

    def __init__(
        self,
        connection: HttpConnection,
        loop: asyncio.AbstractEventLoop,
        first_byte_due_s: float,
        idle_s: float,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._due_s: float | None = first_byte_due_s
        self.status = connection.status
        self.media_type = connection.header(b"content-type").partition(";")[0].strip().lower()
        retry_after = connection.header(b"retry-after")[:64]
        self.retry_after_s = retry_after_s(retry_after, time.time()) if retry_after else None
        self.idle_s = idle_s

    @property
    def is_over(self) -> bool:
        return self._connection.is_over

    async def piece(self) -> bytes:
        due_s, self._due_s = self._due_s, None
        if due_s is None:
            return await self._connection.read(self.idle_s)
        if self._connection.header(b"content-encoding").lower() not in ("", "identity"):
            raise BadAnswer("the answer has a content encoding, and none was asked for")
        return await self._connection.read(max(0.0, due_s - self._loop.time()))

    async def settle(self, limit_s: float) -> None:
        """The answer is known to be over: take the end of its body, so that the connection can be used
        again. What does not end within `limit_s` costs the connection, and nothing else."""
        due_s = self._loop.time() + limit_s
        with contextlib.suppress(UpstreamError):
            while await self._connection.read(max(0.0, due_s - self._loop.time())):
                pass


def retry_after_s(header: str, now_s: float) -> float | None:
    """Retry-After, seconds or a date; `now_s` since the epoch. None: there is none, or it is neither."""
    if not header:
        return None
    if header.isascii() and header.isdigit():
        return min(float(header[:10]), MAX_RETRY_AFTER_S)
    try:
        due_s = parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, due_s - now_s), MAX_RETRY_AFTER_S)
