"""A new configuration for a running server: read it whole, or keep the old one.

    reload ─▶ read and check the file, the headers of its models ── wrong ──▶ ConfigError, all as before
                 │ right
                 ▼
           pool.reconfigure ─▶ new routes, roles, keys and limits for requests that come from now on

Requests that run go on by what they began with, and a model that did not change keeps its worker. What
a running process cannot change (its address, its budget) is named, and stays as it was at the start.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from watchfiles import Change, awatch

from inference.errors import ConfigError, HotseatError
from inference.pool_state import PoolModel, Reconfigured
from proxy.auth import check_bind
from proxy.config import Config, Limits
from proxy.inventory import Surveyed
from proxy.live import Live
from proxy.news import News

QUIET_MS = 100
"""A change counts when nothing more has happened for so long: editors write a file in several steps."""

MAX_UNREST_MS = 2000

_log = logging.getLogger("hotseat.config")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Names of models, and the keys that were changed without effect until a restart."""

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    needs_restart: tuple[str, ...]

    def __str__(self) -> str:
        named = {
            "kept": self.kept,
            "changed": self.changed,
            "added": self.added,
            "removed": self.removed,
            "needs a restart": self.needs_restart,
        }
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in named.items() if names)


Reconfigure = Callable[[Sequence[PoolModel]], Awaitable[Reconfigured]]


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where a configuration comes from. Both block for the disk; `read` raises ConfigError."""

    read: Callable[[], Config]
    survey: Callable[[Config], Sequence[Surveyed]]


class Reloader:
    """`adopt` is told of every configuration that came into force, with the names of models that are new
    in it: before the first request is routed by it."""

    def __init__(
        self,
        source: ConfigSource,
        live: Live,
        reconfigure: Reconfigure,
        news: News,
        adopt: Callable[[Sequence[Surveyed], Reloaded], None],
    ) -> None:
        self._source = source
        self._live = live
        self._started = live.now.config
        self._files = _files(self._started.path)
        self._reconfigure = reconfigure
        self._news = news
        self._adopt = adopt
        self._lock = asyncio.Lock()  # reloads take effect in the order in which their files were read

    async def reload(self) -> Reloaded:
        """Raises ConfigError, which is logged and announced, too."""
        async with self._lock:
            try:
                config, surveyed = await asyncio.to_thread(self._read)
            except ConfigError as error:
                _log.error("not reloaded, the old configuration stays: %s", error.message)
                self._news.announce("reload_failed", error.message)
                raise
            models = await self._reconfigure([found.pool_model() for found in surveyed])
            # No await from here on: what the pool knows and what is routed to it belong together.
            self._live.adopt(_at_the_same_address(config, self._started))
            reloaded = Reloaded(
                kept=models.kept,
                changed=models.changed,
                added=models.added,
                removed=models.removed,
                needs_restart=needs_restart(self._started, config),
            )
            self._adopt(surveyed, reloaded)
            _log.info("reloaded %s: %s", config.path, reloaded)
            self._news.announce("reloaded", str(reloaded))
            return reloaded

    async def watch(self) -> None:
        """Reload whenever the file changes. Does not end by itself, but where files cannot be watched."""
        try:
            async for _ in _changes(self._files):
                try:
                    await self.reload()
                except HotseatError:
                    continue  # it was said already; the next change may be the rest of the file
                except Exception:  # noqa: BLE001  (the border of one reload: the next one may do)
                    _log.exception("not reloaded")
        except (OSError, RuntimeError) as error:  # no inotify instance left, a folder that went away
            remedy = "`hotseat reload` makes changes take effect"
            _log.warning("%s is not watched (%s): %s", self._started.path, error, remedy)

    def _read(self) -> tuple[Config, Sequence[Surveyed]]:
        config = self._source.read()
        check_bind(self._started.server.host, (*config.server.api_keys, *config.money.keys))
        return config, self._source.survey(config)


def _at_the_same_address(config: Config, started: Config) -> Config:
    """The address is part of who may talk to the server (proxy/auth.py): it is the one bound."""
    server = dataclasses.replace(config.server, host=started.server.host, port=started.server.port)
    return dataclasses.replace(config, server=server)


# --- what waits for a restart ----------------------------------------------------------------------

_FIXED = {
    "server.host": attrgetter("server.host"),
    "server.port": attrgetter("server.port"),
    "server.watch": attrgetter("server.watch"),
    "memory.device": attrgetter("memory.device"),
    "memory.budget": attrgetter("memory.budget_bytes"),
    "memory.reserve": attrgetter("memory.reserve_bytes"),
    "memory.spare_workers": attrgetter("memory.spare_workers"),
    "ledger": attrgetter("ledger"),
}
"""Key of the file -> where it is in Config."""

LIVE_LIMITS = frozenset({"max_body_bytes", "body_timeout_s", "keepalive_s", "request_timeout_s"})
"""What requests ask for when they begin; the other limits went into the pool and the socket at the start."""


def needs_restart(started: Config, new: Config) -> tuple[str, ...]:
    """Keys whose new value differs from what the server was started with, and has no effect yet."""
    before, now = started.server.limits, new.server.limits
    fixed = [field.name for field in dataclasses.fields(Limits) if field.name not in LIVE_LIMITS]
    limits = [name for name in fixed if getattr(before, name) != getattr(now, name)]
    return (
        *(key for key, value in _FIXED.items() if value(started) != value(new)),
        *("server.limits." + name.removesuffix("_s").removesuffix("_bytes") for name in limits),
    )


# --- the file --------------------------------------------------------------------------------------


def _files(path: Path) -> frozenset[Path]:
    """`path`, and the file that it is a link to."""
    return frozenset({path.parent.resolve() / path.name, path.resolve()})


async def _changes(files: frozenset[Path]) -> AsyncIterator[None]:
    """Each time one of them was written or replaced. They are watched from the first step on.

    What is watched are their folders: an editor that writes a new file and renames it would take a
    watch on the old one away.
    """
    names = {str(file) for file in files}
    events = awatch(
        *{file.parent for file in files},
        watch_filter=lambda change, changed: changed in names and change in (Change.added, Change.modified),
        debounce=MAX_UNREST_MS,
        step=QUIET_MS,
        recursive=False,
    )
    async for _ in events:
        yield
