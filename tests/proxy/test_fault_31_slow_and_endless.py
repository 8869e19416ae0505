"""Fault 31: a provider that stalls, drips, never ends or never breaks the line. Deadlines for the first byte,
between events and for the whole request; caps on a line and on a body; memory stays what it was.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anthropic
import openai
import psutil
import pytest

from tests.fake_answers import Answer, Frame
from tests.fake_provider import FakeProvider
from tests.fake_wire import Reply, Stunt, Wire
from tests.proxy.remote_rig import HELLO, Remote, remote
from tests.proxy.rig import run

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
WORD = Frame({"choices": [{"index": 0, "delta": {"content": "more "}, "finish_reason": None}]}).encode(b"\n")
MESSAGES_WORD = Frame(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "more "}},
    event="content_block_delta",
).encode(b"\n")
MANY = 2**30
SOON_S = 10.0
"""Much longer than any deadline here, on a busy machine too."""

HELD_BYTES = 160 * 2**20
"""What may be held on the way, several buffers of both sides among it; a gigabyte must not."""

QUICK = 'retry_delay = "1ms"\nretries = 0\nidle_timeout = "200ms"\nfirst_byte_timeout = "200ms"'
PATIENT = 'retries = 0\nidle_timeout = "60s"\nfirst_byte_timeout = "60s"'

DIALECTS = ["chat", "messages", "responses"]


async def ask(far: Remote, dialect: str, model: str) -> None:
    """A streamed request, read to its end."""
    if dialect == "messages":
        theirs = await far.anthropic()
        async with theirs.messages.stream(model=model, messages=HELLO, max_tokens=99) as stream:
            await stream.get_final_message()
        return
    client = await far.openai()
    chunks: Any
    if dialect == "responses":
        chunks = await client.responses.create(model=model, input="hello", stream=True)
        async for event in chunks:
            if event.type == "response.failed":
                raise openai.OpenAIError(event.response.error.message)
        return
    chunks = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    async for _ in chunks:
        pass


async def fails(far: Remote, fake: FakeProvider, dialect: str, model: str = "sonnet") -> dict[str, Any]:
    """The row of a request that must end in an error soon, and be over for the provider too."""
    began_s = time.monotonic()
    with pytest.raises((openai.OpenAIError, anthropic.AnthropicError)):
        await ask(far, dialect, model)
    assert time.monotonic() - began_s < SOON_S
    await fake.until(lambda: fake.n_running == 0)
    row: dict[str, Any] = (await far.rows())[0]
    return row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_31_a_stall_ends_in_an_error(tmp_path: Path, dialect: str) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=QUICK) as far:
            for after in (0, 1, 3):
                far.openrouter.script(Reply(Answer("one two three four"), Wire(stall_after=after)))
                row = await fails(far, far.openrouter, dialect)
                told = (row["status"], row["code"], row["fault"])
                assert told == (504, "provider_silent", "provider"), after

    run(main())


def test_fault_31_silence_before_the_first_byte_is_a_504(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=QUICK) as far:
            far.openrouter.script(*[Reply(wire=Wire(stall_after=0))] * 2)
            for is_streamed in (False, True):
                status, answer, _ = await far.chat("sonnet", stream=is_streamed)
                assert (status, answer["error"]["code"]) == (504, "provider_silent")
            assert len(far.openrouter.posted) == 2, "what may be under way is not asked for again"

    run(main())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_31_comments_are_no_answer(tmp_path: Path, dialect: str) -> None:
    """A keep-alive for ever is silence for ever."""

    async def main() -> None:
        async with remote(tmp_path, each=PATIENT, limits='request_timeout = "300ms"') as far:
            comment = b": OPENROUTER PROCESSING\n\n"
            far.openrouter.script(Stunt(headers=SSE, body=comment, times=None, pace_s=0.01))
            row = await fails(far, far.openrouter, dialect)
            assert row["status"] == 504

    run(main())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_31_a_drip_does_not_keep_a_stream_alive(tmp_path: Path, dialect: str) -> None:
    """A byte every now and then, each well within the idle deadline: whole events must come."""

    async def main() -> None:
        async with remote(tmp_path, each=QUICK) as far:
            wire = Wire(cuts=tuple(range(400, 9000)), pace_s=0.02)
            far.openrouter.script(Reply(Answer("one two three four"), wire))
            row = await fails(far, far.openrouter, dialect)
            assert row["code"] == "provider_silent"

    run(main())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_31_an_endless_stream_ends_with_the_requests_time(tmp_path: Path, dialect: str) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=PATIENT, limits='request_timeout = "300ms"') as far:
            far.openrouter.script(Stunt(headers=SSE, body=WORD, times=None))
            row = await fails(far, far.openrouter, dialect)
            assert (row["status"], row["code"]) == (504, "request_timeout")

    run(main())


def test_fault_31_an_endless_stream_of_messages(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=PATIENT, limits='request_timeout = "300ms"') as far:
            far.zai.script(Stunt(headers=SSE, body=MESSAGES_WORD, times=None))
            row = await fails(far, far.zai, "messages", "glm-messages")
            assert row["status"] == 504

    run(main())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_31_a_line_of_a_gigabyte(tmp_path: Path, dialect: str) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=PATIENT) as far:
            piece = b"x" * 2**18
            far.openrouter.script(Stunt(headers=SSE, head=b"data: ", body=piece, times=MANY // len(piece)))
            before = psutil.Process().memory_info().rss
            row = await fails(far, far.openrouter, dialect)
            grown = psutil.Process().memory_info().rss - before
            assert (row["status"], row["code"]) == (502, "provider_bad_answer")
            assert far.openrouter.posted[0].n_sent < MANY // 8, "it was cut off long before its end"
            assert grown < HELD_BYTES

    run(main())


@pytest.mark.parametrize("status", [200, 500])
def test_fault_31_a_body_of_a_gigabyte(tmp_path: Path, status: int) -> None:
    async def main() -> None:
        async with remote(tmp_path, each=PATIENT) as far:
            piece = b"x" * 2**18
            far.openrouter.script(Stunt(status, JSON, body=piece, times=MANY // len(piece)))
            before = psutil.Process().memory_info().rss
            told, answer, _ = await far.chat("sonnet")
            grown = psutil.Process().memory_info().rss - before
            assert told == 502
            assert answer["error"]["hotseat"]["fault"] == "provider"
            await far.openrouter.until(lambda: far.openrouter.n_running == 0)
            assert far.openrouter.posted[0].n_sent < MANY // 4
            assert grown < HELD_BYTES

    run(main())


def test_fault_31_a_client_that_reads_nothing_holds_the_provider_back(tmp_path: Path) -> None:
    """Nothing is read ahead of the client: what it does not take stays with the provider."""

    async def main() -> None:
        async with remote(tmp_path, each=PATIENT, limits='request_timeout = "500ms"') as far:
            body = WORD * 200
            far.openrouter.script(Stunt(headers=SSE, body=body, times=None))
            request = {"model": "sonnet", "messages": HELLO, "stream": True}
            async with far.rig.http.post(f"{far.rig.url}/v1/chat/completions", json=request):
                await far.openrouter.until(lambda: far.openrouter.n_running == 0)
            assert len(body) < far.openrouter.posted[0].n_sent < 32 * 2**20

    run(main())


@pytest.mark.parametrize("status", [429, 503])
def test_an_error_that_drips(tmp_path: Path, status: int) -> None:
    """Its body was waited for as long as each byte came in time."""

    async def main() -> None:
        async with remote(tmp_path, each=QUICK) as far:
            far.zai.script(Stunt(status, headers=JSON, body=b"x", times=MANY, pace_s=0.05))
            begun_s = time.monotonic()
            got, body, _ = await far.chat("glm")
            assert time.monotonic() - begun_s < SOON_S
            assert (got, body["error"]["code"]) == (504, "provider_silent")

    run(main())
