"""A run's rows come whole, however many there are; what goes wrong is told in a line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bench.errors import ProxyError
from bench.proxy_client import (
    MAX_ANSWER_BYTES,
    PAGE,
    RECENT_ROWS,
    ModelNow,
    ProxyClient,
    RunFeed,
    RunWish,
    StateNow,
    connected,
)
from tests.proxy.rig import Setup, question, run, serving


class FakeRows:
    """A server with rows that end one per second, and what it was asked for."""

    def __init__(self, count: int, at_once: int = 1) -> None:
        self.rows = [self.row(number, number // at_once) for number in range(count)]
        self.asked: list[dict[str, str]] = []
        self.in_flight = 0

    @staticmethod
    def row(number: int, second: int) -> dict[str, Any]:
        return {
            "request_id": f"r{number}",
            "attempt": 1,
            "started_at": float(second),
            "ended_at": float(second),
            "status": 200,
            "input_tokens": 1,
            "answer_sha": f"a{number}",
        }

    async def requests(self, request: web.Request) -> web.Response:
        query = request.query
        self.asked.append(dict(query))
        until = float(query.get("until", "inf"))
        newest = [row for row in reversed(self.rows) if row["ended_at"] <= until][: int(query["limit"])]
        return web.json_response({"requests": newest, "incomplete": None, "in_flight": self.in_flight})


@contextlib.asynccontextmanager
async def served(handler: Any, path: str = "/api/requests") -> AsyncIterator[ProxyClient]:
    app = web.Application()
    app.router.add_route("*", path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with connected(f"http://127.0.0.1:{port}", None) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 500])
def test_every_row_of_a_long_run_is_read(count: int) -> None:
    async def main() -> None:
        fake = FakeRows(count)
        async with served(fake.requests) as client:
            listed = await client.settled("x")
            assert [row.request_id for row in listed.rows] == [f"r{number}" for number in range(count)]
            assert [raw["request_id"] for raw in listed.raw] == [row.request_id for row in listed.rows]

    run(main())


def test_rows_that_end_together_on_a_page_border_are_all_read() -> None:
    async def main() -> None:
        fake = FakeRows(PAGE + 300, at_once=7)
        async with served(fake.requests) as client:
            assert len((await client.settled("x")).rows) == PAGE + 300

    run(main())


def test_a_feed_asks_for_what_is_new_and_for_what_it_has_missed() -> None:
    async def main() -> None:
        fake = FakeRows(50)
        async with served(fake.requests) as client:
            feed = RunFeed(client, "x")
            assert (await feed.wire()).requests == 50
            fake.rows += [fake.row(number, number) for number in range(50, 60)]
            fake.in_flight = 2
            wire = await feed.wire()
            assert (wire.requests, wire.in_flight, wire.tokens) == (60, 2, 60)
            assert len(fake.asked) == 2
            fake.rows += [fake.row(number, number) for number in range(60, 60 + 2 * RECENT_ROWS)]
            assert (await feed.wire()).requests == 60 + 2 * RECENT_ROWS
            assert len(fake.asked) > 3

    run(main())


def test_a_server_that_is_busy_for_a_moment_has_seen_nothing_new() -> None:
    async def main() -> None:
        fake = FakeRows(3)
        answers = [fake.requests, _refusal, fake.requests]

        async def handler(request: web.Request) -> web.Response:
            return await answers.pop(0)(request)

        async with served(handler) as client:
            feed = RunFeed(client, "x")
            first = await feed.wire()
            assert await feed.wire() == first
            fake.rows.append(fake.row(3, 3))
            assert (await feed.wire()).requests == 4

    run(main())


async def _refusal(request: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "ask again\nlater"}}, status=503)


def _saying(response: web.StreamResponse) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        return response

    return handler


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (_refusal, "status 503: ask again later"),
        (_saying(web.Response(text="<html>")), "is it Hotseat"),
        (_saying(web.json_response({"requests": 5})), "gave no rows"),
        (_saying(web.json_response({"requests": [{}], "in_flight": 0})), "request_id"),
        (
            _saying(web.json_response({"requests": [], "in_flight": 0, "incomplete": "no disk"})),
            "missing: no disk",
        ),
        (_saying(web.Response(body=b" " * (MAX_ANSWER_BYTES + 1))), "more than"),
        (_saying(web.Response(status=302, headers={"location": "/elsewhere"})), "status 302"),
    ],
)
def test_a_wrong_answer_is_told_in_a_line(handler: Any, expected: str) -> None:
    async def main() -> None:
        async with served(handler) as client:
            with pytest.raises(ProxyError, match=expected) as caught:
                await client.newest("x")
            assert "\n" not in str(caught.value)

    run(main())


def test_no_server_is_told_with_its_remedy() -> None:
    async def main() -> None:
        async with connected("http://127.0.0.1:9", None) as client:
            with pytest.raises(ProxyError, match="scripts/serve"):
                await client.state()

    run(main())


def test_a_run_on_a_real_server(tmp_path: Path) -> None:
    async def main() -> None:
        scripts = {"one": "[model]\nmemory_bytes = 1000\n", "two": "[model]\nmemory_bytes = 1000\n"}
        setup = Setup(models=scripts, api_keys=("the-key",))
        async with serving(tmp_path, setup) as rig, connected(rig.url, "the-key") as client:
            wish = RunWish("a-run", ("one",), ttl_s=60.0, aliases={"model-1": "one"}, context=2048)
            ticket = await client.begin_run(wish)
            assert ticket.token not in repr(ticket)
            with pytest.raises(ProxyError, match="under way"):
                await client.begin_run(RunWish("a-run", ("one",), ttl_s=60.0))
            await client.load("two")
            state = await client.state()
            assert (state.models["two"].state, state.models["one"].state) == ("ready", "unloaded")
            headers = {"authorization": f"Bearer {ticket.token}"}
            for number in range(3):
                body = question(str(number), "one")
                async with rig.http.post(
                    f"{rig.url}/r/a-run/v1/chat/completions", json=body, headers=headers
                ) as answer:
                    assert answer.status == 200
            newest = await client.newest("a-run", 1)
            assert (len(newest.rows), newest.in_flight) == (1, 0)
            older = await client.newest("a-run", 10, until=newest.rows[0].started_at)
            assert len(older.rows) == 2
            assert len((await client.settled("a-run")).rows) == 3
            assert (await client.model_file("model-1"), await client.model_file("nobody")) == ("", "")
            assert (await client.model_file("one")).startswith("sampled-sha256:")
            ended = await client.end_run("a-run")
            assert (ended.loads, ended.load_waits, dict(ended.sampling)) == (1, 1, {"unattributed": ("",)})
            assert (await client.end_run("a-run")).loads is None  # ended already: no error
            with pytest.raises(ProxyError, match=r"no such|does not exist"):
                await client.load("three")

    run(main())


def test_what_is_under_way_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        slow = '[[turn]]\ntext = "tick "\nrepeat = 10000\ntokens_per_second = 20.0\n'
        async with serving(tmp_path, Setup(models={"slow": slow})) as rig, connected(rig.url, None) as client:
            asking = asyncio.create_task(rig.post("/r/mine/v1/chat/completions", question("x", "slow")))
            while (await client.newest("mine")).in_flight != 1:
                assert not asking.done()
            assert (await client.newest("other")).in_flight == 0
            asking.cancel()
            listed = await client.settled("mine")
            assert (listed.in_flight, [row.status for row in listed.rows]) == (0, [499])

    run(main())


def test_of_its_own_models_the_most_that_were_there_at_once(tmp_path: Path) -> None:
    def state(used: int | None, **models: tuple[str, int]) -> StateNow:
        there = {n: ModelNow(n, at, 1, "", footprint_bytes=size) for n, (at, size) in models.items()}
        return StateNow(there, 0, used)

    async def main() -> None:
        async with connected("http://127.0.0.1:9", None) as client:
            feed = RunFeed(client, "run", has_gpu=True, models=("a", "b"))
            feed.saw_memory(state(50, a=("ready", 10), b=("unloaded", 20), c=("ready", 100)))
            feed.saw_memory(state(90, a=("unloading", 10), b=("loading", 20)))
            feed.saw_memory(state(70, a=("failed", 10), b=("ready", 20)))
            assert (feed.peak_bytes, feed.peak_models_bytes) == (90, 30)
            bare = RunFeed(client, "run", models=("a",))
            bare.saw_memory(state(None, a=("ready", 10)))
            assert (bare.peak_bytes, bare.peak_models_bytes) == (None, None)

    asyncio.run(main())
