"""What the server itself has to say on /api/events, beside the pool's events and in their shape."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator

from inference.pool_state import PoolEvent, Subscriber


class News:
    """kind: reloaded or reload_failed, with what changed or what is wrong as the detail."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()

    def announce(self, kind: str, detail: str) -> None:
        event = PoolEvent(kind, "", time.time(), detail)
        for subscriber in self._subscribers:
            subscriber.push(event)

    @contextlib.contextmanager
    def events(self) -> Iterator[AsyncIterator[PoolEvent]]:
        """What is announced from now on."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        try:
            yield subscriber.read()
        finally:
            self._subscribers.discard(subscriber)
