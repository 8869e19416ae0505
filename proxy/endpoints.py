"""The inference endpoints: decode, route, lease, generate, encode. Plain ASGI, for they are the hot path.

A dialect says what bodies and answers look like; everything else is the same for all. A small
request costs 75 µs of CPU from the ASGI call to the last send, 30 of them in the middleware and
router that FastAPI brings; a streamed token costs 4.5 µs before the socket.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from inference.chat import ChatEvent, EmbeddingRequest, Embeddings, Finish, GenerateRequest
from inference.errors import HotseatError, WorkerCrashed
from inference.messages import PrefixReport, PromptProgress
from inference.scheduler_events import Lane
from proxy.answer import NO_WAITS, Answer, Served, Waits
from proxy.boundary import ANSWER_HEADERS, REQUEST_ID, send_json
from proxy.dialects import embeddings
from proxy.errors import ClientGone, HeaderList, RequestTimedOut, unexpected
from proxy.event_stream import EventStream
from proxy.guests import Seat, stand_in
from proxy.lanes import lane_of
from proxy.limits import read_body
from proxy.live import Current, Live
from proxy.presence import Presence
from proxy.request_log import MAX_NAME_CHARS, RequestLog, RequestRecord
from proxy.routing import Route, run_of
from proxy.upstreams.base import Batch, Exchange, Upstream

_log = logging.getLogger("hotseat.request")


class Call(Protocol):
    """A decoded body, as far as it concerns the endpoint."""

    @property
    def request(self) -> Any: ...

    @property
    def stream(self) -> bool: ...


class Encoder(Protocol):
    """One per response. `begin` and `keep_alive`: see event_stream.Framing."""

    def begin(self) -> bytes: ...
    def keep_alive(self) -> bytes: ...
    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes: ...
    def error(self, error: HotseatError, request_id: str) -> bytes: ...


class GenerationDialect(Protocol):
    """A module of proxy/dialects whose requests generate text."""

    NAME: str

    def decode_request(self, raw: bytes) -> Any: ...
    def encode_response(
        self, call: Any, answer: Answer, finish: Finish, served: Served, waits: Waits
    ) -> bytes: ...

    StreamEncoder: Any


@dataclass(frozen=True, slots=True)
class Services:
    """What every endpoint needs. `seats`: the local models as they are now."""

    live: Live
    upstreams: dict[str, Upstream]
    seats: Callable[[], Sequence[Seat]]
    log: RequestLog


class GenerationEndpoint:
    def __init__(self, dialect: GenerationDialect, services: Services) -> None:
        self._dialect = dialect
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope[REQUEST_ID]
        with self._services.log.track(request_id, run_of(scope["path_params"]), self._dialect.NAME) as record:
            lane = lane_of(scope["headers"])
            call = self._dialect.decode_request(await read_body(receive))
            record.stream = call.stream
            now = self._services.live.now
            route = _route(now, call.request.model, record, self._services.seats)
            scope[ANSWER_HEADERS] = route_headers(route)
            generation = _Generation(
                upstream=self._services.upstreams[route.upstream],
                request=_for_model(call.request, route.model),
                lane=lane,
                record=record,
                on_report=partial(self._services.log.explain, record),
                limit_s=now.limits.request_timeout_s,
            )
            served = Served(request_id, route.model, int(record.started_at))
            headers = [*scope[ANSWER_HEADERS], (b"x-hotseat-request-id", request_id.encode())]
            if call.stream:
                encoder = self._dialect.StreamEncoder(call, served)
                stream = EventStream(send, headers, keepalive_s=now.limits.keepalive_s, framing=encoder)
                await _stream(generation, encoder, stream, receive)
            else:
                async with Presence(receive):
                    answer, finish = await _gather(generation)
                waits = generation.waits
                body = self._dialect.encode_response(call, answer, finish, served, waits)
                await send_json(send, body, [*headers, *wait_headers(waits)])


class EmbeddingsEndpoint:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope[REQUEST_ID]
        with self._services.log.track(request_id, run_of(scope["path_params"]), embeddings.NAME) as record:
            lane = lane_of(scope["headers"])
            call = embeddings.decode_request(await read_body(receive))
            now = self._services.live.now
            route = _route(now, call.request.model, record)
            scope[ANSWER_HEADERS] = route_headers(route)
            async with Presence(receive):
                opening = self._services.upstreams[route.upstream].open(route.model, lane)
                request = _for_model(call.request, route.model)
                answer, waits = await _embed(opening, request, record, now.limits.request_timeout_s)
            record.count(answer.usage)
            served = Served(request_id, route.model, int(record.started_at))
            body = embeddings.encode_response(call, answer, served)
            headers = [*scope[ANSWER_HEADERS], (b"x-hotseat-request-id", request_id.encode())]
            await send_json(send, body, [*headers, *wait_headers(waits)])


async def _embed(
    opening: AbstractAsyncContextManager[Exchange],
    request: EmbeddingRequest,
    record: RequestRecord,
    limit_s: float,
) -> tuple[Embeddings, Waits]:
    try:
        async with asyncio.timeout(limit_s), opening as exchange:
            record.queue_s, record.load_s = exchange.queue_s, exchange.load_s
            return await exchange.embed(request), Waits(exchange.queue_s, exchange.load_s)
    except TimeoutError as error:
        raise _timed_out(limit_s) from error


# --- one generation ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Generation:
    """What is asked of whom, and what became of it so far."""

    upstream: Upstream
    request: GenerateRequest
    lane: Lane
    record: RequestRecord
    on_report: Callable[[PrefixReport], None]
    limit_s: float
    waits: Waits = NO_WAITS
    finish: Finish | None = None


async def _gather(generation: _Generation) -> tuple[Answer, Finish]:
    """The whole answer at once."""
    answer = Answer()

    async def add(events: list[ChatEvent]) -> None:
        for event in events:
            answer.add(event)

    await _run(generation, add)
    assert generation.finish is not None
    return answer, generation.finish


async def _stream(generation: _Generation, encoder: Encoder, stream: EventStream, receive: Receive) -> None:
    """The answer as it comes. The last chunk is written when the lease is over: a client that is
    slow to take it holds no slot. It is encoded only then: dialects that number their events number
    the keep-alives too."""
    last_events: list[ChatEvent] = []

    async def write(events: list[ChatEvent]) -> None:
        if generation.finish is not None:
            last_events.extend(events)
            return
        if not stream.started:
            stream.headers += wait_headers(generation.waits)
        await stream.write(stream.opening() + encoder.encode(events, generation.waits))

    try:
        async with Presence(receive, due=stream.grace_ends_s, on_due=stream.keep_alive):
            await _run(generation, write)
        last = stream.opening() + encoder.encode(last_events, generation.waits)
    except ClientGone:
        raise
    except Exception as error:  # the request border: once the stream has started, failure is an event
        if not stream.started:
            raise
        failure = _as_hotseat_error(error, generation.record.request_id)
        generation.record.fail(failure)
        last = encoder.error(failure, generation.record.request_id)
    if not stream.started:
        stream.headers += wait_headers(generation.waits)
    await stream.write(last, more=False)


class _OnEvents(Protocol):
    async def __call__(self, events: list[ChatEvent], /) -> None: ...


async def _run(generation: _Generation, on_events: _OnEvents) -> None:
    """Lease, generate, and hand over what comes, a batch at a time. Raises HotseatError."""
    record = generation.record
    begun_s = time.perf_counter()
    try:
        async with (
            asyncio.timeout(generation.limit_s),
            generation.upstream.open(generation.request.model, generation.lane) as exchange,
        ):
            record.queue_s, record.load_s = exchange.queue_s, exchange.load_s
            generation.waits = Waits(exchange.queue_s, exchange.load_s)
            async with aclosing(exchange.generate(generation.request)) as batches:
                async for batch in batches:
                    events = _answers(batch, generation.on_report)
                    if not events:
                        continue
                    if record.ttft_s is None:
                        record.ttft_s = time.perf_counter() - begun_s
                    last = events[-1]
                    if isinstance(last, Finish):
                        generation.finish = last
                        record.finish(last)
                    await on_events(events)
    except TimeoutError as error:
        raise _timed_out(generation.limit_s) from error
    if generation.finish is None:
        raise WorkerCrashed("the answer ended without its last word")


def _answers(batch: Batch, on_report: Callable[[PrefixReport], None]) -> list[ChatEvent]:
    answers: list[ChatEvent] = []
    for event in batch:
        if isinstance(event, PrefixReport):
            on_report(event)
        elif not isinstance(event, PromptProgress):
            answers.append(event)
    return answers


def _timed_out(limit_s: float) -> RequestTimedOut:
    return RequestTimedOut(f"the request took longer than {limit_s:g} s, the limit of this server")


def _as_hotseat_error(error: Exception, request_id: str) -> HotseatError:
    if isinstance(error, HotseatError):
        return error
    _log.error("request %s failed in its stream", request_id, exc_info=error)
    return unexpected(request_id)


# --- routing and headers -----------------------------------------------------------------------


def _route(
    now: Current,
    requested: str,
    record: RequestRecord,
    seats: Callable[[], Sequence[Seat]] | None = None,
) -> Route:
    """Without `seats` nobody stands in for another model: vectors of another one would be worthless."""
    record.requested_model = requested[:MAX_NAME_CHARS]
    route = now.routes.resolve(requested)
    if route.is_background and seats is not None:
        chatting = [seat for seat in seats() if _chats(now, seat.model)]
        route = Route(route.upstream, stand_in(route.model, chatting))
    record.model, record.upstream = route.model, route.upstream
    return route


def _chats(now: Current, model: str) -> bool:
    entry = now.config.models.get(model)
    return entry is not None and not entry.spec.embeddings


def _for_model(request: Any, model: str) -> Any:
    """The request under the model's own name: the one asked for may be an alias or a role."""
    return request if request.model == model else msgspec.structs.replace(request, model=model)


def route_headers(route: Route) -> HeaderList:
    return [
        (b"x-hotseat-model", route.model.encode("ascii", "backslashreplace")),
        (b"x-hotseat-upstream", route.upstream.encode("ascii", "backslashreplace")),
    ]


def wait_headers(waits: Waits) -> HeaderList:
    return [
        (b"x-hotseat-queue-ms", b"%.1f" % (waits.queue_s * 1000)),
        (b"x-hotseat-load-ms", b"%.1f" % (waits.load_s * 1000)),
    ]
