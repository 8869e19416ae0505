"""Fault 30: streams as providers really send them. Comments, CRLF, text cut inside a letter and inside
`data:`, a missing [DONE], usage told twice, an error in the middle: read right wherever the bytes are cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.chat import ChatEvent, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from proxy.dialects.chat_client import StreamDecoder
from proxy.upstream_errors import Reported
from tests import fake_openrouter, fake_zai
from tests.fake_answers import Answer, Frame, ToolCall, chat_frames, said
from tests.fake_wire import Failure, Reply, Wire, stream_of
from tests.proxy.remote_rig import HELLO, Remote, remote
from tests.proxy.rig import run

TEXT, ARGUMENTS = "naïve 🎉", '{"é":1}'
ANSWER = Answer(TEXT, reasoning="昼", calls=(ToolCall("look", ARGUMENTS),), cached=2)
SHAPES = {"openrouter": (fake_openrouter.CHAT, fake_openrouter), "zai": (fake_zai.CHAT, fake_zai)}


def stream(provider: str, wire: Wire) -> bytes:
    shape, fake = SHAPES[provider]
    model, price = next(iter(fake.PRICES.items()))
    words = said(ANSWER, {"model": model, "messages": HELLO}, 0, price, may_reason=True)
    return stream_of(chat_frames(words, shape), wire, fake_openrouter.COMMENT)


def decoded(pieces: Iterable[bytes]) -> list[ChatEvent]:
    decoder = StreamDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def meaning(events: list[ChatEvent]) -> tuple[str, str, str, Any]:
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    thoughts = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    calls = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    (finish,) = [event for event in events if isinstance(event, Finish)]
    return text, thoughts, calls, (finish.reason, finish.usage)


WIRES = {
    "plain": Wire(),
    "crlf": Wire(newline=b"\r\n"),
    "comments": Wire(comments=True),
    "no done": Wire(has_done=False),
    "usage twice": Wire(n_usage=2),
    "no last line": Wire(has_last_blank_line=False),
}


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
@pytest.mark.parametrize("provider", SHAPES)
def test_fault_30_every_split_reads_the_same(provider: str, wire: Wire) -> None:
    data = stream(provider, wire)
    whole = decoded([data])
    text, thoughts, calls, (reason, usage) = meaning(whole)
    assert (text, thoughts, calls) == (TEXT, "昼", ARGUMENTS)
    assert (reason, usage.cached_tokens) == ("tool_calls", 2)
    for place in range(1, len(data)):
        assert decoded([data[:place], data[place:]]) == whole, place
    assert decoded(data[place : place + 1] for place in range(len(data))) == whole


MESSAGE = "Provider disconnected unexpectedly"
BROKEN = {
    "chunk": Frame({"error": {"code": "server_error", "message": MESSAGE}}),
    "named event": Frame({"message": MESSAGE}, event="error"),
}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("broken", BROKEN)
def test_fault_30_an_error_in_the_middle_is_one_at_every_split(broken: str, newline: bytes) -> None:
    data = stream("openrouter", Wire(newline, error_after=2)) + BROKEN[broken].encode(newline)
    for place in range(1, len(data)):
        decoder = StreamDecoder()
        events = decoder.feed(data[:place])
        if decoder.error is None:
            events += decoder.feed(data[place:])
        assert isinstance(decoder.error, Reported), place
        assert "disconnected" in decoder.error.message
        assert not any(isinstance(event, Finish) for event in events)


# --- through a served Hotseat ------------------------------------------------------------------


async def heard(far: Remote, model: str) -> tuple[str, str, Any]:
    """Text, finish_reason and usage, by the SDK."""
    client = await far.openai()
    text, reason, usage = "", "", None
    options: Any = {"include_usage": True}
    chunks = await client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options=options
    )
    async for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, reason, usage


@pytest.mark.parametrize("model", ["sonnet", "glm"])
def test_fault_30_each_way_of_sending_arrives(tmp_path: Path, model: str) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            fake = far.openrouter if model == "sonnet" else far.zai
            for name, wire in WIRES.items():
                fake.script(Reply(ANSWER, wire))
                text, reason, usage = await heard(far, model)
                assert (text, reason) == (TEXT, "tool_calls"), name
                made = fake.bills[-1].tokens.output
                assert usage.completion_tokens == made, name
                row = (await far.rows())[0]
                assert (row["status"], row["output_tokens"]) == (200, made), name

    run(main())


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
def test_fault_30_any_cuts_arrive(tmp_path: Path, dialect: str) -> None:
    """One stream a byte at a time, others cut anywhere; passed through and translated."""

    async def main() -> None:
        size = len(stream("openrouter", Wire())) + 200

        async with remote(tmp_path) as far:

            async def ask(wire: Wire) -> Any:
                far.openrouter.script(Reply(ANSWER, wire))
                if dialect == "chat":
                    return (await heard(far, "sonnet"))[:2]
                if dialect == "messages":
                    theirs = await far.anthropic()
                    async with theirs.messages.stream(model="sonnet", messages=HELLO, max_tokens=99) as got:
                        message = await got.get_final_message()
                    return message.content[-2].text, message.stop_reason  # type: ignore[union-attr]
                client = await far.openai()
                async with client.responses.stream(model="sonnet", input="hello there") as answer:
                    response = await answer.get_final_response()
                return response.output_text, [item.type for item in response.output]

            whole = await ask(Wire())
            assert whole[0] == TEXT
            each_byte = tuple(range(1, size * 2))
            assert await ask(Wire(b"\r\n", comments=True, cuts=each_byte)) == whole
            for places in _examples(size):
                assert await ask(Wire(cuts=places)) == whole, places

    run(main())


def _examples(size: int) -> list[tuple[int, ...]]:
    """Hypothesis draws them outside the loop that uses them."""
    found: list[tuple[int, ...]] = []

    @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sets(st.integers(1, size), min_size=1, max_size=12))
    def draw(places: set[int]) -> None:
        found.append(tuple(sorted(places)))

    draw()
    return found


def test_fault_30_usage_told_twice_is_paid_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(ANSWER, Wire(n_usage=2)))
            await heard(far, "sonnet")
            (row,) = await far.rows()
            assert Decimal(str(row["cost_usd"])) == far.openrouter.told.cost

    run(main())


def test_fault_30_an_error_at_the_head_of_a_stream_is_a_status(tmp_path: Path) -> None:
    """Nothing has been said yet: the client gets a proper failure, after the usual repetitions."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Failure(200, "overloaded", 503, as_event=True), Reply(ANSWER))
            assert (await heard(far, "sonnet"))[0] == TEXT
            assert len(far.openrouter.posted) == 2

    run(main())


