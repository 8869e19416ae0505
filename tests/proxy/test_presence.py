"""The client's presence: what runs in its block ends when it leaves, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import Message

from proxy.errors import ClientGone
from proxy.presence import WATCHED_AFTER_S, Presence


class Client:
    """The client's end of `receive`."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.is_watched = asyncio.Event()
        self.failure: Exception | None = None

    async def receive(self) -> Message:
        self.is_watched.set()
        await self.left.wait()
        if self.failure is not None:
            raise self.failure
        return {"type": "http.disconnect"}


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_a_client_that_stays() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        client = Client()
        async with Presence(client.receive):
            await client.is_watched.wait()
            [watching] = asyncio.all_tasks() - before
        await asyncio.wait([watching])
        assert watching.cancelled()

    run(main())


def test_an_answer_that_is_there_at_once_has_nobody_watched() -> None:
    async def main() -> None:
        client = Client()
        tasks = asyncio.all_tasks()
        async with Presence(client.receive):
            pass
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(2 * WATCHED_AFTER_S, later.set_result, None)
        await later
        assert asyncio.all_tasks() == tasks
        assert not client.is_watched.is_set()

    run(main())


def test_a_client_that_leaves() -> None:
    async def main() -> None:
        client = Client()
        cleaned_up = asyncio.Event()

        async def serve() -> None:
            async with Presence(client.receive):
                try:
                    client.left.set()
                    await asyncio.Event().wait()
                finally:
                    cleaned_up.set()

        with pytest.raises(ClientGone):
            await serve()
        assert cleaned_up.is_set()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        await asyncio.sleep(0)  # no cancellation is left over

    run(main())


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def main() -> None:
        client = Client()

        async def serve() -> None:
            async with Presence(client.receive):
                await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_leaving_while_cancelled_from_elsewhere_is_still_a_cancellation() -> None:
    async def main() -> None:
        client = Client()

        async def serve() -> None:
            async with Presence(client.receive):
                try:
                    await asyncio.Event().wait()
                finally:
                    client.left.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_an_error_of_the_body_is_not_hidden() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with Presence(Client().receive):
                raise ValueError("mine")

    run(main())


def test_a_timeout_outside_still_fires() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), Presence(Client().receive):
                await asyncio.Event().wait()

    run(main())


def test_called_when_due() -> None:
    async def main() -> None:
        client = Client()
        clock = asyncio.get_running_loop().time
        called_at: list[float] = []
        begun = clock()

        async def on_due() -> float:
            called_at.append(clock() - begun)
            if len(called_at) == 3:
                client.left.set()
            return clock() + 0.02

        with pytest.raises(ClientGone):
            async with Presence(client.receive, due=begun + 0.02, on_due=on_due):
                await asyncio.Event().wait()
        assert len(called_at) == 3
        assert all(at >= 0.02 * (i + 1) - 0.005 for i, at in enumerate(called_at))

    run(main())


def test_a_failing_watch_is_heard_of() -> None:
    async def main() -> None:
        client = Client()
        client.failure = RuntimeError("socket trouble")
        client.left.set()
        with pytest.raises(RuntimeError, match="socket trouble"):
            async with Presence(client.receive):
                await asyncio.Event().wait()

    run(main())
