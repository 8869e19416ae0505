"""One attempt to answer a request for a remote route: passed on, translated, or by a model of this machine.

Where the provider speaks the client's dialect the bytes go on as they are, else the answer goes through
ChatEvents. Who is asked, and after whom, is upstreams/remote.py's.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec
from starlette.types import Scope

from inference.chat import ChatRequest
from inference.errors import HotseatError, WorkerCrashed
from inference.messages import PrefixReport
from inference.scheduler_events import Lane
from proxy.answer import Served
from proxy.answer_digest import DigestingMeter
from proxy.answer_meters import Meter
from proxy.attribution import attribute, digests
from proxy.boundary import ANSWER_HEADERS
from proxy.errors import HeaderList
from proxy.generation import Generation, OnEvents, follow, for_model, wait_headers
from proxy.live import Current
from proxy.passed_request import PassedRequest, passed_request, peeked_model
from proxy.prices import REPLAY
from proxy.providers import DialectName
from proxy.request_log import MAX_NAME_CHARS, RequestRecord
from proxy.routing import LOCAL, Route
from proxy.translation import translation_to
from proxy.treatments import Treatment
from proxy.upstream_errors import Broken
from proxy.upstreams.base import Batch, Exchange, Upstream
from proxy.upstreams.remote import RemoteUpstreams, Target
from proxy.upstreams.remote_server import PassedStream, RemoteServer

_DIALECTS: dict[str, DialectName] = {
    "chat-completions": "chat-completions",
    "completions": "completions",
    "embeddings": "embeddings",
    "responses": "responses",
    "messages": "anthropic-messages",
}
"""By the names that our own dialects have."""


class Asked(msgspec.Struct, frozen=True):
    """A request for a remote route. `raw`: as it came; `passed`: as it is passed on."""

    route: Route
    passed: PassedRequest
    raw: bytes
    scope: Scope
    record: RequestRecord
    now: Current
    treatment: Treatment


def remote_request(
    raw: bytes, dialect: str, scope: Scope, now: Current, record: RequestRecord, treatment: Treatment
) -> Asked | None:
    """None for everything else: whatever is wrong with that, a strict decoder will say. Raises HotseatError
    where the route may not be used."""
    name, is_replay = peeked_model(raw), treatment.is_replay
    routes = now.replayed_routes if is_replay else now.routes
    if name is None or not routes.is_remote(treatment.meant(name)):
        return None
    record.requested_model = name[:MAX_NAME_CHARS]
    passed = passed_request(raw, _DIALECTS[dialect], scope["headers"])
    record.stream = passed.stream
    record.attribute(attribute(scope["headers"], has_tools=passed.has_tools))
    if is_replay:
        record.price_source = REPLAY
    route = routes.resolve(treatment.meant(passed.model))
    record.model, record.upstream = route.model, route.upstream
    scope[ANSWER_HEADERS] = route_headers(route.upstream, route.model)
    return Asked(route, treatment.body(passed, record), raw, scope, record, now, treatment)


def route_headers(upstream: str, model: str) -> HeaderList:
    return list(_route_headers(upstream, model))


@functools.lru_cache(maxsize=256)
def _route_headers(upstream: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-hotseat-model", model.encode("ascii", "backslashreplace")),
        (b"x-hotseat-upstream", upstream.encode("ascii", "backslashreplace")),
    )


@dataclass(slots=True)
class Events:
    """A translated answer, or a local one, that has begun."""

    first: Batch
    rest: AsyncGenerator[Batch, None]

    async def batches(self) -> AsyncIterator[Batch]:
        yield self.first
        async for batch in self.rest:
            yield batch


Begun = PassedStream | Events | bytes
"""bytes: a whole answer that is passed on."""


class Attempts:
    """Of one request. `dialect`: the client's."""

    def __init__(
        self,
        asked: Asked,
        dialect: Any,
        remote: RemoteUpstreams,
        local: Upstream,
        lane: Lane,
        on_report: Callable[[PrefixReport], None],
    ) -> None:
        self.asked = asked
        self.record = asked.record
        self.dialect = dialect
        self._remote = remote
        self._local = local
        self._lane = lane
        self._on_report = on_report
        self._call: Any = None
        self._target = Target(asked.route.upstream, asked.route.model, None)
        self._generation: Generation | None = None
        self.targets = targets_of(asked, remote)

    @property
    def is_never_passed(self) -> bool:
        return not any(self._passes(target) for target in self.targets)

    @property
    def limit_s(self) -> float:
        return self.asked.now.limits.request_timeout_s

    @property
    def generation(self) -> Generation:
        """Of the answer that has begun, if it goes through ChatEvents."""
        assert self._generation is not None
        return self._generation

    def decoded(self) -> Any:
        """The body by our own strict rules. Raises InvalidRequest."""
        if self._call is None:
            self._call = self.dialect.decode_request(self.asked.raw)
        return self._call

    def _request(self) -> Any:
        return self.asked.treatment.request(self.decoded().request, self.record)

    def served(self) -> Served:
        shown = self.asked.treatment.shown(self.asked.passed.model, self._target.model)
        return Served(self.record.request_id, shown, int(self.record.started_at))

    def headers(self) -> HeaderList:
        """Of the answer, by who is asked now."""
        request_id = (b"x-hotseat-request-id", self.record.request_id.encode())
        headers = [*route_headers(self._target.upstream, self._target.model), request_id]
        return headers if self._generation is None else headers + wait_headers(self._generation.waits)

    def note_digests(self) -> None:
        """Of its standing text. A body that is passed on is decoded for that if it is of a run, and has none
        if our rules do not take it."""
        if self._call is None and not self.record.run:
            return
        with suppress(HotseatError):
            request = self.decoded().request
            if isinstance(request, ChatRequest):
                self.record.system_sha, self.record.tools_sha = digests(
                    request, self.asked.treatment.volatile
                )

    def first_good(self) -> AbstractAsyncContextManager[Begun]:
        """Raises HotseatError."""
        return self._remote.begun(self.targets, self._begin, self.record)

    async def follow(self, events: Events, on_events: OnEvents) -> None:
        await follow(self.generation, events.batches(), on_events)
        if self.generation.finish is None:
            raise WorkerCrashed("the answer ended without its last word")

    def _begin(self, target: Target) -> AbstractAsyncContextManager[Begun]:
        """See upstreams.remote.Begin."""
        self._target = target
        self.asked.scope[ANSWER_HEADERS] = route_headers(target.upstream, target.model)
        begun_s = time.perf_counter()
        if target.server is None:
            return self._begin_local(target, begun_s)
        if not self._passes(target):
            return self._begin_translated(target.server, begun_s)
        dialect = self.asked.passed.dialect
        meter = target.server.meter(dialect)
        if self.record.run:
            meter = DigestingMeter(meter, dialect)
        if self.asked.passed.stream:
            return self._begin_stream(target.server, meter, begun_s)
        return PassedWhole(target.server, self.asked.passed, self.record, meter, begun_s)

    @asynccontextmanager
    async def _begin_stream(
        self, server: RemoteServer, meter: Meter, begun_s: float
    ) -> AsyncIterator[PassedStream]:
        with Noted(self.record, meter, begun_s):
            async with server.pass_stream(self.asked.passed, meter) as stream:
                self.record.ttft_s = time.perf_counter() - begun_s
                yield stream

    @asynccontextmanager
    async def _begin_local(self, target: Target, begun_s: float) -> AsyncIterator[Events]:
        request = for_model(self._request(), target.model)
        async with (
            self._local.open(target.model, self._lane) as exchange,
            self._events(exchange, request, begun_s) as events,
        ):
            yield events

    @asynccontextmanager
    async def _begin_translated(self, server: RemoteServer, begun_s: float) -> AsyncIterator[Events]:
        dialect = self._translation(server)
        meter = server.meter(dialect)
        with Noted(self.record, meter, begun_s):
            request = for_model(self._request(), server.model)
            exchange = self._remote.exchange(server, dialect, meter)
            async with self._events(exchange, request, begun_s) as events:
                yield events

    @asynccontextmanager
    async def _events(self, exchange: Exchange, request: Any, begun_s: float) -> AsyncIterator[Events]:
        self._generation = generation = Generation(
            self._local, request, self._lane, self.record, self._on_report, self.limit_s, begun_s=begun_s
        )
        generation.note_waits(exchange)
        async with aclosing(exchange.generate(request)) as batches:
            async for first in batches:
                yield Events(first, batches)
                return
        raise WorkerCrashed("the answer ended before it began")

    def _passes(self, target: Target) -> bool:
        return target.server is not None and target.server.speaks(self.asked.passed.dialect)

    def _translation(self, server: RemoteServer) -> DialectName:
        return translation_to(server.provider, self.decoded().request)


