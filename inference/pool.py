"""WorkerPool: feeds the scheduler and carries out its actions; `lease(model)` for callers.

All state lives on one event loop and changes only in `_feed`, which is synchronous: an event goes
in, the actions come out and are carried out before anything else runs. Only `_own`, one task per
worker process, takes time; it ends when the process is reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, assert_never

from inference.errors import ErrorInfo, HotseatError, ShuttingDown, Unloaded, from_info
from inference.lease import Lease, Leasing
from inference.memory_budget import size
from inference.messages import FromWorker, Hello, LoadProgress, Memory, Ready
from inference.model_spec import EngineName
from inference.pool_state import (
    ModelState,
    PoolEvent,
    PoolModel,
    PoolSettings,
    PoolState,
    Reconfigured,
    Subscribers,
    replaced,
)
from inference.running_worker import RunningWorker
from inference.scheduler import SwapScheduler
from inference.scheduler_events import (
    Action,
    Cancelled,
    Closing,
    Done,
    DryRunDone,
    Event,
    Grant,
    Lane,
    LoadBlocked,
    LoadRequested,
    Measured,
    ModelsChanged,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    SchedulerSettings,
    Start,
    Stop,
    Tick,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)
from inference.spare_workers import SpareWorkers, StartedWorker
from inference.worker_log import LogTail
from inference.worker_process import WorkerLimits, WorkerProcess

if TYPE_CHECKING:
    from inference.gpu import DeviceProcess, MemoryMeter

__all__ = ["Lease", "ModelState", "PoolEvent", "PoolModel", "PoolSettings", "PoolState", "WorkerPool"]

STORED_SHARE = 0.1
"""Reading a sequence back from its file takes about a tenth of computing it again."""

LEAST_LOAD_S = 1.0
LOAD_BYTES_PER_S = 1e9
"""What a load is taken to cost until one was seen."""

MAX_NAMED_PROCESSES = 3

KILL_PATIENCE_S = 10.0
"""How long closing waits, beyond the grace, for processes that were told to die."""

logger = logging.getLogger("hotseat.pool")


class WorkerPool:
    """Enter it before use; leaving it ends every worker."""

    def __init__(self, models: Sequence[PoolModel], settings: PoolSettings, meter: MemoryMeter) -> None:
        self._models = {model.spec.name: model for model in models}
        self._settings = settings
        self._meter = meter
        self._scheduler = SwapScheduler(
            (_for_scheduler(model) for model in models),
            SchedulerSettings(
                budget_bytes=settings.budget_bytes,
                max_queue_per_model=settings.max_queue_per_model,
                max_queue_total=settings.max_queue_total,
                max_wait_s=settings.max_wait_s,
                measured_wins=settings.measured_wins,
                min_residency_s=settings.min_residency_s,
                memory_wait_s=settings.memory_wait_s,
            ),
        )
        self._dry_run_errors: dict[str, str] = {}
        self._measured_at_s: dict[str, float] = {}  # epoch, of models' last loads in this run
        self._running: dict[str, RunningWorker] = {}
        self._logs: dict[str, LogTail] = {}
        self._owners: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[RunningWorker | ErrorInfo | None]] = {}
        self._subscribers = Subscribers()
        self._timer: asyncio.TimerHandle | None = None
        self._no_leases = asyncio.Event()
        self._no_leases.set()
        self._spares = SpareWorkers(self._start_worker)

    async def __aenter__(self) -> Self:
        self._refill_spares()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed(Closing())
        try:
            for running in self._running.values():
                running.process.stop(ShuttingDown("the server is shutting down").info())
            await self._owners_end(self._settings.stop_grace_s + KILL_PATIENCE_S)
        finally:
            for owner in self._owners:  # this wait was cancelled, or too short: SIGKILL
                owner.cancel()
            for running in self._running.values():
                running.life.cancel()
            await self._spares.close(self._settings.stop_grace_s)
            await self._owners_end(KILL_PATIENCE_S)
            self._subscribers.close()

    # --- for callers ---------------------------------------------------------------------------

    def lease(self, model: str, lane: Lane = "interactive") -> Leasing:
        """Wait for the right to use `model`. Raises HotseatError; cancelling it leaves the queue."""
        return Leasing(partial(self._leased, model, lane), self._give_back)

    async def _leased(self, model: str, lane: Lane) -> Lease:
        request_id = next(self._ids)
        asked_s = self._now_s()
        running = await self._answer(Requested(request_id, model, lane))
        assert running is not None
        waited_s = self._now_s() - asked_s
        load_s = running.load_s_within(asked_s, asked_s + waited_s)
        return Lease(
            model,
            running.process.link,
            queue_s=waited_s - load_s,
            load_s=load_s,
            caused_load=running.is_first_for(asked_s),
            base_url=running.facts.base_url if running.facts else None,
            kept_share=STORED_SHARE if running.model.spec.kv_store else 1.0,
            request_id=request_id,
        )

    def _give_back(self, lease: Lease) -> None:
        lease.end()
        self._feed(Released(lease.request_id, lease.kept_s))

    def state(self) -> PoolState:
        return PoolState(
            models=tuple(self._model_state(name) for name in self._models),
            swaps=self._scheduler.swaps,
            budget_bytes=self._settings.budget_bytes,
        )

    async def load(self, model: str) -> None:
        """Returns when the model is ready; raises HotseatError. Does not wait for a slot."""
        await self._answer(LoadRequested(next(self._ids), model))

    async def unload(self, model: str) -> None:
        """Drains leases and returns when the process is gone; waiting requests get Unloaded."""
        await self._answer(UnloadRequested(next(self._ids), model))

    async def reconfigure(self, models: Sequence[PoolModel]) -> Reconfigured:
        """Serve `models` from now on. Workers whose model is unchanged go on, with their streams; others
        finish what they are at and leave. Returns at once; waiters of a changed model wait on for it."""
        before, now = self._models, {model.spec.name: model for model in models}
        changed = frozenset(name for name in before.keys() & now.keys() if replaced(before[name], now[name]))
        self._models = now
        for name in changed | (before.keys() - now.keys()):
            self._dry_run_errors.pop(name, None)
            self._measured_at_s.pop(name, None)
        self._feed(ModelsChanged(tuple(_for_scheduler(model) for model in models), changed))
        return Reconfigured(
            kept=tuple(name for name in now if name in before and name not in changed),
            changed=tuple(name for name in now if name in changed),
            added=tuple(name for name in now if name not in before),
            removed=tuple(name for name in before if name not in now),
        )

    async def unload_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for model in list(self._running):
                group.create_task(self.unload(model))

    async def drain(self, timeout_s: float) -> None:
        """Refuse new leases from now on, and wait for the running ones, no longer than `timeout_s`."""
        self._feed(Closing())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._no_leases.wait()

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[PoolEvent]]:
        """What happens from now on."""
        with self._subscribers.events() as events:
            yield events

    def log_tail(self, model: str) -> list[str]:
        """The worker's last stderr lines, also after its death."""
        log = self._logs.get(model)
        return log.lines() if log else []

    def correct(self, model: str, dry_run_bytes: int) -> None:
        """A dry run has said what the model will take: admission goes by it from now on."""
        self._dry_run_errors.pop(model, None)
        self._feed(DryRunDone(model, dry_run_bytes))

    def note_failed_dry_run(self, model: str, reason: str) -> None:
        """The estimate stands; `state` says why."""
        self._dry_run_errors[model] = reason

    # --- the loop: event in, actions out -------------------------------------------------------

    def _feed(self, event: Event) -> None:
        for action in self._scheduler.handle(event, self._now_s()):
            self._carry_out(action)
        if self._scheduler.has_leases:
            self._no_leases.clear()
        else:
            self._no_leases.set()
        self._arm()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Grant():
                self._resolve(action.request_id, self._running[action.model])
            case Done():
                self._resolve(action.request_id, None)
            case Reject():
                self._resolve(action.request_id, action.error)
            case Start():
                self._start(action.model)
            case Stop():
                self._announce("unloading", action.model)
                reason = Unloaded(f"model '{action.model}' was unloaded").info()
                self._running[action.model].process.stop(reason)
            case _:
                assert_never(action)

    def _resolve(self, request_id: int, answer: RunningWorker | ErrorInfo | None) -> None:
        future = self._answers.get(request_id)
        if future is not None and not future.done():  # done: cancelled, and about to tell us so
            future.set_result(answer)

    async def _answer(self, event: Requested | LoadRequested | UnloadRequested) -> RunningWorker | None:
        """Feed a request and wait for what the scheduler says to it."""
        future: asyncio.Future[RunningWorker | ErrorInfo | None] = asyncio.get_running_loop().create_future()
        self._answers[event.request_id] = future
        try:
            self._feed(event)
            answer = await future
        except BaseException:  # cancelled; a lease that was granted at this very moment goes back
            self._feed(Cancelled(event.request_id))
            raise
        finally:
            del self._answers[event.request_id]
        if isinstance(answer, ErrorInfo):
            raise from_info(answer)
        return answer

    def _arm(self) -> None:
        deadline_s = self._scheduler.next_deadline_s()
        if self._timer is not None and self._timer.when() == deadline_s:
            return
        self._disarm()
        if deadline_s is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._feed(Tick())

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # --- workers -------------------------------------------------------------------------------

    def _start(self, model: str) -> None:
        if blocked := self._blocked(model):
            self._feed(blocked)
            return
        spec = self._models[model].spec
        running = RunningWorker(self._models[model], self._spares.take(spec.engine), self._now_s())
        self._running[model] = running
        owner = asyncio.get_running_loop().create_task(self._own(model, running), name=f"worker {model}")
        self._owners.add(owner)
        owner.add_done_callback(self._owners.discard)
        self._announce("loading", model)
        self._assign(model, running)

    def _assign(self, model: str, running: RunningWorker) -> None:
        self._logs[model] = running.process.log
        running.process.assign(running.model.spec, lambda message: self._on_message(model, message))

    def _start_worker(self, engine: EngineName) -> StartedWorker:
        limits = WorkerLimits(
            self._settings.load_timeout_s,
            self._settings.stop_grace_s,
            decode_stall_s=self._settings.decode_stall_s,
        )
        process = WorkerProcess(engine, limits, LogTail(self._settings.log_lines))
        life = asyncio.get_running_loop().create_task(process.run(), name=f"process of {engine}")
        return StartedWorker(process, life)

    def _refill_spares(self) -> None:
        """Have a process ready for each engine that has a model to load."""
        if not self._settings.spare_workers:
            return
        for name, model in self._models.items():
            if name not in self._running and model.unavailable is None:
                self._spares.refill_later(model.spec.engine)

    def _blocked(self, model: str) -> LoadBlocked | None:
        """The GPU has less free memory than the load will take: others are on it, or it is not back yet."""
        device = self._meter.device()
        if device.kind == "cpu" or device.free_bytes >= self._scheduler.footprint_bytes(model):
            return None
        foreign = [process for process in self._meter.processes() or () if process.is_foreign]
        held_by = ", ".join(describe(process) for process in foreign[:MAX_NAMED_PROCESSES])
        return LoadBlocked(model, device.free_bytes, held_by)

    async def _own(self, model: str, running: RunningWorker) -> None:
        """The life of one worker process."""
        error: ErrorInfo | None = HotseatError(f"the owner of worker '{model}' was cancelled").info()
        try:
            error = await running.life
            if error is not None and running.was_spare and not running.process.has_begun:
                running.use(self._start_worker(running.model.spec.engine))  # it died before it was needed
                self._assign(model, running)
                error = await running.life
        except Exception as unexpected:  # the process border; waiters must hear of it
            logger.exception("worker '%s' cannot be kept", model)
            error = HotseatError(f"the worker of '{model}' cannot be kept: {unexpected}").info()
        finally:
            del self._running[model]
            self._announce_end(model, running, error)
            self._feed(WorkerExited(model, error))
            running.process.tell_requests()

    async def _owners_end(self, timeout_s: float) -> None:
        if self._owners:
            await asyncio.wait(self._owners, timeout=timeout_s)

    def _on_message(self, model: str, message: FromWorker) -> None:
        running = self._running[model]
        match message:
            case Hello():
                running.said_hello(message, self._meter)
            case LoadProgress():
                running.progress = message.fraction
                self._announce("progress", model, f"{message.fraction:.3f}")
            case Ready():
                now_s = self._now_s()
                running.became_ready(message.facts, now_s)
                measured_bytes = self._measured(model, running, message.facts.rss_bytes, is_at_ready=True)
                self._announce("ready", model, f"{now_s - running.started_s:.3f} s")
                self._feed(WorkerReady(model, measured_bytes))
                self._refill_spares()
            case Memory():
                measured_bytes = self._measured(model, running, message.rss_bytes, is_at_ready=False)
                if measured_bytes is not None:
                    self._feed(Measured(model, measured_bytes))

    def _measured(
        self, model: str, running: RunningWorker, rss_bytes: int, *, is_at_ready: bool
    ) -> int | None:
        """What the model takes, or None if that is not known."""
        n_bytes = running.measured_bytes(self._meter, rss_bytes, is_at_ready=is_at_ready)
        is_false = self._settings.measured_wins and (n_bytes or 0) < running.model.least_bytes
        if n_bytes is None or is_false:
            return None
        configured = self._models.get(model)
        is_current = configured is not None and not replaced(running.model, configured)
        if is_current and (is_at_ready or model not in self._measured_at_s):
            self._measured_at_s[model] = time.time()
        return n_bytes

    def _model_state(self, name: str) -> ModelState:
        model, view, running = self._models[name], self._scheduler.view(name), self._running.get(name)
        error = view.error or (model.unavailable.info() if model.unavailable else None)
        return ModelState(
            name=name,
            state="failed" if model.unavailable else view.state,
            estimated_bytes=model.estimated_bytes,
            dry_run_bytes=view.dry_run_bytes,
            dry_run_error=self._dry_run_errors.get(name),
            measured_bytes=view.measured_bytes,
            measured_at_s=self._measured_at_s.get(name),
            footprint_bytes=view.footprint.n_bytes,
            footprint_origin=view.footprint.origin,
            leases=view.leases,
            queued=view.queued,
            slots=model.spec.slots,
            pinned=model.spec.pinned,
            error=error.message if error else None,
            progress=running.progress if running else None,
            facts=running.facts if running else None,
        )

    # --- events --------------------------------------------------------------------------------

    def _announce_end(self, model: str, running: RunningWorker, error: ErrorInfo | None) -> None:
        if error is None:
            self._announce("unloaded", model)
            return
        logger.warning("model '%s': %s", model, error.message)
        self._announce("failed" if running.ready_s is None else "crashed", model, error.message)

    def _announce(self, kind: str, model: str, detail: str = "") -> None:
        self._subscribers.announce(kind, model, detail)


def describe(process: DeviceProcess) -> str:
    """A process on the GPU, for an error message."""
    used = "unknown memory" if process.used_bytes is None else size(process.used_bytes)
    return f"process {process.pid} ({process.name or 'name unknown'}, {used})"


def _for_scheduler(model: PoolModel) -> SchedulerModel:
    return SchedulerModel(
        name=model.spec.name,
        estimated_bytes=model.estimated_bytes,
        slots=model.spec.slots,
        pinned=model.spec.pinned,
        unavailable=model.unavailable.info() if model.unavailable else None,
        dry_run_bytes=model.dry_run_bytes,
        measured_bytes=model.measured_bytes,
        priority=model.spec.priority,
        idle_unload_s=model.spec.idle_unload_s,
        reload_s=LEAST_LOAD_S + model.estimated_bytes / LOAD_BYTES_PER_S,
    )
