"""Inference over HTTP: the openai SDK and plain requests against real workers with scripted engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from inference.errors import UnknownModel
from proxy.config import Limits, ProviderConfig, RouteConfig
from tests.proxy.rig import Rig, Setup, question, run, serving, sse_events

RICH = """
[[turn]]
match.user_contains = "call"
reasoning = "let me see"
text = "Calling."
tool_calls = [{ name = "write", arguments = { path = "a.py" } }, { name = "read", arguments = {} }]
[[turn]]
match.user_contains = "count"
text = "one two three four"
usage = { input_tokens = 100, cached_tokens = 60, output_tokens = 4, reasoning_tokens = 1 }
"""


def record_of(requests: Any) -> dict[str, Any]:
    [record] = requests["requests"]
    return dict(record)


# --- answers -----------------------------------------------------------------------------------


def test_chat_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            raw = await (await rig.openai()).chat.completions.with_raw_response.create(**question("count"))
            answer = raw.parse()
            assert answer.choices[0].message.content == "one two three four"
            assert answer.choices[0].finish_reason == "stop"
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            assert answer.usage.completion_tokens_details is not None
            assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (100, 60)
            assert (answer.usage.total_tokens, answer.usage.completion_tokens_details.reasoning_tokens) == (
                104,
                1,
            )
            timings = answer.model_extra["timings"] if answer.model_extra else {}
            assert timings["cache_n"] == 60
            assert timings["load_ms"] > 0
            assert (raw.headers["x-hotseat-model"], raw.headers["x-hotseat-upstream"]) == ("echo", "local")
            assert answer.id == "chatcmpl-" + raw.headers["x-hotseat-request-id"]
            assert float(raw.headers["x-hotseat-load-ms"]) == pytest.approx(timings["load_ms"], abs=0.1)
            assert float(raw.headers["x-hotseat-queue-ms"]) >= 0

    run(main())


def test_stream_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            stream = await (await rig.openai()).chat.completions.create(
                **question("call it"), stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
            assert deltas[0].role == "assistant"
            assert "".join(delta.content or "" for delta in deltas) == "Calling."
            reasoning = [(delta.model_extra or {}).get("reasoning_content", "") for delta in deltas]
            assert "".join(reasoning) == "let me see"
            calls: dict[int, dict[str, str]] = {}
            for part in (call for delta in deltas for call in delta.tool_calls or []):
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                assert part.function is not None
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
            assert [(call["name"], json.loads(call["arguments"])) for call in calls.values()] == [
                ("write", {"path": "a.py"}),
                ("read", {}),
            ]
            assert all(call["id"] for call in calls.values())
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
            assert chunks[-1].usage is not None
            assert chunks[-1].choices == []

    run(main())


def test_stream_and_whole_answer_say_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await rig.openai()
            whole = await client.chat.completions.create(**question("call it"))
            async with client.chat.completions.stream(**question("call it")) as stream:
                streamed = await stream.get_final_completion()
            assert streamed.choices[0].message.content == whole.choices[0].message.content
            assert [c.function.arguments for c in streamed.choices[0].message.tool_calls or []] == [
                c.function.arguments
                for c in whole.choices[0].message.tool_calls or []
                if c.type == "function"
            ]
            assert len(whole.choices[0].message.tool_calls or []) == 2
            rows = (await rig.get("/api/requests"))["requests"]
            assert [row["tool_calls"] for row in rows] == [2, 2]

    run(main())


def test_logprobs_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            answer = await (await rig.openai()).chat.completions.create(
                **question("hi"), logprobs=True, top_logprobs=2
            )
            logprobs = answer.choices[0].logprobs
            assert logprobs is not None
            assert logprobs.content
            assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
            assert all(len(token.top_logprobs) <= 2 and token.logprob <= 0 for token in logprobs.content)

    run(main())


def test_completions_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            client = await rig.openai()
            whole = await client.completions.create(model="echo", prompt="Once")
            assert whole.choices[0].text == "You said: Once"
            stream = await client.completions.create(model="echo", prompt="Once", stream=True, max_tokens=2)
            chunks = [chunk async for chunk in stream]
            assert "".join(chunk.choices[0].text for chunk in chunks) == "You said"
            assert chunks[-1].choices[0].finish_reason == "length"

    run(main())


def test_embeddings_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        script = "[model]\ndimensions = 8\n"
        async with serving(tmp_path, Setup({"echo": script}, embeddings=True)) as rig:
            client = await rig.openai()
            compact = await client.embeddings.create(model="echo", input=["one", "two", "one"])
            plain = await client.embeddings.create(
                model="echo", input=["one", "two", "one"], encoding_format="float"
            )
            assert [item.index for item in compact.data] == [0, 1, 2]
            for ours, theirs in zip(compact.data, plain.data, strict=True):
                assert ours.embedding == pytest.approx(theirs.embedding, rel=1e-6)
            assert compact.data[0].embedding == compact.data[2].embedding != compact.data[1].embedding
            assert compact.usage.prompt_tokens > 0
            with pytest.raises(openai.BadRequestError) as caught:
                await client.embeddings.create(model="echo", input="x", dimensions=16)
            assert caught.value.param == "dimensions"

    run(main())


def test_names_roles_and_runs(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(aliases={"echo": ("parrot",)}, roles={"small": "echo"})
        async with serving(tmp_path, setup) as rig:
            for name in ("parrot", "small", "echo"):
                status, answer, headers = await rig.post("/r/run-1/v1/chat/completions", question(model=name))
                assert (status, answer["model"], headers["x-hotseat-model"]) == (200, "echo", "echo")
            records = (await rig.get("/api/requests?run=run-1"))["requests"]
            assert [record["requested_model"] for record in records] == ["echo", "small", "parrot"]
            assert {(r["run"], r["model"], r["status"], r["fault"]) for r in records} == {
                ("run-1", "echo", 200, None)
            }
            assert records[0]["output_tokens"] > 0
            assert records[0]["finish_reason"] == "stop"
            for run_token in ("a b", "x" * 65, "%00", "é"):
                status, answer, _ = await rig.post(f"/r/{run_token}/v1/chat/completions", question())
                assert (status, answer["error"]["code"]) == (404, "not_found")

    run(main())


def test_many_streams_at_once(tmp_path: Path) -> None:
    """More clients than slots: each gets its own whole answer."""

    async def main() -> None:
        setup = Setup({"echo": "[defaults]\ntokens_per_second = 400\n"}, slots=8)
        async with serving(tmp_path, setup) as rig:
            client = await rig.openai()

            async def ask(i: int) -> str:
                stream = await client.chat.completions.create(**question(f"I am number {i}"), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            answers = await asyncio.gather(*(ask(i) for i in range(40)))
            assert answers == [f"You said: I am number {i}" for i in range(40)]
            assert (await rig.model("echo"))["leases"] == 0

    run(main())


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ecko", "../../etc/passwd", "http://localhost/", "echo\0", "n" * 10_000, "ECHO"]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_fault_7_unknown_model(tmp_path: Path, path: str, name: str) -> None:
    """Fault 7 and 8: 404, and nothing is loaded."""

    async def main() -> None:
        async with serving(tmp_path) as rig:
            body = {"/v1/chat/completions": question(), "/v1/completions": {"prompt": "x"}}.get(
                path, {"input": "x"}
            )
            status, answer, _ = await rig.post(path, body | {"model": name})
            error = answer["error"]
            assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
            assert "echo" in error["message"]
            assert (await rig.model("echo"))["state"] == "unloaded"

    run(main())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b'{"model":"echo","messages":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model":"echo","model":"echo","messages":[]}', "model"),
        (b"[" * 100_000, None),
        (json.dumps(question() | {"top_k": -1}).encode(), "top_k"),
        (json.dumps(question() | {"temprature": 1}).encode(), "temprature"),
        (json.dumps(question() | {"tool_choice": "required"}).encode(), "tool_choice"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_fault_5_invalid_body(tmp_path: Path, body: bytes, param: str | None, stream: bool) -> None:
    """Fault 5 and 6."""

    async def main() -> None:
        async with serving(tmp_path) as rig:
            sent = body[:-1] + b',"stream":true}' if stream and body.endswith(b"}") else body
            status, answer, headers = await rig.post("/v1/chat/completions", sent)
            error = answer["error"]
            assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
            assert error["hotseat"]["fault"] == "client"
            assert error["hotseat"]["request_id"] == headers["x-hotseat-request-id"]
            assert (await rig.model("echo"))["state"] == "unloaded"
            assert record_of(await rig.get("/api/requests"))["status"] == 400

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_fault_9_prompt_too_long(tmp_path: Path, stream: bool) -> None:
    """Fault 9: 400 with the numbers, also for a stream."""

    async def main() -> None:
        async with serving(tmp_path, Setup(n_ctx=64)) as rig:
            await rig.post("/api/models/echo/load")
            status, answer, _ = await rig.chat(question("word " * 500) | {"stream": stream})
            error = answer["error"]
            assert (status, error["code"]) == (400, "context_length_exceeded")
            assert "maximum context length is 64 tokens" in error["message"]
            assert error["hotseat"]["n_tokens"] > 500

    run(main())


def test_fault_24_queue_full(tmp_path: Path) -> None:
    """Fault 24: at once, with Retry-After, also for a loaded model and also for a stream."""

    async def main() -> None:
        script = '[[turn]]\nmatch.user_contains = "block"\n[turn.fault]\nkind = "stall"\n'
        setup = Setup({"echo": script}, slots=1, limits=Limits(max_queue_per_model=1))
        async with serving(tmp_path, setup) as rig:
            running = asyncio.create_task(rig.chat(question("block")))
            await rig.until("echo", lambda model: model["leases"] == 1)
            queued = asyncio.create_task(rig.chat(question("block")))
            await rig.until("echo", lambda model: model["queued"] == 1)
            for stream in (False, True):
                status, answer, headers = await rig.chat({"stream": stream})
                assert (status, answer["error"]["code"]) == (503, "overloaded")
                assert int(headers["retry-after"]) >= 1
                assert headers["x-hotseat-model"] == "echo"
            await cancel(running, queued)

    run(main())


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_fault_17_load_failure_shows_its_cause(tmp_path: Path) -> None:
    """Fault 17."""

    async def main() -> None:
        script = '[load]\nfail = "tensor blk.0 is missing"\n'
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            status, answer, headers = await rig.chat({})
            assert (status, answer["error"]["code"]) == (503, "load_failed")
            assert "tensor blk.0 is missing" in answer["error"]["message"]
            assert "x-should-retry" in headers or "retry-after" in headers
            assert (await rig.get("/health"))["status"] == "ok"

    run(main())


def test_does_not_fit(tmp_path: Path) -> None:
    async def main() -> None:
        script = "[model]\nmemory_bytes = 1000\n"
        async with serving(tmp_path, Setup({"echo": script}, budget_bytes=10)) as rig:
            status, answer, headers = await rig.chat({})
            assert (status, answer["error"]["code"]) == (503, "insufficient_memory")
            assert headers["x-should-retry"] == "false"
            assert answer["error"]["hotseat"]["fault"] == "environment"

    run(main())


def test_a_remote_route_without_its_key(tmp_path: Path) -> None:
    """Nothing leaves, and the client is told whose turn it is."""

    async def main() -> None:
        setup = Setup(
            routes={"opus": RouteConfig("opus", "openrouter", "anthropic/opus")},
            providers={
                "openrouter": ProviderConfig("openrouter", "http://127.0.0.1:9/v1", api_key_env="FAR_KEY")
            },
        )
        async with serving(tmp_path, setup) as rig:
            for path, body in (
                ("/v1/chat/completions", question(model="opus")),
                ("/v1/embeddings", {"model": "opus", "input": "x"}),
                ("/v1/messages/count_tokens", question(model="opus")),
            ):
                status, answer, headers = await rig.post(path, body)
                assert (status, answer["error"]["hotseat"]["code"]) == (503, "provider_key_missing")
                assert "FAR_KEY" in answer["error"]["message"]
                assert headers["x-should-retry"] == "false"
        offline = Setup(routes=setup.routes, providers=setup.providers, offline=True)
        async with serving(tmp_path, offline) as rig:
            status, answer, _ = await rig.chat({"model": "opus"})
            assert (status, answer["error"]["code"]) == (403, "offline")

    run(main())


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 403, "forbidden"),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403, "forbidden"),
    ],
)
def test_fault_3_requests_from_web_pages_and_compressed_bodies(
    tmp_path: Path, headers: Mapping[str, str], status: int, code: str
) -> None:
    """Fault 3 and 34."""

    async def main() -> None:
        async with serving(tmp_path) as rig:
            url = f"{rig.url}/v1/chat/completions"
            async with rig.http.post(url, data=json.dumps(question()), headers=headers) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (status, code)
                assert not any(name.lower().startswith("access-control") for name in response.headers)
            assert (await rig.model("echo"))["state"] == "unloaded"

    run(main())


# --- failures on the way -----------------------------------------------------------------------

DIES_ONCE = """
[[turn]]
text = "one two three four five six"
[turn.fault]
kind = "kill"
after_chunks = {after}
once_file = "died"
"""


async def stream_events(
    rig: Rig, body: Mapping[str, Any] | None = None
) -> tuple[aiohttp.ClientResponse, list[str]]:
    """The response and all its events and comments."""
    sent = question() | {"stream": True} | dict(body or {})
    async with rig.http.post(f"{rig.url}/v1/chat/completions", json=sent) as response:
        return response, [event async for event in sse_events(response)]


def test_fault_14_worker_killed_mid_stream(tmp_path: Path) -> None:
    """Fault 14: an error event and no end; the next request starts the worker again."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES_ONCE.format(after=3)})) as rig:
            response, events = await stream_events(rig)
            assert response.status == 200
            error = json.loads(events[-1])["error"]
            assert (error["code"], error["hotseat"]["fault"]) == ("worker_crashed", "worker")
            assert "[DONE]" not in events
            chunks = [json.loads(event) for event in events[:-1]]
            assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks)
            record = record_of(await rig.get("/api/requests"))
            assert (record["status"], record["code"], record["finish_reason"]) == (502, "worker_crashed", "")
            response, events = await stream_events(rig)
            assert events[-1] == "[DONE]"

    run(main())


