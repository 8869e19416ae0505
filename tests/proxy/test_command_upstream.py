"""A whole Hotseat in front of a model that is a command: real worker, a scripted server, real HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import select
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest

from benchkit.peers import find_llama_server
from tests.proxy.rig import Rig, run, serving_file, sse_events, workers

SERVER = Path(__file__).parents[1] / "fake_model_server.py"


def config(folder: Path, *options: str, extra: str = "") -> Path:
    words = [sys.executable, str(SERVER), "--port", "{port}", "--folder", str(folder), *options]
    script = folder / "echo.toml"
    script.write_text("")
    path = folder / "models.toml"
    path.write_text(
        f"""
[server.limits]
keepalive = 0.2
{extra}
[models.m]
engine = "command"
command = {json.dumps(words)}
memory = "100MB"
n_ctx = 64
sampling = {{ temperature = 0.25 }}
[models.echo]
path = "echo.toml"
engine = "scripted"
"""
    )
    return path


@contextlib.asynccontextmanager
async def rig_with(folder: Path, *options: str, extra: str = "") -> AsyncIterator[Rig]:
    async with serving_file(config(folder, *options, extra=extra)) as rig:
        yield rig


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


async def streamed(rig: Rig, text: str) -> list[str]:
    body = ask(text, stream=True)
    async with rig.http.post(rig.url + "/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        return [event async for event in sse_events(response) if not event.startswith(":")]


def text_of(events: list[str]) -> str:
    chunks = [json.loads(event) for event in events if event.startswith('{"id"')]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def no_clean_end(events: list[str]) -> Mapping[str, Any]:
    """The error that ends a stream."""
    assert "[DONE]" not in events
    assert not any('"finish_reason":"' in event for event in events)
    error: Mapping[str, Any] = json.loads(events[-1])["error"]
    return error


def test_an_answer_with_true_usage_and_timings(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            status, answer, headers = await rig.chat(ask("hello"))
            assert (status, headers["x-hotseat-model"]) == (200, "m")
            assert answer["choices"][0]["message"]["content"] == "you said hello"
            assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
            assert (answer["usage"]["prompt_tokens"], answer["timings"]["prompt_ms"]) == (7, 50.0)
            events = await streamed(rig, "stream")
            assert (text_of(events), events[-1]) == ("you said stream", "[DONE]")
            assert (await rig.model("m"))["measured_bytes"] > 5_000_000

    run(main())


def test_only_what_a_request_says_reaches_the_server(tmp_path: Path) -> None:
    """Fault 6: an allow-list is forwarded, with the model's own sampling where the request is silent."""

    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            await rig.chat(ask("hello", user="somebody", store=True, top_k=5))
        body = json.loads((tmp_path / "asked .v1.chat.completions").read_text())
        assert body == {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.25,
            "top_k": 5,
        }

    run(main())


def test_peer_12_a_clients_key_and_cookies_stay_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            headers = {
                "authorization": "Bearer canary-key",
                "x-api-key": "canary-key",
                "cookie": "session=canary",
                "x-hotseat-lane": "batch",
            }
            async with rig.http.post(
                f"{rig.url}/v1/chat/completions", json=ask("hello"), headers=headers
            ) as response:
                assert response.status == 200
        sent = (tmp_path / "headers .v1.chat.completions").read_text().casefold()
        assert "content-type" in sent
        assert "canary" not in sent
        assert "x-hotseat-lane" not in sent

    run(main())


