"""The client on the other end: notices that it left, and keeps its connection alive meanwhile.

    async with Presence(receive):
        ...                       # cancelled here, and ClientGone raised, when the client leaves

ASGI tells of a disconnect only to those who await `receive`, so a second task does. The same task
wakes up at given times, to write keep-alives while the first is waiting for a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from starlette.types import Receive

from proxy.errors import ClientGone

WATCHED_AFTER_S = 0.01
"""A task costs as much as a tenth of the rest of a request: none is made for one answered sooner, nor before
the request has been sent on."""

OnDue = Callable[[], Awaitable[float]]
"""Called at the given time on the loop's clock; returns when to call it next."""


class Presence:
    """Use once, in the task that serves the request, after its body was read."""

    def __init__(self, receive: Receive, *, due: float | None = None, on_due: OnDue | None = None) -> None:
        self._receive = receive
        self._due = due
        self._on_due = on_due
        self._served: asyncio.Task[object] | None = None
        self._start: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._cancelling = 0
        self._reason: Exception | None = None

    async def __aenter__(self) -> Self:
        self._served = asyncio.current_task()
        assert self._served is not None
        self._cancelling = self._served.cancelling()
        self._start = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._begin, self._served)
        return self

    def _begin(self, served: asyncio.Task[object]) -> None:
        self._watching = asyncio.create_task(self._watch(served))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._served is not None
        assert self._start is not None
        self._start.cancel()
        if self._watching is None:
            return
        self._watching.cancel()
        if self._reason is None:
            return
        cancelled_by_others = self._served.uncancel() > self._cancelling
        if kind is asyncio.CancelledError and not cancelled_by_others:
            raise self._reason from error

    async def _watch(self, served: asyncio.Task[object]) -> None:
        try:
            await self._until_gone()
            self._reason = ClientGone("the client left")
        except Exception as error:  # noqa: BLE001  (task border: raised again in the served task)
            self._reason = error
        served.cancel()

    async def _until_gone(self) -> None:
        while True:
            try:
                async with asyncio.timeout_at(self._due):
                    message = await self._receive()
            except TimeoutError:
                if self._on_due is not None:
                    self._due = await self._on_due()
            else:
                if message["type"] == "http.disconnect":
                    return