def test_sdk_raises_on_a_stream_that_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES_ONCE.format(after=3)})) as rig:
            stream = await (await rig.openai()).chat.completions.create(**question(), stream=True)
            with pytest.raises(openai.APIError, match=r"died|killed|SIGKILL"):
                async for _ in stream:
                    pass

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_worker_killed_before_the_first_token(tmp_path: Path, stream: bool) -> None:
    """Before the first byte a failure is a status."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES_ONCE.format(after=0)})) as rig:
            await rig.post("/api/models/echo/load")
            status, answer, _ = await rig.chat({"stream": stream})
            assert (status, answer["error"]["code"]) == (502, "worker_crashed")
            status, answer, _ = await rig.chat({})
            assert status == 200

    run(main())


def test_whole_answer_is_not_half_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES_ONCE.format(after=3)})) as rig:
            status, answer, _ = await rig.chat({})
            assert (status, list(answer)) == (502, ["error"])

    run(main())


def test_keep_alives_while_a_model_loads(tmp_path: Path) -> None:
    """The first byte does not wait for the model, and a failed load is then an event."""

    async def main() -> None:
        script = '[load]\nseconds = 1.6\nfail = "no"\nonce_file = "failed"\n'
        limits = Limits(keepalive_s=0.1)
        async with serving(tmp_path, Setup({"echo": script}, limits=limits)) as rig:
            body = question() | {"stream": True}
            async with rig.http.post(f"{rig.url}/v1/chat/completions", json=body) as response:
                assert response.status == 200
                assert "x-hotseat-load-ms" not in response.headers
                events = [event async for event in sse_events(response)]
            assert events.count(": keep-alive") >= 3
            assert json.loads(events[-1])["error"]["code"] == "load_failed"
            assert "[DONE]" not in events
            await rig.post("/api/models/echo/load")
            await rig.post("/api/models/echo/unload")
            response, events = await stream_events(rig)
            assert events[0] == ": keep-alive"
            assert events[-1] == "[DONE]"
            assert json.loads(events[-2])["timings"]["load_ms"] > 1500

    run(main())


def test_engine_fault_and_stated_errors_keep_their_kind(tmp_path: Path) -> None:
    async def main() -> None:
        script = """
            [[turn]]
            match.user_contains = "busy"
            text = "x"
            [turn.fault]
            kind = "error"
            code = "overloaded"
            message = "come back"
            retry_after_s = 7.0
            [[turn]]
            text = "x"
            [turn.fault]
            kind = "engine_fault"
        """
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            status, answer, headers = await rig.chat(question("busy"))
            assert (status, answer["error"]["message"], headers["retry-after"]) == (503, "come back", "7")
            status, answer, _ = await rig.chat({})
            assert (status, answer["error"]["code"]) == (500, "engine_fault")

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_request_timeout(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        script = '[[turn]]\ntext = "a b c"\n[turn.fault]\nkind = "stall"\nafter_chunks = 1\n'
        limits = Limits(request_timeout_s=0.8)
        async with serving(tmp_path, Setup({"echo": script}, limits=limits)) as rig:
            await rig.post("/api/models/echo/load")
            if stream:
                _, events = await stream_events(rig)
                assert json.loads(events[-1])["error"]["code"] == "request_timeout"
            else:
                status, answer, _ = await rig.chat({})
                assert (status, answer["error"]["code"]) == (504, "request_timeout")
            await rig.until("echo", lambda model: model["leases"] == 0)
            assert record_of(await rig.get("/api/requests"))["status"] == 504

    run(main())


# --- clients that leave ------------------------------------------------------------------------

ENDLESS = '[[turn]]\ntext = "tick "\nrepeat = 100_000\ntokens_per_second = 100\n'


def test_fault_12_client_leaves_mid_stream(tmp_path: Path) -> None:
    """Fault 12: the slot is free again."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": ENDLESS}, slots=1, n_ctx=10**8)) as rig:
            body = question() | {"stream": True}
            async with rig.http.post(f"{rig.url}/v1/chat/completions", json=body) as response:
                async for event in sse_events(response):
                    if "tick" in event:
                        break
                assert (await rig.model("echo"))["leases"] == 1
                response.close()
            await rig.until("echo", lambda model: model["leases"] == 0)
            record = record_of(await rig.get("/api/requests"))
            assert (record["status"], record["code"], record["fault"]) == (499, "client_gone", "client")

    run(main())


