"""A response that is streamed: begun late enough for an honest status, early enough to keep the client.

Before the first byte a failure can still be a status; after it, a client waiting for a model must
see life. So the response begins with the first chunk, or FIRST_BYTE_GRACE_S after the request,
whichever comes first; keep-alive comments follow while nothing else does.
"""

from __future__ import annotations

import asyncio

from starlette.types import Send

from proxy import sse
from proxy.errors import HeaderList

FIRST_BYTE_GRACE_S = 1.0
"""Most refusals (queue full, prompt too long for a loaded model, file missing) come within it, and
so are statuses; clients' own patience for a first byte is measured in tens of seconds."""


class EventStream:
    """`headers` may grow until the response has started."""

    def __init__(self, send: Send, headers: HeaderList, *, keepalive_s: float) -> None:
        self.headers = headers
        self.started = False
        self._send = send
        self._keepalive_s = keepalive_s
        self._clock = asyncio.get_running_loop().time
        self._last_write_s = self._clock()

    @property
    def grace_ends_s(self) -> float:
        """When to call `keep_alive` first."""
        return self._last_write_s + FIRST_BYTE_GRACE_S

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Waits while the client does not read; connection.py ends that at limits.client_stall_s."""
        if not self.started:
            await self._start()
        self._last_write_s = self._clock()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def keep_alive(self) -> float:
        """Write a comment if nothing was written for a while; returns when to come again.

        Called by another task than `write`. Each of their messages is whole, and uvicorn writes
        it without a pause in between, so their order does not matter.
        """
        if not self.started or self._clock() - self._last_write_s >= self._keepalive_s:
            await self.write(sse.KEEP_ALIVE)
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