def targets_of(asked: Asked, remote: RemoteUpstreams) -> list[Target]:
    providers = asked.now.config.providers
    return [
        Target(LOCAL, route.model, None)
        if route.upstream == LOCAL
        else remote.target(providers[route.upstream], route.model)
        for route in (asked.route, *asked.route.fallbacks)
    ]


class PassedWhole:
    """An attempt whose answer goes on as it is, once it is whole: nothing is left open after that."""

    __slots__ = ("_begun_s", "_meter", "_passed", "_record", "_server")

    def __init__(
        self, server: RemoteServer, passed: PassedRequest, record: RequestRecord, meter: Meter, begun_s: float
    ) -> None:
        self._server = server
        self._passed = passed
        self._record = record
        self._meter = meter
        self._begun_s = begun_s

    async def __aenter__(self) -> bytes:
        with Noted(self._record, self._meter, self._begun_s):
            return await self._server.pass_whole(self._passed, self._meter)

    async def __aexit__(self, *exc: object) -> None:
        return


class Noted:
    """A block in which an answer comes: what it said of itself is noted at the end, however it ends. A count
    before the end is of a part: who leaves a stream of Messages in its middle has had more than its first
    event says."""

    __slots__ = ("_begun_s", "_meter", "_record")

    def __init__(self, record: RequestRecord, meter: Meter, begun_s: float) -> None:
        self._record = record
        self._meter = meter
        self._begun_s = begun_s

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Broken):
            self._record.is_uncounted = True  # it may have been made, and is charged for then
        _note_seen(self._record, self._meter, self._begun_s)


def _note_seen(record: RequestRecord, meter: Meter, begun_s: float) -> None:
    seen = meter.seen
    if seen.usage is not None:
        record.count(seen.usage)
        record.is_uncounted |= not (seen.has_end or seen.is_done)
    if seen.cost_usd is not None:
        record.reported_cost_usd = seen.cost_usd
    if seen.finish_reason:
        record.finish_reason = seen.finish_reason
    record.tool_calls = seen.tool_calls
    if isinstance(meter, DigestingMeter) and seen.has_end:
        record.answer_sha = meter.sha
    if record.ttft_s is not None:
        record.decode_s = max(0.0, time.perf_counter() - begun_s - record.ttft_s)
        record.decode_tokens = record.output_tokens
