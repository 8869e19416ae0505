"""A server that says bytes: what it is told to, cut as it is told to, to whoever has sent a whole request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field


@dataclass
class RawServer:
    """`answers`: one for each request, in pieces; an empty piece ends the connection there. `asked`: the
    requests, head and body, by connection."""

    answers: list[Sequence[bytes]]
    url: str = ""
    asked: list[list[bytes]] = field(default_factory=list)
    n_ended: int = 0
    n_said: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: list[bytes] = []
        self.asked.append(requests)
        try:
            while True:
                requests.append(await _request(reader))
                for piece in self.answers.pop(0):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    self.n_said += 1
                    await self._tell()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.n_ended += 1
            await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until_ended(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.n_ended >= count)

    async def until_said(self, count: int) -> None:
        """So many pieces have left."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.n_said >= count)


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    n_bytes = int(lengths[0].split(b":")[1]) if lengths else 0
    return head + await reader.readexactly(n_bytes)


@contextlib.asynccontextmanager
async def raw_server(*answers: bytes | Sequence[bytes], host: str = "127.0.0.1") -> AsyncIterator[RawServer]:
    pieces = [[answer] if isinstance(answer, bytes) else answer for answer in answers]
    raw = RawServer(list(pieces))
    server = await asyncio.start_server(raw.serve, host, 0)
    shown = f"[{host}]" if ":" in host else host
    raw.url = f"http://{shown}:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