def test_client_leaves_while_waiting_for_the_whole_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": ENDLESS}, slots=1, n_ctx=10**8)) as rig:
            asking = asyncio.create_task(rig.chat({}))
            await rig.until("echo", lambda model: model["leases"] == 1)
            await cancel(asking)
            await rig.until("echo", lambda model: model["leases"] == 0)

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_fault_10_client_leaves_the_queue(tmp_path: Path, stream: bool) -> None:
    """Fault 10: gone from the queue; those behind it move up."""

    async def main() -> None:
        script = '[[turn]]\nmatch.user_contains = "block"\n[turn.fault]\nkind = "stall"\n'
        async with serving(tmp_path, Setup({"echo": script}, slots=1)) as rig:
            running = asyncio.create_task(rig.chat(question("block")))
            await rig.until("echo", lambda model: model["leases"] == 1)
            leaving = asyncio.create_task(rig.chat(question("leaving") | {"stream": stream}))
            await rig.until("echo", lambda model: model["queued"] == 1)
            staying = asyncio.create_task(rig.chat(question("staying")))
            await rig.until("echo", lambda model: model["queued"] == 2)
            await cancel(leaving)
            await rig.until("echo", lambda model: model["queued"] == 1)
            await cancel(running)
            status, answer, headers = await staying
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "You said: staying")
            assert float(headers["x-hotseat-queue-ms"]) > 0

    run(main())


