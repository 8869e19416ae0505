"""What the server goes by at this moment: the configuration and what follows from it.

It is replaced whole, by a reload alone. Whoever serves a request takes `now` once, and goes by that
until the request ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.auth import AccessPolicy, access_policy
from proxy.config import Config, Limits
from proxy.routing import RouteTable, route_table


@dataclass(frozen=True, slots=True)
class Current:
    config: Config
    routes: RouteTable
    replayed_routes: RouteTable  # of runs that replay: they need neither net nor keys
    access: AccessPolicy
    limits: Limits


class Live:
    def __init__(self, config: Config) -> None:
        self.now = _current(config)

    def adopt(self, config: Config) -> None:
        """For every request that comes from now on."""
        self.now = _current(config)


def _current(config: Config) -> Current:
    return Current(
        config=config,
        routes=route_table(config),
        replayed_routes=route_table(config, is_replay=True),
        access=access_policy(config.server, config.money.keys),
        limits=config.server.limits,
    )
