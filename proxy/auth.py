"""Who may talk to the server: keys, and the Host and Origin guard. Pure decisions, and their ASGI layer.

    key of server.api_keys_env, or no keys at all    everything
    key of [keys.NAME]                               /v1 and /r/RUN/v1, within its limits (gate.py);
                                                     with admin = true everything
    token of a run                                   /v1, which then means /r/RUN/v1, and /r/RUN/v1

A key is a header (`Authorization: Bearer …` or `x-api-key`), never part of a URL, which ends up in
logs and histories. Host and Origin are checked because a browser on this machine can be made to
call a loopback server by any page it shows: DNS rebinding gives itself away by its Host, a
cross-site request by its Origin. There is no CORS.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from inference.errors import ConfigError
from proxy.callers import CALLER, OWNER, Caller, ScopedKey
from proxy.config import ServerConfig
from proxy.errors import Forbidden, Unauthorized
from proxy.money_config import digest_of
from proxy.run_tokens import TOKEN_PREFIX, RunTokens

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})
KEYLESS_PATHS = frozenset({"/health"})
_INFERENCE = re.compile(r"(?:/r/([^/]*))?/v1(?:/|$)")

Headers = Iterable[tuple[bytes, bytes]]


def check_bind(host: str, keys: Sequence[object]) -> None:
    """Refuse to listen beyond loopback without a key. Raises ConfigError."""
    if not keys and not is_loopback(host):
        raise ConfigError(
            f"refusing to listen on {host or 'all addresses'} without an API key: everyone who can reach it"
            " could use it; set the variable named by server.api_keys_env, or bind to 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    host = host.strip("[]").lower()
    return host == "localhost" or _is_loopback_address(host)


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """`keys` empty: no key is asked for. `any_address`: the server is bound to a wildcard, so its own
    address is not known; any IP literal is then a good Host, for rebinding needs a name."""

    keys: tuple[ScopedKey, ...] = field(repr=False)
    hosts: frozenset[str]
    any_address: bool = False


def access_policy(server: ServerConfig, scoped: Sequence[ScopedKey] = ()) -> AccessPolicy:
    bind = server.host.strip("[]").lower()
    named = {host_name(host.encode()) for host in server.allowed_hosts}
    return AccessPolicy(
        keys=(*(ScopedKey(OWNER, digest_of(key.encode())) for key in server.api_keys), *scoped),
        hosts=frozenset(LOOPBACK_NAMES | named | ({bind} - WILDCARDS)),
        any_address=bind in WILDCARDS,
    )


def check_access(policy: AccessPolicy, path: str, headers: Headers, runs: RunTokens | None = None) -> Caller:
    """Who asks. Raises Forbidden or Unauthorized."""
    hosts: list[bytes] = []
    origins: list[bytes] = []
    presented: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"x-api-key":
            presented.append(value)
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            presented.append(value[7:].strip())
    _check_host(policy, hosts)
    if origins:
        _check_origin(hosts[0], origins)
    if path in KEYLESS_PATHS:
        return OWNER
    caller = _run_caller(presented, runs) or _key_caller(policy.keys, presented)
    if not caller.is_admin:
        _check_scope(caller, path, runs)
    return caller


def _run_caller(presented: list[bytes], runs: RunTokens | None) -> Caller | None:
    """Who shows a run's token that is no longer good is refused, also where no key is asked for: else the
    end of a run would lift its limits."""
    tokens = [key for key in presented if key.startswith(TOKEN_PREFIX)]
    if not tokens:
        return None
    for token in tokens:
        run = runs.find(token) if runs is not None else None
        if run is not None:
            return run.caller
    raise Unauthorized("the run's token is wrong, or its run has ended or expired: announce it again")


def _key_caller(keys: tuple[ScopedKey, ...], presented: list[bytes]) -> Caller:
    """Every pair is compared, in constant time each: neither which key nor how much of it matched shows."""
    if not keys:
        return OWNER
    digests = [digest_of(candidate) for candidate in presented]
    found: Caller | None = None
    for digest in digests:
        for key in keys:
            if hmac.compare_digest(digest, key.digest):
                found = key.caller
    if found is not None:
        return found
    raise Unauthorized(
        "this server needs an API key: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
        if not presented
        else "the API key is not one of this server's"
    )


def _check_scope(caller: Caller, path: str, runs: RunTokens | None) -> None:
    inference = _INFERENCE.match(path)
    if inference is None:
        raise Forbidden("this key may ask models, and nothing else: use a key with admin = true")
    run = inference[1]
    if run is None or run == caller.run:
        return
    if caller.run is not None:
        raise Forbidden(f"this token is of the run {caller.run!r}: use it under /r/{caller.run}/v1, or /v1")
    if runs is not None and runs.get(run) is not None:
        raise Forbidden("this run was announced: use its own token")


def _check_host(policy: AccessPolicy, hosts: list[bytes]) -> None:
    if len(hosts) != 1:
        raise Forbidden(f"expected one Host header, found {len(hosts)}")
    name = host_name(hosts[0])
    if name in policy.hosts or (policy.any_address and _is_address(name)):
        return
    raise Forbidden(
        f"Host {name[:80]!r} is not this server's: use its own address,"
        " or add the name to server.allowed_hosts"
    )


def _check_origin(host: bytes, origins: list[bytes]) -> None:
    """Same origin only: the page must have come from this very server, port included."""
    for origin in origins:
        scheme, separator, authority = origin.partition(b"://")
        if not separator or scheme not in (b"http", b"https") or authority.lower() != host.lower():
            raise Forbidden(
                "requests from web pages of another origin are refused; call from outside a browser"
            )


@functools.lru_cache(maxsize=64)
def host_name(host: bytes) -> str:
    """The name in a Host header: without port, brackets and trailing dot, in lower case."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, _ = text.partition(":") if text.count(":") == 1 else (text, "", "")
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AccessGuard:
    """ASGI layer: nothing behind it sees a request that the policy refuses, and everything behind it who
    asks. With a run's token the path names the run, whether the client wrote it or not."""

    def __init__(
        self, app: ASGIApp, policy: Callable[[], AccessPolicy], runs: RunTokens | None = None
    ) -> None:
        self._app = app
        self._policy = policy
        self._runs = runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            caller = check_access(self._policy(), scope["path"], scope["headers"], self._runs)
            scope[CALLER] = caller
            if caller.run is not None and not scope["path"].startswith("/r/"):
                scope["path"] = f"/r/{caller.run}{scope['path']}"
        await self._app(scope, receive, send)