def test_completions_and_embeddings(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            _, answer, _ = await rig.post("/v1/completions", {"model": "m", "prompt": "raw"})
            assert answer["choices"][0]["text"] == "you said raw"
            body = {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}
            status, answer, _ = await rig.post("/v1/embeddings", body)
            assert status == 200
            vector = struct.unpack("<2f", base64.b64decode(answer["data"][1]["embedding"]))
            assert vector == pytest.approx((0.6, 0.8))
            status, answer, _ = await rig.post("/v1/embeddings", {"model": "m", "input": ["garbage"]})
            assert (status, answer["error"]["code"]) == (502, "bad_answer")

    run(main())


def test_openai_client_is_satisfied(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            client = await rig.openai()
            with pytest.raises(openai.APIError):
                async for _ in await client.chat.completions.create(**ask("garbage"), stream=True):
                    pass
            stream = await client.chat.completions.create(**ask("hello"), stream=True)
            texts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(texts) == "you said hello"

    run(main())


BAD = [
    "garbage",
    "not http",
    "half json",
    "web page",
    "empty",
    "redirect",
    "long line",
    "no finish",
    "cut short",
]


@pytest.mark.parametrize("way", BAD)
def test_fault_16_nonsense_is_a_502(tmp_path: Path, way: str) -> None:
    """A model's server answers garbage, half a JSON, another content type, an empty 200, no end."""

    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            status, answer, _ = await rig.chat(ask(way))
            assert (status, answer["error"]["code"]) == (502, "bad_answer"), answer
            assert answer["error"]["hotseat"]["fault"] == "worker"
            assert (await rig.chat(ask("hello")))[0] == 200  # the server itself goes on
            assert (await rig.model("m"))["leases"] == 0

    run(main())


@pytest.mark.parametrize("way", ["no finish", "cut short", "error inside"])
def test_fault_16_a_stream_that_goes_wrong_ends_with_an_error(tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            events = await streamed(rig, way)
            assert text_of(events) == "one "
            error = no_clean_end(events)
            assert error["code"] == ("engine_fault" if way == "error inside" else "bad_answer")

    run(main())


def test_a_stream_without_done_is_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            assert (await streamed(rig, "no done"))[-1] == "[DONE]"

    run(main())


REPORTED = {
    "overflow": (400, "context_length_exceeded"),
    "wrong field": (400, "invalid_request"),
    "broken": (500, "engine_fault"),
    "busy": (503, "overloaded"),
}


@pytest.mark.parametrize(("way", "expected"), REPORTED.items(), ids=REPORTED.keys())
def test_what_the_server_says_itself_is_passed_on(
    tmp_path: Path, way: str, expected: tuple[int, str]
) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            status, answer, _ = await rig.chat(ask(way))
            assert (status, answer["error"]["code"]) == expected
            if way == "overflow":
                details = answer["error"]["hotseat"]
                assert (details["n_tokens"], details["n_ctx"]) == (99, 64)
            if way == "wrong field":
                assert answer["error"]["param"] == "temperature"

    run(main())


def test_fault_14_a_crash_in_the_middle_is_an_error_with_the_cause_and_the_next_one_is_served(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            error = no_clean_end(await streamed(rig, "crash"))
            assert error["code"] == "worker_crashed"
            assert "died of SIGKILL" in error["message"]
            assert "out of luck" in error["message"]
            status, answer, _ = await rig.chat(ask("hello"))
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "you said hello")

    run(main())


def test_fault_14_a_crash_before_the_first_byte_is_a_502(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            status, answer, _ = await rig.chat(ask("crash at once"))
            assert (status, answer["error"]["code"]) == (502, "worker_crashed")

    run(main())


def has_ended(process: int) -> bool:
    """Waits for it without reaping it: that is the pool's."""
    with os.fdopen(process) as descriptor:
        return bool(select.select([descriptor], [], [], 10.0)[0])


@pytest.mark.parametrize("way", ["hang", "stop"])
def test_fault_15_a_server_that_falls_silent_is_ended(tmp_path: Path, way: str) -> None:
    """It hangs in an answer, or is stopped: 504, both processes are gone, and the next one is served."""

    async def main() -> None:
        async with rig_with(tmp_path, extra='decode_stall = "1s"') as rig:
            await rig.chat(ask("hello"))
            [worker] = workers()
            watched = [os.pidfd_open(process.pid) for process in (worker, *worker.children(recursive=True))]
            error = no_clean_end(await streamed(rig, way))
            assert error["code"] == "worker_stalled", error
            for process in watched:
                assert await asyncio.to_thread(has_ended, process)
            assert (await rig.chat(ask("hello")))[0] == 200

    run(main())


def test_fault_17_a_server_that_dies_at_load_is_quoted(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path, "--die", "cannot open tensor 17") as rig:
            answers = await asyncio.gather(*(rig.chat(ask("hello")) for _ in range(3)))
            for status, answer, _ in answers:
                assert (status, answer["error"]["code"]) == (503, "load_failed")
                assert "exit code 7" in answer["error"]["message"]
                assert "cannot open tensor 17" in answer["error"]["message"]

    run(main())


def test_fault_12_a_client_that_leaves_ends_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path) as rig:
            async with aiohttp.ClientSession() as leaving:
                body = ask("endless", stream=True)
                response = await leaving.post(rig.url + "/v1/chat/completions", json=body)
                await response.content.readany()
                response.close()
            await rig.until("m", lambda model: model["leases"] == 0)
            [worker] = workers()
            [server] = [child for child in worker.children() if "fake_model" in " ".join(child.cmdline())]
            while connections_of(server):
                await asyncio.to_thread(os.sched_yield)
            assert (await rig.chat(ask("hello")))[0] == 200

    run(main())


def connections_of(server: psutil.Process) -> list[Any]:
    return [c for c in server.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]


def test_peer_05_a_hung_health_check_holds_up_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_with(tmp_path, "--hang", "100000") as rig:
            other = ask("hello") | {"model": "echo"}
            await rig.chat(other)
            hanging = asyncio.create_task(rig.chat(ask("hello")))
            await rig.until("m", lambda model: model["state"] == "loading")
            status, _, _ = await rig.chat(other)
            assert status == 200
            assert (await rig.model("m"))["state"] == "loading"
            await rig.post("/api/models/m/unload")
            assert (await hanging)[0] == 503

    run(main())


# --- llama-server itself ---------------------------------------------------------------------------


@pytest.fixture
def llama_server() -> Path:
    try:
        return find_llama_server()
    except Exception as error:
        pytest.skip(f"peer: {error}")


BUDGET_BYTES = 290_000_000
"""Room for one of the two, by estimate and by measurement."""


def with_llama_server(
    folder: Path, program: Path, model: Path, main: Callable[[Rig], Awaitable[None]]
) -> None:
    path = folder / "models.toml"
    path.write_text(
        f"""
[models.server]
engine = "command"
path = "{model}"
command = ["{program}", "-m", "{{path}}", "--port", "{{port}}", "-c", "{{n_ctx_total}}", "-np", "{{slots}}",
    "--cache-ram", "0", "-t", "1", "-ctk", "q8_0", "-ctv", "q8_0"]
n_ctx = 2048
[models.own]
path = "{model}"
n_ctx = 2048
threads = 1
[defaults]
slots = 2
kv_type = "q8_0"
"""
    )

    async def serve() -> None:
        async with serving_file(path, budget_bytes=BUDGET_BYTES) as rig:
            await main(rig)

    run(serve())


def test_llama_server_answers_and_swaps_with_our_own_engine(
    tmp_path: Path, llama_server: Path, smollm2_path: Path
) -> None:
    async def main(rig: Rig) -> None:
        question = {"max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": "Say hi."}]}
        texts = []
        for model in ("server", "own", "server"):
            status, answer, headers = await rig.chat(question | {"model": model})
            assert status == 200, answer
            assert float(headers["x-hotseat-load-ms"]) > 0
            assert answer["usage"]["completion_tokens"] == 8
            assert answer["timings"]["predicted_per_second"] > 0
            texts.append(answer["choices"][0]["message"]["content"])
        assert texts[0] == texts[1] == texts[2]
        assert (await rig.model("own"))["state"] == "unloaded"
        long = {"model": "server", "messages": [{"role": "user", "content": "word " * 3000}]}
        status, answer, _ = await rig.chat(long)
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert answer["error"]["hotseat"]["n_ctx"] == 2048

    with_llama_server(tmp_path, llama_server, smollm2_path, main)


def test_an_answer_of_llama_server_that_is_left_ends_there(
    tmp_path: Path, llama_server: Path, smollm2_path: Path
) -> None:
    async def main(rig: Rig) -> None:
        body = {"model": "server", "messages": [{"role": "user", "content": "Count."}], "stream": True}
        response = await rig.http.post(rig.url + "/v1/chat/completions", json=body | {"ignore_eos": True})
        await response.content.readany()
        response.close()
        await rig.until("server", lambda model: model["leases"] == 0)
        status, _, _ = await rig.chat(body | {"stream": False, "max_tokens": 2})
        assert status == 200

    with_llama_server(tmp_path, llama_server, smollm2_path, main)
