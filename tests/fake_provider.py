"""The ground that fake providers stand on: a loopback server that answers by script, and a book of all
that it was asked, sent and billed.

    fake = openrouter()                                     # or zai(): they know their manners
    async with fake.running():                              # in the test's loop; or `with fake.in_thread()`
        fake.script(Failure(503, "overloaded"), Reply())    # the next two requests; others go well
        ...
        assert fake.asked[1].outcome == "answered"
        assert fake.billed.cost == Decimal("0.0000245")

What a request is answered is a Reply (an answer, and how it goes on the wire), a Failure or a Stunt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol

from aiohttp import web

from tests.fake_answers import Frame, Price, Said, Tokens, encoded, said
from tests.fake_wire import (
    Failure,
    Packet,
    Reply,
    Response,
    Stunt,
    Wire,
    packet_of,
    sent,
    steps_of,
    with_comments,
)

Dialect = Literal["chat-completions", "messages"]
PATIENCE_S = 30.0
MAX_REQUEST_BYTES = 64 * 2**20


# --- the book ----------------------------------------------------------------------------------

Outcome = Literal["running", "answered", "refused", "failed", "cut", "client gone"]


@dataclass(frozen=True, slots=True)
class Bill:
    """`was_told`: its usage was sent. What was made before a stream broke off is billed, and never told."""

    number: int
    model: str
    tokens: Tokens
    cost: Decimal
    was_told: bool


@dataclass(slots=True)
class Asked:
    """One request as it came, and what became of it."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Sequence[tuple[str, str]]
    raw: bytes
    body: Any
    at_s: float  # of a clock that only counts on
    outcome: Outcome = "running"
    bill: Bill | None = None
    n_sent: int = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def header_names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}


@dataclass(frozen=True, slots=True)
class Billed:
    """A sum of bills."""

    requests: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal = Decimal(0)


def total(bills: Sequence[Bill]) -> Billed:
    return Billed(
        len(bills),
        sum((bill.tokens for bill in bills), Tokens()),
        sum((bill.cost for bill in bills), Decimal(0)),
    )


# --- manners -----------------------------------------------------------------------------------


class Manners(Protocol):
    """How one provider says what all of them say."""

    @property
    def posts(self) -> Mapping[str, Dialect]: ...

    @property
    def prices(self) -> Mapping[str, Price]: ...

    @property
    def comment(self) -> str: ...

    def refusal(self, asked: Asked) -> Failure | None:
        """Of a request without the key, or with what this provider does not take."""

    def may_reason(self, asked: Asked) -> bool: ...

    def headers(self, asked: Asked) -> Mapping[str, str]: ...

    def whole(self, dialect: Dialect, words: Said) -> Any: ...

    def frames(self, dialect: Dialect, words: Said) -> list[Frame]: ...

    def broken_off(self, dialect: Dialect, words: Said) -> Frame:
        """The error in the middle of a stream."""

    def envelope(self, failure: Failure, asked: Asked) -> Any: ...

    def get(self, asked: Asked) -> tuple[int, Any]:
        """What a GET is answered."""


# --- the server --------------------------------------------------------------------------------


