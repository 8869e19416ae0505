"""Models that are loaded before anybody asks for them (`preload = true`), one after the other.

A preload takes no room from anybody: what does not fit beside those that are there is left out, and
said so. What fails to load shows in /api/state like any other load that failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from inference.errors import HotseatError
from inference.model_spec import ModelSpec
from inference.pool import WorkerPool
from inference.pool_state import PoolState

_log = logging.getLogger("hotseat.models")


class Preloader:
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._names: asyncio.Queue[str] = asyncio.Queue()

    def add(self, specs: Iterable[ModelSpec]) -> None:
        """Those of `specs` that are to be preloaded, the highest priority first."""
        for spec in sorted(specs, key=lambda spec: -spec.priority):
            if spec.preload:
                self._names.put_nowait(spec.name)

    async def run(self) -> None:
        """Load what was added, until cancelled."""
        while True:
            name = await self._names.get()
            missing_bytes = lacking(name, self._pool.state())
            if missing_bytes > 0:
                _log.warning("'%s' is not preloaded: %d bytes of the budget are missing", name, missing_bytes)
                continue
            try:
                await self._pool.load(name)
            except HotseatError as error:
                _log.warning("'%s' is not preloaded: %s", name, error.message)


def lacking(name: str, state: PoolState) -> int:
    """Bytes of the budget that are missing for `name` beside those that are there; 0 or less: it fits."""
    taken = sum(m.footprint_bytes for m in state.models if m.state in ("loading", "ready", "unloading"))
    wanted = next((m for m in state.models if m.name == name), None)
    if wanted is None or wanted.state in ("loading", "ready"):
        return 0
    return taken + wanted.footprint_bytes - state.budget_bytes
