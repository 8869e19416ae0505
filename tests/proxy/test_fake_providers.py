"""The fakes against the SDKs of those whom they play, with nothing in between: what the other tests of
remote routes stand on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import anthropic
import httpx2  # what the SDKs stand on
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import fake_openrouter, fake_zai
from tests.fake_answers import Answer, Price, ToolCall, pieces
from tests.fake_openrouter import FLASH, SONNET, openrouter, openrouter_url
from tests.fake_provider import FakeProvider
from tests.fake_wire import Failure, Reply, Stunt, Wire
from tests.fake_zai import GLM, NO_BALANCE, anthropic_url, coding_url, general_url, zai
from tests.proxy.rig import run

HELLO: Any = [{"role": "user", "content": "hello there"}]
CALL = ToolCall("look", '{"where": "up"}')


@asynccontextmanager
async def openai_at(url: str, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield client


@asynccontextmanager
async def anthropic_at(url: str, key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


@given(st.text())
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_openrouter_bills_what_it_says_it_bills() -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running(), openai_at(openrouter_url(fake), fake_openrouter.KEY) as client:
            fake.script(Reply(Answer(reasoning="let me see", cached=3)))
            answer = await client.chat.completions.create(model=SONNET, messages=HELLO)
            assert answer.choices[0].message.content == "you said: hello there"
            assert answer.choices[0].message.reasoning == "let me see"  # type: ignore[attr-defined]
            usage = answer.usage
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            assert usage.completion_tokens_details is not None
            counted = (
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.prompt_tokens_details.cached_tokens,
            )
            assert counted == (6, 7, 3)
            assert usage.completion_tokens_details.reasoning_tokens == 3
            price = fake_openrouter.PRICES[SONNET]
            cost = 3 * price.prompt + 3 * price.cached + 7 * price.completion
            assert Decimal(str(usage.cost)) == cost == fake.told.cost  # type: ignore[attr-defined]

    run(main())


def test_openrouter_streams_with_comments_and_usage_in_a_chunk_of_its_own() -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running(), openai_at(openrouter_url(fake), fake_openrouter.KEY) as client:
            fake.script(Reply(Answer("a b", reasoning="hm", calls=(CALL,)), Wire(comments=True)))
            stream = await client.chat.completions.create(model=FLASH, messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a b"
            assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == ["tool_calls", None]
            assert chunks[-1].usage is not None
            assert fake.told.tokens.output == chunks[-1].usage.completion_tokens == 6

    run(main())


@pytest.mark.parametrize("is_streamed", [False, True])
def test_messages_with_thoughts_and_a_call(is_streamed: bool) -> None:
    async def main() -> None:
        fake = zai()
        async with fake.running(), anthropic_at(anthropic_url(fake), fake_zai.KEY) as client:
            fake.script(Reply(Answer("fine", reasoning="hm hm", calls=(CALL,), cached=2)))
            terms: Any = {
                "model": GLM,
                "messages": HELLO,
                "max_tokens": 99,
                "thinking": {"type": "enabled", "budget_tokens": 50},
            }
            if is_streamed:
                async with client.messages.stream(**terms) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**terms)
            kinds = [block.type for block in message.content]
            assert kinds == ["thinking", "text", "tool_use"]
            assert message.stop_reason == "tool_use"
            assert message.content[2].input == {"where": "up"}  # type: ignore[union-attr]
            assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (4, 2)
            assert fake.told.requests == 1

    run(main())


def test_zai_thinks_unless_it_is_told_not_to() -> None:
    async def main() -> None:
        fake = zai()
        fake.respond(lambda _: Reply(Answer("yes", reasoning="hm")))
        async with fake.running(), openai_at(coding_url(fake), fake_zai.KEY) as client:
            answer = await client.chat.completions.create(model=GLM, messages=HELLO)
            assert answer.choices[0].message.reasoning_content == "hm"  # type: ignore[attr-defined]
            quiet: Any = {"thinking": {"type": "disabled"}}
            answer = await client.chat.completions.create(model=GLM, messages=HELLO, extra_body=quiet)
            assert not hasattr(answer.choices[0].message, "reasoning_content")

    run(main())


def test_zai_refuses_what_it_does_not_know() -> None:
    async def main() -> None:
        fake = zai()
        async with fake.running(), openai_at(general_url(fake), fake_zai.KEY) as client:
            for messages, model, code in (
                ([{"role": "developer", "content": "x"}], GLM, "1214"),
                (HELLO, "gpt-4", "1211"),
            ):
                with pytest.raises(openai.BadRequestError) as refused:
                    await client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
                assert refused.value.code == code
            fake.script(NO_BALANCE)
            with pytest.raises(openai.RateLimitError) as broke:
                await client.chat.completions.create(model=GLM, messages=HELLO)
            assert broke.value.code == "1113"
            assert fake.billed.requests == 0

    run(main())


@pytest.mark.parametrize(("fake", "model"), [(openrouter(), SONNET), (zai(), GLM)], ids=["openrouter", "zai"])
def test_no_key_no_answer(fake: FakeProvider, model: str) -> None:
    async def main() -> None:
        path = openrouter_url(fake) if model == SONNET else general_url(fake)
        async with openai_at(path, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model=model, messages=HELLO)

    async def both() -> None:
        async with fake.running():
            await main()
        assert fake.asked[0].outcome == "refused"

    run(both())


def test_the_catalogue_has_pages() -> None:
    async def main() -> None:
        fake = openrouter({f"m{i}": Price(Decimal("0.00000035"), Decimal(0)) for i in range(5)}, page=2)
        async with fake.running(), aiohttp.ClientSession() as http:
            path: str | None = "/api/v1/models"
            cards: list[Any] = []
            while path is not None:
                async with http.get(fake.url + path) as response:
                    page = await response.json()
                cards += page["data"]
                path = page["links"]["next"]
            assert [card["id"] for card in cards] == [f"m{i}" for i in range(5)]
            assert cards[0]["pricing"]["prompt"] == "0.00000035"

    run(main())


def test_broken_streams_are_billed_and_not_told() -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running(), openai_at(openrouter_url(fake), fake_openrouter.KEY) as client:
            answer = Answer("one two three four")
            fake.script(
                Reply(answer, Wire(error_after=2)),
                Reply(answer, Wire(ends_at=700)),
                Reply(answer, Wire(ends_at=700, resets=True)),
                Stunt(drops=True),
                Failure(200, "Provider returned error", 502),
            )
            for _ in range(4):
                with pytest.raises((openai.APIError, httpx2.HTTPError)):
                    stream = await client.chat.completions.create(model=SONNET, messages=HELLO, stream=True)
                    async for _ in stream:
                        pass
            inside = await client.chat.completions.with_raw_response.create(model=SONNET, messages=HELLO)
            assert json.loads(inside.text)["error"]["code"] == 502
            outcomes = [asked.outcome for asked in fake.asked]
            assert outcomes == ["failed", "cut", "cut", "cut", "failed"]
            assert (fake.told.requests, fake.billed.requests, fake.billed.tokens.output) == (0, 3, 6)

    run(main())


def test_a_client_that_leaves_is_noticed() -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running(), openai_at(openrouter_url(fake), fake_openrouter.KEY) as client:
            fake.script(Reply(Answer("one two three"), Wire(stall_after=1)))
            stream = await client.chat.completions.create(model=SONNET, messages=HELLO, stream=True)
            assert (await anext(stream)).choices[0].delta.content == "one"
            await stream.close()
            await fake.until(lambda: fake.asked[0].outcome == "client gone")
            assert not fake.bills[0].was_told

    run(main())


@settings(max_examples=20)
@given(cuts=st.sets(st.integers(1, 1500)), newline=st.sampled_from([b"\n", b"\r\n"]))
def test_cuts_change_nothing_but_packets(cuts: set[int], newline: bytes) -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running(), aiohttp.ClientSession() as http:
            headers = {"authorization": f"Bearer {fake_openrouter.KEY}"}
            body = {"model": SONNET, "messages": HELLO, "stream": True}
            texts = []
            for wire in (Wire(newline), Wire(newline, cuts=tuple(sorted(cuts)))):
                fake.script(Reply(Answer("sélébré 🎉 x"), wire))
                async with http.post(
                    f"{openrouter_url(fake)}/chat/completions", json=body, headers=headers
                ) as got:
                    texts.append((await got.read()).replace(b"%020d" % 1, b"%020d" % 0))
            assert texts[0] == texts[1]

    asyncio.run(main())
