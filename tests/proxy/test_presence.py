"""The client's presence: what runs in its block ends when it leaves, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import Message

from proxy.errors import ClientGone, RequestTimedOut
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


@pytest.mark.parametrize("limit_s", [0.0, WATCHED_AFTER_S / 2, 3 * WATCHED_AFTER_S])
def test_what_takes_longer_than_its_limit(limit_s: float) -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        with pytest.raises(RequestTimedOut, match=f"longer than {limit_s:g} s"):
            async with Presence(Client().receive, limit_s=limit_s):
                await asyncio.Event().wait()
        assert clock() - begun_s >= limit_s - 0.005
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(main())


def test_the_limit_is_nothing_to_who_keeps_to_it() -> None:
    async def main() -> None:
        client = Client()
        async with Presence(client.receive, limit_s=60):
            await client.is_watched.wait()
        client.left.set()
        with pytest.raises(ClientGone):
            async with Presence(client.receive, limit_s=60):
                await asyncio.Event().wait()

    run(main())


def test_keep_alives_go_on_until_the_limit() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        n_called = 0

        async def on_due() -> float:
            nonlocal n_called
            n_called += 1
            return clock() + 0.02

        with pytest.raises(RequestTimedOut):
            async with Presence(Client().receive, limit_s=0.15, due=clock(), on_due=on_due):
                await asyncio.Event().wait()
        assert n_called >= 2

    run(main())


def test_a_keep_alive_that_nobody_takes_does_not_put_the_limit_off() -> None:
    async def main() -> None:
        async def on_due() -> float:
            await asyncio.Event().wait()
            raise AssertionError

        with pytest.raises(RequestTimedOut):
            async with Presence(Client().receive, limit_s=0.05, due=0.0, on_due=on_due):
                await asyncio.Event().wait()

    run(main())
