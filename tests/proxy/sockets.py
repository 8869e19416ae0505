"""A guard that sees every connection this process tries to open. What it cannot see, it does not claim: its
tests show first that it sees the proxy's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Address = tuple[str, int]

_listening: list[list[Address]] = []
_is_hooked = False


@contextmanager
def connections() -> Iterator[list[Address]]:
    """Where to, in the order of the attempts, names that were looked up included (as port -1)."""
    _hook()
    seen: list[Address] = []
    _listening.append(seen)
    try:
        yield seen
    finally:
        _listening.remove(seen)


def _hook() -> None:
    """Audit hooks stay for good: one, that does nothing unless somebody listens."""
    global _is_hooked  # noqa: PLW0603
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listening:
        return
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        address = (str(arguments[1][0]), int(arguments[1][1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = (str(arguments[0]), -1)
    else:
        return
    for seen in _listening:
        seen.append(address)