def test_fault_11_client_leaves_during_a_load_that_others_wait_for(tmp_path: Path) -> None:
    """Fault 11."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": "[load]\nseconds = 0.5\n"})) as rig:
            leaving = asyncio.create_task(rig.chat({}))
            await rig.until("echo", lambda model: model["state"] == "loading")
            staying = asyncio.create_task(rig.chat(question("staying")))
            await rig.until("echo", lambda model: model["queued"] == 2)
            await cancel(leaving)
            status, _, _ = await staying
            assert status == 200

    run(main())


def test_unload_under_a_waiter(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": "[load]\nseconds = 30.0\n"})) as rig:
            waiting = asyncio.create_task(rig.chat({}))
            await rig.until("echo", lambda model: model["state"] == "loading")
            status, _, _ = await rig.post("/api/models/echo/unload")
            assert status == 200
            status, answer, headers = await waiting
            assert (status, answer["error"]["code"]) == (503, "model_unloaded")
            assert "retry-after" in headers

    run(main())


def test_unknown_model_error_is_the_contracts(tmp_path: Path) -> None:
    """The SDK's own class for it, with the code that clients look at."""

    async def main() -> None:
        async with serving(tmp_path) as rig:
            with pytest.raises(openai.NotFoundError) as caught:
                await (await rig.openai()).chat.completions.create(**question(model="gpt-4o"))
            assert caught.value.code == UnknownModel.code

    run(main())
