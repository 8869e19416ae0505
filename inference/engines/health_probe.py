"""One question to a server on this machine: is it ready? The only HTTP that `inference` speaks.

By hand over a socket, because the deadline is for the whole probe: a library's timeout is for each
read, and a server that drips one byte now and then would hold it for ever.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

MAX_STATUS_BYTES = 1024
DRAIN_S = 0.1
"""How long the rest of an answer is read: a server whose answer is cut off complains of it in its log."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n")


@dataclass(frozen=True, slots=True)
class Health:
    """`said` is for people."""

    is_ready: bool
    said: str


def probe(port: int, path: str, timeout_s: float) -> Health:
    """GET `path` on the loopback `port`. Never takes much longer than `timeout_s`, and never raises."""
    deadline_s = time.monotonic() + timeout_s
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            health = _read_status(connection, deadline_s)
            _drain(connection, min(deadline_s, time.monotonic() + DRAIN_S))
            return health
    except ConnectionRefusedError:
        return Health(False, "it does not listen yet")
    except TimeoutError:
        return Health(False, f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Health(False, f"the connection broke ({error.strerror or error})")


def _read_status(connection: socket.socket, deadline_s: float) -> Health:
    head = b""
    while b"\n" not in head and len(head) < MAX_STATUS_BYTES:
        data = _receive(connection, deadline_s)
        if not data:
            break
        head += data
    match = _STATUS_LINE.match(head)
    if match is None:
        return Health(
            False, "it does not speak HTTP" if head else "it closed the connection without an answer"
        )
    status = int(match[1])
    reason = (match[2] or b"").decode("ascii", "replace")
    return Health(200 <= status < 300, f"status {status} {reason}".rstrip())


def _receive(connection: socket.socket, deadline_s: float) -> bytes:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)
    return connection.recv(MAX_STATUS_BYTES)


def _drain(connection: socket.socket, deadline_s: float) -> None:
    try:
        while _receive(connection, deadline_s):
            pass
    except OSError:
        pass
