"""Keeps what is known of models' memory up to date while the server runs, and from one run to the next.

In the background, one at a time, once the server answers: a dry run of every model that has none
on record. No load waits for it: the estimate is within 2 % of it, the reserve is larger than that,
and a first request would pay 0.5 to 1.5 s for nothing. What a load was measured to take is recorded
when the model is ready, and again when it leaves, since a host's resident pages come with use.

The pool stays the owner of what admission goes by: it is told of dry runs, and asked for measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from inference.buffer_sizes import Buffer
from inference.dry_run import NoDryRun, dry_run
from inference.memory_records import LoadMeasured, MemoryRecord, MemoryRecords
from inference.model_spec import ModelSpec
from inference.pool import PoolEvent, WorkerPool
from proxy.background import in_background
from proxy.inventory import Surveyed

DryRun = Callable[[ModelSpec], Awaitable[tuple[Buffer, ...] | NoDryRun]]

_log = logging.getLogger("hotseat.models")
_MOMENTS = ("ready", "unloading", "crashed", "missed")
"""Events after which a measurement may have changed."""


class MemoryKeeper:
    """`run_dry` is how a dry run is made."""

    def __init__(
        self,
        pool: WorkerPool,
        surveyed: Sequence[Surveyed],
        records: MemoryRecords,
        *,
        run_dry: DryRun = dry_run,
    ) -> None:
        self._pool = pool
        self._records = records
        self._run_dry = run_dry
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memory records")
        self._known: dict[str, Surveyed] = {}
        self._current: dict[str, MemoryRecord] = {}
        self._has_news = asyncio.Event()
        self.adopt(surveyed)

    def adopt(self, surveyed: Sequence[Surveyed]) -> None:
        """These are the models from now on. What was learned meanwhile of those that stay is kept."""
        known = {found.entry.spec.name: found for found in surveyed if found.key is not None}
        same = {name for name, found in known.items() if self._key(name) == found.key}
        self._current = {
            name: self._current[name] if name in same else found.record for name, found in known.items()
        }
        self._known = known
        self._has_news.set()

    def _key(self, name: str) -> str | None:
        return self._known[name].key if name in self._known else None

    @contextlib.asynccontextmanager
    async def keeping(self, started: asyncio.Event) -> AsyncIterator[None]:
        """Runs while the block does; dry runs begin when `started` is set. Enter it inside the pool's."""
        async with self._pool.events() as events:
            work = in_background(
                _log,
                "models' memory was not kept up to date",
                memory_records=self._record_measurements(events),
                dry_runs=self._make_dry_runs(started),
            )
            try:
                async with work:
                    yield
            finally:
                self._record_measured()
                await asyncio.to_thread(self._writer.shutdown)

    # --- dry runs ------------------------------------------------------------------------------

    async def _make_dry_runs(self, started: asyncio.Event) -> None:
        await started.wait()
        tried: set[str | None] = set()
        while True:
            self._has_news.clear()
            while (found := self._without_dry_run(tried)) is not None:
                tried.add(found.key)
                await self._make_dry_run(found.entry.spec.name, found)
            await self._has_news.wait()

    def _without_dry_run(self, tried: Container[str | None]) -> Surveyed | None:
        for name, found in self._known.items():
            if found.estimate is not None and self._current[name].buffers is None and found.key not in tried:
                return found
        return None

    async def _make_dry_run(self, name: str, found: Surveyed) -> None:
        result = await self._run_dry(found.entry.spec)
        if self._key(name) != found.key:
            return  # it is another model by now
        if not isinstance(result, NoDryRun) and found.on_gpu and _uses_no_gpu(found.entry.spec, result):
            result = NoDryRun("this engine build offloads nothing to the GPU")
        if isinstance(result, NoDryRun):
            _log.warning("no dry run of '%s', its estimate stands: %s", name, result.reason)
            self._pool.note_failed_dry_run(name, result.reason)
            return
        self._pool.correct(name, found.bytes_by(result))
        self._write(name, msgspec.structs.replace(self._current[name], buffers=result))

    # --- measurements --------------------------------------------------------------------------

    async def _record_measurements(self, events: AsyncIterator[PoolEvent]) -> None:
        async for event in events:
            if event.kind in _MOMENTS:
                self._record_measured()

    def _record_measured(self) -> None:
        """Write the records that what was measured in this run changes."""
        for state in self._pool.state().models:
            if state.name not in self._known or state.measured_at_s is None or state.measured_bytes is None:
                continue
            record = self._current[state.name]
            new = record.with_load(LoadMeasured(state.measured_bytes, state.measured_at_s))
            if new != record:
                self._write(state.name, new)

    def _write(self, name: str, record: MemoryRecord) -> None:
        """In the background, one after the other: a slow disk holds up no stream, and the last one wins."""
        found = self._known[name]
        assert found.key is not None  # else it is not among the known
        device = "gpu" if found.on_gpu else "host"
        record = msgspec.structs.replace(record, model=name, file=found.entry.spec.path, device=device)
        self._current[name] = record
        self._writer.submit(self._records.write, found.key, record)


def _uses_no_gpu(spec: ModelSpec, buffers: tuple[Buffer, ...]) -> bool:
    return spec.n_gpu_layers != 0 and not any(buffer.is_on_gpu for buffer in buffers)