class FakeProvider:
    """Enter `running` or `in_thread` once."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._script: deque[Response] = deque()
        self._respond: Callable[[Asked], Response] = lambda _: Reply()
        self._changed: asyncio.Condition
        self._resumed: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.port = 0
        self.asked: list[Asked] = []
        self.n_running = 0
        self.max_running = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def posted(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    @property
    def bills(self) -> list[Bill]:
        return [asked.bill for asked in self.asked if asked.bill is not None]

    @property
    def billed(self) -> Billed:
        """All of it, told or not."""
        return total(self.bills)

    @property
    def told(self) -> Billed:
        """What our own books must come to."""
        return total([bill for bill in self.bills if bill.was_told])

    def script(self, *responses: Response) -> None:
        self._script.extend(responses)

    def respond(self, respond: Callable[[Asked], Response]) -> None:
        """Decides where the script is empty."""
        self._respond = respond

    def resume(self) -> None:
        """Every stalled answer goes on, those that stall later too."""
        self._loop.call_soon_threadsafe(self._resumed.set)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """The same from another thread than the loop's."""
        asyncio.run_coroutine_threadsafe(self.until(condition), self._loop).result(PATIENCE_S)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FakeProvider]:
        self._loop = asyncio.get_running_loop()
        self._changed, self._resumed = asyncio.Condition(), asyncio.Event()
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[FakeProvider]:
        """For tests that have no loop, or talk to a server in another process."""
        started, over = threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with self.running():
                started.set()
                await over.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert started.wait(PATIENCE_S)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(over.set)
            thread.join()

    # --- one request ---------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        asked = Asked(
            number=len(self.asked),
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=list(request.headers.items()),
            raw=raw,
            body=_json(raw),
            at_s=time.monotonic(),
        )
        self.asked.append(asked)
        self.n_running += 1
        self.max_running = max(self.max_running, self.n_running)
        await self._tell()
        try:
            return await self._answer(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.outcome = "client gone"
            raise
        finally:
            self.n_running -= 1
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        dialect = self._manners.posts.get(asked.path)
        if refusal := self._manners.refusal(asked):
            asked.outcome = "refused"
            return self._fail(asked, refusal)
        if asked.method == "GET":
            status, body = self._manners.get(asked)
            asked.outcome = "answered" if status == 200 else "refused"
            return self._json(asked, status, body)
        if dialect is None or asked.method != "POST":
            asked.outcome = "refused"
            return self._fail(asked, Failure(404, f"no such path: {asked.path}"))
        response = self._script.popleft() if self._script else self._respond(asked)
        match response:
            case Failure():
                asked.outcome = "failed"
                return self._fail(asked, response)
            case Stunt():
                return await self._perform(request, asked, response)
            case Reply():
                return await self._reply(request, asked, response, dialect)

    def _json(self, asked: Asked, status: int, body: Any, **headers: str) -> web.Response:
        own = self._manners.headers(asked)
        return web.Response(
            status=status, body=encoded(body), content_type="application/json", headers={**own, **headers}
        )

    def _fail(self, asked: Asked, failure: Failure) -> web.Response:
        body = self._manners.envelope(failure, asked)
        if not failure.as_event:
            return self._json(asked, failure.status, body, **failure.headers)
        event = b"data: " + encoded(body) + b"\n\n"
        return web.Response(status=failure.status, body=event, content_type="text/event-stream")

    async def _reply(
        self, request: web.Request, asked: Asked, reply: Reply, dialect: Dialect
    ) -> web.StreamResponse:
        price = self._manners.prices[asked.body["model"]]
        may_reason = self._manners.may_reason(asked)
        words = said(reply.answer, asked.body, asked.number, price, may_reason=may_reason)
        headers = {**self._manners.headers(asked), **reply.headers}
        if not asked.body.get("stream"):
            data = encoded(self._manners.whole(dialect, words))
            if reply.wire.comments:
                data = b"\n         \n" + data  # kept alive while the model thinks: JSON allows the space
            packets = [Packet(data, usage_ends=len(data))]
        else:
            frames = self._manners.frames(dialect, words)
            packets = [packet_of(frame, reply.wire) for frame in sent(frames, reply.wire)]
            if reply.wire.error_after is not None:
                broken = self._manners.broken_off(dialect, words)
                packets.append(packet_of(broken, reply.wire))
            packets = list(with_comments(packets, reply.wire, self._manners.comment))
        media_type = "text/event-stream" if asked.body.get("stream") else "application/json"
        return await self._send(request, asked, _Sending(words, packets, reply.wire, headers, media_type))

    async def _send(self, request: web.Request, asked: Asked, sending: _Sending) -> web.StreamResponse:
        """Billed is what has been made until the connection ends, and told if the usage has left whole."""
        wire = sending.wire
        response = web.StreamResponse(headers={**sending.headers, "content-type": sending.media_type})
        if sending.media_type == "application/json" and wire.ends_at is not None:
            response.content_length = sum(len(packet.data) for packet in sending.packets)
        made, told = 0, False
        try:
            await response.prepare(request)
            for step in steps_of(sending.packets, wire):
                if step.stalls:
                    await self._resumed.wait()
                if step.data:
                    asked.n_sent += len(step.data)
                    await response.write(step.data)
                    await asyncio.sleep(wire.pace_s)  # zero lets the reader have it as a packet of its own
                made, told = step.made or made, told or step.tells_usage
                if step.is_last:
                    break
            if wire.ends_at is not None:
                asked.outcome = "cut"
                _disconnect(request, resets=wire.resets)
                return response
            await response.write_eof()
            asked.outcome = "failed" if wire.error_after is not None else "answered"
            return response
        finally:
            asked.bill = _bill(asked.number, sending.words, made, told)

    async def _perform(self, request: web.Request, asked: Asked, stunt: Stunt) -> web.StreamResponse:
        if stunt.drops:
            asked.outcome = "cut"
            _disconnect(request, resets=True)
            return web.Response()
        response = web.StreamResponse(status=stunt.status, headers=stunt.headers)
        await response.prepare(request)
        await response.write(stunt.head)
        done = 0
        while stunt.times is None or done < stunt.times:
            await response.write(stunt.body)
            asked.n_sent += len(stunt.body)
            await asyncio.sleep(stunt.pace_s)
            done += 1
        if stunt.hangs:
            await self._resumed.wait()
        await response.write_eof()
        asked.outcome = "failed"
        return response


@dataclass(frozen=True, slots=True)
class _Sending:
    words: Said
    packets: Sequence[Packet]
    wire: Wire
    headers: Mapping[str, str]
    media_type: str


def _bill(number: int, words: Said, made: int, told: bool) -> Bill:
    if told:
        return Bill(number, words.model, words.tokens, words.cost, was_told=True)
    partial = Tokens(
        input=words.tokens.input,
        output=min(made, words.tokens.output),
        cached=words.tokens.cached,
        cache_write=words.tokens.cache_write,
        reasoning=min(made, words.tokens.reasoning),
    )
    return Bill(number, words.model, partial, words.price.of(partial), was_told=False)


def _disconnect(request: web.Request, *, resets: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if resets:
        linger = struct.pack("ii", 1, 0)  # closing throws away what is unsent, and says so with RST
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
