"""Routes to any compatible server: every dialect passed on, keep-alives before it answers, what clients are
told of a route, and what a route is not asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.proxy.rig import Rig, run, serving_file, sse_events

KEY = "box-key-0123456789"
SSE = {"content-type": "text/event-stream"}
CHAT = [
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":null}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]
MESSAGES = [
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7}}}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
COMPLETED = b'{"status":"completed","usage":{"input_tokens":7,"output_tokens":2}}'
RESPONSES = [
    b'event: response.created\ndata: {"type":"response.created","response":{"status":"in_progress"}}\n\n',
    b'data: {"type":"response.completed","response":%s}\n\n' % COMPLETED,
]
STREAMS = {"/v1/chat/completions": CHAT, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES}


@dataclass
class Box:
    """The compatible server. `hold`: what it waits for before it answers; `pause`: after its first event."""

    asked: list[tuple[str, Any, Any]] = field(default_factory=list)
    hold: Callable[[], Awaitable[None]] | None = None
    pause: Callable[[], Awaitable[None]] | None = None
    fails: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append((request.path, body, request.headers))
        if self.hold is not None:
            await self.hold()
        if self.fails:
            return web.json_response({"error": {"message": "out of order"}}, status=500)
        if not body.get("stream"):
            return web.json_response({"n": 1, "choices": [], "data": [[1]], "usage": {"prompt_tokens": 7}})
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        for data in STREAMS[request.path]:
            await response.write(data)
            if self.pause is not None:
                await self.pause()
        return response


CONFIG = """
[server.limits]
keepalive = 0.05
[models.echo]
path = "echo.toml"
engine = "scripted"
[roles]
subagent = "far"
[providers.box]
base_url = "{url}"
api_key_env = "BOX_KEY"
key_header = "x-api-key"
retries = 0
dialects = ["chat-completions", "completions", "embeddings", "responses", "anthropic-messages"]
[providers.chatty]
base_url = "{url}/v1"
retries = 0
[routes.far]
provider = "box"
model = "v/m"
context_length = 5000
max_output_tokens = 600
[routes.chat-only]
provider = "chatty"
model = "v/c"
[routes.safe]
provider = "box"
model = "v/m"
fallbacks = ["echo"]
"""


@contextlib.asynccontextmanager
async def boxed(folder: Path) -> AsyncIterator[tuple[Rig, Box]]:
    box = Box()
    app = web.Application()
    app.router.add_post("/{path:.*}", box.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        (folder / "echo.toml").write_text("[model]\nmemory_bytes = 1000\n")
        path = folder / "models.toml"
        path.write_text(CONFIG.format(url=f"http://127.0.0.1:{runner.addresses[0][1]}"))
        async with serving_file(path, BOX_KEY=KEY) as rig:
            yield rig, box
    finally:
        await runner.cleanup()


def ask(path: str, model: str = "far", **fields: Any) -> dict[str, Any]:
    words: dict[str, Any] = {"input": "hi"} if path == "/v1/responses" else {"messages": HELLO}
    return {"model": model, **words, **({"max_tokens": 9} if path == "/v1/messages" else {}), **fields}


HELLO = [{"role": "user", "content": "hello"}]


async def raw_stream(rig: Rig, path: str, **fields: Any) -> bytes:
    async with rig.http.post(rig.url + path, json=ask(path, stream=True, **fields)) as response:
        assert response.status == 200, await response.text()
        return await response.read()


@pytest.mark.parametrize("path", STREAMS)
def test_every_dialect_passes(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            asks_for_usage = {"stream_options": {"include_usage": True}} if "chat" in path else {}
            assert await raw_stream(rig, path, **asks_for_usage) == b"".join(STREAMS[path])
            asked_path, body, headers = box.asked[0]
            assert (asked_path, body["model"]) == (path, "v/m")
            assert headers["x-api-key"] == KEY
            assert "authorization" not in headers
            assert ("anthropic-version" in headers) == (path == "/v1/messages")
            [row] = (await rig.get("/api/requests"))["requests"]
            assert (row["upstream"], row["model"], row["status"]) == ("box", "v/m", 200)
            assert (row["input_tokens"], row["output_tokens"], row["finish_reason"]) == (7, 2, "stop")
            assert row["ttft_s"] > 0

    run(main())


def test_a_count_that_nobody_asked_for_stays_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            got = await raw_stream(rig, "/v1/chat/completions")
            assert got == CHAT[0] + CHAT[1] + CHAT[3]
            assert box.asked[0][1]["stream_options"] == {"include_usage": True}
            [row] = (await rig.get("/api/requests"))["requests"]
            assert row["input_tokens"] == 7

    run(main())


KEEP_ALIVES = {
    "/v1/chat/completions": b": keep-alive\n\n",
    "/v1/messages": b'event: ping\ndata: {"type": "ping"}\n\n',
    "/v1/responses": b": keep-alive\n\n",
}


@pytest.mark.parametrize("path", STREAMS)
def test_keep_alives_until_it_begins(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            release = asyncio.Event()

            async def hold() -> None:
                await release.wait()

            box.hold = hold
            body = ask(path, stream=True, stream_options={"include_usage": True})
            if path != "/v1/chat/completions":
                del body["stream_options"]
            async with rig.http.post(rig.url + path, json=body) as response:
                assert response.headers["x-hotseat-upstream"] == "box"
                first = await response.content.readexactly(2 * len(KEEP_ALIVES[path]))
                release.set()
                rest = await response.read()
            assert first == 2 * KEEP_ALIVES[path]
            while rest.startswith(KEEP_ALIVES[path]):
                rest = rest.removeprefix(KEEP_ALIVES[path])
            assert rest == b"".join(STREAMS[path])

    run(main())


def test_none_between_a_providers_events(tmp_path: Path) -> None:
    """A second request, which waits for its beginning, tells the time."""

    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            release = asyncio.Event()

            async def wait() -> None:
                await release.wait()

            path = "/v1/chat/completions"
            body = ask(path, stream=True, stream_options={"include_usage": True})
            box.pause = wait
            async with rig.http.post(rig.url + path, json=body) as response:
                first = await response.content.readexactly(len(CHAT[0]))
                box.hold = wait
                async with rig.http.post(rig.url + path, json=body) as clock:
                    await clock.content.readexactly(5 * len(KEEP_ALIVES[path]))
                release.set()
                assert first + await response.read() == b"".join(CHAT)

    run(main())


@pytest.mark.parametrize("path", STREAMS)
def test_a_local_model_answers_after_keep_alives(tmp_path: Path, path: str) -> None:
    """In the client's dialect, with a beginning and an end of its own."""

    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            release = asyncio.Event()

            async def hold() -> None:
                await release.wait()

            box.hold, box.fails = hold, True
            body = ask(path, "safe", stream=True)
            async with rig.http.post(rig.url + path, json=body) as response:
                first = await response.content.readexactly(len(KEEP_ALIVES[path]))
                release.set()
                rest = (await response.read()).decode()
            assert first == KEEP_ALIVES[path]
            ending = {"chat": "[DONE]", "messages": "message_stop", "responses": "response.completed"}
            opening = {
                "chat": '"role":"assistant"',
                "messages": "message_start",
                "responses": "response.created",
            }
            kind = next(name for name in ending if name in path)
            assert rest.count(opening[kind]) >= 1
            assert ending[kind] in rest.strip().splitlines()[-1]
            rows = (await rig.get("/api/requests"))["requests"]
            assert [(row["upstream"], row["status"]) for row in rows] == [("local", 200), ("box", 502)]

    run(main())


