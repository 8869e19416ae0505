"""What was measured of other swapping proxies and must not be true here, one test for each, by number.

9 (a reload ends every model) is in test_reload.py; 12 (a client's key and cookies are forwarded), and 5 for
models with a server of their own, in test_command_upstream.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from inference.model_spec import ModelSpec
from inference.pool import PoolModel
from proxy.config import Limits
from tests.proxy.rig import Setup, question, run, serving, sse_events
from tests.proxy.served import CONFIG, environment, write_config

ONE = 1500
SIZED = "[model]\nmemory_bytes = 1000\n"
HUNG = SIZED + "[load]\nfault = 'hang'\n"
STREAM = '[[turn]]\nmatch.user_contains = "long"\ntext = "word "\nrepeat = 40\ntokens_per_second = 40\n'
HANGS = '[[turn]]\nmatch.user_contains = "hang"\ntext = "ab"\nfault = { kind = "stall", after_chunks = 1 }\n'
DIES = '[[turn]]\nmatch.user_contains = "die"\ntext = "a b c"\nfault = { kind = "kill", after_chunks = 2 }\n'


def two(**scripts: str) -> dict[str, str]:
    return {"a": SIZED, "b": SIZED} | scripts


def test_peer_01_traffic_on_one_model_does_not_hold_off_another(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(two(), budget_bytes=ONE, limits=Limits(max_wait_s=0.3))
        async with serving(tmp_path, setup) as rig:
            is_over = False
            served = 0

            async def hammer() -> None:
                nonlocal served
                while not is_over:
                    status, _, _ = await rig.chat(question(model="a"))
                    assert status == 200
                    served += 1

            crowd = [asyncio.create_task(hammer()) for _ in range(3)]
            await rig.until("a", lambda model: model["state"] == "ready")
            status, _, headers = await rig.chat(question(model="b"))
            assert status == 200
            assert float(headers["x-hotseat-queue-ms"]) < 10_000
            before = served
            is_over = True
            await asyncio.gather(*crowd)
            assert served >= before, "and the others are served again afterwards"

    run(main())


def test_peer_02_a_load_that_cannot_fit_or_fails_leaves_what_was_running(tmp_path: Path) -> None:
    async def main() -> None:
        models = two(
            b='[model]\nmemory_bytes = 1000\n[load]\nfail = "no"', big="[model]\nmemory_bytes = 9000\n"
        )
        async with serving(tmp_path, Setup(models, budget_bytes=ONE)) as rig:
            assert (await rig.chat(question(model="a")))[0] == 200
            pid = [child.pid for child in psutil.Process().children()]
            assert (await rig.chat(question(model="big")))[0] == 503
            assert [child.pid for child in psutil.Process().children()] == pid, "not even touched"
            assert (await rig.chat(question(model="b")))[0] == 503
            await rig.until("a", lambda model: model["state"] == "ready")

    run(main())


def test_peer_03_a_failed_load_is_told_with_its_cause_and_last_words(tmp_path: Path) -> None:
    async def main() -> None:
        script = "[load]\nfault = 'abort'\nstderr = 'ggml_assert failed: ne0 == 4'\n"
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            status, answer, _ = await rig.chat({})
            assert (status, answer["error"]["code"]) == (503, "load_failed")
            assert "ggml_assert failed: ne0 == 4" in answer["error"]["message"]
            assert "ggml_assert failed: ne0 == 4" in (await rig.model("echo"))["error"]

    run(main())


def test_peer_04_a_crash_mid_stream_is_an_error_and_never_a_clean_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES})) as rig:
            body = question("die") | {"stream": True}
            async with rig.http.post(f"{rig.url}/v1/chat/completions", json=body) as response:
                events = [event async for event in sse_events(response)]
            assert "[DONE]" not in events
            assert json.loads(events[-1])["error"]["code"] == "worker_crashed"

    run(main())


def test_peer_05_a_load_that_hangs_is_ended_and_those_behind_it_are_served(tmp_path: Path) -> None:
    async def main() -> None:
        models = {"ready": SIZED, "hung": HUNG, "cold": SIZED}
        async with serving(tmp_path, Setup(models, limits=Limits(load_timeout_s=1.0))) as rig:
            assert (await rig.chat(question(model="ready")))[0] == 200
            hung = asyncio.create_task(rig.chat(question(model="hung")))
            await rig.until("hung", lambda model: model["state"] == "loading")
            cold = asyncio.create_task(rig.chat(question(model="cold")))
            await rig.until("cold", lambda model: model["queued"] == 1)
            assert (await rig.chat(question(model="ready")))[0] == 200, "at once"
            assert not hung.done()
            status, answer, _ = await hung
            assert (status, answer["error"]["code"]) == (504, "worker_stalled")
            assert (await cold)[0] == 200

    run(main())


def test_peer_06_readiness_is_told_by_the_model_and_the_waiter_is_let_in_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": STREAM})) as rig, rig.pool.events() as events:
            waiting = asyncio.create_task(rig.chat(question("long")))
            async for event in events:
                if event.kind == "ready":
                    break
            assert rig.pool.state().models[0].leases == 1, "no probe, no interval in between"
            await waiting

    run(main())


def test_peer_07_unloading_one_model_does_not_stall_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(two(a=SIZED + HANGS))) as rig:
            assert (await rig.chat(question(model="b")))[0] == 200
            stuck = asyncio.create_task(rig.chat(question("hang", model="a")))
            await rig.until("a", lambda model: model["leases"] == 1)
            unloading = asyncio.create_task(rig.post("/api/models/a/unload"))
            await rig.until("a", lambda model: model["state"] == "unloading")
            assert (await rig.chat(question(model="b")))[0] == 200
            assert not unloading.done()
            stuck.cancel()
            assert (await unloading)[0] == 200

    run(main())


def test_peer_08_a_model_whose_client_left_during_the_load_stays_for_its_idle_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": "[load]\nseconds = 0.3\n"})) as rig:
            spec = ModelSpec(
                name="echo", path=str(tmp_path / "echo.toml"), engine="scripted", idle_unload_s=0.4
            )
            await rig.pool.reconfigure([PoolModel(spec, 1000)])
            async with rig.pool.events() as events:
                leaving = asyncio.create_task(rig.chat({}))
                await rig.until("echo", lambda model: model["state"] == "loading")
                leaving.cancel()
                times = {}
                async for event in events:
                    times[event.kind] = event.at_s
                    if event.kind == "unloaded":
                        break
            assert times["unloading"] - times["ready"] >= 0.3  # timers and clocks differ by a little

    run(main())


def test_peer_10_nothing_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    config = write_config(tmp_path, CONFIG)
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), "--port", "0"],
        env=environment(tmp_path) | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        async def load() -> None:
            path = f"{url}/api/models/quick/load"
            async with aiohttp.ClientSession() as http, http.post(path) as response:
                assert response.status == 200

        asyncio.run(load())
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert len(gone) == len(children)


def test_peer_11_far_more_than_ten_clients_at_once_are_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": ""}, slots=4)) as rig:
            answers = await asyncio.gather(*(rig.chat(question(f"n {n}")) for n in range(60)))
            assert [status for status, _, _ in answers] == [200] * 60

    run(main())


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_peer_13_a_body_beyond_the_limit_is_refused_before_it_is_here(tmp_path: Path, declared: bool) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(limits=Limits(max_body_bytes=10_000))) as rig:
            sent = 0

            async def endless() -> Any:
                nonlocal sent
                while sent < 50 * 2**20:
                    sent += 2**16
                    yield b" " * 2**16

            headers = {"content-type": "application/json"}
            if declared:
                headers["content-length"] = str(50 * 2**20)
            refused = False
            try:
                url = f"{rig.url}/v1/chat/completions"
                async with rig.http.post(url, data=endless(), headers=headers) as response:
                    refused = response.status == 413
            except aiohttp.ClientError:  # the connection was closed under the sender
                refused = True
            assert refused
            assert sent < 40 * 2**20

    run(main())


def test_peer_14_15_16_every_request_says_how_long_it_queued_loaded_and_took_to_begin(tmp_path: Path) -> None:
    async def main() -> None:
        script = "[load]\nseconds = 0.2\n[defaults]\nfirst_token_s = 0.1\n"
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            _, _, headers = await rig.chat({})
            record = (await rig.get("/api/requests"))["requests"][0]
            assert record["load_s"] >= 0.2
            assert record["ttft_s"] >= record["load_s"] + 0.1
            assert 0 <= record["queue_s"] < record["ttft_s"]
            assert float(headers["x-hotseat-load-ms"]) >= 200

    run(main())