@pytest.mark.parametrize("model", ["sonnet", "glm"])
def test_fault_30_an_error_in_the_middle_is_heard(tmp_path: Path, model: str) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            fake = far.openrouter if model == "sonnet" else far.zai
            fake.script(Reply(ANSWER, Wire(error_after=4)))
            with pytest.raises(openai.APIError, match=r"disconnected|network failure"):
                await heard(far, model)
            (row,) = await far.rows()
            assert row["status"] >= 500
            assert row["fault"] == "provider"

    run(main())


@pytest.mark.parametrize("model", ["sonnet", "glm"])
def test_fault_30_a_stream_that_stops_before_its_end_is_no_answer(tmp_path: Path, model: str) -> None:
    """Never a clean end: neither [DONE] nor a finish_reason is invented."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            fake = far.openrouter if model == "sonnet" else far.zai
            fake.script(Reply(ANSWER, Wire(ends_at=900)))
            body = json.dumps({"model": model, "messages": HELLO, "stream": True}).encode()
            headers = {"content-type": "application/json"}
            url = f"{far.rig.url}/v1/chat/completions"
            async with far.rig.http.post(url, data=body, headers=headers) as response:
                told = await response.text()
            assert '"error"' in told
            assert "[DONE]" not in told
            assert '"finish_reason":"' not in told.replace(" ", "")
            assert (await far.rows())[0]["status"] >= 500

    run(main())
