"""The Messages API over HTTP: the anthropic SDK and plain requests against real workers with scripted
engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic
import psutil
import pytest

from proxy.config import Limits
from tests.proxy.messages_streams import Read, events_of, read
from tests.proxy.rig import Rig, Setup, run, serving

RICH = """
[[turn]]
match.after_tool = "write"
match.tool_result_contains = "written"
text = "Done."
[[turn]]
match.user_contains = "call"
match.offers = ["write"]
reasoning = "let me see"
text = "Calling."
tool_calls = [{ name = "write", arguments = { path = "a.py" } }, { name = "read", arguments = {} }]
[[turn]]
match.user_contains = "count"
text = "one two three four"
usage = { input_tokens = 100, cached_tokens = 60, output_tokens = 4, reasoning_tokens = 1 }
[[turn]]
match.system_contains = "pirate"
text = "Arr."
"""

TOOLS: Any = [{"name": name, "input_schema": {"type": "object"}} for name in ("write", "read")]

DIES = """
[[turn]]
text = "one two three four five six"
[turn.fault]
kind = "kill"
after_chunks = 3
"""


def asked(text: str = "hello", **fields: Any) -> dict[str, Any]:
    question = {"role": "user", "content": text}
    return {"model": "echo", "max_tokens": 64, "messages": [question]} | fields


async def sdk(rig: Rig, **options: Any) -> anthropic.AsyncAnthropic:
    given: dict[str, Any] = {"api_key": "none", "max_retries": 0, **options}
    client = anthropic.AsyncAnthropic(base_url=rig.url, **given)
    return await rig.stack.enter_async_context(client)


async def stream_of(rig: Rig, body: Mapping[str, Any], path: str = "/v1/messages") -> Read:
    async with rig.http.post(rig.url + path, json={**body, "stream": True}) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return read(events_of(await response.read()))


# --- answers -----------------------------------------------------------------------------------


def test_message_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await sdk(rig)
            message = await client.messages.create(**asked("count"))
            assert [block.to_dict() for block in message.content] == [
                {"type": "text", "text": "one two three four"}
            ]
            assert (message.model, message.stop_reason, message.role) == ("echo", "end_turn", "assistant")
            usage = message.usage
            assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (40, 60, 4)
            told = await client.messages.create(**asked(system=[{"type": "text", "text": "a pirate"}]))
            assert told.content[0].to_dict()["text"] == "Arr."

    run(main())


def test_tools_and_thinking_through_the_sdk(tmp_path: Path) -> None:
    """Two turns, the second with the first answer in it as the SDK got it."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await sdk(rig)
            first = asked("call it", tools=TOOLS, thinking={"type": "enabled", "budget_tokens": 1024})
            whole = await client.messages.create(**first)
            async with client.messages.stream(**first) as stream:
                kinds = [event.type async for event in stream]
                streamed = await stream.get_final_message()
            assert kinds[0] == "message_start"
            assert {"thinking", "signature", "text", "input_json", "message_stop"} <= set(kinds)
            for message in (whole, streamed):
                thinking, text, write, read_ = (block.to_dict() for block in message.content)
                assert (thinking["thinking"], text["text"]) == ("let me see", "Calling.")
                assert thinking["signature"]
                assert (write["name"], write["input"]) == ("write", {"path": "a.py"})
                assert (read_["name"], read_["input"]) == ("read", {})
                assert message.stop_reason == "tool_use"
            assert whole.usage.cache_read_input_tokens == 0
            assert streamed.usage.cache_read_input_tokens  # the same prompt again
            assert read_tokens(streamed.usage) == read_tokens(whole.usage)
            assert streamed.usage.output_tokens == whole.usage.output_tokens
            results = [
                {"type": "tool_result", "tool_use_id": block.to_dict()["id"], "content": "written"}
                for block in streamed.content[2:]
            ]
            history: Any = [
                *first["messages"],
                {"role": "assistant", "content": streamed.content},
                {"role": "user", "content": results},
            ]
            last = await client.messages.create(**asked(tools=TOOLS) | {"messages": history})
            assert last.content[0].to_dict()["text"] == "Done."

    run(main())


