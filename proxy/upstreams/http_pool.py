"""Connections to servers by address: made, kept while idle, and handed out again, the latest first."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import aiohappyeyeballs
import msgspec

from proxy.upstream_errors import Unreachable, Untrusted
from proxy.upstreams.http_connection import HttpConnection

IDLE_S = 15.0
"""After which a connection is closed: shorter than the patience of common servers, whose end of a connection
may cross the next request."""

SECOND_ADDRESS_S = 0.25
"""After which the next address of a name is tried beside the first (RFC 8305)."""

AddressInfo = tuple[int, int, int, str, Any]
"""As getaddrinfo gives them."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TARGET_CHARS = "/%:@!$&'()*+,;=~-._?"


class Origin(msgspec.Struct, frozen=True):
    host: str
    port: int
    is_tls: bool


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart. `host_header`: the server's name in a request; `target`: path and query."""

    origin: Origin
    host_header: str
    target: str


@functools.lru_cache(maxsize=512)
def address_of(url: str) -> Address:
    """Raises Unreachable for what is no address of a server."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode()
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise Unreachable("no connection: its URL is not one of HTTP") from error
    if not host or parts.username is not None or not host.isprintable() or " " in host:
        raise Unreachable("no connection: its URL names no host, or more than a host")
    shown = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[parts.scheme]:
        shown = f"{shown}:{port}"
    target = quote(parts.path or "/", _TARGET_CHARS)
    if parts.query:
        target += "?" + quote(parts.query, _TARGET_CHARS)
    return Address(Origin(host, port, parts.scheme == "https"), shown, target)


class HttpPool:
    """All of it on one event loop. `most_idle`: of one server. `close` ends those; the ones in use end with
    their answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_idle: int, idle_s: float = IDLE_S) -> None:
        self._loop = loop
        self._most_idle = most_idle
        self._idle_s = idle_s
        self._idle: dict[Origin, list[HttpConnection]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self, origin: Origin) -> HttpConnection | None:
        """One that is idle."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_quiet:
                return connection
            connection.close()
        return None

    def keep(self, origin: Origin, connection: HttpConnection) -> None:
        if self._is_closed or len(self._idle.get(origin, ())) >= self._most_idle:
            connection.close()
            return
        connection.idle_since_s = self._loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_s, self._close_old)

    async def connect(self, origin: Origin, limit_s: float) -> HttpConnection:
        """A new one. Raises Unreachable."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._connect(origin)
        except ssl.SSLError as error:
            raise Untrusted(f"no trusted connection: {_reason(error)}") from error
        except TimeoutError as error:
            raise Unreachable("no connection: nobody answered in time") from error
        except OSError as error:
            raise Unreachable(f"no connection: {_reason(error)}") from error

    async def _connect(self, origin: Origin) -> HttpConnection:
        tls = await asyncio.to_thread(_tls_context) if origin.is_tls else None
        name = origin.host if origin.is_tls else None
        found = await self._found(origin)
        connected = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=SECOND_ADDRESS_S)
        try:
            _, connection = await self._loop.create_connection(
                lambda: HttpConnection(self._loop, connected, functools.partial(self._forget, origin)),
                sock=connected,
                ssl=tls,
                server_hostname=name,
            )
        except BaseException:
            connected.close()
            raise
        return connection

    async def _found(self, origin: Origin) -> Sequence[AddressInfo]:
        """Addresses of its name. What is an address already is not looked up."""
        try:
            version = ipaddress.ip_address(origin.host).version
        except ValueError:
            return await self._loop.getaddrinfo(
                origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        if version == 4:
            place: Any = (origin.host, origin.port)
            family = socket.AF_INET
        else:
            place, family = (origin.host, origin.port, 0, 0), socket.AF_INET6
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)]

    def _forget(self, origin: Origin, connection: HttpConnection) -> None:
        idle = self._idle.get(origin)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[origin]

    def _close_old(self) -> None:
        """The oldest are in front."""
        now_s = self._loop.time()
        self._sweep = None
        next_s: float | None = None
        for idle in self._idle.values():
            for connection in idle:
                due_s = connection.idle_since_s + self._idle_s
                if due_s <= now_s:
                    connection.close()
                else:
                    next_s = due_s if next_s is None else min(next_s, due_s)
                    break
        if next_s is not None:
            self._sweep = self._loop.call_at(next_s, self._close_old)

    def close(self) -> None:
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Of the machine's own authorities. Reading them takes some ten milliseconds."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    """Without the address, which is not the client's business."""
    said = getattr(error, "verify_message", "")
    if not said and isinstance(error, ssl.SSLError | socket.gaierror):
        said = error.strerror
    elif not said:
        said = "nobody answered" if error.errno is None else os.strerror(error.errno)
    return " ".join(str(said).split())[:200]
