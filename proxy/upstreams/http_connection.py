"""One HTTP/1.1 connection as a client: one request at a time, its answer piece by piece.

The parser is httptools (llhttp), which refuses what may be read in two ways. Here are the bounds that it
leaves open: how much may come that is no body, how much is held for a reader that does not take it, and
what may not follow an answer. docs/decisions/0014-http-client.md says why this is not a library.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import httptools

from proxy.upstream_errors import BadAnswer, Broken, Silent, UpstreamError

MAX_OVERHEAD_BYTES = 64 * 1024
"""Of a head, of trailers, or between two pieces of a body: all that is not the body's."""

HELD_BYTES = 128 * 1024
"""Of a body that nobody takes: then the other side has to wait."""

_KEPT = frozenset(
    {b"content-type", b"content-encoding", b"retry-after", b"content-length", b"transfer-encoding"}
)


class HttpConnection(asyncio.Protocol):
    """`plain`: the connected socket, under TLS too. `on_end` is told once, when it can be used no more.
    Errors are UpstreamErrors; what came before one is read first."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, plain: socket.socket, on_end: Callable[[HttpConnection], None]
    ) -> None:
        self._loop = loop
        self._socket = plain
        self._on_end = on_end
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False
        self._is_paused = False
        self.idle_since_s = 0.0
        self._is_asked = False
        self._expect_answer()

    def _expect_answer(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}  # the first of each kept name
        self._has_head = False
        self._is_interim = False
        self._is_whole = False
        self._keeps = False
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._overhead_bytes = 0
        self._error: UpstreamError | None = None

    # --- asking and reading ----------------------------------------------------------------------

    async def ask(self, request: bytes, limit_s: float) -> None:
        """Until the head of the answer is there. Raises UpstreamError."""
        due_s = self._loop.time() + limit_s
        assert self._transport is not None
        assert not self._is_asked
        self._expect_answer()
        self._is_asked = True
        if self._is_ended:
            raise _broken()
        self._transport.write(request)
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._wait(due_s, limit_s)

    def header(self, name: bytes) -> str:
        """ "" where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def is_over(self) -> bool:
        """All of the body was taken."""
        return self._is_whole and not self._pieces

    async def read(self, limit_s: float) -> bytes:
        """What of the body has come and was not taken; b"" at its end. Raises UpstreamError. What comes and
        is no body does not make `limit_s` longer."""
        due_s = self._loop.time() + limit_s
        while True:
            if data := self.take():
                return data
            if self._is_whole:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait(due_s, limit_s)

    def take(self) -> bytes:
        """What is there without waiting."""
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self._held_bytes = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def _wait(self, due_s: float, limit_s: float) -> None:
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(due_s, self._late, limit_s)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _late(self, limit_s: float) -> None:
        self._fail(Silent(f"nothing came for {limit_s:.0f} s"))

    @property
    def is_usable(self) -> bool:
        return not self._is_ended and self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Of an idle one: the other side has neither ended it nor said anything since, as far as it is known
        here. A request over one that has ended would fail, and may not be repeated."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self.is_usable
        except OSError:
            return False
        return False

    def release(self) -> bool:
        """The answer is done with. True: the connection may be asked again; else it is closed now, and the
        other side learns that nobody reads on."""
        assert self._transport is not None
        self._is_asked = False
        can_stay = (
            self._keeps
            and not self._pieces
            and self.is_usable
            and not self._transport.get_write_buffer_size()  # of a request that was answered early
        )
        if not can_stay:
            self._transport.abort()
        return can_stay

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if not self._is_asked:
            self.close()  # an answer to nothing
            return
        held_bytes = self._held_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(BadAnswer("the answer is not HTTP: it changes the protocol, which nobody asked for"))
        except httptools.HttpParserError as error:
            self._fail(BadAnswer(f"the answer is not HTTP: {_reason(error)}"))
        if self._held_bytes == held_bytes and not self._is_whole:
            self._overhead_bytes += len(data)
            if self._overhead_bytes > MAX_OVERHEAD_BYTES:
                self._fail(BadAnswer(f"more than {MAX_OVERHEAD_BYTES} bytes came that are no body"))
        else:
            self._overhead_bytes = 0
        if self._held_bytes > HELD_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ended = True
        self._keeps = False
        if self._is_asked and not self._is_whole:
            if exc is None and self._has_head and self._ends_with_connection():
                self._is_whole = True
            elif self._error is None:
                self._error = _broken()
        self._wake()
        self._on_end(self)

    def _fail(self, error: UpstreamError) -> None:
        """What came after an answer was whole does not spoil it; the connection is not used again."""
        self._keeps = False
        if not self._is_whole and self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _ends_with_connection(self) -> bool:
        """A body of no stated length."""
        coding = self.headers.get(b"transfer-encoding")
        if coding is not None:
            return not coding.lower().rstrip().endswith(b"chunked")
        return b"content-length" not in self.headers

    # --- the parser's calls ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._keeps = False  # more than one answer came

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer, or of an answer too many
        name = name.lower()
        if name in _KEPT:
            self.headers.setdefault(name, value)

    def on_headers_complete(self) -> None:
        if self._has_head:
            return
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200
        if self._is_interim:
            self.headers.clear()
        else:
            self.status, self._has_head = status, True

    def on_body(self, data: bytes) -> None:
        if not self._is_whole:
            self._pieces.append(data)
            self._held_bytes += len(data)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        elif not self._is_whole:
            self._is_whole = True
            self._keeps = self._parser.should_keep_alive()


def _broken() -> Broken:
    return Broken("the connection ended in the middle of the answer")


def _reason(error: Exception) -> str:
    """In one line; the lines of a parser's message after its first may show what came."""
    said = str(error).partition("\n")[0] or type(error).__name__
    return " ".join(said.split())[:200]
