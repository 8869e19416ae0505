"""The lane a request asks for, in its header."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inference.errors import InvalidRequest
from proxy.lanes import lane_of
from tests.proxy.rig import Rig, Setup, question, run, serving


@pytest.mark.parametrize("lane", ["interactive", "batch", "exclusive"])
def test_lanes(lane: str) -> None:
    assert lane_of([(b"host", b"x"), (b"x-hotseat-lane", b" " + lane.encode())]) == lane


def test_interactive_is_the_default() -> None:
    assert lane_of([(b"host", b"x")]) == "interactive"


@pytest.mark.parametrize("values", [[b"Batch"], [b""], [b"fast"], [b"batch", b"batch"], [b"\xff" * 5000]])
def test_anything_else_is_refused_by_name(values: list[bytes]) -> None:
    with pytest.raises(InvalidRequest, match="interactive, batch, exclusive, found") as caught:
        lane_of([(b"x-hotseat-lane", value) for value in values])
    assert caught.value.param == "x-hotseat-lane"
    assert len(caught.value.message) < 300
    assert caught.value.message.isascii()


def test_over_http(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
            for path in ("/v1/chat/completions", "/r/run/v1/chat/completions"):
                for lane, status in (("batch", 200), ("exclusive", 200), ("idle", 400)):
                    async with rig.http.post(
                        rig.url + path, json=body, headers={"x-hotseat-lane": lane}
                    ) as response:
                        assert response.status == status
                        if status == 400:
                            assert (await response.json())["error"]["param"] == "x-hotseat-lane"
            async with rig.http.post(
                f"{rig.url}/v1/embeddings",
                json={"model": "echo", "input": "hi"},
                headers={"x-hotseat-lane": "slow"},
            ) as response:
                assert response.status == 400

    run(main())


ENDLESS = """
[[turn]]
match.user_contains = "slowly"
text = "tick "
repeat = 100000
tokens_per_second = 50.0
"""


async def ask_alone(rig: Rig) -> int:
    headers = {"x-hotseat-lane": "exclusive"}
    async with rig.http.post(f"{rig.url}/v1/chat/completions", json=question(), headers=headers) as response:
        return response.status


def test_the_lane_reaches_the_queue(tmp_path: Path) -> None:
    """Who asks to be alone waits for a stream that shares its model with free slots."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": ENDLESS})) as rig:
            body = question("slowly") | {"stream": True}
            async with rig.http.post(f"{rig.url}/v1/chat/completions", json=body):
                await rig.until("echo", lambda model: model["leases"] == 1)
                assert (await rig.chat({}))[0] == 200
                alone = asyncio.create_task(ask_alone(rig))
                await rig.until("echo", lambda model: model["queued"] == 1)
                assert not alone.done()
            assert await alone == 200  # the stream's client has left

    run(main())