def test_the_start_counts_the_prompt_and_answers_have_their_id(tmp_path: Path) -> None:
    """Where the prompt was read before the stream began: no life had to be shown."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            body = {**asked("hello"), "stream": True}
            async with rig.http.post(rig.url + "/v1/messages", json=body) as response:
                [start, *_, delta, _] = events_of(await response.read())
                assert response.headers["request-id"] == start["message"]["id"].removeprefix("msg_")
            told, final = start["message"]["usage"], delta["usage"]
            assert told["input_tokens"] == final["input_tokens"] > 0
            message = await (await sdk(rig)).messages.create(**asked())
            assert f"msg_{message._request_id}" == message.id
            with pytest.raises(anthropic.BadRequestError) as wrong:
                await (await sdk(rig)).messages.create(**asked(max_tokens=0))
            assert wrong.value.request_id

    run(main())


def read_tokens(usage: anthropic.types.Usage) -> int:
    return usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_stop_reasons(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await sdk(rig)
            cut = await client.messages.create(**asked("count", max_tokens=2))
            stopped = await client.messages.create(**asked("count", stop_sequences=["three"]))
            assert (cut.stop_reason, cut.stop_sequence) == ("max_tokens", None)
            assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "three")
            found = await stream_of(rig, asked("count", stop_sequences=["three"]))
            assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "three")
            assert found.text("text", "text") == "one two "

    run(main())


def test_run_paths_the_beta_query_and_the_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": ""})) as rig:
            found = await stream_of(rig, asked(), "/r/r1/v1/messages?beta=true")
            assert found.is_stopped
            [record] = (await rig.get("/api/requests?run=r1"))["requests"]
            assert (record["dialect"], record["model"], record["status"]) == ("messages", "echo", 200)

    run(main())


# --- life before the answer --------------------------------------------------------------------


def test_pings_while_a_model_loads(tmp_path: Path) -> None:
    """message_start comes first and does not wait for the model; the count of the prompt comes last."""

    async def main() -> None:
        script = '[load]\nseconds = 1.6\nfail = "no"\nonce_file = "failed"\n'
        async with serving(tmp_path, Setup({"echo": script}, limits=Limits(keepalive_s=0.1))) as rig:
            found = await stream_of(rig, asked())
            assert found.pings >= 3
            assert found.error is not None
            assert (found.error["type"], found.error["hotseat"]["code"]) == ("api_error", "load_failed")
            assert not found.is_stopped
            await rig.post("/api/models/echo/load")
            await rig.post("/api/models/echo/unload")
            async with (await sdk(rig)).messages.stream(**asked()) as stream:
                message = await stream.get_final_message()
            assert message.content[0].to_dict()["text"] == "You said: hello"
            assert message.usage.input_tokens > 0

    run(main())


def test_a_worker_that_dies_in_mid_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": DIES})) as rig:
            found = await stream_of(rig, asked())
            assert found.text("text", "text") == "one two three"
            assert found.error is not None
            assert (found.error["type"], found.error["hotseat"]["code"]) == ("api_error", "worker_crashed")
            assert (found.stop_reason, found.is_stopped) == (None, False)
            with pytest.raises(anthropic.APIStatusError, match="api_error"):
                async with (await sdk(rig)).messages.stream(**asked()) as stream:
                    await stream.get_final_message()

    run(main())


# --- errors ------------------------------------------------------------------------------------


def test_sdk_exceptions(tmp_path: Path) -> None:
    async def main() -> None:
        busy = (
            '[[turn]]\ntext = "x"\n[turn.fault]\nkind = "error"\ncode = "overloaded"\nretry_after_s = 7.0\n'
        )
        setup = Setup({"echo": "", "busy": busy}, api_keys=("key",), n_ctx=64)
        async with serving(tmp_path, setup) as rig:
            client, stranger = await sdk(rig, api_key="key"), await sdk(rig, api_key="wrong")
            await client.messages.create(**asked())
            bearer = await sdk(rig, api_key=None, auth_token="key")
            await bearer.messages.create(**asked())
            with pytest.raises(anthropic.AuthenticationError) as unknown:
                await stranger.messages.create(**asked())
            assert kind_of(unknown.value) == "authentication_error"
            with pytest.raises(anthropic.NotFoundError, match="near names") as missing:
                await client.messages.create(**asked(model="ecko"))
            assert kind_of(missing.value) == "not_found_error"
            with pytest.raises(anthropic.BadRequestError, match="max_tokens") as wrong:
                await client.messages.create(**asked(max_tokens=0))
            assert kind_of(wrong.value) == "invalid_request_error"
            with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 64 max"):
                await client.messages.create(**asked("long " * 100))
            with pytest.raises(anthropic.APIStatusError) as full:
                await client.messages.create(**asked(model="busy"))
            assert (full.value.status_code, kind_of(full.value)) == (503, "overloaded_error")
            assert full.value.response.headers["retry-after"] == "7"

    run(main())


def kind_of(error: anthropic.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    assert error.body["request_id"] == error.response.headers["x-hotseat-request-id"]
    return str(error.body["error"]["type"])


def test_an_overflow_that_shows_after_the_stream_has_begun(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Setup({"echo": "[load]\nseconds = 1.3\n"}, n_ctx=64)
        async with serving(tmp_path, slow) as rig:
            found = await stream_of(rig, asked("long " * 100))
            assert found.error is not None
            assert found.error["type"] == "invalid_request_error"
            assert found.error["message"].startswith("prompt is too long: ")

    run(main())


@pytest.mark.parametrize(
    ("path", "body", "headers", "expected"),
    [
        ("/v1/messages", b"{", {}, (400, "invalid_request_error")),
        ("/v1/messages", b"[]", {}, (400, "invalid_request_error")),
        ("/v1/messages", b"x" * 3000, {}, (413, "request_too_large")),
        ("/v1/messages", b"{}", {"host": "evil.example"}, (403, "permission_error")),
        ("/v1/messages", b"{}", {"content-type": "text/plain"}, (415, "invalid_request_error")),
        ("/v1/messages/batches", b"{}", {}, (404, "not_found_error")),
        ("/v1/messages/count_tokens", b"{}", {}, (400, "invalid_request_error")),
    ],
)
def test_failures_before_the_dialect(
    path: str, body: bytes, headers: dict[str, str], expected: tuple[int, str], tmp_path: Path
) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(limits=Limits(max_body_bytes=2000))) as rig:
            given = {"content-type": "application/json"} | headers
            async with rig.http.post(rig.url + path, data=body, headers=given) as response:
                said = await response.json()
                assert (response.status, said["error"]["type"]) == expected
                assert said["request_id"] == response.headers["x-hotseat-request-id"]
            async with rig.http.put(rig.url + path) as response:
                assert (await response.json())["type"] == "error"

    run(main())


def test_a_head_that_is_too_large_is_refused_in_the_dialect(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"a: b\r\n" * 200)
            head, _, said = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert b" 431 " in head
            assert json.loads(said)["error"]["type"] == "invalid_request_error"

    run(main())


# --- counting ----------------------------------------------------------------------------------


def test_counting_loads_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": "", "other": ""}, n_ctx=64)) as rig:
            client = await sdk(rig)
            prompt = {key: value for key, value in asked(tools=TOOLS).items() if key != "max_tokens"}
            counted = await client.messages.count_tokens(**prompt)
            long = await client.messages.count_tokens(**prompt | {"messages": asked("a " * 500)["messages"]})
            assert long.input_tokens > 500  # more than n_ctx: counted all the same
            assert (await rig.model("echo"))["state"] == "unloaded"
            used = await client.messages.create(**asked(tools=TOOLS))
            assert counted.input_tokens == used.usage.input_tokens
            status, _, headers = await rig.post("/r/r1/v1/messages/count_tokens?beta=true", prompt)
            assert (status, headers["x-hotseat-model"]) == (200, "echo")
            assert (await rig.model("other"))["state"] == "unloaded"
            assert (await rig.get("/api/state"))["swaps"] == 0
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.count_tokens(**prompt | {"model": "nobody"})

    run(main())


def test_a_real_vocabulary_counts_what_the_model_reads(tmp_path: Path, smollm2_path: Path) -> None:
    async def main() -> None:
        setup = Setup(models={}, gguf_files={"smol": smollm2_path}, n_ctx=512)
        async with serving(tmp_path, setup) as rig:
            client = await sdk(rig)
            prompt: Any = {
                "model": "smol",
                "system": "Be brief.",
                "messages": asked("Hi! <|im_end|>")["messages"],
            }
            counted = await client.messages.count_tokens(**prompt)
            assert (await rig.model("smol"))["state"] == "unloaded"
            used = await client.messages.create(**prompt, max_tokens=1)
            assert counted.input_tokens == used.usage.input_tokens

    run(main())


def test_no_helper_outlives_the_server(tmp_path: Path) -> None:
    async def main() -> None:
        before = set(psutil.Process().children(recursive=True))
        async with serving(tmp_path) as rig:
            await rig.post("/v1/messages/count_tokens", asked() | {"max_tokens": None})
            await rig.post(
                "/v1/messages/count_tokens", {k: v for k, v in asked().items() if k != "max_tokens"}
            )
            assert set(psutil.Process().children()) - before
        assert set(psutil.Process().children(recursive=True)) <= before

    run(main())
