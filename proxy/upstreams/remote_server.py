"""One provider, asked over HTTP: passed on in the client's own dialect, or translated.

Both read the answer's count, cost and end beside it (answer_meters.py), and hold it to its pace. What goes
wrong is an UpstreamError; remote.py says what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from inference.chat import ChatEvent, GenerateRequest
from proxy.answer_meters import Meter, meter_for
from proxy.event_blocks import EventBlocks
from proxy.openai_chunks import UNREADABLE
from proxy.pace import Pace
from proxy.passed_request import ANTHROPIC_VERSION, PassedRequest
from proxy.provider_errors import reported_by_body, reported_inside
from proxy.providers import KINDS, DialectName, ProviderKind, url_of
from proxy.redaction import Redaction
from proxy.remote_config import ProviderConfig
from proxy.sse_reader import SseEvent, SseReader
from proxy.translation import decoder_for, encoded
from proxy.upstream_errors import BadAnswer, Broken, Silent, UpstreamError
from proxy.upstreams.http_client import MAX_BODY_BYTES, Deadlines
from proxy.upstreams.transport import ProviderAnswer, Transport

MAX_ERROR_BYTES = 2**20
MAX_HELD_BYTES = 64 * 1024
"""Of comments before the first event, which are held until it is known to be no error."""

FAREWELL_S = 5.0
"""How long what follows an answer's end is waited for: the count of tokens, [DONE]."""

SETTLE_S = 0.5


