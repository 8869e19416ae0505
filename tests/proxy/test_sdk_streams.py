"""What the SDKs of OpenAI and Anthropic make of our streams, however the bytes are cut: their own decoders,
typed events and accumulation. Every event is also one that the SDK's models allow in full, which its own
reading does not check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from inference.chat import (
    ChatEvent,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from inference.errors import Overloaded, WorkerCrashed
from proxy.answer import NO_WAITS, Answer, Served
from proxy.dialects import anthropic_messages, chat_completions, responses
from tests.proxy.any_chat import CUTS, answers, cut, finishes, said

SERVED = Served("42", "smol", 1_700_000_000)
USAGE = Usage(input_tokens=100, cached_tokens=60, output_tokens=7, reasoning_tokens=3)
QUESTION = [{"role": "user", "content": "hi"}]

PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
    PATCH,
    {"type": "namespace", "name": "team", "description": "Agents.", "tools": [
        {"type": "function", "name": "spawn", "parameters": {"type": "object"}, "strict": False},
    ]},
    {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
]  # fmt: skip


def call_of(dialect: Any, **fields: Any) -> Any:
    return dialect.decode_request(json.dumps({"model": "m", "stream": True, **fields}).encode())


CHAT = call_of(chat_completions, messages=QUESTION, stream_options={"include_usage": True})
MESSAGES = call_of(anthropic_messages, messages=QUESTION, max_tokens=1)
RESPONSES = call_of(
    responses,
    input="hi",
    tools=TOOLS,
    reasoning={"summary": "auto"},
    include=["reasoning.encrypted_content", "message.output_text.logprobs"],
)
RAW_REASONING = call_of(responses, input="hi")

EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="Hm 🦙"),
    ReasoningDelta(text="", signature="c2ln"),
    TextDelta(text="Grüße\r\n"),
    ToolCallDelta(index=0, id="c0", name="f"),
    ToolCallDelta(index=0, arguments='{"ä":'),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallDelta(index=1, id="c1", name="team__spawn"),
    ToolCallDelta(index=1, arguments="{}"),
    Finish(reason="tool_calls", usage=USAGE),
]


def written(dialect: Any, call: Any, events: Sequence[ChatEvent]) -> bytes:
    """One event at a time, with signs of life before and between."""
    encoder = dialect.StreamEncoder(call, SERVED)
    stream = encoder.begin() + encoder.keep_alive()
    for event in events:
        stream += encoder.encode([event], NO_WAITS)
        if isinstance(event, TextDelta):
            stream += encoder.keep_alive()
    return bytes(stream)


def serving(pieces: Sequence[bytes]) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=piecewise())

    def piecewise() -> Iterator[bytes]:
        yield from pieces

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def cuts_of(stream: bytes) -> Iterator[list[bytes]]:
    """At every place where a line, an event or a character is cut in two, and everywhere at once."""
    for place in range(1, len(stream)):
        around = stream[place - 1 : place + 1]
        if b"\n" in around or max(around) > 127:
            yield [stream[:place], stream[place:]]
    yield [stream[i : i + 1] for i in range(len(stream))]


# --- Responses -----------------------------------------------------------------------------------

RESPONSE_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def events_from_openai(pieces: Sequence[bytes]) -> list[Any]:
    with (
        serving(pieces) as http,
        openai.OpenAI(api_key="none", base_url="http://test/v1", http_client=http, max_retries=0) as client,
    ):
        return list(client.responses.create(model="m", input="hi", stream=True))


def response_from_openai(pieces: Sequence[bytes]) -> Response:
    with (
        serving(pieces) as http,
        openai.OpenAI(api_key="none", base_url="http://test/v1", http_client=http, max_retries=0) as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        return stream.get_final_response()


def json_frames(stream: bytes) -> list[Any]:
    return [
        json.loads(line.removeprefix(b"data: "))
        for line in stream.split(b"\n")
        if line.startswith(b"data: {")
    ]


def test_responses_events_wherever_they_are_cut() -> None:
    stream = written(responses, RAW_REASONING, EVENTS)
    expected = json_frames(stream)
    for pieces in cuts_of(stream):
        assert [event.to_dict() for event in events_from_openai(pieces)] == expected


@settings(max_examples=25)
@given(places=CUTS)
def test_the_sdk_gathers_the_response_that_was_sent(places: list[int]) -> None:
    response = response_from_openai(cut(written(responses, RESPONSES, EVENTS), places))
    thought, text, call, spawn = response.output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["Hm 🦙"]
    assert response.output_text == "Grüße\r\n"
    assert text.type == "message"
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("f", '{"ä":1}')
    assert spawn.type == "function_call"
    assert (spawn.name, spawn.namespace) == ("spawn", "team")
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 60


RESPONSE_STREAMS: dict[str, tuple[Any, list[ChatEvent]]] = {
    "everything": (RESPONSES, EVENTS),
    "reasoning as it is": (RAW_REASONING, [ReasoningDelta(text="hm"), Finish(reason="stop", usage=USAGE)]),
    "a custom tool": (
        RESPONSES,
        [
            ToolCallDelta(index=0, id="c", name="apply_patch", arguments='{"input": "*** Be'),
            ToolCallDelta(index=0, arguments='gin"}'),
            Finish(reason="tool_calls", usage=USAGE),
        ],
    ),
    "a search for tools": (
        RESPONSES,
        [
            ToolCallDelta(index=0, id="c", name="tool_search", arguments='{"query": "x"}'),
            Finish(reason="tool_calls", usage=USAGE),
        ],
    ),
    "logprobs": (
        RESPONSES,
        [
            TextDelta(text="a", logprobs=(TokenLogprob(token="a", bytes_=b"a", logprob=-0.5),)),
            Finish(reason="stop", usage=USAGE),
        ],
    ),
    "cut off in a text": (RESPONSES, [TextDelta(text="a"), Finish(reason="length", usage=USAGE)]),
    "cut off in a call": (
        RESPONSES,
        [
            ToolCallDelta(index=0, id="c", name="f", arguments='{"a'),
            Finish(reason="length", usage=USAGE),
        ],
    ),
    "nothing": (RESPONSES, [Finish(reason="stop", usage=USAGE)]),
}


@pytest.mark.parametrize("name", RESPONSE_STREAMS)
def test_every_responses_event_is_one_that_openai_knows(name: str) -> None:
    call, events = RESPONSE_STREAMS[name]
    told = json_frames(written(responses, call, events))
    for event in told:
        known = RESPONSE_EVENTS.validate_python(event)
        assert known.type == event["type"]
    answer = Answer()
    for said_event in events:
        answer.add(said_event)
    finish = events[-1]
    assert isinstance(finish, Finish)
    whole = responses.encode_response(call, answer, finish, SERVED, NO_WAITS)
    assert Response.model_validate(json.loads(whole)).to_dict() == {**told[-1]["response"]}


@pytest.mark.parametrize("error", [WorkerCrashed("died"), Overloaded("full", retry_after_s=2.0)])
def test_a_failed_response_is_one_that_openai_knows(error: Any) -> None:
    encoder = responses.StreamEncoder(RESPONSES, SERVED)
    stream = encoder.begin() + encoder.encode(EVENTS[:3], NO_WAITS) + encoder.error(error, "42")
    for event in json_frames(stream):
        RESPONSE_EVENTS.validate_python(event)
    [*_, last] = events_from_openai([stream])
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert error.message in last.response.error.message


# --- Messages ------------------------------------------------------------------------------------

MESSAGE_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def events_from_anthropic(pieces: Sequence[bytes]) -> list[Any]:
    with (
        serving(pieces) as http,
        anthropic.Anthropic(
            api_key="none", base_url="http://test", http_client=http, max_retries=0
        ) as client,
    ):
        question: Any = QUESTION
        return list(client.messages.create(model="m", max_tokens=1, messages=question, stream=True))


def message_from_anthropic(pieces: Sequence[bytes]) -> AnthropicMessage:
    with (
        serving(pieces) as http,
        anthropic.Anthropic(
            api_key="none", base_url="http://test", http_client=http, max_retries=0
        ) as client,
    ):
        question: Any = QUESTION
        with client.messages.stream(model="m", max_tokens=1, messages=question) as stream:
            return stream.get_final_message()


def without_pings(stream: bytes) -> list[Any]:
    return [event for event in json_frames(stream) if event["type"] != "ping"]


def test_messages_events_wherever_they_are_cut() -> None:
    stream = written(anthropic_messages, MESSAGES, EVENTS)
    expected = without_pings(stream)
    for pieces in cuts_of(stream):
        assert [event.to_dict() for event in events_from_anthropic(pieces)] == expected


@settings(max_examples=50)
@given(events=answers(), finish=finishes(), places=CUTS)
def test_the_sdk_gathers_the_message_that_was_sent(
    events: list[ChatEvent], finish: Finish, places: list[int]
) -> None:
    stream = written(anthropic_messages, MESSAGES, [*events, finish])
    for event in without_pings(stream):
        MESSAGE_EVENTS.validate_python(event)
    message = message_from_anthropic(cut(stream, places))
    found = [
        (block.type, getattr(block, "text", None) or getattr(block, "thinking", None) or "")
        for block in message.content
        if block.type != "tool_use"
    ]
    names = {"text": "text", "reasoning": "thinking"}
    pieces = [piece for piece in said(events) if not isinstance(piece, Finish)]
    assert found == [(names[piece.kind], piece.text) for piece in pieces if piece.kind != "call"]
    inputs = [block.input for block in message.content if block.type == "tool_use"]
    assert inputs == [json.loads(piece.text) for piece in pieces if piece.kind == "call"]
    read = message.usage.cache_read_input_tokens or 0
    made = message.usage.cache_creation_input_tokens or 0
    assert message.usage.input_tokens + read + made == finish.usage.input_tokens


def test_a_message_that_fails_is_an_error_of_the_sdk() -> None:
    encoder = anthropic_messages.StreamEncoder(MESSAGES, SERVED)
    stream = (
        encoder.begin() + encoder.encode(EVENTS[:3], NO_WAITS) + encoder.error(WorkerCrashed("died"), "1")
    )
    with pytest.raises(anthropic.APIStatusError, match="died"):
        events_from_anthropic([stream])


# --- Chat Completions ----------------------------------------------------------------------------


def test_chat_chunks_wherever_they_are_cut() -> None:
    stream = written(chat_completions, CHAT, EVENTS)
    expected = json_frames(stream)
    for chunk in expected:
        ChatCompletionChunk.model_validate(chunk)
    question: Any = QUESTION
    for pieces in cuts_of(stream):
        with (
            serving(pieces) as http,
            openai.OpenAI(
                api_key="none", base_url="http://test/v1", http_client=http, max_retries=0
            ) as client,
        ):
            chunks = list(client.chat.completions.create(model="m", messages=question, stream=True))
        assert [chunk.to_dict() for chunk in chunks] == expected
