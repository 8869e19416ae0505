"""The inference endpoints: decode, route, lease, generate, encode. Plain ASGI, for they are the hot path.

A dialect says what bodies and answers look like; everything else is the same for all. A small
request costs 75 µs of CPU from the ASGI call to the last send, 30 of them in the middleware and
router that FastAPI brings; a streamed token costs 4.5 µs before the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from inference.chat import ChatRequest, EmbeddingRequest, Embeddings, Finish
from inference.errors import HotseatError
from proxy.answer import Answer, Served, Waits
from proxy.attribution import attribute, digests
from proxy.boundary import ANSWER_HEADERS, REQUEST_ID, send_json
from proxy.callers import CALLER, OWNER
from proxy.dialects import embeddings
from proxy.event_stream import EventStream
from proxy.gate import Asking, Gate
from proxy.generation import Generation, for_model, gather, stream_answer, wait_headers
from proxy.guests import Seat, stand_in
from proxy.lanes import lane_of
from proxy.limits import read_body
from proxy.live import Current, Live
from proxy.presence import Presence
from proxy.remote_answers import serve_embeddings, serve_remote
from proxy.remote_attempts import Attempts, remote_request, route_headers
from proxy.request_log import MAX_NAME_CHARS, RequestLog, RequestRecord
from proxy.routing import LOCAL, Route, run_of
from proxy.treatments import Treatment, Treatments
from proxy.upstreams.base import Exchange, Upstream
from proxy.upstreams.remote import RemoteUpstreams


class Call(Protocol):
    """A decoded body, as far as it concerns the endpoint."""

    @property
    def request(self) -> Any: ...

    @property
    def stream(self) -> bool: ...


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
    remote: RemoteUpstreams
    gate: Gate
    treatments: Treatments

    def remote_for(self, treatment: Treatment) -> RemoteUpstreams:
        return self.remote if treatment.remote is None else treatment.remote

    async def admit(
        self,
        scope: Scope,
        record: RequestRecord,
        route: Route,
        body_bytes: int,
        max_output_tokens: int | None,
        chooser: str = "",
        *,
        is_free: bool = False,
    ) -> None:
        """Raises HotseatError where the caller may not ask this."""
        meant = self.treatments.of(record.run).meant(record.requested_model)
        caller = scope.get(CALLER, OWNER)
        await self.gate.admit(
            Asking(record, caller, route, body_bytes, max_output_tokens, is_free, chooser, meant)
        )


class GenerationEndpoint:
    def __init__(self, dialect: GenerationDialect, services: Services) -> None:
        self._dialect = dialect
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        request_id = scope[REQUEST_ID]
        with services.log.track(request_id, run_of(scope["path_params"]), self._dialect.NAME) as record:
            lane = lane_of(scope["headers"])
            raw = await read_body(receive)
            now = services.live.now
            treatment = services.treatments.of(record.run)
            if now.routes.remote and (
                asked := remote_request(raw, self._dialect.NAME, scope, now, record, treatment)
            ):
                passed = asked.passed
                most = passed.max_output_tokens
                treatment.admit(raw, record, asked.route, counts_itself=False)
                await services.admit(scope, record, asked.route, len(raw), most, passed.chooser)
                explain = partial(services.log.explain, record)
                remote, local = services.remote_for(treatment), services.upstreams[LOCAL]
                attempts = Attempts(asked, self._dialect, remote, local, lane, explain)
                await serve_remote(attempts, receive, send)
                treatment.answered(len(raw), record)
                return
            call = self._decoded(raw, scope, record, treatment)
            record.stream = call.stream
            route = _route(now, call.request.model, record, treatment, services.seats)
            scope[ANSWER_HEADERS] = route_headers(route.upstream, route.model)
            treatment.admit(raw, record, route, counts_itself=_counts_itself(now, route.model))
            await services.admit(scope, record, route, len(raw), call.request.max_tokens)
            generation = Generation(
                upstream=services.upstreams[route.upstream],
                request=for_model(treatment.request(call.request, record), route.model),
                lane=lane,
                record=record,
                on_report=partial(services.log.explain, record),
                limit_s=now.limits.request_timeout_s,
            )
            shown = treatment.shown(call.request.model, route.model)
            served = Served(request_id, shown, int(record.started_at))
            headers = [*scope[ANSWER_HEADERS], (b"x-hotseat-request-id", request_id.encode())]
            if call.stream:
                encoder = self._dialect.StreamEncoder(call, served)
                stream = EventStream(send, headers, keepalive_s=now.limits.keepalive_s, framing=encoder)
                await stream_answer(generation, encoder, stream, receive)
            else:
                async with Presence(receive, limit_s=generation.limit_s):
                    answer, finish = await gather(generation)
                waits = generation.waits
                body = self._dialect.encode_response(call, answer, finish, served, waits)
                await send_json(send, body, [*headers, *wait_headers(waits)])
            treatment.answered(len(raw), record)

    def _decoded(self, raw: bytes, scope: Scope, record: RequestRecord, treatment: Treatment) -> Any:
        """Of one that cannot be read it is not known if it offers tools; whose it is, is."""
        try:
            call = self._dialect.decode_request(raw)
        except HotseatError:
            record.attribute(attribute(scope["headers"], has_tools=True))
            raise
        request = call.request
        has_tools = isinstance(request, ChatRequest) and bool(request.tools)
        record.attribute(attribute(scope["headers"], has_tools=has_tools))
        if isinstance(request, ChatRequest):
            record.system_sha, record.tools_sha = digests(request, treatment.volatile)
        return call


class EmbeddingsEndpoint:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        request_id = scope[REQUEST_ID]
        with services.log.track(request_id, run_of(scope["path_params"]), embeddings.NAME) as record:
            lane = lane_of(scope["headers"])
            raw = await read_body(receive)
            now = services.live.now
            treatment = services.treatments.of(record.run)
            if now.routes.remote and (
                asked := remote_request(raw, embeddings.NAME, scope, now, record, treatment)
            ):
                await services.admit(scope, record, asked.route, len(raw), 0, asked.passed.chooser)
                await serve_embeddings(services.remote_for(treatment), asked, receive, send)
                return
            record.attribute(attribute(scope["headers"], has_tools=False))
            call = embeddings.decode_request(raw)
            route = _route(now, call.request.model, record, treatment)
            scope[ANSWER_HEADERS] = route_headers(route.upstream, route.model)
            await services.admit(scope, record, route, len(raw), 0)
            async with Presence(receive, limit_s=now.limits.request_timeout_s):
                opening = services.upstreams[route.upstream].open(route.model, lane)
                answer, waits = await _embed(opening, for_model(call.request, route.model), record)
            record.count(answer.usage)
            shown = treatment.shown(call.request.model, route.model)
            served = Served(request_id, shown, int(record.started_at))
            body = embeddings.encode_response(call, answer, served)
            headers = [*scope[ANSWER_HEADERS], (b"x-hotseat-request-id", request_id.encode())]
            await send_json(send, body, [*headers, *wait_headers(waits)])


async def _embed(
    opening: AbstractAsyncContextManager[Exchange],
    request: EmbeddingRequest,
    record: RequestRecord,
) -> tuple[Embeddings, Waits]:
    record.attempt_begins(record.upstream, record.model)
    async with opening as exchange:
        record.queue_s, record.load_s = exchange.queue_s, exchange.load_s
        record.caused_load = exchange.caused_load
        return await exchange.embed(request), Waits(exchange.queue_s, exchange.load_s)


# --- routing and headers -----------------------------------------------------------------------


def _route(
    now: Current,
    requested: str,
    record: RequestRecord,
    treatment: Treatment,
    seats: Callable[[], Sequence[Seat]] | None = None,
) -> Route:
    """Without `seats` nobody stands in for another model: vectors of another one would be worthless."""
    record.requested_model = requested[:MAX_NAME_CHARS]
    route = now.routes.resolve(treatment.meant(requested))
    if route.is_background and seats is not None:
        chatting = [seat for seat in seats() if _chats(now, seat.model)]
        route = Route(route.upstream, stand_in(route.model, chatting))
    record.model, record.upstream = route.model, route.upstream
    return route


def _counts_itself(now: Current, model: str) -> bool:
    """Whether its engine is one of ours, which knows the tokens of a prompt before it begins."""
    entry = now.config.models.get(model)
    return entry is not None and entry.spec.engine in ("llama-cpp-python", "scripted")


def _chats(now: Current, model: str) -> bool:
    entry = now.config.models.get(model)
    return entry is not None and not entry.spec.embeddings
