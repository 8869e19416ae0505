"""Answers to requests for a remote route, on their way to the client.

Until an answer has begun the client sees keep-alives only, so that somebody else may still be asked.
"""

from __future__ import annotations

import time
from functools import partial

from starlette.types import Receive, Send

from inference.chat import ChatEvent
from inference.errors import InvalidRequest
from proxy.boundary import ANSWER_HEADERS, send_json
from proxy.errors import ClientGone
from proxy.event_stream import EventStream
from proxy.generation import as_hotseat_error, gathered
from proxy.presence import Presence
from proxy.remote_attempts import Asked, Attempts, Events, PassedWhole, targets_of
from proxy.remote_framing import RemoteFraming
from proxy.upstreams.remote import RemoteUpstreams, Target
from proxy.upstreams.remote_server import PassedStream


async def serve_remote(attempts: Attempts, receive: Receive, send: Send) -> None:
    """Raises HotseatError while nothing was sent."""
    if attempts.is_never_passed:
        attempts.decoded()  # what is wrong with it is said before anybody is asked
    try:
        if attempts.asked.passed.stream:
            await _stream(attempts, receive, send)
            return
        async with Presence(receive, limit_s=attempts.limit_s):
            body = await _whole(attempts)
        await send_json(send, body, attempts.headers())
    finally:
        attempts.note_digests()  # when the answer has gone: it holds up nobody


async def _whole(attempts: Attempts) -> bytes:
    async with attempts.first_good() as begun:
        if isinstance(begun, bytes):
            return begun
        assert isinstance(begun, Events)
        answer = await gathered(partial(attempts.follow, begun))
    assert answer.finish is not None
    generation = attempts.generation
    body: bytes = attempts.dialect.encode_response(
        attempts.decoded(), answer, answer.finish, attempts.served(), generation.waits
    )
    return body


async def _stream(attempts: Attempts, receive: Receive, send: Send) -> None:
    framing = RemoteFraming(
        attempts.dialect.NAME,
        lambda: attempts.dialect.StreamEncoder(attempts.decoded(), attempts.served()),
        is_ours=attempts.is_never_passed,
    )
    keepalive_s = attempts.asked.now.limits.keepalive_s
    stream = EventStream(send, [], keepalive_s=keepalive_s, framing=framing)
    writer = _Writer(attempts, stream, framing)
    try:
        async with Presence(
            receive, limit_s=attempts.limit_s, due=stream.grace_ends_s, on_due=writer.keep_alive
        ):
            await writer.write_answer()
        last = writer.last()
    except ClientGone:
        raise
    except Exception as error:  # the request border: once the stream has started, failure is an event
        if not stream.started:
            raise
        failure = as_hotseat_error(error, attempts.record.request_id)
        attempts.record.fail(failure)
        last = framing.error(failure, attempts.record.request_id)
    await writer.write(last, more=False)


class _Writer:
    """What has begun, on its way to the client."""

    def __init__(self, attempts: Attempts, stream: EventStream, framing: RemoteFraming) -> None:
        self._attempts = attempts
        self._stream = stream
        self._framing = framing
        self._last_events: list[ChatEvent] = []

    async def keep_alive(self) -> float:
        self._set_headers()
        return await self._stream.keep_alive()

    async def write(self, data: bytes, *, more: bool = True) -> None:
        self._set_headers()
        await self._stream.write(data, more=more)

    async def write_answer(self) -> None:
        async with self._attempts.first_good() as begun:
            if isinstance(begun, PassedStream):
                self._framing.is_passed = True
                async for data in begun.chunks():
                    await self.write(data)
            else:
                assert isinstance(begun, Events)
                await self._attempts.follow(begun, self._write_events)

    async def _write_events(self, events: list[ChatEvent]) -> None:
        """The last ones are kept until nobody's model is held any more."""
        if self._attempts.generation.finish is not None:
            self._last_events = events
        else:
            await self.write(self._encoded(events))

    def last(self) -> bytes:
        return b"" if self._framing.is_passed else self._encoded(self._last_events)

    def _encoded(self, events: list[ChatEvent]) -> bytes:
        opening = self._framing.opening()
        return opening + self._framing.encoder.encode(events, self._attempts.generation.waits)

    def _set_headers(self) -> None:
        if not self._stream.started:
            self._stream.headers[:] = self._attempts.headers()


async def serve_embeddings(remote: RemoteUpstreams, asked: Asked, receive: Receive, send: Send) -> None:
    """Vectors of another model would be worthless: no fallback is asked."""
    target = targets_of(asked, remote)[0]
    assert target.server is not None
    if not target.server.speaks("embeddings"):
        raise InvalidRequest(f"model: {target.upstream} is not configured for embeddings", param="model")

    def begin(target: Target) -> PassedWhole:
        assert target.server is not None
        meter = target.server.meter("embeddings")
        return PassedWhole(target.server, asked.passed, asked.record, meter, time.perf_counter())

    limit_s = asked.now.limits.request_timeout_s
    async with Presence(receive, limit_s=limit_s), remote.begun([target], begin, asked.record) as body:
        pass
    request_id = (b"x-hotseat-request-id", asked.record.request_id.encode())
    await send_json(send, body, [*asked.scope[ANSWER_HEADERS], request_id])
