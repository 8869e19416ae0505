"""A real server is killed under traffic: what was answered is in the ledger, what was under way is named."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp

from tests.proxy.served import Serving, question, serving

N_QUICK, N_SLOW = 40, 3


async def traffic(server: Serving) -> tuple[set[str], set[str]]:
    """Ids of requests that were answered, and of those that were not yet when the server was killed: one has
    the slot, the others wait for it, with keep-alives."""
    answered: set[str] = set()
    begun: set[str] = set()
    all_begun = asyncio.Event()

    async with aiohttp.ClientSession() as http:

        async def quick(n: int) -> None:
            body = question("second", f"hello {n}") | {"stream": False, "max_tokens": 3}
            async with http.post(f"{server.url}/v1/chat/completions", json=body) as response:
                assert (await response.json())["usage"]
                answered.add(response.headers["x-hotseat-request-id"])

        async def slow() -> None:
            async with http.post(
                f"{server.url}/r/trial/v1/chat/completions", json=question("quick", "slowly")
            ) as response:
                begun.add(response.headers["x-hotseat-request-id"])
                if len(begun) == N_SLOW:
                    all_begun.set()
                await response.read()

        async def die() -> None:
            await all_begun.wait()
            server.process.send_signal(signal.SIGKILL)

        for n in range(0, N_QUICK, 8):
            await asyncio.gather(*(quick(n + i) for i in range(8)))
        await asyncio.gather(die(), *(slow() for _ in range(N_SLOW)), return_exceptions=True)
    return answered, begun


def get(server: Serving, path: str) -> Any:
    with urllib.request.urlopen(server.url + path, timeout=30) as response:
        return json.load(response)


def test_what_was_answered_is_kept_and_what_was_under_way_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        answered, under_way = asyncio.run(traffic(server))
        server.process.wait()
    assert (len(answered), len(under_way)) == (N_QUICK, N_SLOW)

    with serving(tmp_path) as server:
        rows = {row["request_id"]: row for row in get(server, "/api/requests?limit=1000")["requests"]}
        run = get(server, "/api/runs/trial")["totals"]
        assert get(server, "/api/state")["ledger"]["lost"] == N_SLOW
        code, said = server.stop()
    assert code == 0
    assert set(rows) == answered | under_way
    assert {rows[found]["status"] for found in answered} == {200}
    assert all(rows[found]["output_tokens"] > 0 for found in answered)
    lost = [rows[found] for found in under_way]
    assert {(row["status"], row["code"], row["fault"], row["run"], row["model"]) for row in lost} == {
        (0, "lost", "proxy", "trial", "quick")
    }
    assert (run["requests"], run["failures"]) == (N_SLOW, {"proxy": N_SLOW})
    [line] = [line for line in said.splitlines() if "under way when the server died" in line]
    assert all(found in line for found in under_way)
