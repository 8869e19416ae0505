"""One generation: asked of an upstream, noted in the record, and handed over as it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
from starlette.types import Receive

from inference.chat import ChatEvent, Finish, GenerateRequest, ToolCallDelta
from inference.errors import HotseatError, WorkerCrashed
from inference.messages import PrefixReport, PromptProgress
from inference.scheduler_events import Lane
from proxy.answer import NO_WAITS, Answer, Waits
from proxy.answer_digest import AnswerDigest
from proxy.errors import ClientGone, HeaderList, unexpected
from proxy.event_stream import EventStream
from proxy.presence import Presence
from proxy.request_log import RequestRecord
from proxy.upstreams.base import Batch, Exchange, Upstream

_log = logging.getLogger("hotseat.request")


class Encoder(Protocol):
    """One per response. `begin` and `keep_alive`: see event_stream.Framing."""

    def count_prompt(self, n_tokens: int, n_cached: int) -> None: ...
    def begin(self) -> bytes: ...
    def keep_alive(self) -> bytes: ...
    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes: ...
    def error(self, error: HotseatError, request_id: str) -> bytes: ...


@dataclass(slots=True)
class Generation:
    """What is asked of whom, and what became of it so far."""

    upstream: Upstream
    request: GenerateRequest
    lane: Lane
    record: RequestRecord
    on_report: Callable[[PrefixReport], None]
    limit_s: float
    on_prompt: Callable[[int, int], None] | None = None  # its tokens, and how many of them were cached
    waits: Waits = NO_WAITS
    finish: Finish | None = None
    begun_s: float = 0.0  # on time.perf_counter: when the attempt was made

    def note_waits(self, exchange: Exchange) -> None:
        self.record.queue_s, self.record.load_s = exchange.queue_s, exchange.load_s
        self.record.caused_load = exchange.caused_load
        self.waits = Waits(exchange.queue_s, exchange.load_s)


async def gather(generation: Generation) -> tuple[Answer, Finish]:
    """The whole answer at once."""
    answer = await gathered(partial(run, generation))
    assert generation.finish is not None
    return answer, generation.finish


async def gathered(hand_over: Callable[[OnEvents], Awaitable[None]]) -> Answer:
    """All that `hand_over` hands over."""
    answer = Answer()

    async def add(events: list[ChatEvent]) -> None:
        for event in events:
            answer.add(event)

    await hand_over(add)
    return answer


async def stream_answer(
    generation: Generation, encoder: Encoder, stream: EventStream, receive: Receive
) -> None:
    """The answer as it comes. The last chunk is written when the lease is over: a client that is
    slow to take it holds no slot. It is encoded only then: dialects that number their events number
    the keep-alives too."""
    last_events: list[ChatEvent] = []
    generation.on_prompt = encoder.count_prompt

    async def write(events: list[ChatEvent]) -> None:
        if generation.finish is not None:
            last_events.extend(events)
            return
        if not stream.started:
            stream.headers += wait_headers(generation.waits)
        await stream.write(stream.opening() + encoder.encode(events, generation.waits))

    try:
        async with Presence(
            receive, limit_s=generation.limit_s, due=stream.grace_ends_s, on_due=stream.keep_alive
        ):
            await run(generation, write)
        last = stream.opening() + encoder.encode(last_events, generation.waits)
    except ClientGone:
        raise
    except Exception as error:  # the request border: once the stream has started, failure is an event
        if not stream.started:
            raise
        failure = as_hotseat_error(error, generation.record.request_id)
        generation.record.fail(failure)
        last = encoder.error(failure, generation.record.request_id)
    if not stream.started:
        stream.headers += wait_headers(generation.waits)
    await stream.write(last, more=False)


class OnEvents(Protocol):
    async def __call__(self, events: list[ChatEvent], /) -> None: ...


async def run(generation: Generation, on_events: OnEvents) -> None:
    """Lease, generate, and hand over what comes, a batch at a time. Raises HotseatError. The caller keeps it
    to `limit_s`, with Presence."""
    record = generation.record
    record.attempt_begins(record.upstream, record.model)
    generation.begun_s = time.perf_counter()
    async with generation.upstream.open(generation.request.model, generation.lane) as exchange:
        generation.note_waits(exchange)
        async with aclosing(exchange.generate(generation.request)) as batches:
            await follow(generation, batches, on_events)
    if generation.finish is None:
        raise WorkerCrashed("the answer ended without its last word")


async def follow(generation: Generation, batches: AsyncIterator[Batch], on_events: OnEvents) -> None:
    """Hand over what `batches` holds, and note what the record wants of it."""
    record = generation.record
    digest = AnswerDigest() if record.run else None
    async for batch in batches:
        events = _answers(batch, generation)
        if not events:
            continue
        if record.ttft_s is None:
            record.ttft_s = time.perf_counter() - generation.begun_s
        for event in events:
            record.tool_calls += isinstance(event, ToolCallDelta) and bool(event.name)
        if digest is not None:
            digest.add(events)
        last = events[-1]
        if isinstance(last, Finish):
            record.answer_sha = "" if digest is None else digest.hexdigest()
            generation.finish = last
            record.finish(last)
        await on_events(events)


def _answers(batch: Batch, generation: Generation) -> list[ChatEvent]:
    answers: list[ChatEvent] = []
    for event in batch:
        if isinstance(event, PrefixReport):
            generation.on_report(event)
        elif not isinstance(event, PromptProgress):
            answers.append(event)
        elif generation.on_prompt is not None:
            generation.on_prompt(event.total, event.cached)
    return answers


def as_hotseat_error(error: Exception, request_id: str) -> HotseatError:
    if isinstance(error, HotseatError):
        return error
    _log.error("request %s failed in its stream", request_id, exc_info=error)
    return unexpected(request_id)


def for_model(request: Any, model: str) -> Any:
    """The request under the model's own name: the one asked for may be an alias or a role."""
    return request if request.model == model else msgspec.structs.replace(request, model=model)


def wait_headers(waits: Waits) -> HeaderList:
    return [
        (b"x-hotseat-queue-ms", b"%.1f" % (waits.queue_s * 1000)),
        (b"x-hotseat-load-ms", b"%.1f" % (waits.load_s * 1000)),
    ]
