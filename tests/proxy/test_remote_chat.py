"""Chat Completions to a provider that speaks them: what one side says is what the other reads, by the
openai SDK and a fake of OpenRouter."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fake_answers import Answer, ToolCall
from tests.fake_openrouter import FLASH, KEY, SONNET
from tests.fake_wire import Reply, Wire
from tests.proxy.remote_rig import CLIENT_KEY, HELLO, remote
from tests.proxy.rig import run

THOUGHTFUL = Answer(
    "fine, thanks", reasoning="let me see", calls=(ToolCall("look", '{"at": "é"}'),), cached=2
)
ODD: dict[str, Any] = {
    "temperature": 0.25,
    "provider": {"order": ["Anthropic"], "allow_fallbacks": False},
    "reasoning": {"effort": "low"},
    "plugins": [{"id": "web"}],
    "transforms": ["middle-out"],
    "tools": [{"type": "function", "function": {"name": "look"}, "cache_control": {"type": "ephemeral"}}],
    "made_up": {"ключ": [1, 2.5, None]},
}


def test_what_the_client_says_arrives_under_the_providers_own_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            status, _, headers = await far.chat("sonnet", **ODD)
            assert status == 200
            assert headers["x-hotseat-upstream"] == "openrouter"
            (asked,) = far.openrouter.posted
            assert asked.body == {"model": SONNET, "messages": HELLO, **ODD}

    run(main())


def test_what_the_provider_says_arrives(tmp_path: Path) -> None:
    """Byte for byte: its own fields, the digits of its numbers and the order of its keys too."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(*[Reply(THOUGHTFUL, headers={"x-generation-id": "gen-1"})] * 2)
            body = json.dumps({"model": "sonnet", "messages": HELLO}).encode()
            json_type = {"content-type": "application/json"}
            async with far.rig.http.post(
                f"{far.rig.url}/v1/chat/completions", data=body, headers=json_type
            ) as got:
                through = await got.read()
            direct_body = json.dumps({"model": SONNET, "messages": HELLO}).encode()
            direct_headers = json_type | {"authorization": f"Bearer {KEY}"}
            async with far.rig.http.post(
                f"{far.openrouter.url}/api/v1/chat/completions", data=direct_body, headers=direct_headers
            ) as got:
                direct = await got.read()
            assert through == direct.replace(b"%020d" % 1, b"%020d" % 0)
            assert b'"cost_details"' in through

    run(main())


def test_a_stream_arrives_chunk_by_chunk(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(THOUGHTFUL, Wire(comments=True)))
            client = await far.openai()
            stream = await client.chat.completions.create(model="sonnet", messages=HELLO, stream=True)
            chunks = [chunk.model_dump() async for chunk in stream]
            deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
            assert "".join(delta.get("content") or "" for delta in deltas) == "fine, thanks"
            assert "".join(delta.get("reasoning") or "" for delta in deltas) == "let me see"
            assert deltas[0]["reasoning_details"][0]["format"] == "anthropic-claude-v1"
            reasons = [chunk["choices"][0]["native_finish_reason"] for chunk in chunks]
            assert reasons[-2:] == ["tool_use", None]
            usage = chunks[-1]["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] == 2
            assert Decimal(str(usage["cost"])) == far.openrouter.told.cost

    run(main())


def test_the_first_words_do_not_wait_for_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer("one two three"), Wire(stall_after=2)))
            client = await far.openai()
            stream = await client.chat.completions.create(model="sonnet", messages=HELLO, stream=True)
            assert (await anext(stream)).choices[0].delta.content == "one"
            assert (await anext(stream)).choices[0].delta.content == " two"
            far.openrouter.resume()
            rest = [chunk async for chunk in stream]
            assert rest[0].choices[0].delta.content == " three"

    run(main())


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_record_holds_what_was_billed(tmp_path: Path, is_streamed: bool) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(THOUGHTFUL))
            client = await far.openai()
            answer: Any = await client.chat.completions.create(
                model="flash", messages=HELLO, stream=is_streamed
            )
            if is_streamed:
                async for _ in answer:
                    pass
            (row,) = await far.rows()
            bill = far.openrouter.bills[0]
            assert (row["status"], row["upstream"], row["model"]) == (200, "openrouter", FLASH)
            assert (row["requested_model"], row["finish_reason"]) == ("flash", "tool_calls")
            counted = [row[f"{kind}_tokens"] for kind in ("input", "cached", "output", "reasoning")]
            tokens = bill.tokens
            assert counted == [tokens.input, tokens.cached, tokens.output, tokens.reasoning]
            assert Decimal(str(row["cost_usd"])) == bill.cost

    run(main())


def test_nothing_of_the_clients_own_is_forwarded(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            own = {
                "cookie": "session=of-the-client",
                "x-api-key": CLIENT_KEY,
                "proxy-authorization": f"Basic {CLIENT_KEY}",
                "x-forwarded-for": "10.1.2.3",
                "x-private": "of-the-client",
                "user-agent": "of-the-client",
            }
            client = await far.openai()
            await client.chat.completions.create(model="sonnet", messages=HELLO, extra_headers=own)
            (asked,) = far.openrouter.posted
            sent = json.dumps(list(asked.headers))
            assert CLIENT_KEY not in sent
            assert "of-the-client" not in sent
            assert "10.1.2.3" not in sent
            assert asked.header("authorization") == f"Bearer {KEY}"
            allowed = {"host", "authorization", "content-type", "content-length", "accept", "user-agent"}
            assert asked.header_names <= allowed | {"accept-encoding", "http-referer", "x-openrouter-title"}

    run(main())


def test_upstreams_own_cookies_and_headers_do_not_reach_the_client(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(
                Reply(headers={"set-cookie": "a=b", "x-debug": "internal", "server": "openresty"}), Reply()
            )
            _, _, headers = await far.chat("sonnet")
            assert "set-cookie" not in headers
            assert "x-debug" not in headers
            await far.chat("sonnet")
            assert far.openrouter.posted[1].header("cookie") is None, "no cookie is kept"

    run(main())


def test_the_provider_is_told_when_the_client_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            for stall_after in (0, 2):
                far.openrouter.script(Reply(Answer("one two three"), Wire(stall_after=stall_after)))
            client = await far.openai()
            body = {"model": "sonnet", "messages": HELLO, "stream": True}
            early = asyncio.create_task(far.rig.chat(body))
            await far.openrouter.until(lambda: len(far.openrouter.posted) == 1)
            early.cancel()
            await far.openrouter.until(lambda: far.openrouter.posted[0].outcome == "client gone")
            stream = await client.chat.completions.create(model="sonnet", messages=HELLO, stream=True)
            await anext(stream)
            await stream.close()
            await far.openrouter.until(lambda: far.openrouter.posted[1].outcome == "client gone")
            assert far.openrouter.n_running == 0

    run(main())
