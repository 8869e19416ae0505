"""The models on this machine: an exchange is a lease of the pool."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType

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

    def open(self, model: str, lane: Lane = "interactive") -> AbstractAsyncContextManager[Exchange]:
        return _Opened(self._pool.lease(model, lane), self._at_work(), partial(self._exchange, model))

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


class _Opened:
    """A lease, while somebody is at work on it. A generator would cost each request five times as much."""

    __slots__ = ("_exchange", "_leasing", "_work")

    def __init__(
        self,
        leasing: AbstractAsyncContextManager[Lease],
        work: AbstractContextManager[None],
        exchange: Callable[[Lease], Exchange],
    ) -> None:
        self._leasing = leasing
        self._work = work
        self._exchange = exchange

    async def __aenter__(self) -> Exchange:
        lease = await self._leasing.__aenter__()
        self._work.__enter__()
        try:
            return self._exchange(lease)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._work.__exit__(kind, error, trace)
        await self._leasing.__aexit__(kind, error, trace)


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
