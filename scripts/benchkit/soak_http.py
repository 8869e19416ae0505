"""One HTTP request on a connection of its own, by a client that may hang up at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h11

from benchkit.soak_plan import Asked, Leaving
from benchkit.soak_verdict import Reply

READ_BYTES = 65536
ADMIN_BOUND_S = 45.0
"""A load or unload waits for leases to end, and they may take REQUEST_TIMEOUT_S."""


class NoAnswer(Exception):
    """The server gave none, or only a part."""


@dataclass(slots=True)
class _Received:
    connection: h11.Connection = field(default_factory=lambda: h11.Connection(our_role=h11.CLIENT))
    status: int = 0
    headers: dict[str, str] | None = None
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False

    def feed(self, data: bytes) -> None:
        """Raises h11.RemoteProtocolError where the end comes too early."""
        self.connection.receive_data(data)
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.whole = True
                return
            elif event is h11.NEED_DATA:
                return


class Http:
    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, asked: Asked, bound_s: float) -> Reply:
        headers = {} if asked.lane is None else {"x-hotseat-lane": asked.lane}
        return await self.exchange("POST", asked.path, asked.body, headers, asked.leaving, bound_s)

    async def get(self, path: str, bound_s: float = ADMIN_BOUND_S) -> dict[str, Any]:
        return await self._whole("GET", path, bound_s)

    async def post(self, path: str, bound_s: float = ADMIN_BOUND_S) -> tuple[int, dict[str, Any]]:
        reply = await self.exchange("POST", path, None, {}, None, bound_s)
        if not reply.whole:
            raise NoAnswer(
                f"POST {path}: no whole answer within {reply.total_s:.1f} s (status {reply.status})"
            )
        return reply.status, json.loads(reply.body)

    async def _whole(self, method: str, path: str, bound_s: float) -> dict[str, Any]:
        reply = await self.exchange(method, path, None, {}, None, bound_s)
        if not reply.whole or reply.status != 200:
            raise NoAnswer(f"{method} {path}: status {reply.status} within {reply.total_s:.1f} s")
        answer: dict[str, Any] = json.loads(reply.body)
        return answer

    async def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        leaving: Leaving | None,
        bound_s: float,
    ) -> Reply:
        """Never raises for what the server does: the reply says how far it came."""
        started_s = time.perf_counter()
        got = _Received()
        left = stuck = False
        try:
            async with asyncio.timeout(bound_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(_request(got.connection, method, path, body, headers))
                    await writer.drain()
                    left = await _receive(reader, got, leaving)
                finally:
                    writer.close()
        except TimeoutError:
            stuck = True
        except (OSError, h11.RemoteProtocolError):
            pass  # refused, reset, or cut: `whole` says it
        total_s = time.perf_counter() - started_s
        return Reply(got.status, got.headers, bytes(got.body), got.whole, left, stuck, total_s)


def _request(
    connection: h11.Connection,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str],
) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    all_headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
        **headers,
    }
    parts = (
        connection.send(h11.Request(method=method, target=path, headers=list(all_headers.items()))),
        connection.send(h11.Data(data=content)),
        connection.send(h11.EndOfMessage()),
    )
    return b"".join(part or b"" for part in parts)


async def _receive(reader: asyncio.StreamReader, got: _Received, leaving: Leaving | None) -> bool:
    """Until the answer is whole. True: the client's patience was over before."""
    leave_at_s = None
    if leaving is not None and leaving.since == "sent":
        leave_at_s = asyncio.get_running_loop().time() + leaving.after_s
    with contextlib.suppress(_Impatient):
        while not got.whole:
            got.feed(await _read(reader, leave_at_s))
            if leaving is not None and leave_at_s is None and got.body:
                leave_at_s = asyncio.get_running_loop().time() + leaving.after_s
        return False
    return True


class _Impatient(Exception):
    """Time to hang up."""


async def _read(reader: asyncio.StreamReader, leave_at_s: float | None) -> bytes:
    clock = asyncio.timeout_at(leave_at_s)
    try:
        async with clock:
            return await reader.read(READ_BYTES)
    except TimeoutError:
        if clock.expired():
            raise _Impatient from None
        raise