@dataclass(frozen=True, eq=False)
class RemoteServer:
    """A model at a provider. `model`: its name there. Made once for many requests."""

    http: Transport
    provider: ProviderConfig
    model: str

    @cached_property
    def kind(self) -> ProviderKind:
        return KINDS[self.provider.kind]

    @cached_property
    def key(self) -> str | None:
        return self.provider.api_key.reveal() if self.provider.api_key else None

    @cached_property
    def redaction(self) -> Redaction:
        return Redaction(self.key)

    @cached_property
    def _deadlines(self) -> Deadlines:
        of = self.provider
        return Deadlines(of.connect_timeout_s, of.first_byte_timeout_s, of.idle_timeout_s)

    def speaks(self, dialect: DialectName) -> bool:
        return dialect in self.provider.dialects

    def meter(self, dialect: DialectName) -> Meter:
        return meter_for(dialect, self.kind)

    # --- translated ----------------------------------------------------------------------------

    async def generate(
        self, request: GenerateRequest, dialect: DialectName, meter: Meter
    ) -> AsyncGenerator[list[ChatEvent], None]:
        """Ends after Finish, or raises UpstreamError or InvalidRequest. Closing it closes the connection."""
        decoder = decoder_for(self.provider, dialect)
        body = encoded(request, self.provider, self.model, dialect)
        blocks, reader, redaction = EventBlocks(), SseReader(), self.redaction
        async with self._post(dialect, body, {}) as (answer, pace):
            try:
                async for data in answer.chunks():
                    data = redaction.bytes_(b"".join(blocks.feed(data)))
                    is_progress, error = _metered(reader.feed(data), meter)
                    if events := decoder.feed(data):
                        yield events
                    if error := error or decoder.error:
                        raise error
                    if decoder.is_done:
                        await answer.settle(SETTLE_S)
                        return
                    _hold_to(answer, pace, is_progress=is_progress, is_over=meter.seen.has_end)
            except (Broken, Silent):
                if not meter.seen.has_end:
                    raise
        rest = redaction.bytes_(blocks.end() + b"\n\n")
        _, error = _metered(reader.feed(rest), meter)
        events = decoder.feed(rest)
        if error := error or decoder.error:
            raise error
        if events := events + decoder.end():
            yield events

    # --- passed on -----------------------------------------------------------------------------

    @asynccontextmanager
    async def pass_stream(self, request: PassedRequest, meter: Meter) -> AsyncIterator[PassedStream]:
        """Entered when the first event is there, and is no error. Raises UpstreamError."""
        body = request.body_for(self.model)
        async with self._post(request.dialect, body, request.headers) as (answer, pace):
            drops_usage = not (request.wants_usage or self.kind.sends_usage)
            passed = PassedStream(answer, pace, meter, self.redaction, drops_usage=drops_usage)
            async with aclosing(answer.chunks()) as chunks:
                await passed.begin(chunks)
                yield passed

    async def pass_whole(self, request: PassedRequest, meter: Meter) -> bytes:
        """The answer's body. Raises UpstreamError."""
        whole = await self._whole(request)
        meter.whole(whole)
        return whole

    async def count_tokens(self, request: PassedRequest) -> bytes:
        """The answer of Messages' count_tokens. Raises UpstreamError."""
        whole = await self._whole(request, "/count_tokens")
        _raise_error_inside(whole, self.kind.vain_codes)
        return whole

    async def _whole(self, request: PassedRequest, path: str = "") -> bytes:
        body, pace = request.body_for(self.model), self._pace()
        headers = self._headers(request.dialect, request.headers, stream=False)
        async with self._asked(request.dialect, body, headers, path) as answer:
            await self._expect(answer, pace, "application/json")
            return self.redaction.bytes_(await _whole(answer, pace))

    # --- HTTP ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _post(
        self, dialect: DialectName, body: bytes, forwarded: Mapping[str, str]
    ) -> AsyncIterator[tuple[ProviderAnswer, Pace]]:
        """A stream of the right status and type, and the pace that it is held to."""
        pace = self._pace()
        headers = self._headers(dialect, forwarded, stream=True)
        async with self._asked(dialect, body, headers) as answer:
            await self._expect(answer, pace, "text/event-stream")
            yield answer, pace

    def _pace(self) -> Pace:
        return Pace(_now_s(), self._deadlines.first_byte_s, self._deadlines.idle_s)

    def _asked(
        self, dialect: DialectName, body: bytes, headers: Mapping[str, str], path: str = ""
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        url = url_of(self.provider.base_url, dialect) + path
        return self.http.post(url, body, self._deadlines, headers)

    def _headers(self, dialect: DialectName, forwarded: Mapping[str, str], *, stream: bool) -> dict[str, str]:
        headers = dict(self.provider.headers)
        if dialect == "anthropic-messages":
            headers = {"anthropic-version": ANTHROPIC_VERSION, **headers, **forwarded}
        headers["accept"] = "text/event-stream" if stream else "application/json"
        if (key := self.key) is not None:
            if self.provider.key_header == "bearer":
                headers["authorization"] = f"Bearer {key}"
            else:
                headers["x-api-key"] = key
        return headers

    async def _expect(self, answer: ProviderAnswer, pace: Pace, media_type: str) -> None:
        vain = self.kind.vain_codes
        if answer.status >= 400:
            body = self.redaction.bytes_(await _whole(answer, pace, MAX_ERROR_BYTES))
            raise reported_by_body(body, answer.status, answer.retry_after_s, vain)
        if answer.status != 200:
            raise BadAnswer(f"expected status 200, found {answer.status}; redirects are not followed")
        if answer.media_type == media_type:
            answer.idle_s = pace.wait_s(_now_s())
            return
        if answer.media_type == "application/json":
            _raise_error_inside(self.redaction.bytes_(await _whole(answer, pace, MAX_ERROR_BYTES)), vain)
        found = self.redaction.text(answer.media_type)[:64] or "no content type"
        raise BadAnswer(f"expected {media_type}, found {found}")


@dataclass(slots=True)
class PassedStream:
    """A stream as the provider sends it, in whole events."""

    answer: ProviderAnswer
    pace: Pace
    meter: Meter
    redaction: Redaction = field(repr=False)
    drops_usage: bool
    _blocks: EventBlocks = field(default_factory=EventBlocks)
    _reader: SseReader = field(default_factory=SseReader)
    _chunks: AsyncGenerator[bytes, None] | None = None
    _held: bytes = b""
    _n_events: int = 0
    _error: UpstreamError | None = None

    @property
    def _has_begun(self) -> bool:
        return self._n_events > 0

    async def begin(self, chunks: AsyncGenerator[bytes, None]) -> None:
        """Until the first event. Raises UpstreamError."""
        self._chunks = chunks
        held: list[bytes] = []
        while True:
            data = await anext(self._chunks, None)
            held.append(self._last() if data is None else self._taken(data))
            if self._has_begun:
                break
            if self._error is not None:
                raise self._error
            if data is None:
                raise BadAnswer("the answer is empty")
            if sum(map(len, held)) > MAX_HELD_BYTES:
                held.clear()
        self._held = b"".join(held)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What to pass on, as it comes. Raises UpstreamError, after what came before the error."""
        assert self._chunks is not None
        if self._held:
            yield self._held
        try:
            while self._error is None and not self.meter.seen.is_done:
                data = await anext(self._chunks, None)
                if data is None:
                    if last := self._last():
                        yield last
                    break
                if passed := self._taken(data):
                    yield passed
        except (Broken, Silent):
            if not self.meter.seen.has_end:
                raise
        if self._error is not None:
            raise self._error
        if self.meter.seen.is_done:
            await self.answer.settle(SETTLE_S)
        elif not self.meter.seen.has_end:
            raise BadAnswer("the answer ended in the middle")

    def _taken(self, data: bytes) -> bytes:
        """What of `data`, and of what waited for it, may go on. An error ends it: see `_error`."""
        try:
            blocks = self._blocks.feed(data)
        except UpstreamError as error:
            self._error = error
            return b""
        n_events = self._n_events
        passed = b"".join(self._passed(blocks))
        is_progress = self._n_events > n_events
        _hold_to(self.answer, self.pace, is_progress=is_progress, is_over=self.meter.seen.has_end)
        return passed

    def _passed(self, blocks: list[bytes]) -> list[bytes]:
        passed: list[bytes] = []
        for block in blocks:
            if self.meter.seen.is_done:
                break
            block = self.redaction.bytes_(block)
            try:
                events = list(self._reader.feed(block))
                for event in events:
                    self.meter.event(event)
            except UpstreamError as error:
                self._error = error
                break
            self._n_events += len(events)
            if not (events and self.drops_usage and self.meter.seen.is_bare_usage):
                passed.append(block)
        return passed

    def _last(self) -> bytes:
        """A last event without its blank line."""
        rest = self._blocks.end()
        return b"".join(self._passed([rest + b"\n\n"])) if rest.strip() else rest


def _metered(events: Iterable[SseEvent], meter: Meter) -> tuple[bool, UpstreamError | None]:
    """Whether there were any, and the error that they tell of or are."""
    n_events = 0
    try:
        for event in events:
            n_events += 1
            meter.event(event)
    except UpstreamError as error:
        return True, error
    return n_events > 0, None


async def _whole(answer: ProviderAnswer, pace: Pace, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """A whole body. White space before it is a provider's way to keep a connection alive."""
    body = bytearray()
    while data := await answer.piece():
        if not body:
            data = data.lstrip()
        if data:
            pace.on_bytes(len(data), _now_s())
        body += data
        if len(body) > max_bytes:
            raise BadAnswer(f"the answer has more than {max_bytes} bytes")
        if answer.is_over:
            break
        answer.idle_s = _left_s(pace)
    return bytes(body)


def _hold_to(answer: ProviderAnswer, pace: Pace, *, is_progress: bool, is_over: bool) -> None:
    if is_progress:
        pace.on_event(_now_s())
    answer.idle_s = min(_left_s(pace), FAREWELL_S) if is_over else _left_s(pace)


def _left_s(pace: Pace) -> float:
    left_s = pace.wait_s(_now_s())
    if left_s <= 0:
        raise Silent("nothing but comments or single bytes came")
    return left_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _raise_error_inside(body: bytes, vain_codes: frozenset[str]) -> None:
    """For a JSON body with a good status that describes an error."""
    try:
        fields: Any = msgspec.json.decode(body)
    except UNREADABLE:
        return
    if isinstance(fields, dict) and fields.get("error") is not None:
        raise reported_inside(fields["error"], vain_codes)
