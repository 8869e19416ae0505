"""What the pool is given, what it shows, and the news it spreads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from inference.errors import HotseatError
from inference.footprint import Origin
from inference.messages import ModelFacts
from inference.model_spec import ModelSpec
from inference.scheduler_events import State

EVENT_BUFFER = 256
"""Events kept for a subscriber that does not read; beyond it the oldest go, and it is told how many."""


@dataclass(frozen=True, slots=True)
class PoolModel:
    """`unavailable`: every request for it is refused with this, nothing is started.

    `dry_run_bytes` and `measured_bytes` are known from earlier runs. `least_bytes`: no load can
    take less, so a GPU measurement below it is none (others freed memory meanwhile).
    """

    spec: ModelSpec
    estimated_bytes: int
    unavailable: HotseatError | None = None
    dry_run_bytes: int | None = None
    measured_bytes: int | None = None
    least_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    budget_bytes: int
    max_queue_per_model: int = 64
    max_queue_total: int = 512
    max_wait_s: float = 10.0  # then a model in use drains for one that is waited for
    min_residency_s: float = 0.0  # after a load, before it may leave for another of its priority
    memory_wait_s: float = 10.0  # for GPU memory that the budget counts on and others hold
    load_timeout_s: float = 600.0  # without any progress
    decode_stall_s: float = 120.0  # a worker with requests that shows no sign of life is ended
    stop_grace_s: float = 5.0  # then TERM, then KILL
    log_lines: int = 400
    spare_workers: bool = False  # keep a process of each engine started, for the next load
    measured_wins: bool = False  # on a GPU: over estimate and dry run; else it only raises them


def replaced(before: PoolModel, now: PoolModel) -> bool:
    """Whether a worker of `before` cannot go on as one of `now`: what it was told has changed."""
    return _told(before.spec) != _told(now.spec) or (before.unavailable is None) != (now.unavailable is None)


def _told(spec: ModelSpec) -> ModelSpec:
    """The spec without what matters outside of the worker only."""
    return msgspec.structs.replace(spec, **_OUTSIDE)


_OUTSIDE: dict[str, Any] = {
    "idle_unload_s": None,
    "pinned": False,
    "priority": 0,
    "aliases": (),
    "preload": False,
}


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Names of models: those whose worker goes on, those that get another one, and the others."""

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelState:
    """`footprint_bytes` is what admission counts the model for, `footprint_origin` where that is from.

    `measured_at_s` (epoch) is the load that `measured_bytes` is of; None: one before this server started.
    `dry_run_error`: why there is no `dry_run_bytes`, if one was tried.
    """

    name: str
    state: State
    estimated_bytes: int
    dry_run_bytes: int | None
    dry_run_error: str | None
    measured_bytes: int | None
    measured_at_s: float | None
    footprint_bytes: int
    footprint_origin: Origin
    leases: int
    queued: int
    slots: int
    pinned: bool
    error: str | None
    progress: float | None
    facts: ModelFacts | None


@dataclass(frozen=True, slots=True)
class PoolState:
    models: tuple[ModelState, ...]
    swaps: int
    budget_bytes: int


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """kind: loading, progress, ready, unloading, unloaded, failed, crashed; or missed, for a slow reader."""

    kind: str
    model: str
    at_s: float
    detail: str = ""


class Subscriber:
    """A bounded buffer between the pool and one reader."""

    def __init__(self) -> None:
        self._events: deque[PoolEvent] = deque(maxlen=EVENT_BUFFER)
        self._missed = 0
        self._has_news = asyncio.Event()
        self._is_closed = False

    def push(self, event: PoolEvent) -> None:
        self._missed += len(self._events) == EVENT_BUFFER
        self._events.append(event)
        self._has_news.set()

    def close(self) -> None:
        """Nothing more will come: the reader gets what is left, then the end."""
        self._is_closed = True
        self._has_news.set()

    async def read(self) -> AsyncIterator[PoolEvent]:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            if self._missed:
                missed, self._missed = self._missed, 0
                yield PoolEvent("missed", "", time.time(), f"{missed} events")
            while self._events:
                yield self._events.popleft()
            if self._is_closed:
                return


class Subscribers:
    """Everybody who hears what one source announces."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()

    def announce(self, kind: str, model: str, detail: str) -> None:
        if self._subscribers:
            event = PoolEvent(kind, model, time.time(), detail)
            for subscriber in self._subscribers:
                subscriber.push(event)

    @contextlib.contextmanager
    def events(self) -> Iterator[AsyncIterator[PoolEvent]]:
        """What is announced from now on."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        try:
            yield subscriber.read()
        finally:
            self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Nothing more will be announced."""
        for subscriber in self._subscribers:
            subscriber.close()
