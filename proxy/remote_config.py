"""[providers.NAME] and [routes.NAME] of models.toml, with the providers' keys.

A key comes from the environment, or from a file that nobody else can read; never from models.toml.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from inference.errors import ConfigError
from proxy.config_file import near_names
from proxy.model_files import expand_home
from proxy.providers import COMPATIBLE, KINDS, DialectName, KeyHeader, ProviderKind, kind_of
from proxy.remote_sections import ProviderSection, RouteSection
from proxy.secret import Secret

MAX_KEY_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A remote service. `api_key` None: neither `api_key_env` nor `api_key_file` has one, or none is named.

    `retries`: how often a request is repeated there, beside the first time.
    """

    name: str
    base_url: str
    api_key_env: str | None = None
    api_key: Secret | None = field(default=None, repr=False)
    dialects: tuple[DialectName, ...] = ("chat-completions",)
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = COMPATIBLE
    key_header: KeyHeader = "bearer"
    api_key_file: str | None = None
    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 600.0
    idle_timeout_s: float = 120.0
    retries: int = 2
    retry_delay_s: float = 0.5

    @property
    def lacks_key(self) -> bool:
        return self.api_key is None and bool(self.api_key_env or self.api_key_file)

    @property
    def key_place(self) -> str:
        """Where its key is looked for."""
        return " or ".join(place for place in (self.api_key_env, self.api_key_file) if place)


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """A name that clients ask for, and who answers it: `provider` under its own id `model`.

    `fallbacks`: names of routes and local models that are tried after it, in this order; their own
    fallbacks are not. `context_length`, `max_output_tokens`: what clients are told of it.
    """

    name: str
    provider: str
    model: str
    fallbacks: tuple[str, ...] = ()
    context_length: int | None = None
    max_output_tokens: int | None = None


class _Fail(Protocol):
    def __call__(self, key: tuple[str, ...], message: str, *, value: object = None) -> ConfigError: ...


def provider_config(
    name: str, section: ProviderSection, environ: Mapping[str, str], folder: Path, fail: _Fail
) -> ProviderConfig:
    """`folder`: what a relative `api_key_file` is relative to."""
    if name == "local":
        raise fail(("providers", name), 'models of this machine are called "local": rename it')
    kind = _kind(name, section, fail)
    base_url = section.base_url or kind.base_url
    if not base_url:
        message = f"missing; add it, or name a known kind: {', '.join(k for k in KINDS if k != COMPATIBLE)}"
        raise fail(("providers", name, "base_url"), message)
    key_env = section.api_key_env
    if key_env is None and section.api_key_file is None:
        key_env = kind.api_key_env
    if (key_env or section.api_key_file) and base_url.startswith("http://") and not _is_loopback(base_url):
        message = "a key would cross the network in clear text: use https"
        raise fail(("providers", name, "base_url"), message, value=base_url)
    return ProviderConfig(
        name=name,
        base_url=base_url,
        api_key_env=key_env,
        api_key=_key(name, key_env, section.api_key_file, environ, folder, fail),
        dialects=tuple(section.dialects or kind.dialects),
        headers=MappingProxyType(dict(section.headers)),
        kind=kind.name,
        key_header=section.key_header or kind.key_header,
        api_key_file=section.api_key_file,
        **_given_times(section),
    )


def _given_times(section: ProviderSection) -> dict[str, Any]:
    times = ("connect_timeout", "first_byte_timeout", "idle_timeout", "retry_delay")
    given = {f"{name}_s": getattr(section, name) for name in times}
    given["retries"] = section.retries
    return {name: value for name, value in given.items() if value is not None}


def _kind(name: str, section: ProviderSection, fail: _Fail) -> ProviderKind:
    if section.kind is None:
        return kind_of(name)
    if section.kind not in KINDS:
        message = f"no such kind; {near_names(section.kind, list(KINDS))}"
        raise fail(("providers", name, "kind"), message, value=section.kind)
    return KINDS[section.kind]


def _is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- keys --------------------------------------------------------------------------------------


def _key(
    name: str,
    key_env: str | None,
    key_file: str | None,
    environ: Mapping[str, str],
    folder: Path,
    fail: _Fail,
) -> Secret | None:
    """The environment wins over the file. A key is one word of printable ASCII: else it would break the
    header it is sent in."""
    text = environ.get(key_env, "").strip() if key_env else ""
    where = ("providers", name, "api_key_env")
    if not text and key_file is not None:
        where = ("providers", name, "api_key_file")
        text = _key_in(folder / expand_home(key_file, environ), where, fail)
    if not text:
        return None
    if re.fullmatch(r"[\x21-\x7e]{1,2048}", text) is None:
        raise fail(where, "the key there is not one word of printable ASCII: correct it")
    return Secret(text)


def _key_in(path: Path, where: tuple[str, ...], fail: _Fail) -> str:
    """ "" if there is no such file yet. Raises ConfigError for one that others can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise fail(where, f"{path}: {error.strerror}: check the file and its permissions") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise fail(where, f"{path}: not a regular file")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise fail(where, f"{path}: others may read or write this file: chmod 600 it")
        data = os.read(descriptor, MAX_KEY_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_KEY_FILE_BYTES:
        raise fail(where, f"{path}: larger than {MAX_KEY_FILE_BYTES} bytes: expected one key")
    return data.decode("ascii", "replace").strip()


# --- routes ------------------------------------------------------------------------------------


def route_config(
    name: str, section: RouteSection, providers: Mapping[str, ProviderConfig], fail: _Fail
) -> RouteConfig:
    if section.provider not in providers:
        near = near_names(section.provider, list(providers))
        raise fail(("routes", name, "provider"), f"no such provider; {near}", value=section.provider)
    return RouteConfig(
        name=name,
        provider=section.provider,
        model=section.model,
        fallbacks=tuple(section.fallbacks),
        context_length=section.context_length,
        max_output_tokens=section.max_output_tokens,
    )


def check_fallbacks(routes: Mapping[str, RouteConfig], names: Mapping[str, str], fail: _Fail) -> None:
    """`names`: every name that a client may ask for, with the model or route it means."""
    for route in routes.values():
        _check_fallbacks(route, route.fallbacks, names, fail)


def _check_fallbacks(
    route: RouteConfig, fallbacks: Sequence[str], names: Mapping[str, str], fail: _Fail
) -> None:
    key = ("routes", route.name, "fallbacks")
    seen = {route.name}
    for fallback in fallbacks:
        if fallback not in names:
            message = f"no such model, alias or route; {near_names(fallback, sorted(names))}"
            raise fail(key, message, value=fallback)
        if names[fallback] in seen:
            raise fail(key, "it is asked already before: remove it", value=fallback)
        seen.add(names[fallback])
