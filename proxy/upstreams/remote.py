"""Models at providers: who is asked, how often, and in what order, until one of them has begun to answer.

retry_policy.py decides; this module asks, waits and keeps account of who failed. Once an answer has
begun nothing is repeated: what fails then ends the request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, TypeVar

from inference.chat import EmbeddingRequest, Embeddings, GenerateRequest
from inference.errors import HotseatError, InvalidRequest
from inference.reasoning_memory import ReasoningMemory
from proxy.answer_meters import Meter
from proxy.errors import NotRecorded, ProviderCoolingDown
from proxy.provider_errors import client_error, failure_of
from proxy.providers import DialectName
from proxy.remote_config import ProviderConfig
from proxy.request_log import RequestRecord
from proxy.retry_policy import (
    GOOD,
    Failure,
    Patience,
    Repeat,
    Standing,
    Step,
    after_failure,
    after_probe,
    let_through,
    next_step,
)
from proxy.upstream_errors import UpstreamError
from proxy.upstreams.base import Batch, Exchange
from proxy.upstreams.http_client import HttpClient
from proxy.upstreams.remote_server import RemoteServer
from proxy.upstreams.taped import Tape
from proxy.upstreams.thoughts import RememberingExchange

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """One who may be asked. `server` None: the model is of this machine."""

    upstream: str
    model: str
    server: RemoteServer | None


Begin = Callable[[Target], AbstractAsyncContextManager[T]]
"""One attempt: entered when the answer has begun. Raises UpstreamError or HotseatError."""


class RemoteUpstreams:
    """`tape`: who is asked is on it; else they are asked over `http`. `clock` and `chance` are for tests."""

    def __init__(
        self,
        http: HttpClient,
        tape: Tape | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._http = http
        self._tape = tape
        self._clock = clock
        self._chance = chance
        # By provider and model, of those in configurations: bounded.
        self._standings: dict[tuple[str, str], Standing] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        self._thoughts = ReasoningMemory()

    def target(self, provider: ProviderConfig, model: str) -> Target:
        """The same one until the provider is configured anew."""
        known = self._targets.get((provider.name, model))
        if known is not None and known.server is not None and known.server.provider is provider:
            return known
        transport = self._http if self._tape is None else self._tape.transport(provider, model)
        made = Target(provider.name, model, RemoteServer(transport, provider, model))
        self._targets[provider.name, model] = made
        return made

    @property
    def _is_replay(self) -> bool:
        return self._tape is not None and self._tape.is_replay

    def exchange(self, server: RemoteServer, dialect: DialectName, meter: Meter) -> Exchange:
        """A translated one."""
        exchange = RemoteExchange(server, dialect, meter)
        if not server.kind.keeps_thoughts:
            return exchange
        return RememberingExchange(exchange, self._thoughts, f"{server.provider.name}/{server.model}")

    def begun(
        self, targets: Sequence[Target], begin: Begin[T], record: RequestRecord
    ) -> AbstractAsyncContextManager[T]:
        """The first answer that begins. Raises HotseatError."""
        return _Begun(self, targets, begin, record)

    async def first(
        self, targets: Sequence[Target], begin: Begin[T], record: RequestRecord
    ) -> tuple[Target, AbstractAsyncContextManager[T], T]:
        """Who answered; the attempt, which the caller leaves; what it gave. Raises HotseatError."""
        waiting = list(targets)
        repeated = 0
        first_error: HotseatError | None = None
        told: HotseatError | None = None
        while True:
            still_open = self._open(waiting)
            if not still_open:
                raise told or self._all_cooling(targets)
            if still_open[0] is not waiting[0]:
                repeated = 0
            waiting = still_open
            target = waiting[0]
            record.attempt_begins(target.upstream, target.model)
            probe = self._probe(target)
            has_begun = False
            try:
                attempt = begin(target)
                answer = await attempt.__aenter__()
                has_begun = True
                return target, attempt, answer
            except UpstreamError as error:
                failure, told = failure_of(error), _told(error, target)
                told.__cause__ = error
            except NotRecorded:
                raise
            except HotseatError as error:
                # What a fallback cannot be asked says nothing of why it is asked.
                told = first_error if error.fault == "client" and first_error is not None else error
                failure = Failure(may_move=error.fault != "client")
            finally:
                if probe is not None:
                    self._probed(target, probe, has_begun=has_begun)
            first_error = first_error or told
            self._note(target, failure)
            step = self._step(target, failure, repeated, has_fallback=bool(self._open(waiting[1:])))
            if step == "give up":
                raise told
            record.attempt_failed(told)
            if isinstance(step, Repeat):
                repeated += 1
                await asyncio.sleep(0.0 if self._is_replay else step.after_s)
            else:
                repeated = 0
                waiting.pop(0)

    def broke(self, target: Target, error: UpstreamError) -> HotseatError:
        """An answer that had begun."""
        self._note(target, failure_of(error))
        return _told(error, target)

    def ended(self, target: Target) -> None:
        """An answer that was whole."""
        if self._standings:
            self._standings.pop(_name(target), None)

    def _step(self, target: Target, failure: Failure, repeated: int, *, has_fallback: bool) -> Step:
        if target.server is None:
            return "move" if failure.may_move and has_fallback else "give up"
        if self._closed_for_s(target):
            failure = replace(failure, may_repeat=False)
        provider = target.server.provider
        patience = Patience(provider.retries, provider.retry_delay_s)
        return next_step(failure, repeated, patience, has_fallback=has_fallback, chance=self._chance())

    def _note(self, target: Target, failure: Failure) -> None:
        if target.server is not None and not self._is_replay:
            self._standings[_name(target)] = after_failure(self._standing(target), failure, self._clock())

    def _probe(self, target: Target) -> Standing | None:
        """Who is asked after a rest is asked by this one alone, until it has begun to answer, or has not.
        None: it has had no rest."""
        before = self._standing(target)
        standing = let_through(before, self._clock())
        if standing is before:
            return None
        self._standings[_name(target)] = standing
        return standing

    def _probed(self, target: Target, probe: Standing, *, has_begun: bool) -> None:
        if self._standing(target) is probe:
            self._standings[_name(target)] = after_probe(probe, self._clock(), has_begun=has_begun)

    def _open(self, targets: Sequence[Target]) -> list[Target]:
        if not self._standings:
            return list(targets)
        return [target for target in targets if not self._closed_for_s(target)]

    def _closed_for_s(self, target: Target) -> float:
        return self._standing(target).closed_for_s(self._clock())

    def _standing(self, target: Target) -> Standing:
        return self._standings.get(_name(target), GOOD) if self._standings else GOOD

    def _all_cooling(self, targets: Sequence[Target]) -> ProviderCoolingDown:
        wait_s = min(self._closed_for_s(target) for target in targets)
        names = " and ".join(dict.fromkeys(target.upstream for target in targets))
        return ProviderCoolingDown(
            f"{names} failed several times in a row and is not asked for another {wait_s:.0f} s",
            retry_after_s=wait_s,
        )


class _Begun(Generic[T]):
    """See RemoteUpstreams.begun. Every request makes one: a generator would cost five times as much."""

    __slots__ = ("_ask", "_attempt", "_remote", "_target")

    def __init__(
        self, remote: RemoteUpstreams, targets: Sequence[Target], begin: Begin[T], record: RequestRecord
    ) -> None:
        self._remote = remote
        self._ask = targets, begin, record

    async def __aenter__(self) -> T:
        self._target, self._attempt, answer = await self._remote.first(*self._ask)
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The attempt itself learns of what the client is told."""
        if isinstance(error, UpstreamError):
            told = self._remote.broke(self._target, error)
            told.__cause__ = error
            await self._attempt.__aexit__(type(told), told, trace)
            raise told
        if kind is None:
            self._remote.ended(self._target)
        await self._attempt.__aexit__(kind, error, trace)


def _name(target: Target) -> tuple[str, str]:
    return target.upstream, target.model


def _told(error: UpstreamError, target: Target) -> HotseatError:
    assert target.server is not None
    return client_error(error, target.upstream, target.server.redaction)


class RemoteExchange:
    """One request to a provider, translated to a dialect that it speaks."""

    queue_s = 0.0
    load_s = 0.0
    caused_load = False

    def __init__(self, server: RemoteServer, dialect: DialectName, meter: Meter) -> None:
        self._server = server
        self._dialect = dialect
        self._meter = meter

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        """Raises UpstreamError: who is asked next depends on it."""
        return self._server.generate(request, self._dialect, self._meter)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        raise InvalidRequest("model: embeddings are not translated", param="model")
