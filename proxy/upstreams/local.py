"""The models on this machine: an exchange is a lease of the pool."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from inference.chat import EmbeddingRequest, Embeddings, GenerateRequest
from inference.pool import Lease, WorkerPool
from proxy.upstreams.base import Batch


class LocalUpstream:
    name = "local"

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def open(self, model: str) -> AsyncIterator[LocalExchange]:
        async with self._pool.lease(model) as lease:
            yield LocalExchange(lease)


class LocalExchange:
    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.queue_s = lease.queue_s
        self.load_s = lease.load_s

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        return self._lease.generate_batches(request)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return await self._lease.embed(request)
