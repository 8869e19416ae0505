"""Requested name -> Route. Pure: built once from a configuration, asked on every request.

A name means a model, an alias of one, a role, or a remote route, and exactly as it is written; only
background names (roles.background) may be patterns, and any exact name wins over them. What means
nothing is an error with near names: never a silent default, never a path or an address.

What a harness asks beside its work (titles, summaries) comes by a background name, by the role
`small` or by `background`. Such a request is a guest: guests.py says who answers it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from inference.errors import UnknownModel
from proxy.config import Config
from proxy.errors import NoSuchPath, OfflineRefusal, ProviderKeyMissing

RUN_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_NAME_CHARS = 256
MAX_NEAR_NAMES = 5
MAX_LISTED_NAMES = 12
SMALL, BACKGROUND = "small", "background"
LOCAL = "local"


def run_of(path_params: Mapping[str, str]) -> str:
    """The run token of /r/{run}/v1/…, or "". Raises NoSuchPath."""
    run = path_params.get("run", "")
    if run and not RUN_TOKEN.fullmatch(run):
        raise NoSuchPath("the run in the path must be 1 to 64 of A-Z a-z 0-9 . _ -")
    return run


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers: an upstream by name ("local", or a provider's), and the model's name there.

    `is_background`: another local model may (guests.py). `fallbacks`: who is asked after it, in this order;
    they have none of their own, and none whose provider lacks its key is among them.
    """

    upstream: str
    model: str
    is_background: bool = False
    fallbacks: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteTable:
    """`missing_keys`: of providers without their key, where it is looked for."""

    local: Mapping[str, Route]
    remote: Mapping[str, Route]
    offline: bool
    background: tuple[str, ...] = ()
    missing_keys: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, requested: str) -> Route:
        """Raises UnknownModel, and for a remote route OfflineRefusal or ProviderKeyMissing."""
        route = self.local.get(requested)
        if route is not None:
            return route
        remote = self.remote.get(requested)
        if remote is None and self._is_background(requested):
            if SMALL in self.local:
                return self.local[SMALL]
            remote = self.remote.get(SMALL)
        if remote is None:
            raise self.unknown(requested)
        if self.offline:
            raise OfflineRefusal(
                f"'{requested}' is answered by {remote.upstream}, and this server runs with --offline:"
                " choose a local model",
                param="model",
            )
        if remote.upstream in self.missing_keys:
            raise ProviderKeyMissing(
                f"'{requested}' is answered by {remote.upstream}, and no key for it is set: put it into"
                f" {self.missing_keys[remote.upstream]} and restart, or choose a local model",
                param="model",
            )
        return remote

    def knows(self, requested: str) -> bool:
        """Whether it means anything, be it refused later."""
        return requested in self.local or self.is_remote(requested) or self._is_background(requested)

    def unknown(self, requested: str, param: str = "model") -> UnknownModel:
        return UnknownModel(_unknown(requested, [*self.local, *self.remote]), param=param)

    def is_remote(self, requested: str) -> bool:
        """Whether `resolve` will not find it on this machine."""
        if requested in self.local:
            return False
        return requested in self.remote or (SMALL in self.remote and self._is_background(requested))

    def _is_background(self, requested: str) -> bool:
        if requested in self.local or requested in self.remote or len(requested) > MAX_NAME_CHARS:
            return False
        return any(matches(pattern, requested) for pattern in self.background)


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern`, with any text for each "*". Linear: a client chooses the name."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    position, end = len(first), len(name) - len(last)
    if end < position or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def route_table(config: Config, *, is_replay: bool = False) -> RouteTable:
    """`is_replay`: providers are not asked, so that nothing keeps them from being named."""
    local = {name: Route(LOCAL, name) for name in config.models}
    for name, entry in config.models.items():
        local.update({alias: Route(LOCAL, name) for alias in entry.spec.aliases})
    missing_keys = {
        provider.name: provider.key_place
        for provider in config.providers.values()
        if provider.lacks_key and not is_replay
    }
    alone = {name: Route(route.provider, route.model) for name, route in config.routes.items()}
    reachable = local | {name: route for name, route in alone.items() if route.upstream not in missing_keys}
    remote = {
        name: replace(alone[name], fallbacks=_fallbacks(route.fallbacks, reachable))
        for name, route in config.routes.items()
    }
    for role, target in config.roles.items():
        if target in local:
            local[role] = local[target]
        elif target in remote:
            remote[role] = remote[target]
    if SMALL in config.roles:
        _add_background(local, remote)
    return RouteTable(
        local=local,
        remote=remote,
        offline=config.offline and not is_replay,
        background=config.background,
        missing_keys=missing_keys,
    )


def _fallbacks(names: Iterable[str], reachable: Mapping[str, Route]) -> tuple[Route, ...]:
    return tuple(reachable[name] for name in names if name in reachable)


def _add_background(local: dict[str, Route], remote: dict[str, Route]) -> None:
    """`small` is a guest, and `background` another name for it, unless something has that name."""
    if SMALL in local:
        guest = local[SMALL] = replace(local[SMALL], is_background=True)
        if BACKGROUND not in remote:
            local.setdefault(BACKGROUND, guest)
    elif BACKGROUND not in local:
        remote.setdefault(BACKGROUND, remote[SMALL])


def _unknown(requested: str, names: list[str]) -> str:
    """Long names are neither compared nor repeated: the comparison is quadratic."""
    if len(requested) > MAX_NAME_CHARS:
        return f"the model name has {len(requested)} characters; this server has: {_listed(names)}"
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(requested.casefold(), folded, n=MAX_NEAR_NAMES, cutoff=0.5)
    if near:
        return f"the model {requested!r} does not exist; near names: {_listed([folded[n] for n in near])}"
    return f"the model {requested!r} does not exist; this server has: {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED_NAMES]) or "no models"
    return f"{shown}, …" if len(names) > MAX_LISTED_NAMES else shown
