"""`hotseat serve`: everything put together, run until a signal, and taken down in order.

bind check → socket → device → headers → pool → app → uvicorn → preloads and dry runs, in the background
signal     → no new leases, running ones finish (limits.shutdown_grace_s) → connections → workers
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import uvicorn
import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.device_sampler import DeviceSampler
from inference.gpu import DeviceMemory, HostMeter, NvmlMeter, budget_bytes, open_meter
from inference.pool import WorkerPool
from inference.pool_state import PoolSettings
from proxy.app import create_app
from proxy.auth import check_bind
from proxy.config import Config, Limits
from proxy.connection import uvicorn_config
from proxy.inventory import Surveyed, memory_records, survey
from proxy.listener import listen
from proxy.memory_keeper import MemoryKeeper
from proxy.operation import operation
from proxy.reload import ConfigSource

SWITCH_INTERVAL_S = 0.0005
"""How long the ledger's writer may keep the interpreter while a request waits for it; by default 5 ms."""

FLUSH_S = 2
"""After the last lease has ended: what an answer has to reach its client in."""

GARBAGE_THRESHOLD = 10_000
"""Objects between two looks for cycles, of which requests make next to none."""

SAMPLES_FOR_ENERGY = 4000
"""More than an hour of them, which is what a request may take: its energy is their integral."""

MAX_LOGGED_PATH = 200
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


_log = logging.getLogger("hotseat.access")


@dataclass(frozen=True, slots=True)
class Serving:
    """What `serve` says of itself when it answers."""

    config: Config
    url: str
    device: DeviceMemory
    device_note: str | None
    budget_bytes: int
    surveyed: tuple[Surveyed, ...]


def serve(
    read: Callable[[], Config], *, announce: Callable[[Serving], None], log_requests: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT what `read` says, which a reload calls again. Raises HotseatError for
    what keeps it from starting."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    config = read()
    check_bind(config.server.host, (*config.server.api_keys, *config.money.keys))
    with contextlib.closing(listen(config.server.host, config.server.port)) as listener:
        meter = open_meter(config.memory.device)
        # Workers inherit it. llama.cpp would spread a model over all GPUs it can see, in CUDA's order
        # and not NVML's; the budget is that of one.
        os.environ["CUDA_VISIBLE_DEVICES"] = meter.uuid if isinstance(meter, NvmlMeter) else ""
        device = meter.device()
        serving = Serving(
            config=config,
            url=_url(config.server.host, listener),
            device=device,
            device_note=meter.note,
            budget_bytes=budget_bytes(meter, config.memory.budget_bytes, config.memory.reserve_bytes),
            surveyed=tuple(survey(config, device)),
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(serving, read, meter, listener, announce, log_requests))


async def _serve(
    serving: Serving,
    read: Callable[[], Config],
    meter: NvmlMeter | HostMeter,
    listener: socket.socket,
    announce: Callable[[Serving], None],
    log_requests: bool,
) -> None:
    config, limits = serving.config, serving.config.server.limits
    models = [found.pool_model() for found in serving.surveyed]
    settings = _pool_settings(
        limits,
        serving.budget_bytes,
        measured_wins=serving.device.kind == "cuda",
        spare_workers=config.memory.spare_workers,
    )
    started = asyncio.Event()

    def on_started() -> None:
        gc.collect()
        gc.freeze()  # what lives until the end is not looked through again and again
        gc.set_threshold(GARBAGE_THRESHOLD)
        announce(serving)
        started.set()

    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(WorkerPool(models, settings, meter))
        keeper = MemoryKeeper(pool, serving.surveyed, memory_records(config))
        await stack.enter_async_context(keeper.keeping(started))
        sampler = stack.enter_context(DeviceSampler(meter, kept=SAMPLES_FOR_ENERGY))
        source = ConfigSource(read, lambda config: survey(config, meter.device()))
        running = operation(config, pool, meter, source, keeper.adopt)
        await stack.enter_async_context(running.running(pool, started))
        app = create_app(running, pool, meter, sampler)
        outermost = RequestLines(app) if log_requests else app
        uvicorn_settings = uvicorn_config(outermost, config.server, log_level="warning")
        uvicorn_settings.timeout_graceful_shutdown = FLUSH_S
        server = _Server(uvicorn_settings, on_started)
        with _stopping_on_signals(server, pool, app.state.stopping, limits.shutdown_grace_s):
            await server.serve(sockets=[listener])


def _pool_settings(limits: Limits, budget: int, *, measured_wins: bool, spare_workers: bool) -> PoolSettings:
    return PoolSettings(
        budget_bytes=budget,
        max_queue_per_model=limits.max_queue_per_model,
        max_queue_total=limits.max_queue_total,
        max_wait_s=limits.max_wait_s,
        min_residency_s=limits.min_residency_s,
        memory_wait_s=limits.memory_wait_s,
        load_timeout_s=limits.load_timeout_s,
        decode_stall_s=limits.decode_stall_s,
        stop_grace_s=limits.stop_grace_s,
        measured_wins=measured_wins,
        spare_workers=spare_workers,
    )


class RequestLines:
    """ASGI layer: one log line for each request. The path goes without its query, which could hold a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = time.perf_counter()
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        finally:
            took_ms = 1000 * (time.perf_counter() - begun_s)
            path = ascii(scope["path"][:MAX_LOGGED_PATH])
            _log.info("%s %s: %s in %.0f ms", scope["method"], path, status or "no answer", took_ms)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would end this process by the signal, not with exit 0."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


@contextlib.contextmanager
def _stopping_on_signals(
    server: _Server, pool: WorkerPool, is_stopping: asyncio.Event, grace_s: float
) -> Generator[None]:
    """The first signal drains, with answers going on and new requests refused; a second one cuts it short."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    async def drain() -> None:
        is_stopping.set()
        await pool.drain(grace_s)
        server.should_exit = True

    def on_signal() -> None:
        if stopping:
            server.should_exit = server.force_exit = True
        else:
            stopping.append(loop.create_task(drain()))

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
        for task in stopping:
            task.cancel()


def _url(host: str, listener: socket.socket) -> str:
    """Where this machine reaches the socket: a wildcard address is not one to call."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host.strip("[]"), host)
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"http://{name}:{port}"
