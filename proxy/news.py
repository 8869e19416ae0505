"""What the server itself has to say on /api/events, beside the pool's events and in their shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from inference.pool_state import PoolEvent, Subscribers


class News:
    """kind: reloaded or reload_failed, with what changed or what is wrong as the detail."""

    def __init__(self) -> None:
        self._subscribers = Subscribers()

    def announce(self, kind: str, detail: str) -> None:
        self._subscribers.announce(kind, "", detail)

    def events(self) -> AbstractContextManager[AsyncIterator[PoolEvent]]:
        """What is announced from now on."""
        return self._subscribers.events()
