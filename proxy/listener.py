"""The listening socket, bound before anything is started, and who has it if we cannot."""

from __future__ import annotations

import contextlib
import errno
import socket

import psutil

from inference.errors import ConfigError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 takes any free one. Raises ConfigError."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        message = f"server.host = {host!r}: {error.strerror}: use 127.0.0.1, or an address of this machine"
        raise ConfigError(message) from error
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # at once: two sockets may both bind with SO_REUSEADDR while neither listens
    except OSError as error:
        listener.close()
        raise ConfigError(_refusal(error, host, port)) from error
    return listener


def port_owner(port: int) -> str | None:
    """`python3 (pid 1234)`, as far as this user may know it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            local_port = connection.laddr[1] if connection.laddr else None
            if connection.status == psutil.CONN_LISTEN and local_port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def _refusal(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            owner = port_owner(port)
            by = f" by {owner}" if owner else ""
            return f"port {port} on {host} is in use{by}: stop that, or choose another with --port"
        case errno.EACCES:
            return f"port {port} on {host} may not be used by this user: choose one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine: choose another with --host"
        case _:
            return f"cannot listen on {host}:{port}: {error.strerror}: choose others with --host and --port"
