"""One request to a model whose worker has started a server: under a lease, over HTTP to that server.

What goes wrong there is said here in the words of the pool: a connection that broke is a crashed
worker, silence is a stalled one and ends it, nonsense is an answer of no use (502).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from inference.chat import EmbeddingRequest, Embeddings, GenerateRequest, Sampling, merge_sampling
from inference.errors import (
    ContextLengthExceeded,
    EngineFault,
    HotseatError,
    InvalidRequest,
    Overloaded,
    WorkerCrashed,
    WorkerStalled,
    from_info,
)
from inference.pool import Lease
from proxy.errors import BadServerAnswer
from proxy.upstream_errors import BadAnswer, Broken, Reported, Silent, Unreachable, UpstreamError
from proxy.upstreams.base import Batch
from proxy.upstreams.http_client import Deadlines, HttpClient
from proxy.upstreams.openai_server import OpenAIServer

LAST_WORDS_S = 1.0
"""How long the pool's verdict on a server that broke off is waited for: it has the exit code and the log,
and a client that comes back after it finds the model unloaded rather than dying."""

_CLIENTS_FAULT = frozenset({400, 413, 422, 501})
_LATER = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class ServerTerms:
    """How a model's server is asked. `sampling`: where the request is silent."""

    sampling: Sampling
    deadlines: Deadlines


class ServerExchange:
    def __init__(self, lease: Lease, base_url: str, http: HttpClient, terms: ServerTerms) -> None:
        self._lease = lease
        self._terms = terms
        self._server = OpenAIServer(http, base_url, lease.model, terms.deadlines)
        self.queue_s = lease.queue_s
        self.load_s = lease.load_s
        self.caused_load = lease.caused_load

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        sampling = merge_sampling(request.sampling, self._terms.sampling)
        filled = msgspec.structs.replace(request, sampling=sampling)
        try:
            async with aclosing(self._server.generate(filled)) as batches:
                async for batch in batches:
                    yield batch
        except UpstreamError as error:
            raise await self._translated(error) from error

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        try:
            return await self._server.embed(request)
        except UpstreamError as error:
            raise await self._translated(error) from error

    async def _translated(self, error: UpstreamError) -> HotseatError:
        who = f"the server of '{self._lease.model}'"
        match error:
            case Reported():
                return _reported(error, who)
            case Unreachable() | Broken():
                return await self._crashed(f"{who} broke off: {error.message}")
            case Silent():
                self._lease.condemn(f"its server gave no sign of life: {error.message}")
                return WorkerStalled(f"{who} gave no sign of life and is ended: {error.message}")
            case BadAnswer():
                return BadServerAnswer(f"{who} gave an answer of no use: {error.message}")
            case _:
                return BadServerAnswer(f"{who}: {error.message}")

    async def _crashed(self, message: str) -> HotseatError:
        """With what the pool knows of it, if the worker ends now too."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                end = from_info(await self._lease.failure())
        except TimeoutError:
            return WorkerCrashed(message)
        return end if isinstance(end, WorkerStalled) else WorkerCrashed(end.message)


def _reported(error: Reported, who: str) -> HotseatError:
    if error.is_overflow:
        return ContextLengthExceeded(error.message, n_tokens=error.n_tokens, n_ctx=error.n_ctx)
    if error.status in _CLIENTS_FAULT:
        return InvalidRequest(error.message, param=error.param)
    if error.status in _LATER:
        return Overloaded(f"{who} is busy: {error.message}", retry_after_s=error.retry_after_s)
    status = "" if error.status is None else f" with status {error.status}"
    if error.status is not None and error.status < 500:
        return BadServerAnswer(f"{who} refused the request{status}: {error.message}: check its command")
    return EngineFault(f"{who} failed{status}: {error.message}")
