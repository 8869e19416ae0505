"""The client on the other end: notices that it left, and keeps its connection alive meanwhile.

    async with Presence(receive, limit_s=600):
        ...                       # cancelled here, and ClientGone raised, when the client leaves;
                                  # RequestTimedOut, when it has taken longer than the limit

ASGI tells of a disconnect only to those who await `receive`, so a second task does. The same task
wakes up at given times, to write keep-alives while the first is waiting for a model, and at the limit: a
timer of its own would cost each request what this one costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from starlette.types import Receive

from proxy.errors import ClientGone, RequestTimedOut

WATCHED_AFTER_S = 0.01
"""A task costs as much as a tenth of the rest of a request: none is made for one answered sooner, nor before
the request has been sent on."""

TICK_S = 0.002
"""By which a timer may be early."""

OnDue = Callable[[], Awaitable[float]]
"""Called at the given time on the loop's clock; returns when to call it next."""


class Presence:
    """Use once, in the task that serves the request, after its body was read. `limit_s`: of the block."""

    def __init__(
        self,
        receive: Receive,
        *,
        limit_s: float | None = None,
        due: float | None = None,
        on_due: OnDue | None = None,
    ) -> None:
        self._receive = receive
        self._limit_s = limit_s
        self._ends_s: float | None = None
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
        loop = asyncio.get_running_loop()
        if self._limit_s is not None:
            self._ends_s = loop.time() + self._limit_s
        self._start = loop.call_later(WATCHED_AFTER_S, self._begin, self._served)
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
        """Raises RequestTimedOut."""
        while True:
            times = [at_s for at_s in (self._due, self._ends_s) if at_s is not None]
            try:
                async with asyncio.timeout_at(min(times, default=None)):
                    message = await self._receive()
            except TimeoutError:
                self._check_limit()
                await self._be_due()
            else:
                if message["type"] == "http.disconnect":
                    return

    async def _be_due(self) -> None:
        """A client that takes nothing may hold up `on_due`, but not the limit."""
        if self._on_due is None:
            return
        try:
            async with asyncio.timeout_at(self._ends_s):
                self._due = await self._on_due()
        except TimeoutError:
            self._check_limit()
            raise

    def _check_limit(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._limit_s is not None and self._ends_s is not None and now_s >= self._ends_s - TICK_S:
            raise timed_out(self._limit_s)


def timed_out(limit_s: float) -> RequestTimedOut:
    return RequestTimedOut(f"the request took longer than {limit_s:g} s, the limit of this server")
