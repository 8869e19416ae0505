"""A response that is streamed: begun late enough for an honest status, early enough to keep the client.

Before the first byte a failure can still be a status; after it, a client waiting for a model must
see life. So the response begins with the first chunk, or FIRST_BYTE_GRACE_S after the request,
whichever comes first; keep-alives follow while nothing else does. What a response opens with and
which keep-alives its readers count as life is a matter of the dialect: see Framing.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.types import Send

from proxy import sse
from proxy.errors import HeaderList

FIRST_BYTE_GRACE_S = 1.0
"""Most refusals (queue full, prompt too long for a loaded model, file missing) come within it, and
so are statuses; clients' own patience for a first byte is measured in tens of seconds."""


class Framing(Protocol):
    """What surrounds the events of a stream."""

    def begin(self) -> bytes:
        """Asked for once, when the response starts, whenever that is: often while still queued. Nothing
        is encoded before."""

    def keep_alive(self) -> bytes:
        """Sent when nothing else was for a while."""


class Comments:
    """For streams that open with their first event: SSE's own way to show life."""

    def begin(self) -> bytes:
        return b""

    def keep_alive(self) -> bytes:
        return sse.KEEP_ALIVE


COMMENTS = Comments()


class EventStream:
    """`headers` may grow until the response has started."""

    def __init__(
        self, send: Send, headers: HeaderList, *, keepalive_s: float, framing: Framing = COMMENTS
    ) -> None:
        self.headers = headers
        self.started = False
        self._send = send
        self._framing = framing
        self._keepalive_s = keepalive_s
        self._clock = asyncio.get_running_loop().time
        self._last_write_s = self._clock()

    @property
    def grace_ends_s(self) -> float:
        """When to call `keep_alive` first."""
        return self._last_write_s + FIRST_BYTE_GRACE_S

    def opening(self) -> bytes:
        """What the first write must begin with, b"" for later ones. Ask right before encoding what you
        write, and write it at once: an encoder may number its events in the order it is asked for them."""
        return b"" if self.started else self._framing.begin()

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Waits while the client does not read; connection.py ends that at limits.client_stall_s."""
        if not self.started:
            await self._start()
        self._last_write_s = self._clock()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def keep_alive(self) -> float:
        """Write one if nothing was written for a while; returns when to come again.

        Called by another task than `write`. Each of their messages is whole, and uvicorn writes
        it without a pause in between, so their order does not matter.
        """
        if not self.started or self._clock() - self._last_write_s >= self._keepalive_s:
            await self.write(self.opening() + self._framing.keep_alive())
        return self._last_write_s + self._keepalive_s

    async def _start(self) -> None:
        self.started = True
        headers = [
            (b"content-type", sse.CONTENT_TYPE),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            *self.headers,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
