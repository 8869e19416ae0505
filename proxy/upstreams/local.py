"""The models on this machine: an exchange is a lease of the pool."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from inference.chat import EmbeddingRequest, Embeddings, GenerateRequest
from inference.pool import Lease, WorkerPool
from inference.reasoning_memory import ReasoningMemory
from inference.scheduler_events import Lane
from proxy.guests import Seat
from proxy.upstreams.base import Batch, Exchange
from proxy.upstreams.http_client import HttpClient
from proxy.upstreams.server_exchange import ServerExchange, ServerTerms
from proxy.upstreams.thoughts import RememberingExchange


class LocalUpstream:
    name = "local"

    def __init__(
        self,
        pool: WorkerPool,
        http: HttpClient,
        terms: Callable[[str], ServerTerms],
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`terms`: how the server of a model is asked, if it has one. `at_work` is entered for each lease."""
        self._pool = pool
        self._http = http
        self._terms = terms
        self._at_work = at_work
        self._thoughts = ReasoningMemory()
        self._uses = itertools.count(1)
        self._last_used: dict[str, int] = {}

    @asynccontextmanager
    async def open(self, model: str, lane: Lane = "interactive") -> AsyncIterator[Exchange]:
        async with self._pool.lease(model, lane) as lease:
            with self._at_work():
                yield self._exchange(model, lease)

    def _exchange(self, model: str, lease: Lease) -> Exchange:
        self._last_used[model] = next(self._uses)
        if lease.base_url is None:
            exchange: Exchange = LocalExchange(lease)
        else:
            exchange = ServerExchange(lease, lease.base_url, self._http, self._terms(model))
        return RememberingExchange(exchange, self._thoughts, model)

    def seats(self) -> list[Seat]:
        """Every model as it is now."""
        return [
            Seat(model.name, model.state, self._last_used.get(model.name, 0))
            for model in self._pool.state().models
        ]


class LocalExchange:
    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.queue_s = lease.queue_s
        self.load_s = lease.load_s
        self.caused_load = lease.caused_load

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        return self._lease.generate_batches(request)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return await self._lease.embed(request)
