"""Worker processes that wait for a model: started ahead, so that a swap does not wait for their imports.

Of what a swap costs beyond the load itself, the interpreter and the engine's imports are nearly all:
0.1 s for the scripted engine, 0.4 s for llama.cpp's. One process of each engine is kept at that
point (it has said Hello, its memory is that of the imports), and replaced a while after it was used,
when the load it made room for no longer needs the cores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from inference.errors import ErrorInfo, ShuttingDown
from inference.model_spec import EngineName
from inference.worker_process import WorkerProcess

REFILL_DELAY_S: Final = 1.0
KEPT_ENGINES: Final[frozenset[EngineName]] = frozenset({"llama-cpp-python", "scripted"})
"""Engines of servers of their own start a process anyway."""


@dataclass(frozen=True, slots=True)
class StartedWorker:
    """A process, and its `run()`."""

    process: WorkerProcess
    life: asyncio.Task[ErrorInfo | None]
    was_spare: bool = False  # then it may have died before it was needed

    @property
    def is_over(self) -> bool:
        return self.life.done() or self.process.is_ending


class SpareWorkers:
    """At most one process of each engine. `start` makes one and runs it."""

    def __init__(self, start: Callable[[EngineName], StartedWorker]) -> None:
        self._start = start
        self._spares: dict[EngineName, StartedWorker] = {}
        self._timers: dict[EngineName, asyncio.TimerHandle] = {}
        self._is_closed = False

    def take(self, engine: EngineName) -> StartedWorker:
        """A process for a model: the spare one, or else a new one."""
        spare = self._spares.pop(engine, None)
        if spare is None or spare.is_over:  # if its imports failed, a new one will tell the model's waiters
            return self._start(engine)
        return replace(spare, was_spare=True)

    def refill_later(self, engine: EngineName) -> None:
        """Start a spare one in a while, unless there is one."""
        if engine in KEPT_ENGINES and engine not in self._timers and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._timers[engine] = loop.call_later(REFILL_DELAY_S, self._refill, engine)

    def _refill(self, engine: EngineName) -> None:
        del self._timers[engine]
        spare = self._spares.get(engine)
        if spare is None or spare.is_over:
            self._spares[engine] = self._start(engine)

    async def close(self, timeout_s: float) -> None:
        """End them all; those that do not hear are killed after `timeout_s`."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        lives = {spare.life for spare in self._spares.values()}
        for spare in self._spares.values():
            spare.process.stop(ShuttingDown("the server is shutting down").info())
        self._spares.clear()
        if lives:
            _, hanging = await asyncio.wait(lives, timeout=timeout_s)
            for life in hanging:
                life.cancel()
            if hanging:
                await asyncio.wait(hanging)
