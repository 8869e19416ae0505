"""Lease: what a caller does with a loaded model."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from inference.chat import EmbeddingRequest, Embeddings, Finish, GenerateRequest
from inference.errors import ErrorInfo, HotseatError, from_info
from inference.messages import GenerateEvent, PromptProgress
from inference.worker_link import Stream, WorkerLink

LEAST_RATED_TOKENS = 16
"""A shorter prefill says nothing about the rate: a step costs as much as a dozen tokens."""


class Lease:
    """The right to use a loaded model, which is not evicted meanwhile.

    `queue_s` and `load_s` are what the lease waited for: its turn, and the load of its model. `caused_load`:
    it is the first lease of a worker that was started while it waited.
    `base_url`: where the model's own server listens, if it is one that is asked over HTTP.
    `kept_s`: about how many seconds of prefill the model's caches hold for this client now, times
    `kept_share`, the part of them that is lost with the worker. `request_id`: of who asked for it.
    """

    def __init__(
        self,
        model: str,
        link: WorkerLink,
        *,
        queue_s: float,
        load_s: float,
        caused_load: bool = False,
        base_url: str | None = None,
        kept_share: float = 1.0,
        request_id: int = 0,
    ) -> None:
        self.request_id = request_id
        self.model = model
        self.queue_s = queue_s
        self.load_s = load_s
        self.caused_load = caused_load
        self.base_url = base_url
        self.kept_s = 0.0
        self._kept_share = kept_share
        self._link = link
        self._streams: set[Stream] = set()
        self._is_over = False

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent, None]:
        """Ends after Finish, or raises HotseatError. Closing it before that cancels in the worker."""
        async with contextlib.aclosing(self.generate_batches(request)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def generate_batches(self, request: GenerateRequest) -> AsyncGenerator[list[GenerateEvent], None]:
        """Like `generate`; each list holds all that had come when the reader woke up."""
        stream = self._open(request)
        try:
            while True:
                await stream.wait()
                batch, last = _take(stream)
                if batch:
                    yield batch
                if isinstance(last, ErrorInfo):
                    raise from_info(last)
                if isinstance(last, Finish):
                    self.kept_s = max(self.kept_s, _prefill_s(last) * self._kept_share)
                    return
        finally:
            self._close(stream)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        stream = self._open(request)
        try:
            while True:
                await stream.wait()
                event = stream.events.popleft()
                if isinstance(event, ErrorInfo):
                    raise from_info(event)
                if isinstance(event, Embeddings):
                    return event
                if not isinstance(event, PromptProgress):
                    raise HotseatError("the worker answered an embedding request with text")
        finally:
            self._close(stream)

    async def failure(self) -> ErrorInfo:
        """Why the worker has ended; waits until it has. For who talks to its server directly."""
        return await self._link.failure()

    def condemn(self, why: str) -> None:
        """The worker's server is beyond hope: have both killed."""
        self._link.condemn(why)

    def _open(self, request: GenerateRequest | EmbeddingRequest) -> Stream:
        if self._is_over:
            raise RuntimeError("the lease is over")
        stream = self._link.open(request)
        self._streams.add(stream)
        return stream

    def _close(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self._link.close(stream)

    def end(self) -> None:
        """A request cannot outlive the lease, even if its reader forgot to close it."""
        self._is_over = True
        for stream in self._streams:
            self._link.abandon(stream, HotseatError("the lease ended before the answer").info())


class Leasing:
    """A lease, as a context. Every request makes one: a generator would cost five times as much."""

    __slots__ = ("_ask", "_give_back", "_lease")

    def __init__(self, ask: Callable[[], Awaitable[Lease]], give_back: Callable[[Lease], None]) -> None:
        self._ask = ask
        self._give_back = give_back

    async def __aenter__(self) -> Lease:
        self._lease = await self._ask()
        return self._lease

    async def __aexit__(self, *exc: object) -> None:
        self._give_back(self._lease)


def _take(stream: Stream) -> tuple[list[GenerateEvent], ErrorInfo | Finish | None]:
    """All events that are there, without an error; and the last word, if it is among them."""
    batch: list[GenerateEvent] = []
    while stream.events:
        event = stream.events.popleft()
        if isinstance(event, ErrorInfo):
            return batch, event
        if isinstance(event, Embeddings):
            raise HotseatError("the worker answered a generation with embeddings")
        batch.append(event)
        if isinstance(event, Finish):
            return batch, event
    return batch, None


def _prefill_s(finish: Finish) -> float:
    """What computing prompt and answer again would take, at the rate this prompt was computed."""
    timings, usage = finish.timings, finish.usage
    if timings.prefill_tokens < LEAST_RATED_TOKENS:
        return 0.0
    return timings.prefill_s / timings.prefill_tokens * (usage.input_tokens + usage.output_tokens)
