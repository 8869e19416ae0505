"""HTTP as a client: one pooled session for everybody whom the proxy asks. Deadlines and caps for all.

Knows nothing of models. No redirect is followed, no proxy of the environment is used, no cookie is
kept, no compressed answer is taken. Whoever leaves an answer before its end, by an error or by
cancellation, closes its connection: that is how the other side learns of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp

from proxy.upstream_errors import BadAnswer, Broken, Silent, Unreachable, Untrusted, UpstreamError

MAX_BODY_BYTES = 64 * 2**20
MAX_STREAM_BYTES = 512 * 2**20
"""About two million tokens: a stream that goes on for ever ends somewhere."""

MAX_RETRY_AFTER_S = 3600.0
MAX_HEADER_BYTES = 64 * 1024


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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not self._keep_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def post(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """The answer once its head is there, whatever its status. Raises UpstreamError."""
        return self._ask(
            "POST", url, body, deadlines, {"content-type": "application/json", **(headers or {})}
        )

    def get(
        self, url: str, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """As `post`."""
        return self._ask("GET", url, None, deadlines, headers or {})

    @asynccontextmanager
    async def _ask(
        self, method: str, url: str, body: bytes | None, deadlines: Deadlines, headers: Mapping[str, str]
    ) -> AsyncIterator[HttpAnswer]:
        if self._session is None:
            raise RuntimeError("the HTTP client is not open")
        loop = asyncio.get_running_loop()
        first_byte_due_s = loop.time() + deadlines.first_byte_s
        with _translated():
            async with _within(deadlines.first_byte_s):
                response = await self._session.request(
                    method,
                    url,
                    data=body,
                    headers={"accept-encoding": "identity", "user-agent": "hotseat", **headers},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=deadlines.connect_s),
                )
        try:
            yield HttpAnswer(response, first_byte_due_s, deadlines.idle_s)
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()


class HttpAnswer:
    """`idle_s` may be changed while `chunks` is read."""

    def __init__(self, response: aiohttp.ClientResponse, first_byte_due_s: float, idle_s: float) -> None:
        self.status = response.status
        self.media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.retry_after_s = retry_after_s(response.headers.get("retry-after", "")[:64], time.time())
        self.idle_s = idle_s
        self._encoding = response.headers.get("content-encoding", "identity").lower()
        self._content = response.content
        self._first_byte_due_s = first_byte_due_s

    async def read(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """All of the body. Raises UpstreamError."""
        body = bytearray()
        async for data in self.chunks(max_bytes):
            body += data
        return bytes(body)

    async def settle(self, limit_s: float) -> None:
        """The answer is known to be over: take the end of its body, so that the connection can be used
        again. What does not end within `limit_s` costs the connection, and nothing else."""
        with contextlib.suppress(UpstreamError), _translated():
            async with _within(limit_s):
                while not self._content.at_eof():
                    await self._content.readany()

    async def chunks(self, max_bytes: int = MAX_STREAM_BYTES) -> AsyncGenerator[bytes, None]:
        """The body as it comes; nothing is read ahead of the reader but one buffer. Raises UpstreamError."""
        if self._encoding != "identity":
            raise BadAnswer("the answer has a content encoding, and none was asked for")
        wait_s = max(0.0, self._first_byte_due_s - asyncio.get_running_loop().time())
        n_bytes = 0
        while data := await self._piece(wait_s):
            n_bytes += len(data)
            if n_bytes > max_bytes:
                raise BadAnswer(f"the answer has more than {max_bytes} bytes")
            yield data
            wait_s = self.idle_s

    async def _piece(self, wait_s: float) -> bytes:
        """What is there already needs no timer; b"" at the end."""
        with _translated():
            data = self._content.read_nowait()
            if data or self._content.at_eof():
                return data
            async with _within(wait_s):
                return await self._content.readany()


@asynccontextmanager
async def _within(limit_s: float) -> AsyncIterator[None]:
    scope = asyncio.timeout(limit_s)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():  # somebody else's: aiohttp's connect timeout is one of these too
            raise
        raise Silent(f"nothing came for {limit_s:.0f} s") from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientSSLError as error:
        raise Untrusted(f"no trusted connection: {_reason(error)}") from error
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unreachable(f"no connection: {_reason(error)}") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
        raise Broken("the connection ended in the middle of the answer") from error
    except aiohttp.ClientError as error:
        raise BadAnswer(f"the answer is not HTTP: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """In one line and without the address, which is not the client's business. The lines of a parser's
    message after its first show what came."""
    os_error = getattr(error, "os_error", None)
    said = getattr(os_error, "strerror", None) or getattr(error, "message", "") or type(error).__name__
    return " ".join(str(said).partition("\n")[0].split())[:200]


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