def test_a_failure_after_keep_alives_is_an_event(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            for path in STREAMS:
                release = asyncio.Event()
                box.hold, box.fails = release.wait, True  # type: ignore[assignment]
                async with rig.http.post(rig.url + path, json=ask(path, stream=True)) as response:
                    await response.content.readexactly(len(KEEP_ALIVES[path]))
                    release.set()
                    *_, last = [event async for event in sse_events(response)]
                body = json.loads(last)
                error = body["response"]["error"] if path == "/v1/responses" else body["error"]
                assert error["hotseat"]["code"] == "provider_error"
                assert "out of order" in error["message"]

    run(main())


def test_embeddings_and_completions(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            for path, words in (("/v1/embeddings", {"input": "x"}), ("/v1/completions", {"prompt": "x"})):
                whole = {"model": "far", **words, "odd": 1}
                status, answer, _ = await rig.post(path, whole)
                if path == "/v1/embeddings":
                    assert (status, answer["n"], answer["data"]) == (200, 1, [[1]])
                assert box.asked[-1][:2] == (path, {**whole, "model": "v/m"})
                status, answer, _ = await rig.post(path, {"model": "chat-only", **words})
                assert (status, answer["error"]["param"]) == (400, "model")

    run(main())


def test_tokens_are_counted_by_who_can(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            path = "/v1/messages/count_tokens"
            status, answer, headers = await rig.post(path, {"model": "far", "messages": HELLO})
            assert (status, answer["n"]) == (200, 1)
            assert headers["x-hotseat-upstream"] == "box"
            assert box.asked[-1][:2] == (path, {"model": "v/m", "messages": HELLO})
            status, answer, _ = await rig.post(path, {"model": "chat-only", "messages": HELLO})
            assert (status, answer["error"]["hotseat"]["code"]) == (501, "tokens_not_countable")

    run(main())


def test_what_clients_are_told_of_a_route(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, _):
            listed = {model["id"]: model for model in (await rig.get("/v1/models"))["data"]}
            assert set(listed) == {"echo", "far", "chat-only", "safe"}
            far = listed["far"]
            assert (far["context_length"], far["max_output_tokens"]) == (5000, 600)
            assert (far["owned_by"], far["state"]) == ("box", "ready")
            assert "context_length" not in listed["chat-only"]
            assert await rig.get("/v1/models/far") == await rig.get("/v1/models/subagent") == far
            client = await rig.openai()
            assert [model.id async for model in client.models.list()] == list(listed)

    run(main())


def test_a_route_is_neither_loaded_nor_unloaded(tmp_path: Path) -> None:
    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            for verb in ("load", "unload"):
                status, answer, _ = await rig.post(f"/api/models/far/{verb}")
                assert (status, answer["error"]["code"]) == (400, "not_local")
            assert box.asked == []

    run(main())


def test_a_body_that_is_wrong_for_us_is_the_providers_to_judge(tmp_path: Path) -> None:
    """Unless it must be translated."""

    async def main() -> None:
        async with boxed(tmp_path) as (rig, box):
            await rig.chat({"model": "far", "stream": False, "strange": {"x": 1}})
            assert box.asked[-1][1]["strange"] == {"x": 1}
            n_asked = len(box.asked)
            body = ask("/v1/messages", "chat-only", strange=1)
            status, answer, _ = await rig.post("/v1/messages", body)
            assert (status, answer["error"]["hotseat"]["param"]) == (400, "strange")
            assert len(box.asked) == n_asked
            client = await rig.openai()
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="fa", messages=[{"role": "user", "content": "x"}])

    run(main())
