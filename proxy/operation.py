"""What a server has beside its requests: the live configuration, its reload, preloads, news and counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from inference.gpu import MemoryMeter
from inference.pool import WorkerPool
from inference.token_counts import TokenCounter
from proxy.background import in_background
from proxy.config import Config
from proxy.inventory import Surveyed
from proxy.ledger import Ledger
from proxy.live import Live
from proxy.metrics import Metrics
from proxy.news import News
from proxy.preload import Preloader
from proxy.reload import ConfigSource, Reloaded, Reloader
from proxy.upstreams.http_client import HttpClient

_log = logging.getLogger("hotseat.server")


@dataclass(frozen=True, slots=True)
class Operation:
    """`reloader` None: the configuration does not come from a file. `ledger` None: none is kept."""

    live: Live
    news: News
    metrics: Metrics
    preloader: Preloader
    reloader: Reloader | None
    http: HttpClient
    remote_http: HttpClient
    tokens: TokenCounter
    ledger: Ledger | None = None

    @contextlib.asynccontextmanager
    async def running(self, pool: WorkerPool, started: asyncio.Event) -> AsyncIterator[None]:
        """What runs in the background while the block does; preloads begin when `started` is set. Enter
        it inside the pool's."""
        config = self.live.now.config
        async with (
            self._keeping_ledger(),
            pool.events() as events,
            self.http,
            self.remote_http,
            self.tokens,
        ):
            work = {"metrics": self.metrics.follow(events), "preloads": self._preload(started)}
            if self.reloader is not None and config.server.watch:
                work["watch"] = self.reloader.watch()
            async with in_background(_log, "a part of the server's own work had failed", **work):
                yield

    @contextlib.asynccontextmanager
    async def _keeping_ledger(self) -> AsyncIterator[None]:
        """Raises ConfigError for a ledger that this version cannot use."""
        if self.ledger is None:
            yield
            return
        await asyncio.to_thread(self.ledger.start)
        try:
            yield
        finally:
            await asyncio.to_thread(self.ledger.close)

    async def _preload(self, started: asyncio.Event) -> None:
        await started.wait()
        self.preloader.add(entry.spec for entry in self.live.now.config.models.values())
        await self.preloader.run()


def operation(
    config: Config,
    pool: WorkerPool,
    meter: MemoryMeter,
    source: ConfigSource | None = None,
    on_models: Callable[[Sequence[Surveyed]], None] | None = None,
) -> Operation:
    """`source`: what a reload reads. `on_models` is told of the models after each."""
    live, news, preloader = Live(config), News(), Preloader(pool)

    def adopt(surveyed: Sequence[Surveyed], reloaded: Reloaded) -> None:
        if on_models is not None:
            on_models(surveyed)
        new = {*reloaded.changed, *reloaded.added}
        preloader.add(found.entry.spec for found in surveyed if found.entry.spec.name in new)

    ledger = None if config.ledger is None else Ledger(config.ledger)
    return Operation(
        live=live,
        news=news,
        metrics=Metrics(pool.state, meter.device, None if ledger is None else ledger.status),
        preloader=preloader,
        http=HttpClient(keep_connections=False),
        remote_http=HttpClient(keep_connections=True),  # a TLS handshake costs more than a small request
        tokens=TokenCounter(),
        ledger=ledger,
        reloader=None if source is None else Reloader(source, live, pool.reconfigure, news, adopt),
    )
